"""Tests of deepreg_meta/sequence/region.py."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from deepreg_meta.geometry.picture_file import save_picture
from deepreg_meta.geometry.volume_file import save_volume
from deepreg_meta.sequence.region import (
    dilate,
    intensity_region,
    make_region,
    read_masks,
    read_radius,
    region_of,
)
from tests.unit.sequence.examples import shifting, texture


def ball(radius, spacing=(1, 1, 1), axes=3):
    """:return: SciPy's structuring element, written down."""
    reach = [int(radius / s) + 1 if a < axes else 0 for a, s in enumerate(spacing)]
    places = np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij")
    lengths = np.sqrt(sum((p * s) ** 2 for p, s in zip(places, spacing, strict=True)))
    return lengths <= radius * (1 + 1e-9)


@pytest.mark.parametrize("radius", [1, 2, 2.3, 5])
@pytest.mark.parametrize("shape", [(15, 12, 1), (11, 9, 8)])
def test_dilation_is_scipys_with_a_ball_of_that_radius(radius, shape):
    mask = texture(shape, seed=5) > 0.995
    mask[2, 3, 0] = True
    axes = 3 if shape[2] > 1 else 2
    expected = binary_dilation(mask, ball(radius, axes=axes))
    np.testing.assert_array_equal(dilate(mask, radius), expected)
    assert expected.sum() > mask.sum()


def test_a_voxel_grows_to_the_disc_of_its_radius():
    """Three voxels along each axis in either direction, 29 voxels in all."""
    mask = np.zeros((11, 11, 1), bool)
    mask[5, 5] = True
    found = dilate(mask, 3)
    assert found[2, 5, 0] and found[5, 8, 0] and found[7, 7, 0]
    assert not found[1, 5, 0] and not found[7, 8, 0]
    assert found.sum() == 29


def test_a_radius_in_mm_counts_voxel_sides():
    """2.4 mm are 3 voxels of 0.8 mm, in spite of rounding, and 1 of 2 mm."""
    mask = np.zeros((9, 7, 5), bool)
    mask[4, 3, 2] = True
    found = dilate(mask, 2.4, (0.8, 2.0, 3.0))
    np.testing.assert_array_equal(
        found, binary_dilation(mask, ball(2.4, (0.8, 2.0, 3.0)))
    )
    assert found[1, 3, 2] and found[4, 4, 2] and not found[4, 5, 2]
    assert not found[4, 3, 3]


def test_nothing_grows_by_zero_and_an_empty_mask_stays_empty():
    mask = texture((5, 6, 1)) > 0.5
    np.testing.assert_array_equal(dilate(mask, 0), mask)
    assert not dilate(np.zeros((5, 6, 1)), 3).any()
    with pytest.raises(ValueError, match="--dilate: expected a radius >= 0, got -1"):
        dilate(mask, -1)


def test_a_radius_is_read_in_voxels_or_in_mm():
    assert read_radius("16") == (16.0, False)
    assert read_radius("4.5mm") == (4.5, True) == read_radius(" 4.5 mm ")
    for text in ("-2", "3px", "", "1.2.3mm"):
        with pytest.raises(ValueError, match="--dilate: expected a radius >= 0 in vox"):
            read_radius(text)


def test_the_region_by_intensities_is_that_of_each_frame():
    """Both ends count."""
    sequence = shifting()
    region = intensity_region(sequence, 0.25, 0.75)
    for index in range(len(sequence)):
        scaled = sequence.scaled(index)
        np.testing.assert_array_equal(
            region[index], (scaled >= 0.25) & (scaled <= 0.75)
        )
    assert 0.3 < region.mean() < 0.7
    whole = intensity_region(sequence, 0.0, 1.0)
    assert whole.all()
    with pytest.raises(ValueError, match="--intensity-range: expected 0 <= LOW < HIGH"):
        intensity_region(sequence, 0.6, 0.4)


def save_mask(path, mask, sequence):
    save_volume(path, mask.astype(np.uint8), sequence.grid.affine)
    return path


def test_one_mask_holds_for_all_frames(tmp_path):
    """Whatever its value; it is kept once."""
    sequence = shifting()
    mask = texture(sequence.grid.shape) > 0.5
    region = read_masks(save_mask(tmp_path / "m.nii", 7 * mask, sequence), sequence)
    assert region.shape == (1, *sequence.grid.shape)
    for index in range(len(sequence)):
        np.testing.assert_array_equal(region_of(region, index), mask)
    assert region_of(None, 2) is None


def test_masks_for_each_frame_come_with_time_or_as_files(tmp_path):
    sequence = shifting()
    masks = np.stack([texture(sequence.grid.shape, i) > 0.5 for i in range(4)])
    whole = save_mask(tmp_path / "m.nii", np.moveaxis(masks, 0, -1), sequence)
    files = [
        save_mask(tmp_path / "many" / f"m{i}.nii", mask, sequence)
        for i, mask in enumerate(masks)
    ]
    for given in (whole, files, tmp_path / "many"):
        region = read_masks(given, sequence)
        np.testing.assert_array_equal(region, masks)
    np.testing.assert_array_equal(region_of(region, 2), masks[2])


def test_a_picture_may_mask_the_frames_of_a_volume_file(tmp_path):
    """A picture says nothing of its place."""
    sequence = shifting()
    mask = texture(sequence.grid.shape) > 0.5
    save_picture(tmp_path / "m.png", 255 * mask, np.uint8)
    np.testing.assert_array_equal(read_masks(tmp_path / "m.png", sequence)[0], mask)


def test_masks_that_do_not_fit_are_refused(tmp_path):
    sequence = shifting()
    shape = sequence.grid.shape
    three = save_mask(tmp_path / "3.nii", np.ones((*shape, 3)), sequence)
    with pytest.raises(ValueError, match="one for each of 4, got 3"):
        read_masks(three, sequence)
    empty = save_mask(tmp_path / "0.nii", np.zeros(shape), sequence)
    with pytest.raises(ValueError, match="0.nii: expected voxels in it, got none"):
        read_masks(empty, sequence)
    other = save_mask(tmp_path / "o.nii", np.ones((17, 20, 1)), sequence)
    with pytest.raises(ValueError, match="o.nii: expected the grid of the frames"):
        read_masks(other, sequence)


def test_mask_and_intensities_hold_together_and_are_widened_last():
    sequence = shifting()
    mask = np.zeros((1, *sequence.grid.shape), bool)
    mask[0, 5:12, 4:11] = True
    region = make_region(sequence, mask, (0.4, 0.6), radius=1)
    for index in range(len(sequence)):
        both = mask[0] & intensity_region(sequence, 0.4, 0.6)[index]
        np.testing.assert_array_equal(region[index], dilate(both, 1))
    assert make_region(sequence) is None
    in_mm = make_region(sequence, mask, radius=0.8, in_mm=True)
    np.testing.assert_array_equal(
        in_mm[0], dilate(mask[0], 0.8, sequence.grid.spacing_mm)
    )


def test_a_dilation_needs_a_region_and_mm_a_spacing():
    sequence = shifting()
    with pytest.raises(ValueError, match="--dilate: expected a region to widen"):
        make_region(sequence, radius=3)
    mask = np.ones((1, *sequence.grid.shape), bool)
    pictures = replace(sequence, has_spacing=False)
    with pytest.raises(ValueError, match="frames that state no spacing, got 3 mm"):
        make_region(pictures, mask, radius=3, in_mm=True)


def test_masks_of_frames_with_time_as_third_axis_have_it_too(tmp_path):
    """Or two axes, for all frames."""
    sequence = replace(shifting(), layout="plane")
    masks = np.stack([texture(sequence.grid.shape, i) > 0.5 for i in range(4)])
    affine = sequence.grid.affine
    each = np.moveaxis(masks[..., 0], 0, -1).astype(np.uint8)
    save_volume(tmp_path / "each.nii", each, affine)
    save_volume(tmp_path / "one.nii", masks[1].astype(np.uint8), affine, True)
    found = read_masks(tmp_path / "each.nii", sequence, axes="xyt")
    np.testing.assert_array_equal(found, masks)
    found = read_masks(tmp_path / "one.nii", sequence, axes="xyt")
    np.testing.assert_array_equal(found, masks[1:2])
