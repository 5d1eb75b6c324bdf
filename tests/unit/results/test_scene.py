"""Tests of deepreg_meta/results/scene.py."""

from dataclasses import replace

import numpy as np
import pytest

from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.transform import Affine, Transform
from deepreg_meta.results.scene import Scene, own_spacing
from tests.unit.results.examples import (
    FIXED,
    MOVING,
    OFFSET,
    PLACES,
    SHIFT,
    TURNS,
    Turn,
    flat_case,
    flat_result,
    make_case,
    make_result,
    source,
    without_labels,
)

COARSER = TURNS["turned, coarser"]
# file voxel x of the fixed image shows the moving one at x + START: where alignment and
# field lead with the files' own grids, SHIFT + OFFSET
START = (SHIFT + OFFSET).astype(int)


@pytest.mark.parametrize("turn", TURNS.values(), ids=list(TURNS))
@pytest.mark.parametrize("place", PLACES)
def test_the_spacing_of_a_file_is_had_back_from_that_of_the_network(place, turn):
    """Of the header, or the one that overrides it."""
    file = Grid(FIXED, PLACES[place][0])
    network = turn.grid(file)
    found = own_spacing(file, network, network.spacing_mm)
    np.testing.assert_allclose(found, file.spacing_mm, rtol=1e-9)
    nominal = np.array([1.0, 3.0, 5.0])
    of_network = nominal[list(turn.order)] * turn.factor
    found = own_spacing(file, network, of_network)
    np.testing.assert_allclose(found, nominal, rtol=1e-9)


def test_the_volumes_are_those_of_the_files():
    """Original intensities, whatever the network saw."""
    case = make_case("oblique", COARSER)
    scene = Scene(make_result(case, COARSER))
    assert scene.fixed_image.shape == FIXED and scene.moving_image.shape == MOVING
    assert scene.fixed_image.min() >= 100 and scene.fixed_image.max() > 900
    assert scene.fixed_labels.shape == (3, *FIXED)
    np.testing.assert_array_equal(scene.fixed_grid.affine, PLACES["oblique"][0])
    np.testing.assert_array_equal(scene.moving_grid.affine, PLACES["oblique"][1])


@pytest.mark.parametrize("turn", TURNS.values(), ids=list(TURNS))
def test_the_moving_image_is_warped_voxel_to_voxel_where_shifts_are_whole(turn):
    """(1 + 2, -1 + 1, 2 + 1) voxels from where the networks' first voxels meet."""
    scene = Scene(make_result(make_case("left-handed", turn), turn))
    start = (turn.first(MOVING) - turn.first(FIXED)).astype(int) + START
    last = np.minimum(np.add(start, FIXED), MOVING)
    box = tuple(slice(a, b) for a, b in zip(start, last, strict=True))
    inner = tuple(slice(0, b - a) for a, b in zip(start, last, strict=True))
    warped = scene.warped("adapted")
    shown = scene.moving_image[box]
    assert shown.shape[0] > 8 and shown.shape[1] > 8 and shown.shape[2] > 6
    np.testing.assert_allclose(warped.image[inner], shown, atol=0.05)
    np.testing.assert_allclose(
        warped.labels[(slice(None), *inner)],
        scene.moving_labels[(slice(None), *box)],
        atol=1e-3,
    )
    assert scene.warped("adapted") is warped  # warped once


def test_stages_differ_by_what_leads_to_them():
    """Alignment, half of the shift, all of it."""
    scene = Scene(make_result(make_case("upright")))
    whole = scene.moving_image
    found = [scene.warped(s).image[5, 6, 4] for s in ("before", "unadapted", "adapted")]
    # half of (1, -1, 2): half-way between four voxels
    between = whole[7:9, 6:8, 6].mean()
    expected = [whole[7, 7, 5], between, whole[8, 6, 7]]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_frames_are_found_again_on_the_files_grid():
    """
    Axis 1 of the network is axis 2 of the file, backwards: its slices 3, 4 and 6 are
    the file's 9 - 3, 9 - 4 and 9 - 6.
    """
    scene = Scene(make_result(make_case("oblique", COARSER), COARSER))
    assert scene.frame_axis == 2
    assert list(scene.frames) == [3, 5, 6]
    expected = np.zeros(FIXED, bool)
    expected[:, :, [3, 5, 6]] = True
    np.testing.assert_array_equal(scene.seen, expected)


def test_a_thick_frame_of_the_network_is_all_slices_it_covers():
    """Axis 1 of the network with voxels of 2: slices 3, 4, 6 are 6 to 9, 12 and 13."""
    turn = Turn((0, 1, 2), (1, 1, -1), (1, 2, 1))
    scene = Scene(make_result(make_case("left-handed", turn), turn))
    assert scene.frame_axis == 1
    assert list(scene.frames) == [6, 7, 8, 9, 12, 13]


def test_thin_frames_of_the_network_are_the_slices_that_hold_them():
    """Three frames in a slice: the middle of frame n is at (n + 0.5) / 3 - 0.5."""
    case = make_case("oblique")
    file = Grid((6, 20, 5), PLACES["oblique"][0])
    network = file.resized((6, 60, 5))
    case = replace(
        case,
        fixed_image=np.zeros(network.shape, np.float32),
        fixed_affine=network.affine,
        fixed_source=source(file, np.zeros(file.shape, np.float32), None, "f.nii"),
    )
    slices = np.zeros(60, np.float32)
    slices[[8, 13, 18, 22, 27, 32, 37, 42, 46, 51]] = 1
    scene = Scene(make_result(case, slices=slices))
    assert list(scene.frames) == [2, 4, 6, 7, 9, 10, 12, 14, 15, 17]
    expected = np.zeros(file.shape, bool)
    expected[:, scene.frames] = True
    np.testing.assert_array_equal(scene.seen, expected)


def test_slices_beyond_the_networks_grid_are_not_seen():
    """A network's grid that begins at slice 2 of the file's axis 1 and ends at 10."""
    case = make_case("oblique")
    cropped = replace(
        case,
        fixed_affine=case.fixed_grid.padded(((0, 0), (-2, -3), (0, 0))).affine,
        fixed_image=case.fixed_image[:, 2:11],
    )
    scene = Scene(make_result(cropped, slices=np.ones(9, np.float32)))
    assert list(scene.frames) == list(range(2, 11))


@pytest.mark.parametrize("turn", TURNS.values(), ids=list(TURNS))
def test_the_field_on_the_files_grid_counts_its_voxels(turn):
    """A shift of the network's voxels is SHIFT of the file's, for every turn."""
    scene = Scene(make_result(make_case("oblique", turn), turn))
    field = scene.ddf("adapted")
    assert field.shape == (*FIXED, 3) and field.dtype == np.float32
    np.testing.assert_allclose(field, np.broadcast_to(SHIFT, field.shape), atol=1e-4)
    np.testing.assert_allclose(scene.ddf("unadapted"), field / 2, atol=1e-4)
    assert not scene.ddf("before").any()


def test_the_moving_image_covers_what_is_led_into_it():
    """x + (2, 1, 1) before, x + (3, 0, 3) after: inside (16, 16, 14) all but there."""
    result = make_result(make_case("upright"))
    result.outputs["offset"] += np.array([6, -1, 4], np.float32)
    scene = Scene(result)
    # before: x + (8, 0, 5); adapted: x + (9, -1, 7)
    before = np.zeros(FIXED, bool)
    before[:8, :, :9] = True
    np.testing.assert_array_equal(scene.warped("before").covered, before)
    adapted = np.zeros(FIXED, bool)
    adapted[:7, 1:, :7] = True
    np.testing.assert_array_equal(scene.warped("adapted").covered, adapted)


def test_pairs_without_labels_have_no_baseline():
    labeled = Scene(make_result(make_case()))
    assert labeled.stages == ("before", "unadapted", "adapted", "centroids")
    bare = Scene(make_result(without_labels(make_case())))
    assert bare.stages == ("before", "unadapted", "adapted")
    assert bare.warped("adapted").labels is None
    assert bare.warped("adapted").image.shape == FIXED


@pytest.mark.parametrize(
    ("layout", "z", "is_planar"),
    [("picture", 0, True), ("plane", 0, True), ("plane", 4, False),
     ("volume", 0, False)],
)  # fmt: skip
def test_files_of_two_axes_in_the_plane_z_0_are_planar(layout, z, is_planar):
    """Others have a third axis, or a place in space, that two dimensions have not."""
    case = flat_case(layout)
    affine = case.fixed_source.grid.affine.copy()
    affine[2, 3] = z
    grid = Grid(case.fixed_source.grid.shape, affine)
    case = replace(case, fixed_source=replace(case.fixed_source, grid=grid))
    assert Scene(flat_result(case)).is_planar is is_planar


def test_labels_of_the_nearest_voxel_are_not_moved_by_a_quarter_of_one():
    """Linear ones are the mean of two voxels, a quarter and three quarters."""
    case = make_case("upright")
    scene = Scene(make_result(case))
    offset = np.linalg.inv(scene.fixed_grid.affine)  # moving voxel x + 0.25 at x
    step = np.eye(4)
    step[0, 3] = 0.25
    affine = scene.moving_grid.affine @ step @ offset
    scene._transforms["adapted"] = Transform([Affine(affine)])
    moving = scene.moving_labels[:, : FIXED[0] + 1, : FIXED[1], : FIXED[2]]
    nearest = scene.warped("adapted").nearest_labels
    np.testing.assert_array_equal(nearest, moving[:, :-1])
    linear = scene.warped("adapted").labels
    expected = 0.75 * moving[:, :-1] + 0.25 * moving[:, 1:]
    np.testing.assert_allclose(linear, expected, atol=1e-5)


def test_without_labels_there_are_none_of_the_nearest_voxel():
    scene = Scene(make_result(without_labels(make_case("upright"))))
    assert scene.warped("before").nearest_labels is None
