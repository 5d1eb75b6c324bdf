"""Tests of the preparation of one volume, from what its files hold."""

import numpy as np
import pytest

from deepreg_meta.config.preprocessing import IntensityStep
from deepreg_meta.dataset.intensity import Intensity, scale_to_unit
from deepreg_meta.dataset.resize import resize_linear
from deepreg_meta.dataset.source import RawLabel
from deepreg_meta.dataset.target import Target
from deepreg_meta.dataset.volume import prepare
from deepreg_meta.dataset.volume_check import DataError
from deepreg_meta.geometry.affine import spacing_of
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.stack import require_stack
from tests.unit.dataset.examples import (
    AFFINE,
    image,
    label,
    oblique,
    place,
    raw_volume,
)

SHAPE = (5, 6, 7)
OBLIQUE = oblique((20, -35, 50), (0.8, 1.3, 2.5), (-12, 30, 7))


def prepared(raw, target):
    return prepare(raw, target, lambda: (raw.image, None))


def test_the_default_keys_change_no_bit_of_what_was_there_before():
    # normalised as by DeepReg's loader, then stretched; labels stretched alone
    require_stack()
    from deepreg.dataset.loader.util import normalize_array

    for shape in (SHAPE, (9, 6, 4), (10, 3, 7)):
        voxels, labels = image(SHAPE, 3), label(SHAPE, 2)
        volume = prepared(raw_volume(voxels, labels=[labels]), Target(shape))
        expected = resize_linear(normalize_array(voxels).astype(np.float32), shape)
        assert volume.image.tobytes() == expected.tobytes()
        channels = np.moveaxis(labels, 3, 0).astype(np.float32)
        assert volume.labels.tobytes() == resize_linear(channels, shape).tobytes()
        scale = np.divide(SHAPE, shape)
        to_old = np.diag([*scale, 1.0])
        to_old[:3, 3] = 0.5 * scale - 0.5
        np.testing.assert_array_equal(volume.affine, AFFINE @ to_old)
        np.testing.assert_array_equal(volume.spacing_mm, [2, 0.5, 1.5] * scale)


def test_a_volume_knows_its_files_and_their_grid():
    voxels = image(SHAPE)
    raw = raw_volume(voxels, OBLIQUE, [label(SHAPE)])
    volume = prepared(raw, Target((8, 9, 10), orientation="LPS", voxel_mm=(1, 1, 1)))
    source = volume.source
    assert source.path == "image.nii" and source.label_paths == ("label_0.nii",)
    assert source.grid.shape == SHAPE and source.has_orientation
    np.testing.assert_array_equal(source.grid.affine, OBLIQUE)
    assert source.read()[0] is voxels
    assert volume.facts.source is source
    assert volume.facts.intensity_range == (voxels.min(), voxels.max())
    np.testing.assert_array_equal(volume.facts.spacing_mm, volume.spacing_mm)
    assert volume.num_bytes == 2 * 8 * 9 * 10 * 4


@pytest.mark.parametrize("fit", ["resize", "pad"])
@pytest.mark.parametrize("orientation", [None, "LPS", "SAR"])
@pytest.mark.parametrize("voxel_mm", [None, (1, 1.2, 2)])
def test_a_marked_spot_stays_at_its_place_in_space(fit, orientation, voxel_mm):
    # the centre of mass of a small blob, in space, before and after
    shape = (15, 14, 13)
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    blob = np.exp(-((voxels - [8, 6, 6]) ** 2).sum(axis=-1) / 8)
    blob[blob < 0.1] = 0
    target = Target((20, 18, 26), None, None, orientation, voxel_mm, fit)
    raw = raw_volume(blob.astype(np.float32), OBLIQUE, [blob])
    volume = prepared(raw, target)
    grid = Grid(volume.image.shape, volume.affine)
    for shown, reach in ((volume.labels[0], 0.02), (volume.image, 0.05)):
        indices = np.stack(np.nonzero(shown), axis=-1)
        centre = np.average(indices, axis=0, weights=shown[shown > 0])
        expected = Grid(shape, OBLIQUE).to_world([8, 6, 6])
        np.testing.assert_allclose(grid.to_world(centre), expected, atol=reach)
    np.testing.assert_allclose(volume.spacing_mm, spacing_of(volume.affine))


def test_added_voxels_are_as_dark_as_the_image_and_hold_no_label():
    voxels = image(SHAPE)
    raw = raw_volume(voxels, labels=[label(SHAPE)])
    volume = prepared(raw, Target((9, 9, 9), fit="pad"))
    assert volume.image[0, 0, 0] == 0 and volume.labels[0, 0, 0, 0] == 0
    assert (volume.image > 0).sum() == 5 * 6 * 7 - 1
    scores = Intensity([IntensityStep(name="z_score")])
    volume = prepared(raw, Target((9, 9, 9), fit="pad", intensity=scores))
    assert volume.image[0, 0, 0] == volume.image.min() < -1
    inner = volume.image[2:7, 1:7, 1:8]
    assert inner.mean() == pytest.approx(0, abs=1e-6)


def test_losses_leave_out_what_was_added_where_it_is_to_be_ignored():
    raw = raw_volume(image(SHAPE))
    ignoring = dict(padding="ignore")
    for target in (Target((9, 9, 9), fit="pad"), Target((9, 9, 9), **ignoring)):
        assert prepared(raw, target).inside is None
    padded = prepared(raw, Target((9, 9, 9), fit="pad", **ignoring))
    np.testing.assert_array_equal(padded.inside, [[2, 7], [1, 7], [1, 8]])
    cropped = prepared(raw, Target((4, 6, 9), fit="pad", **ignoring))
    np.testing.assert_array_equal(cropped.inside, [[0, 4], [0, 6], [1, 8]])


def test_an_override_is_nominal_and_so_is_a_file_without_affine():
    raw = raw_volume(image(SHAPE))
    volume = prepared(raw, Target((10, 6, 7), spacing_mm=(1, 1, 4)))
    assert volume.spacing_is_nominal
    np.testing.assert_allclose(volume.spacing_mm, [0.5, 1, 4])
    np.testing.assert_allclose(spacing_of(volume.affine), [1, 0.5, 1.5])
    bare = raw_volume(image(SHAPE), place=place(np.eye(4), False, ()))
    assert prepared(bare, Target(SHAPE)).spacing_is_nominal
    assert not prepared(raw, Target(SHAPE)).spacing_is_nominal
    # the one spacing that there is
    assert not prepared(bare, Target(SHAPE, spacing_mm=(1, 2, 4))).spacing_is_nominal


def test_an_image_is_matched_to_its_pair_before_it_is_scaled():
    fixed = 7 + image(SHAPE, 5) ** 2
    match = Intensity([IntensityStep(name="match", reference="fixed")])
    raw = raw_volume(image(SHAPE), fixed=fixed)
    volume = prepared(raw, Target(SHAPE, intensity=match))
    expected = scale_to_unit(match.transform(raw.image, fixed))
    np.testing.assert_array_equal(volume.image, expected)


def problems_of(raw, target=None):
    with pytest.raises(DataError) as caught:
        prepared(raw, target or Target(SHAPE))
    return caught.value.problems


def test_problems_of_image_place_and_labels_are_told_together():
    bad = image(SHAPE)
    bad[1, 2, 3] = np.nan
    named = RawLabel("gland.nii", label(SHAPE, 2), place(), "gland")
    raw = raw_volume(bad, labels=[5 * label(SHAPE), named], place=place(0 * AFFINE))
    found = problems_of(raw)
    assert len(found) == 4
    assert "image.nii: expected finite intensities, got 1 voxels" in found[0]
    assert "label_0.nii: expected values in [0, 1]" in found[1]
    assert "gland.nii: expected a 3-D label where several files are given" in found[2]
    assert "image.nii: expected voxel sides > 0" in found[3]


def test_what_is_wrong_with_values_says_what_helps():
    """Integers are declared of one map; of several files each is one structure."""
    masks = [RawLabel(f"{n}.nii", 255 * label(SHAPE), place(), n) for n in ("a", "b")]
    found = problems_of(raw_volume(image(SHAPE), labels=masks))
    assert len(found) == 2 and "each is one structure: divide by 255." in found[0]
    (problem,) = problems_of(raw_volume(image(SHAPE), labels=[255 * label(SHAPE)]))
    assert "Declare the integers" in problem


def test_soft_labels_may_be_rounded_beyond_one_and_overshoot_no_further():
    """255 times a slope of 1 / 255, which headers hold in 32 bits, is more than 1."""
    slope = np.float32(1 / 255) * (1 + 1e-7)
    soft = (slope * np.float32(255) * label(SHAPE)).astype(np.float32)
    assert soft.max() > 1
    volume = prepared(raw_volume(image(SHAPE), labels=[soft]), Target(SHAPE))
    np.testing.assert_allclose(volume.labels[0], label(SHAPE), atol=1e-6)
    soft = np.where(label(SHAPE) > 0, 1.03, -0.02)
    (problem,) = problems_of(raw_volume(image(SHAPE), labels=[soft]))
    assert "expected values in [0, 1], got -0.02, 1.03. Clip" in problem


def test_a_volume_that_the_keys_cannot_be_used_on_is_named():
    raw = raw_volume(image(SHAPE), place=place(AFFINE, forms=()))
    (problem,) = problems_of(raw, Target(SHAPE, orientation="RAS"))
    assert "image.nii: expected an affine, by which the axes" in problem
    flat = Intensity([IntensityStep(name="clip", range=(-10, -5))])
    (problem,) = problems_of(raw_volume(image(SHAPE)), Target(SHAPE, intensity=flat))
    assert "with contrast after dataset.intensity, got the constant -5." in problem
    border = np.zeros_like(label(SHAPE))
    border[:, :, 0] = 1
    cropped = raw_volume(image(SHAPE), labels=[border])
    (problem,) = problems_of(cropped, Target((5, 6, 3), fit="pad"))
    assert "label_0.nii: expected voxels in every label channel, got none" in problem


def test_a_label_beside_its_image_is_refused():
    shifted = AFFINE.copy()
    shifted[2, 3] += 1
    labels = [RawLabel("label.nii", label(SHAPE), place(shifted))]
    (problem,) = problems_of(raw_volume(image(SHAPE), labels=labels))
    assert "label.nii: expected the place of its image image.nii" in problem


def test_the_arrays_cannot_be_written_to_and_those_of_the_files_still_can():
    voxels, channels = image(SHAPE), label(SHAPE, 2).astype(np.float32)
    volume = prepared(raw_volume(voxels, labels=[channels]), Target(SHAPE))
    for array in (volume.image, volume.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        assert array.flags.c_contiguous
    voxels[...], channels[...] = 0, 0
    assert volume.image.any() and volume.labels.any()
