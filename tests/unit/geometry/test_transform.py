"""Tests of deepreg_meta/geometry/transform.py; reference for fields: SimpleITK."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from deepreg_meta.geometry import grid as grid_module
from deepreg_meta.geometry.affine import GeometryError, from_parts
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.transform import Affine, Field, Transform

SHAPE = (5, 6, 7)
QUARTER_TURN = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]  # x to y, y to -x
TO_LPS = np.array([-1.0, -1.0, 1.0])


def oblique(shape=SHAPE, origin=(-12, 30, 7)):
    turn = Rotation.from_euler("xyz", (20, -35, 50), degrees=True).as_matrix()
    return Grid(shape, from_parts(turn @ np.diag([0.8, 1.3, 2.5]), origin))


def voxels(grid):
    return np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)


def points_in(grid, rng, num=50, margin=0.0):
    """:return: points within the outer voxel centres and `margin` voxels beyond."""
    upper = np.array(grid.shape) - 1 + margin
    return grid.to_world(rng.uniform(-margin, upper, (num, 3)))


def make_field(rng, grid=None, **options):
    grid = oblique() if grid is None else grid
    return Field(grid, rng.uniform(-3, 3, (*grid.shape, 3)), **options)


def test_without_parts_points_stay(rng):
    points = rng.normal(size=(2, 4, 3))
    np.testing.assert_array_equal(Transform().map_points(points), points)
    np.testing.assert_array_equal(Transform().matrix, np.eye(4))


def test_parts_are_applied_first_to_last():
    """(1, 2, 3) turned is (-2, 1, 3); the shift by (10, 0, 0) before it, or after."""
    turn = Affine(from_parts(QUARTER_TURN, np.zeros(3)))
    shift = Affine(from_parts(np.eye(3), (10, 0, 0)))
    turned_first = Transform((turn, shift))
    np.testing.assert_allclose(turned_first.map_points([1, 2, 3]), [8, 1, 3])
    shifted_first = Transform((shift, turn))
    np.testing.assert_allclose(shifted_first.map_points([1, 2, 3]), [-2, 11, 3])
    then = Transform((turn,)).then(Transform((shift,)))
    np.testing.assert_allclose(then.map_points([1, 2, 3]), [8, 1, 3])


def test_the_matrix_of_affine_parts_is_their_product(rng):
    """And none where a field takes part."""
    parts = [Affine(from_parts(rng.normal(size=(3, 3)), rng.normal(size=3)))
             for _ in range(3)]  # fmt: skip
    whole = Transform(tuple(parts))
    points = rng.normal(size=(4, 3))
    expected = whole.map_points(points)
    np.testing.assert_allclose(
        Transform((Affine(whole.matrix),)).map_points(points), expected
    )
    assert Transform((*parts, make_field(rng))).matrix is None


def test_a_field_moves_the_centre_of_a_voxel_by_its_vector(rng):
    field = make_field(rng)
    voxel = np.array([3, 1, 6])
    point = field.grid.to_world(voxel)
    expected = point + field.vectors[3, 1, 6]
    np.testing.assert_allclose(field.map_points(point), expected)


@pytest.mark.parametrize("outside", ["zero", "border"])
def test_a_field_that_is_linear_in_space_is_met_exactly_between_voxels(rng, outside):
    grid, slope = oblique(), rng.normal(0, 0.1, (3, 3))
    vectors = grid.to_world(voxels(grid)) @ slope.T + [1, -2, 3]
    points = points_in(grid, rng)
    moved = Field(grid, vectors, outside).map_points(points)
    np.testing.assert_allclose(moved, points + points @ slope.T + [1, -2, 3])


def test_outside_its_grid_a_field_is_zero_or_that_of_the_border(rng):
    """Up to half a voxel beyond the centres it counts as inside."""
    zero = make_field(rng)
    border = Field(zero.grid, zero.vectors, "border")
    cases = [([4.4, 2, 3], True), ([4.6, 2, 3], False), ([-0.6, 2, 3], False)]
    for voxel, is_inside in cases:
        point = zero.grid.to_world(voxel)
        at_border = zero.vectors[4 if voxel[0] > 0 else 0, 2, 3]
        np.testing.assert_allclose(border.map_points(point), point + at_border)
        expected = point + at_border if is_inside else point
        np.testing.assert_allclose(zero.map_points(point), expected)


def test_simpleitk_maps_points_by_the_same_field(rng):
    """Inside, in the outer half voxels, and outside."""
    field = make_field(rng)
    image = sitk.GetImageFromArray(
        np.ascontiguousarray((field.vectors * TO_LPS).transpose(2, 1, 0, 3)), True
    )
    matrix = field.grid.affine[:3, :3] / field.grid.spacing_mm
    image.SetSpacing(field.grid.spacing_mm.tolist())
    image.SetOrigin((field.grid.affine[:3, 3] * TO_LPS).tolist())
    image.SetDirection((TO_LPS[:, None] * matrix).ravel().tolist())
    itk = sitk.DisplacementFieldTransform(sitk.Cast(image, sitk.sitkVectorFloat64))
    points = points_in(field.grid, rng, num=200, margin=2.0)
    ours = field.map_points(points)
    theirs = [itk.TransformPoint((p * TO_LPS).tolist()) * TO_LPS for p in points]
    np.testing.assert_allclose(ours, theirs, atol=1e-10)
    moved = np.any(ours != points, axis=-1)
    assert 30 < moved.sum() < 170


def transforms(rng):
    """:return: kinds of transforms, fields on the grid asked and on another one."""
    affine = Affine(from_parts(rng.normal(size=(3, 3)), rng.normal(size=3)))
    own, other = make_field(rng), make_field(rng, oblique(origin=(-10, 28, 9)))
    return {
        "none": Transform(),
        "affine": Transform((affine,)),
        "field of this grid": Transform((own, affine)),
        "field of another grid": Transform((other, affine)),
        "affine and field": Transform((affine, own)),
    }


KINDS = list(transforms(np.random.default_rng(0)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_voxels_of_a_grid_are_mapped_as_points_are(rng, kind, monkeypatch):
    """Slab by slab; a field of the very grid is not interpolated, with one result."""
    monkeypatch.setattr(grid_module, "_SLAB_VOXELS", 100)  # two rows of 6 x 7
    transform, grid = transforms(rng)[kind], oblique()
    parts = list(grid.slabs())
    assert len(parts) == 3
    for part, places in parts:
        expected = transform.map_points(grid.to_world(places))
        mapped = transform.map_slab(grid, part, places)
        np.testing.assert_allclose(mapped, expected, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_as_a_field_moves_its_voxels_alike(rng, kind, monkeypatch):
    monkeypatch.setattr(grid_module, "_SLAB_VOXELS", 100)
    transform, grid = transforms(rng)[kind], oblique((6, 5, 4), (-11, 29, 8))
    field = transform.as_field(grid)
    assert field.grid is grid and field.vectors.dtype == np.float32
    points = grid.to_world(voxels(grid))
    expected = transform.map_points(points)
    np.testing.assert_allclose(field.map_points(points), expected, atol=1e-4)


def test_a_field_is_known_wherever_there_is_a_number(rng):
    """Three bad voxels, one of them with two bad components."""
    field = make_field(rng)
    field.check_finite("field.nii.gz")
    field.vectors[0, 1, 2] = [np.nan, np.inf, 0]
    field.vectors[4, 5, 6, 2] = -np.inf
    field.vectors[3, 3, 3, 0] = np.nan
    message = "field.nii.gz: expected a finite displacement .* got 3 that are NaN"
    with pytest.raises(GeometryError, match=message):
        field.check_finite("field.nii.gz")


def test_vectors_on_another_grid_are_refused():
    with pytest.raises(GeometryError, match=r"\(5, 6, 7, 3\), got \(5, 7, 6, 3\)"):
        Field(oblique(), np.zeros((5, 7, 6, 3)))


def test_an_affine_map_without_inverse_is_refused():
    with pytest.raises(GeometryError, match="affine: expected voxel sides > 0"):
        Affine(np.diag([1, 1, 0, 1]))


@pytest.mark.parametrize("points", [[1, 2], [[1, 2, 3, 4]], 5])
def test_points_without_three_coordinates_are_refused(points):
    with pytest.raises(ValueError, match=r"expected points \(..., 3\), got"):
        Transform().map_points(points)
