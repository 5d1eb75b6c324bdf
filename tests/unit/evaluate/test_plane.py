"""Laws, values and errors of deepreg_meta.evaluate.plane."""

from itertools import permutations, product

import numpy as np
import pytest

from deepreg_meta.evaluate.plane import (
    PICTURE,
    Slice,
    check_orientation,
    choose_planes,
)

SHAPE = (5, 6, 7)
ORIENTATIONS = [
    "".join(letters)
    for pairs in permutations(("RL", "AP", "SI"))
    for letters in product(*pairs)
]


def plane_of(axis, orientation=None):
    return Slice(axis, 0, SHAPE, (1.0, 2.0, 3.0), orientation)


@pytest.mark.parametrize(
    ("axis", "shape", "size"),
    [(2, (5, 6), (5, 12)), (1, (5, 7), (5, 21)), (0, (7, 6), (21, 12))],
)
def test_a_plane_has_the_rows_columns_and_lengths_of_its_axes(axis, shape, size):
    plane = plane_of(axis)
    assert plane.take(np.zeros(SHAPE)).shape == shape
    assert plane.take(np.zeros((*SHAPE, 3))).shape == (*shape, 3)
    assert plane.size == size
    assert tuple(len(x) for x in plane.coordinates()) == shape
    assert plane.letters == {} and plane.name == f"axis {axis}"


def test_an_axial_plane_of_axes_that_point_right_anterior_and_superior():
    """Axis 0 runs to the right, so its end stands at the left of the picture."""
    plane = plane_of(2, "RAS")
    assert (plane.name, plane.row_axis, plane.column_axis) == ("axial", 1, 0)
    assert plane.letters == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    # voxel 0 of axis 0 at the right; voxel 0 of axis 1, the posterior one, at the foot
    assert plane.limits == {"xlim": (4.5, -0.5), "ylim": (-1.0, 11.0)}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_is_turned_to_the_same_display(orientation):
    """The letters of a plane's sides are found where its voxels are displayed."""
    # where each voxel lies: R, A and S grow with the index as the letters say
    position = {}
    for axis, letter in enumerate(orientation):
        index = np.arange(SHAPE[axis])
        pair = next(p for p in ("RL", "AP", "SI") if letter in p)
        sign = 1 if letter in "RAS" else -1
        position[pair] = np.moveaxis(
            np.broadcast_to(sign * index, (*np.delete(SHAPE, axis), SHAPE[axis])),
            -1,
            axis,
        )
    for plane in choose_planes(SHAPE, (1, 1, 1), None, orientation):
        for side, letter in plane.letters.items():
            pair = next(p for p in ("RL", "AP", "SI") if letter in p)
            shown = plane.take(position[pair])
            if plane.limits["xlim"][0] > plane.limits["xlim"][1]:
                shown = shown[:, ::-1]
            if plane.limits["ylim"][0] < plane.limits["ylim"][1]:
                shown = shown[::-1]
            edge = {"left": shown[:, 0], "right": shown[:, -1],
                    "top": shown[0], "bottom": shown[-1]}[side]  # fmt: skip
            furthest = shown.max() if letter in "RAS" else shown.min()
            assert (edge == furthest).all()


def test_the_planes_are_axial_coronal_and_sagittal_in_this_order():
    planes = choose_planes(SHAPE, (1, 1, 1), None, "SLA")
    assert [(p.name, p.axis, p.index) for p in planes] == [
        ("axial", 0, 2),
        ("coronal", 2, 3),
        ("sagittal", 1, 2),
    ]


def test_planes_pass_through_the_label_or_without_one_through_the_middle():
    label = np.zeros(SHAPE)
    label[1, 4, 5] = 1
    found = choose_planes(SHAPE, (1, 1, 1), label)
    assert {plane.axis: plane.index for plane in found} == {0: 1, 1: 4, 2: 5}
    label[3, 4, 5] = 0.5
    found = choose_planes(SHAPE, (1, 1, 1), label)
    assert {plane.axis: plane.index for plane in found} == {0: 2, 1: 4, 2: 5}
    for nothing in (None, np.zeros(SHAPE)):
        found = choose_planes(SHAPE, (1, 1, 1), nothing)
        assert {plane.axis: plane.index for plane in found} == {0: 2, 1: 2, 2: 3}


@pytest.mark.parametrize("wrong", ["RA", "RAA", "RASL", "ras", "XYZ"])
def test_an_orientation_names_each_direction_once(wrong):
    with pytest.raises(ValueError, match=f"such as RAS or LPI.*got '{wrong}'"):
        check_orientation(wrong)
    for right in ORIENTATIONS:
        check_orientation(right)
    check_orientation(None)


def test_a_picture_is_shown_as_it_is_and_says_nothing_of_the_patient():
    """Axis 0 to the right, axis 1 down: element (4, 1) in row 1 and column 4."""
    image = np.arange(30.0).reshape(5, 6, 1)
    [plane] = choose_planes(image.shape, (1.0, 2.0, 9.0), None, PICTURE)
    assert (plane.row_axis, plane.column_axis, plane.axis) == (1, 0, 2)
    assert plane.take(image)[1, 4] == image[4, 1, 0]
    assert plane.take(np.zeros((5, 6, 1, 3))).shape == (6, 5, 3)
    assert plane.limits == {"xlim": (-0.5, 4.5), "ylim": (11.0, -1.0)}
    assert plane.letters == {} and plane.name == "axis 2"
    check_orientation(PICTURE)
