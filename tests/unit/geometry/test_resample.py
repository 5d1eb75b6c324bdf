"""Tests of deepreg_meta/geometry/resample.py; reference: SimpleITK."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from deepreg_meta.geometry import grid as grid_module
from deepreg_meta.geometry.affine import apply, from_parts
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.resample import resample
from deepreg_meta.geometry.transform import Affine, Field, Transform

TO_LPS = np.array([-1.0, -1.0, 1.0])
FIXED, MOVING = (9, 10, 11), (12, 8, 10)


def rotated(shape, angles, spacing, centre, flip=(1, 1, 1)):
    """:return: a grid with its middle at `centre`, mm."""
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    columns = turn @ np.diag(np.multiply(spacing, flip))
    return Grid(
        shape, from_parts(columns, centre - columns @ (np.array(shape) - 1) / 2)
    )


# angles and voxel sides of the fixed grid, those of the moving one, its flips
PAIRS = {
    "plain": ((0, 0, 0), (1, 1, 1), (0, 0, 0), (1, 1, 1), (1, 1, 1)),
    "oblique": (
        *((20, -35, 50), (0.8, 1.3, 1.7)),
        *((-60, 15, 10), (1.1, 0.9, 1.9), (1, 1, 1)),
    ),
    "left-handed": (
        *((0, 0, 90), (1, 2, 0.7)),
        *((10, 5, 0), (2, 1, 1.5), (-1, 1, 1)),
    ),
    "slices": (
        *((5, -3, 8), (0.6, 0.6, 3.1)),
        *((80, -4, 2), (0.7, 2.5, 0.7), (1, -1, 1)),
    ),
}


@pytest.fixture(params=list(PAIRS))
def pair(request, rng):
    """:return: fixed grid, moving grid, moving image with values in [1, 2]."""
    fixed_turn, fixed_mm, moving_turn, moving_mm, flip = PAIRS[request.param]
    fixed = rotated(FIXED, fixed_turn, fixed_mm, np.array([30.0, -40, 12]))
    moving = rotated(MOVING, moving_turn, moving_mm, np.array([28.7, -39, 13.3]), flip)
    return fixed, moving, rng.uniform(1, 2, MOVING).astype(np.float32)


def itk_image(volume, grid):
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.transpose(2, 1, 0)))
    image.SetSpacing(grid.spacing_mm.tolist())
    image.SetOrigin((grid.affine[:3, 3] * TO_LPS).tolist())
    turn = grid.affine[:3, :3] / grid.spacing_mm
    image.SetDirection((TO_LPS[:, None] * turn).ravel().tolist())
    return image


def itk_affine(matrix):
    flip = np.diag([*TO_LPS, 1.0])
    matrix = flip @ matrix @ flip
    result = sitk.AffineTransform(3)
    result.SetMatrix(matrix[:3, :3].ravel().tolist())
    result.SetTranslation(matrix[:3, 3].tolist())
    return result


def itk_field(field):
    vectors = np.ascontiguousarray((field.vectors * TO_LPS).transpose(2, 1, 0, 3))
    image = sitk.GetImageFromArray(vectors.astype(np.float64), True)
    image.CopyInformation(itk_image(np.zeros(field.grid.shape), field.grid))
    return sitk.DisplacementFieldTransform(image)


def itk_resample(volume, source, target, transform, interpolator=sitk.sitkLinear):
    fixed = itk_image(np.zeros(target.shape, np.float32), target)
    moving = itk_image(volume, source)
    result = sitk.Resample(moving, fixed, transform, interpolator, 0.0)
    return sitk.GetArrayFromImage(result).transpose(2, 1, 0)


TURN = Rotation.from_euler("xyz", (3, -6, 4), degrees=True).as_matrix()


def moved(pair, rng):
    """:return: a field and a small turn, as our transform and as SimpleITK's."""
    matrix = from_parts(TURN, [0.3, -0.2, 0.4])
    field = Field(pair[0], rng.uniform(-0.7, 0.7, (*FIXED, 3)))
    itk = sitk.CompositeTransform([itk_affine(matrix), itk_field(field)])
    return Transform((field, Affine(matrix))), itk  # ITK applies the last one first


def test_images_are_resampled_as_by_simpleitk_border_included(pair, rng):
    fixed, moving, image = pair
    transform, itk_transform = moved(pair, rng)
    ours = resample(image, moving, fixed, transform)
    theirs = itk_resample(image, moving, fixed, itk_transform)
    assert ours.dtype == np.float32
    # values begin at 1: what is not 0 lay inside
    np.testing.assert_array_equal(ours > 0, theirs > 0)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert 0.2 < (ours > 0).mean() < 0.98


def test_labels_are_resampled_as_by_simpleitk(pair, rng):
    fixed, moving, _ = pair
    label = rng.integers(1, 9, MOVING, dtype=np.uint8)
    transform, itk_transform = moved(pair, rng)
    ours = resample(label, moving, fixed, transform, "nearest")
    nearest = sitk.sitkNearestNeighbor
    theirs = itk_resample(label, moving, fixed, itk_transform, nearest)
    assert ours.dtype == np.uint8
    np.testing.assert_array_equal(ours, theirs)
    assert len(np.unique(ours)) > 5


def test_without_a_transform_space_stays(pair):
    fixed, moving, image = pair
    theirs = itk_resample(image, moving, fixed, sitk.Transform(3, sitk.sitkIdentity))
    np.testing.assert_allclose(resample(image, moving, fixed), theirs, atol=1e-5)


def test_the_own_grid_gives_the_volume_back(rng):
    grid = rotated((5, 6, 7), (20, -35, 50), (0.8, 1.3, 2.5), np.array([1.0, 2, 3]))
    image = rng.normal(size=grid.shape)
    np.testing.assert_allclose(resample(image, grid, grid), image, atol=1e-5)
    label = rng.integers(0, 2**15, grid.shape, dtype=np.int16)
    nearest = resample(label, grid, grid, interpolation="nearest")
    np.testing.assert_array_equal(nearest, label)


def test_a_shift_takes_the_value_of_the_place_it_leads_to():
    """T(p) = p + (2, 0, 0): voxel 1 shows what lies at 3, halfway at 2.5 the mean."""
    grid = Grid((6, 2, 2), np.eye(4))
    image = np.broadcast_to(np.arange(6.0)[:, None, None] ** 2, grid.shape)
    shifted = resample(image, grid, grid, shift(2.0))
    np.testing.assert_allclose(shifted[:, 1, 0], [4, 9, 16, 25, 0, 0])
    halfway = resample(image, grid, grid, shift(1.5))
    # up to half a voxel beyond 5 the value at 5 holds; 5.5 itself is outside
    np.testing.assert_allclose(halfway[:, 0, 1], [2.5, 6.5, 12.5, 20.5, 0, 0])
    np.testing.assert_allclose(resample(image, grid, grid, shift(0.4))[5], 25)


def shift(mm):
    return Transform((Affine(from_parts(np.eye(3), (mm, 0, 0))),))


def test_outside_there_is_the_value_asked_for():
    grid = Grid((4, 2, 3), np.eye(4))
    ones = np.ones(grid.shape, np.float32)
    filled = resample(ones, grid, grid, shift(2.0), outside=-1000.0)
    np.testing.assert_array_equal(filled[:, 0, 0], [1, 1, -1000, -1000])


def test_an_image_that_is_linear_in_space_stays_so(rng):
    """Between any two grids, where they overlap."""
    fixed = rotated((5, 6, 7), (20, -35, 50), (0.4, 0.3, 0.5), np.array([1.0, 2, 3]))
    moving = rotated((9, 8, 10), (-60, 15, 10), (0.9, 1.1, 1.0), np.array([1.5, 2, 3]))
    slope, places = rng.normal(size=3), {}
    for grid in (fixed, moving):
        axes = np.meshgrid(*map(np.arange, grid.shape), indexing="ij")
        places[grid] = grid.to_world(np.stack(axes, axis=-1))
    found = resample(places[moving] @ slope + 5, moving, fixed)
    np.testing.assert_allclose(found, places[fixed] @ slope + 5, atol=1e-5)


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_several_volumes_at_once_are_each_of_them(pair, rng, interpolation):
    fixed, moving, image = pair
    transform, _ = moved(pair, rng)
    volumes = np.stack([image, image[::-1], np.ones_like(image)])
    together = resample(volumes, moving, fixed, transform, interpolation)
    assert together.shape == (3, *FIXED)
    for volume, found in zip(volumes, together, strict=True):
        alone = resample(volume, moving, fixed, transform, interpolation)
        np.testing.assert_array_equal(found, alone)
    assert not np.array_equal(together[0], together[1])


def test_a_large_grid_is_gone_through_in_slabs_with_one_result(pair, rng, monkeypatch):
    fixed, moving, image = pair
    transform, _ = moved(pair, rng)
    whole = resample(image, moving, fixed, transform)
    monkeypatch.setattr(grid_module, "_SLAB_VOXELS", 250)  # two rows of 10 x 11
    assert len(list(fixed.slabs())) == 5
    # places are matrix products, whose rounding depends on the number of rows
    np.testing.assert_allclose(
        resample(image, moving, fixed, transform), whole, atol=1e-6
    )


def test_a_slice_of_one_voxel_is_resampled_in_its_plane(rng):
    """A 2-D image: nothing to interpolate across, half a slice on both sides."""
    grid = Grid((6, 5, 1), np.diag([1, 1, 4, 1.0]))
    image = rng.uniform(1, 2, grid.shape)
    near = Grid((6, 5, 1), from_parts(np.diag([1, 1, 4.0]), (0.5, 0, 1.9)))
    found = resample(image, grid, near)
    np.testing.assert_allclose(found[:5], (image[:5] + image[1:]) / 2, rtol=1e-6)
    far = Grid((6, 5, 1), from_parts(np.diag([1, 1, 4.0]), (0, 0, 2.1)))
    assert not resample(image, grid, far).any()


def test_points_and_intensities_agree_about_the_direction(rng):
    """A bright voxel at T(p) of the moving image shows up at p."""
    grid = Grid((5, 6, 7), np.diag([2, 1, 3, 1.0]))
    matrix = from_parts(np.eye(3), grid.to_world([1, -2, 2]))
    image = np.zeros(grid.shape, np.float32)
    image[3, 1, 4] = 1
    found = resample(image, grid, grid, Transform((Affine(matrix),)))
    [place] = np.argwhere(found)
    np.testing.assert_allclose(apply(matrix, grid.to_world(place)), [6, 1, 12])
    assert place.tolist() == [2, 3, 2]


def test_volumes_that_are_not_on_their_grid_are_refused():
    grid = Grid((5, 6, 7), np.eye(4))
    with pytest.raises(ValueError, match=r"on the grid \(5, 6, 7\), got \(7, 6, 5\)"):
        resample(np.zeros((7, 6, 5)), grid, grid)


def test_halfway_between_two_voxels_the_nearest_is_simpleitks():
    """The upper one, at every place; at 5.5 it is outside."""
    grid = Grid((6, 3, 2), np.eye(4))
    label = np.broadcast_to(np.arange(1, 7, dtype=np.uint8)[:, None, None], grid.shape)
    found = resample(label, grid, grid, shift(0.5), "nearest")
    nearest = sitk.sitkNearestNeighbor
    matrix = from_parts(np.eye(3), (0.5, 0, 0))
    theirs = itk_resample(label, grid, grid, itk_affine(matrix), nearest)
    assert found[:, 0, 0].tolist() == [2, 3, 4, 5, 6, 0]
    np.testing.assert_array_equal(found, theirs)
