"""Tests of the checks of where volumes lie: each fault, and what is none."""

import nibabel as nib
import numpy as np
import pytest

from deepreg_meta.dataset.place_check import (
    TOLERANCE_VOX,
    check_overlap,
    check_place,
    check_same_place,
)
from deepreg_meta.dataset.source import Source
from deepreg_meta.dataset.stored import place_of
from deepreg_meta.geometry.grid import Grid
from tests.unit.dataset.examples import AFFINE, oblique, place

SHAPE = (50, 60, 70)


def changed(row, column, value, affine=AFFINE):
    affine = affine.copy()
    affine[row, column] = value
    return affine


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.diag([1, 0, 1, 1.0]), r"voxel sides > 0, got a spacing of \[1.0, 0.0, 1.0"),
        (changed(0, 3, np.nan), "a finite affine of shape"),
        (changed(1, 1, np.inf), "a finite affine of shape"),
        (np.eye(4)[:, [0, 0, 2, 3]], "an invertible affine, got a singular one"),
        (np.eye(3), r"a finite affine of shape \(4, 4\), got"),
    ],
)
def test_an_affine_that_cannot_be_is_named(affine, message):
    (problem,) = check_place(place(affine), "a.nii")
    with pytest.raises(ValueError, match=f"^a.nii: expected {message}"):
        raise ValueError(problem)


def test_a_unit_is_named_beside_the_affine_and_a_good_place_passes():
    assert check_place(place(), "a.nii") == []
    both = check_place(place(np.zeros((4, 4)), problem="a.nii: not mm"), "a.nii")
    assert both[0] == "a.nii: not mm" and len(both) == 2


def same(label, image=None):
    image = place() if image is None else image
    return check_same_place(label, image, SHAPE, "label.nii", "image.nii")


def test_a_label_that_lies_elsewhere_is_refused_with_the_distance():
    # one voxel along axis 0, 2 mm
    (problem,) = same(place(AFFINE @ changed(0, 3, 1, np.eye(4))))
    assert problem.startswith("label.nii: expected the place of its image image.nii")
    assert "sets their corners up to 2 mm apart" in problem
    # another spacing: 49 voxels of 0.5 mm more along axis 1, up to 59 * 0.25
    (problem,) = same(place(AFFINE @ np.diag([1, 1.5, 1, 1])))
    assert "up to 14.75 mm apart" in problem
    # flipped about the same box: the corners are the same places, the voxels are not
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = SHAPE[0] - 1
    assert len(same(place(AFFINE @ flip))) == 1


def test_a_label_may_say_nothing_of_its_place():
    assert same(place(np.eye(4))) == []
    assert same(place(np.eye(4), forms=())) == []
    assert same(place(AFFINE), place(np.eye(4), forms=())) == []
    assert same(place(AFFINE)) == []
    # a hundredth of a voxel is rounding
    assert same(place(AFFINE @ changed(2, 3, 0.009, np.eye(4)))) == []
    assert len(same(place(AFFINE @ changed(2, 3, 0.011, np.eye(4))))) == 1


def test_the_two_forms_of_a_header_are_the_same_place_in_spite_of_rounding():
    # A quaternion of 32-bit numbers is coarse near half turns: ITK's own orientation,
    # slightly oblique. Here a label that was written with the qform alone seems to lie
    # some hundredths of a voxel beside its image.
    affine = oblique((0.02, -0.015, 180.005), (0.7, 0.7, 1.5), (-80, 70, 60))
    picture = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), affine)
    picture.set_sform(affine, code=1)
    picture.set_qform(affine, code=1)
    both = place_of(picture, "image.nii")
    picture.set_sform(None, code=0)
    quaternion = place_of(picture, "label.nii")
    shape = (320, 320, 100)
    apart = Grid(shape, affine).to_voxel(Grid(shape, quaternion.affine).corners())
    apart = np.abs(apart - Grid(shape, np.eye(4)).corners()).max()
    assert apart > 2 * TOLERANCE_VOX
    assert check_same_place(quaternion, both, shape, "label.nii", "image.nii") == []


def test_a_label_with_a_bad_affine_is_named_as_such():
    (problem,) = same(place(np.diag([1, 1, 0, 1.0])))
    assert problem.startswith("label.nii: expected voxel sides > 0")


def source(path, shape, affine):
    return Source(path, Grid(shape, affine), lambda: None)


def test_grids_that_share_no_space_are_refused_with_their_distance():
    # boxes of 10 mm side, centres 3-4-12 tens apart: 130 mm
    far = np.eye(4)
    far[:3, 3] = (30, 40, 120)
    fixed, moving = (
        source(n, (10, 10, 10), a) for n, a in (("f", np.eye(4)), ("m", far))
    )
    (problem,) = check_overlap(moving, fixed)
    assert problem.startswith(
        "m: expected some overlap with the fixed image f, because"
    )
    assert "`align: affine`" in problem and "centres are 130 mm apart" in problem


@pytest.mark.parametrize(
    ("shape", "origin"),
    [
        ((40, 400, 400), (-35, -350, -350)),  # a corner
        ((3, 3, 3), (20, 20, 20)),  # one within the other
        ((3, 3, 3), (-2, 21, 21)),  # a small one on the surface
    ],
)
def test_grids_that_share_a_corner_or_hold_each_other_pass(shape, origin):
    affine = np.eye(4)
    affine[:3, 3] = origin
    first, second = source("a", (200, 201, 202), np.eye(4)), source("b", shape, affine)
    assert check_overlap(first, second) == check_overlap(second, first) == []
