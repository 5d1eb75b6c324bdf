"""Tests of whole phantom cases."""

import numpy as np
import pytest
from scipy import ndimage

from deepreg_meta.dataset.phantom.case import GENERATOR_VERSION, make_case

MOVING, FIXED = (26, 28, 24), (20, 24, 18)


def dice_after_shift(case, shift):
    """Dice of the fixed gland and the moving one moved by -shift voxels."""
    fixed, moving = case.fixed_labels[0], case.moving_labels[0].astype(float)
    points = np.indices(fixed.shape) + shift[:, None, None, None]
    warped = ndimage.map_coordinates(moving, points, order=1) > 0.5
    return 2 * (warped & (fixed > 0)).sum() / (warped.sum() + fixed.sum())


def centroid(mask):
    return np.array(ndimage.center_of_mass(mask))


def test_same_seed_gives_the_same_arrays_and_another_seed_others(cases):
    again = make_case(0, MOVING, FIXED)
    for name in ("moving_image", "fixed_image", "moving_labels", "fixed_labels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(cases[0], name))
    np.testing.assert_array_equal(again.displacement, cases[0].displacement)
    assert (cases[0].moving_labels[0] != cases[1].moving_labels[0]).any()
    assert np.abs(cases[0].fixed_image - cases[1].fixed_image).mean() > 0.01


def test_shapes_types_and_ranges_are_as_documented(cases):
    for case in cases:
        num = len(case.moving_labels)
        assert 3 <= num <= 5
        assert case.moving_labels.shape == (num, *MOVING)
        assert case.fixed_labels.shape == (num, *FIXED)
        assert case.displacement.shape == (*FIXED, 3)
        assert case.moving_labels.dtype == case.fixed_labels.dtype == np.uint8
        for image in (case.moving_image, case.fixed_image):
            assert image.dtype == np.float32
            assert 0 <= image.min() < 0.2 and 0.7 < image.max() <= 1


def test_true_map_carries_every_label_onto_its_partner(large_cases):
    for case in large_cases:
        at = np.indices(case.fixed_image.shape) + np.moveaxis(case.displacement, -1, 0)
        pairs = zip(case.moving_labels, case.fixed_labels, strict=True)
        for k, (moving, fixed) in enumerate(pairs):
            warped = ndimage.map_coordinates(moving.astype(float), at, order=1) > 0.5
            dice = 2 * (warped & (fixed > 0)).sum() / (warped.sum() + fixed.sum())
            # half a voxel of rounding costs a ball of radius 1.5 much, the gland little
            assert dice > (0.95 if k == 0 else 0.5)


def test_alignment_of_centres_and_centroids_leaves_work_to_do(cases):
    by_centre, by_centroid, errors = [], [], []
    for case in cases:
        shift = (np.array(MOVING) - FIXED) / 2
        by_centre.append(dice_after_shift(case, shift))
        shift = centroid(case.moving_labels[0]) - centroid(case.fixed_labels[0])
        by_centroid.append(dice_after_shift(case, shift))
        errors += [
            np.linalg.norm(centroid(f) + shift - centroid(m))
            for f, m in zip(case.fixed_labels[1:], case.moving_labels[1:], strict=True)
        ]
    assert 0.50 < np.mean(by_centre) < 0.72
    assert 0.77 < np.mean(by_centroid) < 0.88
    assert 0.9 < np.mean(errors) < 2.6  # 2.7 voxels of the default grid, at half size


def test_contrasts_of_the_modalities_do_not_follow_from_one_another(large_cases):
    for case in large_cases:
        at = np.indices(case.fixed_image.shape) + np.moveaxis(case.displacement, -1, 0)
        mr = ndimage.map_coordinates(case.moving_image, at, order=1)
        inside = ndimage.binary_dilation(case.fixed_labels[0], iterations=2)
        assert abs(np.corrcoef(mr[inside], case.fixed_image[inside])[0, 1]) < 0.6


def test_a_change_of_the_voxels_raises_the_version(cases):
    """Where this fails, raise GENERATOR_VERSION and write the new numbers here."""
    case = cases[0]
    found = [
        GENERATOR_VERSION,
        case.moving_image.mean(),
        case.fixed_image.mean(),
        len(case.moving_labels),
        case.moving_labels[0].sum(),
        case.fixed_labels[0].sum(),
        *case.displacement.mean(axis=(0, 1, 2)),
    ]
    expected = [1, 0.50192, 0.25633, 3, 994, 1125, 2.46610, -1.33753, -0.81911]
    # other libraries may round otherwise, and a voxel on a surface may change sides
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_bad_seed_and_shapes_are_refused():
    with pytest.raises(ValueError, match="seed: expected an integer >= 0, got -1"):
        make_case(-1)
    with pytest.raises(ValueError, match=r"moving_shape: .*12 voxels, got \(5, 6, 7\)"):
        make_case(0, moving_shape=(5, 6, 7))
    with pytest.raises(ValueError, match="fixed_shape: expected three sides"):
        make_case(0, fixed_shape=(20, 20))
