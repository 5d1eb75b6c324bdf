"""Tests of the way to the network's grid: whatever is done, a point keeps its place."""

import itertools

import numpy as np
import pytest

from deepreg_meta.dataset.route import check_route, plan_route
from deepreg_meta.dataset.target import Target
from deepreg_meta.geometry.affine import apply, spacing_of
from deepreg_meta.geometry.grid import Grid
from tests.unit.dataset.examples import AFFINE, oblique

SHAPE = (9, 10, 11)
AFFINES = {
    "plain": np.diag([1.0, 1.0, 1.0, 1.0]),
    "oblique": oblique((20, -35, 50), (0.8, 1.3, 2.5), (-12, 30, 7)),
    "turned": oblique((15, 10, -20), (1.1, 0.6, 1.9), (5, -3, 40), (-1, 1, -1)),
    "sagittal": oblique((5, -8, 12), (3.0, 0.7, 0.9), (9, 8, 7), (1, -1, 1), (2, 0, 1)),
}
ORIENTATIONS = (None, "RAS", "LPI", "SLP")
SPACINGS = (None, (1.0, 1.0, 1.0), (0.7, 2.2, 1.3))
FITS = (("resize", (8, 12, 7)), ("pad", (13, 6, 11)), ("pad", (20, 21, 22)))


def world_image(affine, shape):
    """Three volumes: the world coordinates of every voxel, linear in space."""
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return np.moveaxis(apply(affine, voxels), -1, 0)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(("fit", "shape"), FITS)
@pytest.mark.parametrize("name", AFFINES)
def test_every_voxel_shows_what_lies_at_its_place(
    name, orientation, spacing, fit, shape
):
    # An image of its own coordinates is linear in space, so that interpolation is
    # exact: off the constant border, which is up to a voxel of the new size wide, the
    # value of a voxel is where the new affine puts it.
    affine = AFFINES[name]
    target = Target(shape, orientation=orientation, voxel_mm=spacing, fit=fit)
    route = plan_route(SHAPE, affine, target)
    carried = route.carry(world_image(affine, SHAPE), outside=np.nan)
    assert carried.shape == (3, *shape)
    new = affine @ route.to_file
    voxels = np.moveaxis(world_image(np.eye(4), shape), 0, -1)
    old = apply(route.to_file, voxels)
    border = np.abs(route.to_file[:3, :3]).max() * (fit == "resize") + 1e-9
    border = 0 if spacing is None else border
    inside = ((old >= border) & (old <= np.array(SHAPE) - 1 - border)).all(axis=-1)
    assert inside.sum() >= 8
    shown = np.moveaxis(carried, 0, -1)[inside]
    np.testing.assert_allclose(shown, apply(new, voxels)[inside], atol=1e-9)
    if orientation is not None:
        assert Grid(shape, new).orientation == orientation
    if spacing is not None and fit == "pad":
        np.testing.assert_allclose(spacing_of(new), spacing)


@pytest.mark.parametrize("orientation", ["RAS", "LPI", "SLP", "ASR"])
@pytest.mark.parametrize("name", AFFINES)
def test_turning_axes_and_padding_change_no_value(name, orientation, rng):
    affine = AFFINES[name]
    volume = rng.normal(size=(1, *SHAPE)).astype(np.float32)
    target = Target((12, 13, 14), orientation=orientation, fit="pad")
    route = plan_route(SHAPE, affine, target)
    carried = route.carry(volume, is_image=True, outside=-9)
    assert carried.dtype == np.float32
    # every voxel of the file is there, at its place, and all others are padding
    for voxel in itertools.product(*map(range, SHAPE)):
        new = np.linalg.solve(route.to_file, [*voxel, 1])[:3]
        index = tuple(np.rint(new).astype(int))
        assert abs(new - index).max() < 1e-9
        assert carried[(0, *index)] == volume[(0, *voxel)]
    assert (carried == -9).sum() == 12 * 13 * 14 - 9 * 10 * 11
    direct = Grid((12, 13, 14), affine @ route.to_file)
    assert direct.orientation == orientation


def test_padding_and_cropping_are_around_the_centre():
    # 5 to 8: 1 voxel before, 2 behind; 7 to 4: 1 goes before, 2 behind; 6 stays
    volume = np.ones((1, 5, 7, 6))
    volume[0, :, 1, :] = 5
    route = plan_route((5, 7, 6), np.eye(4), Target((8, 4, 6), fit="pad"))
    carried = route.carry(volume)[0]
    assert carried[:, 1, 0].tolist() == [0, 1, 1, 1, 1, 1, 0, 0]
    assert carried[3, :, 0].tolist() == [5, 1, 1, 1]
    np.testing.assert_array_equal(route.to_file[:3, 3], [-1, 1, 0])
    np.testing.assert_array_equal(route.inside, [[1, 6], [0, 4], [0, 6]])
    stretched = plan_route((5, 7, 6), np.eye(4), Target((8, 4, 6)))
    np.testing.assert_array_equal(stretched.inside, [[0, 8], [0, 4], [0, 6]])


def test_larger_voxels_are_smoothed_in_images_and_not_in_labels(rng):
    volume = rng.normal(size=(1, 12, 10, 8))
    target = Target((4, 10, 8), voxel_mm=(3, 1, 1), fit="pad")
    route = plan_route((12, 10, 8), np.eye(4), target)
    assert route.ratio == (3, 1, 1) and route.sampled == (4, 10, 8)
    label, shown = route.carry(volume), route.carry(volume, is_image=True)
    np.testing.assert_allclose(label[0], volume[0, 1::3])
    assert shown.std() < 0.7 * label.std()


def test_an_override_of_the_spacing_comes_before_the_voxel_size():
    # the file says 2, 0.5 and 1.5 mm, the override 1, 2 and 4; axes turned from A, L, S
    # to L, A, S, so the sides are 2, 1, 4, and voxels of 2 mm change axes 1 and 2
    target = Target((9, 9, 9), (1, 2, 4), orientation="LAS", voxel_mm=(2, 2, 2))
    route = plan_route((8, 9, 5), AFFINE, target)
    assert Grid((8, 9, 5), AFFINE).orientation == "ALS"
    assert route.ratio == (1, 2, 0.5) and route.sampled == (9, 4, 10)


def test_voxels_of_the_right_size_stay_exactly_where_they_are():
    # headers hold 32-bit numbers: 0.4 is not 0.4
    affine = np.diag([np.float32(0.4), np.float32(0.7), 1, 1]).astype(float)
    target = Target((5, 6, 7), voxel_mm=(0.4, 0.7, 1))
    assert plan_route((5, 6, 7), affine, target).ratio == (1, 1, 1)


@pytest.mark.parametrize(
    ("axis", "orientation", "where"), [(2, None, 2), (0, "RAS", 2), (1, "SLA", 2)]
)
def test_a_single_slice_stays_one(axis, orientation, where, rng):
    # axes point to S, A, R and back; the axis without steps is neither resampled nor
    # padded, and its thickness stays
    order = {2: (0, 1, 2), 0: (2, 1, 0), 1: (2, 1, 0)}[axis]
    affine = oblique((4, -3, 7), (5.0, 0.5, 0.5), (1, 2, 3), order=order)
    shape = [12, 10, 8]
    shape[axis] = 1
    volume = rng.normal(size=(1, *shape))
    for fit in ("resize", "pad"):
        side = [7, 9, 7]
        side[where] = 1
        target = Target(tuple(side), None, None, orientation, (1, 1, 1), fit)
        route = plan_route(tuple(shape), affine, target)
        carried = route.carry(volume, is_image=True)
        assert carried.shape == (1, *side) and np.isfinite(carried).all()
        assert route.ratio[where] == 1 and route.sampled[where] == 1
        new = spacing_of(affine @ route.to_file)
        assert new[where] == pytest.approx(spacing_of(affine)[axis])
        assert check_route("a.nii", Grid(tuple(shape), affine), True, target) == []


def test_a_slice_that_the_network_wants_thick_is_refused():
    grid = Grid((5, 6, 1), np.eye(4))
    pad = Target((5, 6, 4), fit="pad")
    (problem,) = check_route("a.nii", grid, True, pad)
    assert problem.startswith("a.nii: expected more than one voxel along axis 2 ")
    assert "shape [5, 6, 4], got a volume of shape [5, 6, 1]" in problem
    assert check_route("a.nii", grid, True, Target((5, 6, 4))) == []
    turned = Target((5, 6, 1), orientation="SAR")
    (problem,) = check_route("a.nii", grid, True, turned)
    assert (
        "along axis 2" not in problem and "got a volume of shape [1, 6, 5]" in problem
    )


def test_axes_cannot_be_turned_without_an_affine():
    grid, target = Grid((5, 6, 7), np.eye(4)), Target((5, 6, 7), orientation="LPS")
    (problem,) = check_route("a.nii", grid, False, target)
    assert (
        "a.nii: expected an affine, by which the axes can be turned to LPS" in problem
    )
    assert check_route("a.nii", grid, True, target) == []


@pytest.mark.parametrize("shape", [(1, 9, 9), (9, 1, 9)])
def test_a_slice_along_another_axis_is_no_image_for_a_2d_network(shape):
    """Resized, it would be constant along one axis and squeezed along another."""
    grid = Grid(shape, np.eye(4))
    [problem] = check_route("a.nii", grid, True, Target((9, 9, 1)))
    assert "expected more than one voxel along axis" in problem
    assert (
        check_route("a.nii", Grid((9, 9, 1), np.eye(4)), True, Target((9, 9, 1))) == []
    )
