"""Tests of transforms in files; reference: SimpleITK reading and applying them."""

import numpy as np
import pytest
import SimpleITK as sitk

from deepreg_meta.geometry.affine import FLIP, GeometryError
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.resample import resample
from deepreg_meta.geometry.transform import Affine, Field, Transform
from deepreg_meta.geometry.transform_file import load_transform, save_transform
from tests.unit.geometry.places import (
    OUTSIDE,
    PAIRS,
    PLANES,
    affine,
    alignment,
    assert_same_images,
    map_by_itk,
    read_itk,
    rough_field,
    voxels,
    warp_by_itk,
)


def one_field(fixed, moving, rng):
    return Transform((rough_field(fixed, rng), alignment(fixed, moving, rng)))


def coarse_field(fixed, moving, rng):
    """A field of a network's grid, smaller than the fixed image, that goes on."""
    grid = fixed.padded((0, -1, -1)).resized((3, 4, 2))
    field = rough_field(grid, rng, 0.3, outside="border")
    return Transform((field, alignment(fixed, moving, rng)))


def two_fields(fixed, moving, rng):
    """A field in fixed space, an affine map, a field in moving space, another map."""
    turn = affine((3, -4, 5), (1, 1, 1), (0.3, -0.2, 0.1))
    turn = moving.affine @ turn @ np.linalg.inv(moving.affine)
    middle = rough_field(moving.padded((1, 1, 1)), rng)
    return one_field(fixed, moving, rng).then(Transform((middle, Affine(turn))))


def initial_first(fixed, moving, rng):
    """An affine map in front of a field in moving space."""
    return Transform((alignment(fixed, moving, rng), rough_field(moving, rng)))


KINDS = [one_field, coarse_field, two_fields, initial_first]


@pytest.fixture(params=list(PAIRS))
def pair(request):
    return PAIRS[request.param]


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@pytest.mark.parametrize("suffix", [".h5", ".nii.gz"])
@pytest.mark.parametrize("kind", KINDS)
def test_simpleitk_warps_to_our_image_at_every_voxel(
    pair, kind, suffix, interpolation, rng, tmp_path
):
    fixed, moving = pair
    transform = kind(fixed, moving, rng)
    path = tmp_path / f"transform{suffix}"
    save_transform(path, transform, fixed)
    image = rng.uniform(100, 1100, moving.shape).astype(np.float32)
    itk = warp_by_itk(image, moving, fixed, read_itk(path), interpolation, tmp_path)
    ours = resample(image, moving, fixed, transform, interpolation, OUTSIDE)
    assert_same_images(ours, itk, scale=1000)
    again = load_transform(path)
    ours = resample(image, moving, fixed, again, interpolation, OUTSIDE)
    assert_same_images(ours, itk, scale=1000)


@pytest.mark.parametrize("suffix", [".h5", ".nii.gz"])
@pytest.mark.parametrize("kind", KINDS)
def test_simpleitk_maps_voxels_and_points_between_them_as_we_do(
    pair, kind, suffix, rng, tmp_path
):
    fixed, moving = pair
    transform = kind(fixed, moving, rng)
    path = tmp_path / f"transform{suffix}"
    save_transform(path, transform, fixed)
    itk = read_itk(path)
    centres = fixed.to_world(voxels(fixed.shape)).reshape(-1, 3)
    np.testing.assert_allclose(
        map_by_itk(itk, centres), transform.map_points(centres), atol=2e-3
    )
    # between voxels only a field on the fixed grid itself stays what it was
    between = fixed.to_world(rng.uniform(0, 4, (20, 3)))
    expected = load_transform(path).map_points(between)
    np.testing.assert_allclose(map_by_itk(itk, between), expected, atol=2e-3)
    if kind is one_field:
        np.testing.assert_allclose(transform.map_points(between), expected, atol=2e-3)


@pytest.mark.parametrize("outside", ["border", "zero"])
def test_a_field_after_an_affine_map_is_written_as_it_is(pair, outside, rng, tmp_path):
    """As an inverse is: between its voxels, and where its border goes on."""
    fixed, moving = pair
    before, after = alignment(fixed, moving, rng), alignment(moving, fixed, rng)
    field = rough_field(moving, rng, outside=outside)
    transform = Transform((before, field, after))
    save_transform(tmp_path / "t.h5", transform, fixed)
    itk = read_itk(tmp_path / "t.h5")
    assert sitk.CompositeTransform(itk).GetNumberOfTransforms() == 3
    last = np.subtract(fixed.shape, 0.51)
    points = fixed.to_world(rng.uniform(-0.49, last, (300, 3)))
    goes_on = ~moving.contains(before.map_points(points))
    assert 20 < goes_on.sum() < 280
    expected = transform.map_points(points)
    np.testing.assert_allclose(map_by_itk(itk, points), expected, atol=1e-4)
    loaded = load_transform(tmp_path / "t.h5")
    assert [type(part) for part in loaded.parts] == [Affine, Field, Affine]
    np.testing.assert_allclose(loaded.map_points(points), expected, atol=1e-4)


def test_a_field_that_would_have_to_grow_much_is_sampled(rng, tmp_path):
    """Voxels a tenth as long as the image's: a thousand for each of its voxels."""
    grid = PAIRS["oblique"][0]
    small = Grid((3, 3, 3), grid.affine @ np.diag([0.1, 0.1, 0.1, 1]))
    shift = np.eye(4)
    shift[:3, 3] = 1, 2, 3
    field = rough_field(small, rng, outside="border")
    transform = Transform((Affine(shift), field))
    save_transform(tmp_path / "t.h5", transform, grid)
    assert read_itk(tmp_path / "t.h5").GetName() == "DisplacementFieldTransform"
    [found] = load_transform(tmp_path / "t.h5").parts
    assert found.grid.shape == grid.shape
    points = grid.to_world(voxels(grid.shape))
    expected = transform.map_points(points)
    np.testing.assert_allclose(found.map_points(points), expected, atol=1e-4)


def test_a_field_of_a_plane_after_an_affine_map_stays_in_two_dimensions(rng, tmp_path):
    fixed, moving = PLANES["turned in the plane"]
    first, second = in_plane(fixed, moving, rng), in_plane(moving, fixed, rng)
    own = moving.padded((-2, -2, 0))
    field = Field(own, rough_field(own, rng).vectors * [1, 1, 0], "border")
    transform = Transform((first.parts[1], field, second.parts[1]))
    save_transform(tmp_path / "t.h5", transform, fixed, is_planar=True)
    itk = sitk.CompositeTransform(read_itk(tmp_path / "t.h5"))
    assert (itk.GetDimension(), itk.GetNumberOfTransforms()) == (2, 3)
    points = fixed.to_world(rng.uniform((0, 0, 0), (8, 6, 0), (100, 3)))
    found = [itk.TransformPoint((FLIP * p)[:2].tolist()) for p in points]
    expected = transform.map_points(points)[:, :2]
    np.testing.assert_allclose(np.array(found) * FLIP[:2], expected, atol=1e-4)


def in_plane(fixed, moving, rng):
    """A field and an alignment that keep to the plane z = 0."""
    field = rough_field(fixed, rng)
    field.vectors[..., 2] = 0
    matrix = affine((0, 0, 4), (1.2, 0.9, 3), (0, 0, 0))
    matrix[:2, 3] = moving.centre[:2] - matrix[:2, :2] @ fixed.centre[:2]
    return Transform((field, Affine(matrix)))


def itk_image(grid, image):
    """:return: (d1, d2, 1) as an image of two dimensions."""
    itk = sitk.GetImageFromArray(image[..., 0].T)
    itk.SetOrigin((FLIP * grid.affine[:3, 3])[:2].tolist())
    itk.SetSpacing(grid.spacing_mm[:2].tolist())
    direction = FLIP[:, None] * grid.affine[:3, :3] / grid.spacing_mm
    itk.SetDirection(direction[:2, :2].ravel().tolist())
    return itk


@pytest.mark.parametrize("suffix", [".h5", ".nii.gz"])
@pytest.mark.parametrize("name", PLANES)
def test_in_two_dimensions_simpleitk_warps_images_of_two_axes(
    name, suffix, rng, tmp_path
):
    fixed, moving = PLANES[name]
    transform = in_plane(fixed, moving, rng)
    path = tmp_path / f"transform{suffix}"
    save_transform(path, transform, fixed, is_planar=True)
    itk = read_itk(path)
    assert itk.GetDimension() == 2
    image = rng.uniform(100, 1100, moving.shape).astype(np.float32)
    blank = itk_image(fixed, np.zeros(fixed.shape, np.float32))
    warped = sitk.Resample(
        itk_image(moving, image), blank, itk, sitk.sitkLinear, OUTSIDE
    )
    warped = sitk.GetArrayFromImage(warped).T[..., None]
    again = load_transform(path)
    for ours in (transform, again):
        ours = resample(image, moving, fixed, ours, "linear", OUTSIDE)
        assert_same_images(ours, warped, scale=1000)
    centres = fixed.to_world(voxels(fixed.shape)).reshape(-1, 3)
    moved = again.map_points(centres)
    np.testing.assert_allclose(moved, transform.map_points(centres), atol=2e-3)
    np.testing.assert_array_equal(moved[:, 2], 0)


@pytest.mark.parametrize("suffix", [".h5", ".nii.gz"])
def test_what_leaves_the_plane_is_written_in_three_dimensions(suffix, rng, tmp_path):
    fixed, moving = PLANES["pictures"]
    path = tmp_path / f"transform{suffix}"
    out = Affine(affine((0, 0, 0), (1, 1, 1), (0, 0, 0.25)))
    transform = in_plane(fixed, moving, rng).then(Transform((out,)))
    save_transform(path, transform, fixed, is_planar=True)
    ends = load_transform(path).map_points(fixed.to_world([[1, 2, 0], [5, 3, 0]]))
    np.testing.assert_allclose(ends[:, 2], 0.25, atol=1e-6)


def test_affine_maps_of_the_plane_are_one_itk_affine(rng, tmp_path):
    transform = Transform(in_plane(*PLANES["turned in the plane"], rng).parts[1:])
    save_transform(tmp_path / "t.tfm", transform, None, is_planar=True)
    itk = read_itk(tmp_path / "t.tfm")
    assert (itk.GetName(), itk.GetDimension()) == ("AffineTransform", 2)
    points = np.append(rng.normal(0, 300, (9, 2)), np.zeros((9, 1)), axis=1)
    expected = transform.map_points(points)
    found = [itk.TransformPoint((FLIP * p)[:2].tolist()) for p in points]
    np.testing.assert_allclose(np.array(found) * FLIP[:2], expected[:, :2], rtol=1e-9)
    again = load_transform(tmp_path / "t.tfm").map_points(points)
    np.testing.assert_allclose(again, expected, rtol=1e-9)


@pytest.mark.parametrize("suffix", [".h5", ".tfm", ".txt"])
def test_affine_maps_are_one_itk_affine(pair, suffix, rng, tmp_path):
    """Exactly, beyond the grid too; no grid is needed."""
    fixed, moving = pair
    first = alignment(fixed, moving, rng)
    second = Affine(affine((1, 2, 3), (1, 2, 1), (4, 5, 6)))
    transform = Transform((first, second))
    path = tmp_path / f"affine{suffix}"
    save_transform(path, transform, None)
    assert read_itk(path).GetName() == "AffineTransform"
    points = rng.normal(0, 300, (9, 3))
    expected = transform.map_points(points)
    np.testing.assert_allclose(map_by_itk(read_itk(path), points), expected, rtol=1e-9)
    loaded = load_transform(path)
    np.testing.assert_allclose(loaded.map_points(points), expected, rtol=1e-9)


def test_a_field_alone_is_no_composite(rng, tmp_path):
    fixed = PAIRS["oblique"][0]
    save_transform(tmp_path / "t.h5", Transform((rough_field(fixed, rng),)), fixed)
    assert read_itk(tmp_path / "t.h5").GetName() == "DisplacementFieldTransform"


def test_no_transform_is_written_as_the_identity(tmp_path):
    save_transform(tmp_path / "t.h5", Transform(), None)
    point = (1.0, 2.0, 3.0)
    assert read_itk(tmp_path / "t.h5").TransformPoint(point) == point


def test_a_shift_to_right_and_front_is_negative_in_lps(tmp_path):
    grid = Grid((5, 6, 7), np.diag([0.5, 2.0, 3.0, 1.0]))
    vectors = np.broadcast_to(np.float32([0.5, 1.0, -6.0]), (5, 6, 7, 3))
    for name in ("t.h5", "t.nii.gz"):
        save_transform(tmp_path / name, Transform((Field(grid, vectors),)), grid)
        mapped = read_itk(tmp_path / name).TransformPoint((-1.0, -4.0, 9.0))
        np.testing.assert_allclose(mapped, [-1.5, -5.0, 3.0], atol=1e-6)


def test_a_sheared_grid_keeps_its_place_in_an_itk_file(rng, tmp_path):
    """NIfTI readers of ITK refuse it; the transform file holds any axes."""
    sheared = affine((20, 10, 5), (1, 2, 1.5), (3, 4, 5))
    sheared[:3, 1] += 0.4 * sheared[:3, 0]
    grid = Grid((5, 6, 7), sheared)
    transform = Transform((rough_field(grid, rng),))
    save_transform(tmp_path / "t.h5", transform, grid)
    points = grid.to_world(rng.uniform(0, 4, (9, 3)))
    expected = transform.map_points(points)
    itk = read_itk(tmp_path / "t.h5")
    np.testing.assert_allclose(map_by_itk(itk, points), expected, atol=1e-5)
    loaded = load_transform(tmp_path / "t.h5")
    np.testing.assert_allclose(loaded.map_points(points), expected, atol=1e-5)


def test_a_slice_is_a_grid_like_any_other(rng, tmp_path):
    grid = Grid((5, 6, 1), affine((20, 10, 5), (1, 2, 1.5), (3, 4, 5)))
    vectors = rng.normal(0, 0.5, (5, 6, 1, 3)).astype(np.float32)
    transform = Transform((Field(grid, vectors),))
    points = grid.to_world(rng.uniform((0, 0, 0), (4, 5, 0), (9, 3)))
    expected = transform.map_points(points)
    save_transform(tmp_path / "t.h5", transform, grid)
    mapped = map_by_itk(read_itk(tmp_path / "t.h5"), points)
    np.testing.assert_allclose(mapped, expected, atol=1e-5)
    save_transform(tmp_path / "t.nii.gz", transform, grid)
    mapped = load_transform(tmp_path / "t.nii.gz").map_points(points)
    np.testing.assert_allclose(mapped, expected, atol=1e-5)


@pytest.mark.parametrize("suffix", [".npy", ".txt"])
def test_a_plain_matrix_is_taken_as_ras_from_fixed_to_moving(suffix, tmp_path, rng):
    matrix = affine((20, 10, 5), (1, 2, 1.5), (3, 4, 5))
    path = tmp_path / f"matrix{suffix}"
    np.save(path, matrix) if suffix == ".npy" else np.savetxt(path, matrix)
    points = rng.normal(size=(4, 3))
    expected = points @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(load_transform(path).map_points(points), expected)


@pytest.mark.parametrize("name", ["t.h5", "t.nii.gz"])
def test_a_field_that_is_not_finite_is_not_written(name, rng, tmp_path):
    grid = PAIRS["oblique"][0]
    field = rough_field(grid, rng)
    field.vectors[1, 2, 3, 0] = np.nan
    with pytest.raises(GeometryError, match=rf"{name}: expected a finite .* got 1 "):
        save_transform(tmp_path / name, Transform((field,)), grid)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_refused(rng, tmp_path):
    grid = PAIRS["oblique"][0]
    transform = Transform((rough_field(grid, rng),))
    with pytest.raises(ValueError, match=r"t.xyz: expected .* ends in .h5, .*'.xyz'"):
        save_transform(tmp_path / "t.xyz", transform, grid)
    with pytest.raises(GeometryError, match=r"t.tfm: expected an affine transform"):
        save_transform(tmp_path / "t.tfm", transform, grid)
    with pytest.raises(ValueError, match=r"t.h5: .* needs the fixed image's grid"):
        save_transform(tmp_path / "t.h5", transform, None)


def test_what_is_no_transform_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.h5: expected a transform file"):
        load_transform(tmp_path / "none.h5")
    path = tmp_path / "t.png"
    path.touch()
    with pytest.raises(ValueError, match=r"t.png: .* ends in .h5, .* got '.png'"):
        load_transform(path)


@pytest.mark.parametrize(
    "matrix, message",
    [
        (np.eye(3), r"4 x 4 matrix .* got shape \(3, 3\)"),
        (np.eye(4)[::-1], r"last row \[\[1.0, 0.0, 0.0, 0.0\]\]"),
        (np.diag([1.0, 2.0, 0.0, 1.0]), r"m.*: affine: expected voxel sides > 0"),
        (np.diag([1.0, np.nan, 1.0, 1.0]), r"m.*: affine: expected a finite affine"),
    ],
)
def test_a_matrix_that_cannot_be_is_refused(matrix, message, tmp_path):
    np.save(tmp_path / "m.npy", matrix)
    with pytest.raises(GeometryError, match=message):
        load_transform(tmp_path / "m.npy")


def test_a_matrix_of_fsl_is_refused(tmp_path):
    np.savetxt(tmp_path / "flirt.mat", np.eye(4))
    with pytest.raises(GeometryError, match="FSL's matrices do not map mm to mm"):
        load_transform(tmp_path / "flirt.mat")


def test_arrays_of_objects_are_not_unpickled(tmp_path):
    np.save(tmp_path / "m.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"m.npy: cannot be read as a matrix"):
        load_transform(tmp_path / "m.npy")
