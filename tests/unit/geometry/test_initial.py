"""Tests of the alignment of centres of mass."""

import numpy as np
import pytest

from deepreg_meta.geometry.affine import GeometryError
from deepreg_meta.geometry.initial import centre_of_mass, centre_of_mass_affine
from deepreg_meta.geometry.resample import resample
from deepreg_meta.geometry.transform import Transform
from deepreg_meta.geometry.volume_file import VolumeFile
from tests.unit.geometry.places import PAIRS

FIXED, MOVING = PAIRS["oblique"]


def image(grid, values, offset=-1000.0):
    """:return: an image that is `offset` but at some voxels."""
    voxels = np.full(grid.shape, offset, np.float32)
    for voxel, value in values.items():
        voxels[voxel] += value
    return VolumeFile("image.nii", voxels, grid)


def test_intensities_above_the_minimum_weigh():
    """(1, 2, 3) with weight 1 and (4, 2, 5) with 3: (3.25, 2, 4.5), in space."""
    volume = image(FIXED, {(1, 2, 3): 1, (4, 2, 5): 3})
    expected = FIXED.to_world([3.25, 2, 4.5])
    np.testing.assert_allclose(centre_of_mass(volume), expected)
    several = np.stack([volume.voxels, volume.voxels], axis=-1)
    volume = VolumeFile("image.nii", several, FIXED)
    np.testing.assert_allclose(centre_of_mass(volume), expected)


def test_whole_numbers_do_not_overflow():
    voxels = np.full(FIXED.shape, -30000, np.int16)
    voxels[1, 2, 3] = 30000
    centre = centre_of_mass(VolumeFile("image.nii", voxels, FIXED))
    np.testing.assert_allclose(centre, FIXED.to_world([1, 2, 3]))


def test_voxels_that_are_not_finite_weigh_nothing():
    volume = image(FIXED, {(1, 2, 3): 1, (0, 0, 0): np.nan, (4, 4, 4): np.inf})
    np.testing.assert_allclose(centre_of_mass(volume), FIXED.to_world([1, 2, 3]))


def test_the_translation_leads_from_the_fixed_to_the_moving_centre():
    fixed, moving = image(FIXED, {(1, 2, 3): 5}), image(MOVING, {(6, 1, 2): 2}, 40)
    affine = centre_of_mass_affine(fixed, moving)
    np.testing.assert_array_equal(affine.matrix[:3, :3], np.eye(3))
    led = affine.map_points(FIXED.to_world([1, 2, 3]))
    np.testing.assert_allclose(led, MOVING.to_world([6, 1, 2]))
    warped = resample(moving.voxels, MOVING, FIXED, Transform((affine,)), outside=40)
    assert np.unravel_index(warped.argmax(), FIXED.shape) == (1, 2, 3)


@pytest.mark.parametrize("value", [3.0, np.nan])
def test_an_image_without_contrast_is_refused(value):
    flat = VolumeFile("flat.nii", np.full(FIXED.shape, value), FIXED)
    with pytest.raises(GeometryError, match=r"flat.nii: expected an image with contr"):
        centre_of_mass_affine(image(FIXED, {(1, 2, 3): 5}), flat)
