"""Tests of inverses; the law: there and back again is where one was."""

import numpy as np
import pytest

from deepreg_meta.geometry.affine import GeometryError
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.inverse import invert
from deepreg_meta.geometry.transform import Affine, Field, Transform
from deepreg_meta.geometry.transform_file import load_transform, save_transform
from tests.unit.geometry.places import (
    PAIRS,
    affine,
    alignment,
    map_by_itk,
    read_itk,
    voxels,
)

SHAPE = (13, 12, 11)
PLACE = affine((20, -35, 50), (0.8, 1.3, 2.5), (-12, 30, 7))
GRID = Grid(SHAPE, PLACE)


def waves(grid, height_vox=0.6):
    """:return: a smooth field without folds; its slopes are below 0.6."""
    phase = 2 * np.pi * voxels(grid.shape) / (2 * np.array(grid.shape))
    x, y, z = np.moveaxis(phase, -1, 0)
    vectors = height_vox * np.stack(
        [np.sin(y) + np.cos(z), np.sin(z + 1) * np.cos(x), np.cos(x + y)], axis=-1
    )
    vectors = vectors @ grid.affine[:3, :3].T
    return Field(grid, vectors.astype(np.float32), "border")


def inner_points(grid, rng, count=50):
    """:return: points in the middle of a grid."""
    return grid.to_world(rng.uniform(2, np.subtract(grid.shape, 3), (count, 3)))


def test_an_affine_map_is_inverted_exactly(rng):
    first, second = (Affine(alignment(*PAIRS["oblique"], rng).matrix) for _ in "ab")
    transform = Transform((first, second))
    inverse, residual = invert(transform)
    assert inverse.matrix is not None
    points = rng.normal(0, 100, (9, 3))
    np.testing.assert_allclose(
        inverse.map_points(transform.map_points(points)), points, rtol=1e-9
    )
    assert (residual.mean_mm, residual.max_mm, residual.share_unconverged) == (0, 0, 0)


def test_a_shift_is_taken_back():
    """A constant field of (2, -3, 4) mm has the inverse (-2, 3, -4)."""
    vectors = np.broadcast_to(np.float32([2, -3, 4]), (*SHAPE, 3))
    inverse, residual = invert(Transform((Field(GRID, vectors),)))
    back = inverse.map_points(GRID.centre)
    np.testing.assert_allclose(back, GRID.centre + [-2, 3, -4], atol=1e-5)
    assert residual.max_mm < 1e-4


def test_a_stretch_along_one_axis_has_the_inverse_known_from_algebra(rng):
    """
    d = a (x - 12)^2 along x: p + a (p - 12)^2 = q has the root
    p - 12 = (sqrt(1 + 4 a (q - 12)) - 1) / (2 a).
    """
    grid, a = Grid((25, 4, 3), np.eye(4)), 0.015
    vectors = np.zeros((25, 4, 3, 3), np.float32)
    vectors[..., 0] = a * (np.arange(25)[:, None, None] - 12.0) ** 2
    inverse, residual = invert(Transform((Field(grid, vectors),)))
    goals = np.stack([rng.uniform(4, 24, 20), np.ones(20), np.ones(20)], axis=-1)
    expected = (np.sqrt(1 + 4 * a * (goals[:, 0] - 12)) - 1) / (2 * a) + 12
    np.testing.assert_allclose(inverse.map_points(goals)[:, 0], expected, atol=0.02)
    assert 0 < residual.mean_mm < 0.02


def test_a_strong_stretch_needs_shorter_steps():
    """d = 8 / (1 + exp(-(x - 12) / 0.6)) rises by 2.7 within a voxel."""
    grid = Grid((25, 4, 3), np.eye(4))
    vectors = np.zeros((25, 4, 3, 3), np.float32)
    vectors[..., 0] = 8 / (1 + np.exp(-(np.arange(25) - 12.0) / 0.6))[:, None, None]
    transform = Transform((Field(grid, vectors),))
    inverse, residual = invert(transform)
    assert residual.share_unconverged == 0
    # x = 12 is led to 12 + 8 / 2
    np.testing.assert_allclose(inverse.map_points([16, 1, 1]), [12, 1, 1], atol=0.05)


def test_at_the_voxels_of_the_inverse_the_way_back_ends_where_it_began():
    """To the iteration's tolerance, however coarse the grid: no interpolation there."""
    field = waves(GRID)
    inverse, residual = invert(Transform((field,)))
    back, grid = inverse.parts[1], inverse.parts[1].grid
    assert residual.share_unconverged == 0
    points = grid.to_world(voxels(grid.shape))
    starts = points + back.vectors
    # the affine map that comes first leads from the points asked to the grid's
    asked = Affine(np.linalg.inv(inverse.parts[0].matrix)).map_points(points)
    ours = field.map_points(starts)
    at = GRID.to_voxel(starts)
    inner = ((at >= 0) & (at <= np.subtract(SHAPE, 1))).all(axis=-1)
    assert inner.mean() > 0.4
    np.testing.assert_allclose(ours[inner], asked[inner], atol=1e-3)


@pytest.mark.parametrize("outside", ["zero", "border"])
def test_there_and_back_again_is_within_the_residual(outside, rng):
    field = Field(GRID, waves(GRID).vectors, outside)
    turn = Affine(affine((80, -15, 170), (1.3, 0.8, 1.1), (40, -30, 20)))
    transform = Transform((field, turn))
    inverse, residual = invert(transform)
    centres = GRID.to_world(voxels(SHAPE))
    missed = inverse.map_points(transform.map_points(centres)) - centres
    missed = np.linalg.norm(missed, axis=-1)
    assert residual.max_mm == pytest.approx(missed.max())
    assert residual.mean_mm == pytest.approx(missed.mean())
    assert residual.p95_mm == pytest.approx(np.percentile(missed, 95))
    assert residual.mean_mm < 0.03 and residual.max_mm < 0.15
    points = turn.map_points(inner_points(GRID, rng))
    there = transform.map_points(inverse.map_points(points))
    np.testing.assert_allclose(there, points, atol=0.1)


def test_a_rotation_hidden_in_a_field_does_not_stop_the_iteration():
    """A field file often holds the whole alignment: p + d(p) = R p + waves."""
    turn = Affine(affine((0, 0, 120), (1, 1, 1), (30, 10, -5)))
    whole = Transform((waves(GRID), turn)).as_field(GRID)
    inverse, residual = invert(Transform((whole,)))
    assert residual.share_unconverged == 0 and residual.max_mm < 0.2
    # the grid of the inverse has not grown with the rotation's displacement
    assert max(np.subtract(inverse.parts[1].grid.shape, SHAPE)) <= 4


def test_fields_one_after_the_other_are_inverted_as_one(rng):
    before = Affine(affine((5, 3, -8), (1, 1, 1), (2, 1, -3)))
    between = Affine(affine((-4, 7, 2), (1.1, 1, 0.9), (1, 0, 2)))
    first, second = waves(GRID, 0.3), waves(GRID.padded((4, 4, 4)), 0.3)
    transform = Transform((before, first, between, second, before))
    for grid in (None, GRID):
        inverse, residual = invert(transform, grid)
        assert residual.share_unconverged == 0 and residual.mean_mm < 0.02
        space = Affine(np.linalg.inv(before.matrix))
        points = inner_points(GRID, rng)
        points = space.map_points(points) if grid is None else points
        back = inverse.map_points(transform.map_points(points))
        np.testing.assert_allclose(back, points, atol=0.15)


def test_the_inverse_reaches_as_far_as_the_field_leads():
    """Voxels led five to the right of the grid find their way back."""
    vectors = np.zeros((12, 5, 6, 3), np.float32)
    vectors[..., 0] = np.linspace(0, 1, 12)[:, None, None] ** 2 * 5
    grid = Grid((12, 5, 6), np.eye(4))
    transform = Transform((Field(grid, vectors),))
    inverse, residual = invert(transform)
    last = transform.map_points([11, 2, 3])
    np.testing.assert_allclose(last, [16, 2, 3], atol=1e-5)
    np.testing.assert_allclose(inverse.map_points(last), [11, 2, 3], atol=0.1)
    assert residual.max_mm < 0.1


def test_a_slice_is_inverted_in_its_plane(rng):
    grid = Grid((13, 12, 1), PLACE)
    vectors = waves(GRID).vectors[:, :, :1]
    # nothing across the slice
    in_voxels = vectors @ np.linalg.inv(PLACE[:3, :3]).T * [1, 1, 0]
    field = Field(grid, (in_voxels @ PLACE[:3, :3].T).astype(np.float32))
    inverse, residual = invert(Transform((field,)))
    assert residual.share_unconverged == 0 and residual.max_mm < 0.15
    assert inverse.parts[1].grid.shape[2] == 1


def test_a_fold_is_told_and_not_hidden():
    """d = -2 (x - 6) turns the middle of the grid inside out."""
    vectors = np.zeros((*SHAPE, 3), np.float32)
    x = np.arange(13.0) - 6
    vectors[..., 0] = (-2 * x * np.exp(-(x**2) / 8))[:, None, None]
    transform = Transform((Field(Grid(SHAPE, np.eye(4)), vectors),))
    inverse, residual = invert(transform)
    assert residual.max_mm > 1
    assert "maximum" in str(residual) and f"{residual.max_mm:.3g} mm" in str(residual)
    assert np.isfinite(inverse.map_points([6, 6, 6])).all()


def test_simpleitk_goes_back_by_the_inverse_that_we_write(rng, tmp_path):
    for name, (fixed, moving) in PAIRS.items():
        fixed, moving = fixed.resized(SHAPE), moving.resized((16, 14, 12))
        transform = Transform((waves(fixed), alignment(fixed, moving, rng)))
        inverse, residual = invert(transform)
        for suffix in (".h5", ".nii.gz"):
            path = tmp_path / f"inverse{suffix}"
            save_transform(path, inverse, moving)
            points = transform.map_points(inner_points(fixed, rng))
            points = points[moving.padded((-1, -1, -1)).contains(points)]
            assert len(points) > 20, name
            mapped = map_by_itk(read_itk(path), points)
            missed = np.linalg.norm(transform.map_points(mapped) - points, axis=-1)
            assert missed.max() < 0.5 * fixed.spacing_mm.max()
            assert missed.mean() < 0.1 * fixed.spacing_mm.mean()
            loaded = load_transform(path).map_points(points)
            np.testing.assert_allclose(loaded, mapped, atol=1e-3)


def test_a_field_that_is_not_finite_is_refused():
    vectors = np.full((*SHAPE, 3), np.nan, np.float32)
    with pytest.raises(GeometryError, match="invert: expected a finite displacement"):
        invert(Transform((Field(GRID, vectors),)))
