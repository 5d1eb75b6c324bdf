"""Tests of deepreg_meta/geometry/grid.py."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from deepreg_meta.geometry import grid as grid_module
from deepreg_meta.geometry.affine import GeometryError, from_parts
from deepreg_meta.geometry.grid import Grid, is_inside

SHAPE = (5, 6, 7)


def oblique(shape=SHAPE, spacing=(0.8, 1.3, 2.5), origin=(-12, 30, 7)):
    """:return: a grid whose axes are those of nobody."""
    turn = Rotation.from_euler("xyz", (20, -35, 50), degrees=True).as_matrix()
    return Grid(shape, from_parts(turn @ np.diag(spacing), origin))


def plain(shape, spacing=(1, 1, 1), origin=(0, 0, 0)):
    return Grid(shape, from_parts(np.diag(spacing), origin))


def faces(grid):
    """:return: the corners of the box that the voxels fill, (8, 3), mm."""
    ends = [(-0.5, n - 0.5) for n in grid.shape]
    return grid.to_world(np.stack(np.meshgrid(*ends), axis=-1).reshape(-1, 3))


def test_space_and_voxels_are_each_others_inverse(rng):
    grid = oblique()
    points = rng.uniform(-40, 40, (4, 2, 3))
    np.testing.assert_allclose(grid.to_world(grid.to_voxel(points)), points)
    np.testing.assert_allclose(grid.to_voxel(grid.to_world(points)), points)
    np.testing.assert_allclose(grid.to_world([0, 0, 0]), [-12, 30, 7])


def test_a_voxel_is_where_its_spacing_puts_it():
    """(2 * 3 + 10, 4 * 0.5 - 20, 6 * 2 + 30)."""
    grid = plain(SHAPE, (3, 0.5, 2), (10, -20, 30))
    np.testing.assert_allclose(grid.to_world([2, 4, 6]), [16, -18, 42])
    np.testing.assert_allclose(grid.spacing_mm, [3, 0.5, 2])
    # ((5 - 1) / 2, (6 - 1) / 2, (7 - 1) / 2) voxels
    np.testing.assert_allclose(grid.centre, [10 + 6, -20 + 1.25, 30 + 6])


def test_a_grid_keeps_plain_numbers():
    """NumPy's integers would end in files and messages."""
    grid = Grid(tuple(np.array(SHAPE)), np.eye(4, dtype=np.float32))
    assert grid.shape == SHAPE and all(type(n) is int for n in grid.shape)
    assert grid.affine.dtype == np.float64


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ([[1, 0, 0], [0, 2, 0], [0, 0, 3]], "RAS"),
        ([[-1, 0, 0], [0, -2, 0], [0, 0, 3]], "LPS"),
        # axis 0 to posterior, axis 1 to the right, axis 2 to superior
        ([[0, 1, 0], [-1, 0, 0], [0, 0, 1]], "PRS"),
        # axis 0 mostly to inferior, though a third of it is to the left
        ([[-0.3, 0, 1], [0, 1, 0], [-1, 0, -0.3]], "IAR"),
    ],
)
def test_the_orientation_says_where_the_axes_point(columns, code):
    assert Grid(SHAPE, from_parts(columns, (1, 2, 3))).orientation == code


def test_the_corners_are_the_outer_voxels():
    corners = plain(SHAPE, (2, 1, 1)).corners()
    assert corners.shape == (8, 3)
    np.testing.assert_array_equal(corners.min(axis=0), [0, 0, 0])
    np.testing.assert_array_equal(corners.max(axis=0), [8, 5, 6])
    assert len(np.unique(corners, axis=0)) == 8


def test_a_grid_contains_its_voxels_and_half_a_voxel_more():
    grid = plain(SHAPE, (2, 1, 1), (10, 0, 0))
    inside = [[9.01, 0, 0], [18.99, 5.49, 6.49], [14, 2, 3]]
    outside = [[8.99, 0, 0], [19.01, 0, 0], [14, -0.51, 3], [14, 2, 6.51]]
    assert grid.contains(inside).tolist() == [True] * 3
    assert grid.contains(outside).tolist() == [False] * 4


def test_the_lower_face_belongs_to_a_grid_and_the_upper_one_does_not():
    """As in ITK."""
    voxels = np.array([[-0.5, 0, 0], [4.5, 0, 0], [0, 5.5, 0], [0, 0, -0.5]])
    assert is_inside(voxels, SHAPE).tolist() == [True, False, False, True]


def test_half_of_a_grid_lies_in_one_that_is_shifted_by_half():
    """8 of 16 voxels along one axis, a quarter along two; the other way too."""
    grid = plain((16, 6, 8))
    shifted = plain((16, 6, 8), origin=(8, 0, 0))
    assert grid.overlap(shifted) == pytest.approx(0.5)
    assert shifted.overlap(grid) == pytest.approx(0.5)
    assert grid.overlap(plain((16, 6, 8), origin=(8, 0, -4))) == pytest.approx(0.25)
    assert grid.overlap(plain((16, 6, 8), origin=(17, 0, 0))) == 0


def test_a_small_grid_lies_in_a_large_one_wholly_and_the_other_way_in_part():
    """An eighth: half of each side. Sides beyond 24 voxels are sampled."""
    large, small = plain((40, 40, 40)), plain((20, 20, 20), origin=(10, 10, 10))
    assert small.overlap(large) == 1
    assert large.overlap(small) == pytest.approx(1 / 8, abs=0.03)


def test_grids_are_the_same_when_their_voxels_are():
    grid = oblique()
    assert grid.is_same(Grid(SHAPE, grid.affine + 1e-9))
    assert not grid.is_same(oblique((5, 6, 8)))
    assert not grid.is_same(oblique(origin=(-12, 30, 7.01)))
    assert grid.is_same(oblique(origin=(-12, 30, 7.01)), tolerance_vox=0.02)
    # the near corner stays, the far one is moved by 6 * 0.01 mm / 2.5
    assert not grid.is_same(oblique(spacing=(0.8, 1.3, 2.51)), tolerance_vox=0.02)


@pytest.mark.parametrize("num_voxels", [1, 42, 100, 10**6])
def test_slabs_cover_every_voxel_once(monkeypatch, num_voxels):
    """A row at least, even where that is more than the limit."""
    monkeypatch.setattr(grid_module, "_SLAB_VOXELS", num_voxels)
    covered = np.zeros(SHAPE, int)
    for part, voxels in oblique().slabs():
        rows = part.stop - part.start
        assert voxels.shape == (rows, 6, 7, 3)
        assert rows == 1 or rows * 42 <= num_voxels
        np.testing.assert_array_equal(voxels[0, 0, 0], [part.start, 0, 0])
        covered[tuple(np.moveaxis(voxels, -1, 0))] += 1
        covered[part] += 10
    assert (covered == 11).all()


def test_padding_keeps_the_place_of_every_voxel():
    """Margins alike, and one for each end; voxels taken away too."""
    grid = oblique()
    padded = grid.padded([1, 2, 3])
    assert padded.shape == (7, 10, 13)
    np.testing.assert_allclose(padded.to_world([1, 2, 3]), grid.to_world([0, 0, 0]))
    np.testing.assert_allclose(padded.to_world([5, 7, 9]), grid.to_world([4, 5, 6]))
    uneven = grid.padded([[1, 0], [0, 2], [-3, -1]])
    assert uneven.shape == (6, 8, 3)
    np.testing.assert_allclose(uneven.to_world([1, 0, 0]), grid.to_world([0, 0, 3]))
    assert grid.padded([2, 1, 0]).padded([-2, -1, 0]).is_same(grid)


def test_taking_away_all_voxels_is_refused():
    with pytest.raises(GeometryError, match=r"three sides >= 1, got \(-1, 6, 7\)"):
        oblique().padded([-3, 0, 0])


def test_resizing_keeps_the_outer_faces():
    grid = oblique()
    resized = grid.resized((10, 4, 7))
    assert resized.shape == (10, 4, 7)
    np.testing.assert_allclose(faces(resized), faces(grid), atol=1e-12)
    np.testing.assert_allclose(resized.centre, grid.centre)
    np.testing.assert_allclose(resized.spacing_mm, [0.4, 1.3 * 6 / 4, 2.5])
    assert resized.resized(SHAPE).is_same(grid)


def test_half_as_many_voxels_begin_half_a_voxel_later():
    """Voxel 0 of the new grid has the place of 0.5: the middle of voxels 0 and 1."""
    half = plain((6, 4, 8)).resized((3, 4, 4))
    np.testing.assert_allclose(half.to_world([0, 0, 0]), [0.5, 0, 0.5])
    np.testing.assert_allclose(half.to_world([2, 3, 3]), [4.5, 3, 6.5])


@pytest.mark.parametrize("shape", [(5, 6), (5, 0, 7), (5, 6, -7), (5, 6, 7, 1)])
def test_a_shape_that_cannot_be_is_refused(shape):
    with pytest.raises(GeometryError, match="expected three sides >= 1"):
        Grid(shape, np.eye(4))


def test_an_affine_that_cannot_be_is_refused():
    with pytest.raises(GeometryError, match="grid: expected voxel sides > 0"):
        Grid(SHAPE, np.diag([1, 0, 1, 1]))


@pytest.mark.parametrize(
    ("grid", "is_planar"),
    [
        (plain((5, 6, 1), (2, 3, 9), (4, -5, 0)), True),
        (plain((5, 6, 2)), False),
        (plain((5, 6, 1), origin=(0, 0, 3)), False),
        (oblique((5, 6, 1)), False),
    ],
)
def test_a_slice_of_the_plane_z_0_is_what_itk_has_in_two_dimensions(grid, is_planar):
    assert grid.is_planar is is_planar
