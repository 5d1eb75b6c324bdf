"""Tests of the phantom generator and of the data sets it writes."""

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from deepreg_meta.dataset import phantom
from deepreg_meta.dataset.phantom import (
    default_phantom_dir,
    jacobian_det,
    make_case,
    write_dataset,
    write_unpaired_dataset,
)

MOVING, FIXED = (26, 28, 24), (20, 24, 18)
SEEDS = range(6)


@pytest.fixture(scope="module")
def cases():
    return [make_case(seed, MOVING, FIXED) for seed in SEEDS]


@pytest.fixture(scope="module")
def large_cases():
    """Cases at the default size, where contrasts are resolved."""
    return [make_case(seed) for seed in range(3)]


def centroid(mask):
    return np.argwhere(mask).mean(axis=0)


def dice_after_shift(case, shift):
    """Dice of the fixed gland and the moving one moved by -shift voxels."""
    fixed, moving = case.fixed_labels[0], case.moving_labels[0].astype(float)
    points = np.indices(fixed.shape) + shift[:, None, None, None]
    warped = ndimage.map_coordinates(moving, points, order=1) > 0.5
    return 2 * (warped & (fixed > 0)).sum() / (warped.sum() + fixed.sum())


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


def test_labels_are_not_empty_and_lie_inside_both_grids(cases):
    for case in cases:
        for labels in (case.moving_labels, case.fixed_labels):
            assert (labels.reshape(len(labels), -1).sum(axis=1) >= 2).all()
            inner = labels[:, 1:-1, 1:-1, 1:-1]
            assert inner.sum() == labels.sum()


def test_gland_spans_its_share_of_the_fixed_grid(large_cases):
    for case in large_cases:
        found = np.argwhere(case.fixed_labels[0])
        share = (np.ptp(found, axis=0) + 1) / case.fixed_image.shape
        assert (share > 0.5).all() and (share < 0.8).all()


def test_landmarks_are_inside_the_gland_or_on_its_boundary(cases):
    for case in cases:
        near = ndimage.binary_dilation(case.fixed_labels[0], iterations=2)
        for mark in case.fixed_labels[1:]:
            assert near[tuple(np.round(centroid(mark)).astype(int))]


def test_jacobian_of_a_known_stretch_is_its_volume_change():
    x = np.stack(np.meshgrid(*map(np.arange, (5, 6, 7)), indexing="ij"), axis=-1)
    # (x0, x1, x2) -> (1.5 x0 + x1, 2 x1, 0.5 x2): determinant 1.5 * 2 * 0.5 = 1.5
    image = np.stack([1.5 * x[..., 0] + x[..., 1], 2 * x[..., 1], x[..., 2] / 2], -1)
    np.testing.assert_allclose(jacobian_det(image - x), 1.5)


def test_true_map_is_a_diffeomorphism(cases, large_cases):
    for case in [*cases, *large_cases]:
        assert jacobian_det(case.displacement).min() > 0


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


def test_mr_shows_a_brighter_rim_than_core_and_a_dark_rectum(large_cases):
    for case in large_cases:
        gland = case.moving_labels[0] > 0
        depth = ndimage.distance_transform_edt(gland)
        middle = np.round(centroid(gland)).astype(int)
        back = np.arange(gland.shape[0])[:, None, None] > middle[0]
        rim = case.moving_image[(depth > 1.5) & (depth < 4) & back].mean()
        core = case.moving_image[depth > 0.7 * depth.max()].mean()
        assert rim > core + 0.05


def test_us_is_dark_in_the_probe_and_the_rectal_wall_before_it_is_bright(large_cases):
    for case in large_cases:
        gland = case.fixed_labels[0] > 0
        profile = case.fixed_image[:, 19:25, :].mean(axis=(1, 2))
        back = np.argwhere(gland)[:, 0].max()
        assert profile[-1] < 0.15
        assert profile[back - 1 : back + 5].max() > 1.3 * case.fixed_image[gland].mean()
        assert (case.fixed_image[-1, [0, -1]] < 0.02).all()  # outside the fan


def test_calcification_is_dark_in_mr_bright_in_us_and_throws_a_shadow(large_cases):
    for case in large_cases:
        moving, fixed = case.moving_labels[1] > 0, case.fixed_labels[1] > 0
        gland = case.fixed_image[case.fixed_labels[0] > 0].mean()
        assert case.moving_image[moving].min() < 0.15
        assert case.fixed_image[fixed].mean() > 1.6 * gland
        c = np.round(centroid(fixed)).astype(int)
        lowest = np.argwhere(fixed)[:, 0].min()
        before = case.fixed_image[max(lowest - 4, 0) : lowest - 1, :, c[2]]
        assert before[:, c[1] - 2 : c[1] + 3].min() < 0.3 * gland


def test_contrasts_of_the_modalities_do_not_follow_from_one_another(large_cases):
    for case in large_cases:
        at = np.indices(case.fixed_image.shape) + np.moveaxis(case.displacement, -1, 0)
        mr = ndimage.map_coordinates(case.moving_image, at, order=1)
        inside = ndimage.binary_dilation(case.fixed_labels[0], iterations=2)
        assert abs(np.corrcoef(mr[inside], case.fixed_image[inside])[0, 1]) < 0.6


def test_bad_seed_and_shapes_are_refused():
    with pytest.raises(ValueError, match="seed: expected an integer >= 0, got -1"):
        make_case(-1)
    with pytest.raises(ValueError, match=r"moving_shape: .*12 voxels, got \(5, 6, 7\)"):
        make_case(0, moving_shape=(5, 6, 7))
    with pytest.raises(ValueError, match="fixed_shape: expected three sides"):
        make_case(0, fixed_shape=(20, 20))


def test_paired_layout_holds_named_channels_last_files(tmp_path):
    out = write_dataset(tmp_path / "set", 2, 0, 1, 3, MOVING, FIXED)
    assert out == tmp_path / "set"
    names = sorted(path.name for path in (out / "train" / "moving_images").iterdir())
    assert names == ["case000000.nii.gz", "case000001.nii.gz"]
    assert list((out / "valid").iterdir()) == []
    case = make_case(3 * 300_000, MOVING, FIXED)  # first training seed
    for kind, shape in (("moving", MOVING), ("fixed", FIXED)):
        image = nib.load(out / "train" / f"{kind}_images" / names[0])
        label = nib.load(out / "train" / f"{kind}_labels" / names[0])
        assert image.shape == shape and label.get_data_dtype() == np.uint8
        assert nib.aff2axcodes(image.affine) == ("P", "R", "S")
        np.testing.assert_allclose(label.affine, image.affine)
        np.testing.assert_allclose(image.header.get_zooms(), case.spacing_mm, rtol=1e-5)
        expected = getattr(case, f"{kind}_image")
        np.testing.assert_array_equal(np.asarray(image.dataobj), expected)
        channels = np.moveaxis(np.asarray(label.dataobj), -1, 0)
        np.testing.assert_array_equal(channels, getattr(case, f"{kind}_labels"))
    assert "SYNTHETIC" in (out / "README.txt").read_text()


def test_splits_share_no_case(tmp_path):
    out = write_dataset(tmp_path / "set", 1, 1, 1, 0, MOVING, FIXED)
    first = [
        nib.load(out / split / "fixed_images" / "case000000.nii.gz").get_fdata()
        for split in ("train", "valid", "test")
    ]
    assert (first[0] != first[1]).any() and (first[1] != first[2]).any()


def test_complete_set_is_reused_and_other_content_is_left_alone(tmp_path, monkeypatch):
    out = write_dataset(tmp_path / "set", 1, 0, 0, 0, MOVING, FIXED)

    def refuse(*args):
        raise AssertionError("a case was made again")

    monkeypatch.setattr(phantom, "make_case", refuse)
    assert write_dataset(out, 1, 0, 0, 0, MOVING, FIXED) == out
    with pytest.raises(ValueError, match="out_dir: expected a new or empty folder"):
        write_dataset(out, 2, 0, 0, 0, MOVING, FIXED)
    (out / "train" / "fixed_labels" / "case000000.nii.gz").unlink()
    with pytest.raises(ValueError, match="this very phantom data set"):
        write_dataset(out, 1, 0, 0, 0, MOVING, FIXED)


def test_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    real = phantom.make_case

    def interrupt_second(seed, *shapes):
        if seed == 1:
            raise KeyboardInterrupt
        return real(seed, *shapes)

    monkeypatch.setattr(phantom, "make_case", interrupt_second)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "set", 2, 0, 0, 0, MOVING, FIXED)
    assert list(tmp_path.iterdir()) == []


def test_unpaired_layout_holds_images_and_gland_labels(tmp_path):
    out = write_unpaired_dataset(tmp_path / "set", 2, 0, 0, 0, FIXED)
    assert sorted(p.name for p in (out / "train").iterdir()) == ["images", "labels"]
    for i in range(2):
        name = f"case{i:06d}.nii.gz"
        assert nib.load(out / "train" / "images" / name).shape == FIXED
        label = np.asarray(nib.load(out / "train" / "labels" / name).dataobj)
        np.testing.assert_array_equal(label, make_case(i, FIXED, FIXED).fixed_labels[0])
    assert json.loads((out / "phantom.json").read_text())["kind"] == "unpaired"


def test_bad_counts_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="num_valid: expected an integer .* got -1"):
        write_dataset(tmp_path / "set", 1, -1, 0, 0, MOVING, FIXED)
    assert list(tmp_path.iterdir()) == []


def test_cache_folder_follows_environment_and_parameters(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPREG_META_CACHE", str(tmp_path))
    first = default_phantom_dir({"seed": 0, "num_train": 1})
    assert first.parent == tmp_path
    assert first == default_phantom_dir({"num_train": 1, "seed": 0})
    assert first != default_phantom_dir({"num_train": 2, "seed": 0})
    monkeypatch.setattr(phantom, "GENERATOR_VERSION", -1)
    assert first != default_phantom_dir({"seed": 0, "num_train": 1})
    monkeypatch.delenv("DEEPREG_META_CACHE")
    assert default_phantom_dir({}).parent.name == "deepreg_meta"
