"""Tests of the check that two images meet."""

import numpy as np
import pytest

from deepreg_meta.geometry.affine import GeometryError, from_parts
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.overlap import check_overlap
from deepreg_meta.geometry.transform import Affine, Transform

SOURCE = Grid((5, 6, 7), np.eye(4))
TARGET = Grid((3, 3, 3), from_parts(np.eye(3), (100, 0, 0)))
NAMES = ("moving.nii", "fixed.nii")


def shift(x):
    return Transform((Affine(from_parts(np.eye(3), (x, 0, 0))),))


def test_one_voxel_in_common_is_enough():
    check_overlap(SOURCE, TARGET, shift(-96), NAMES)  # voxel 100 comes to 4
    check_overlap(SOURCE, TARGET, shift(-102.4), NAMES)  # voxel 102 to -0.4


@pytest.mark.parametrize("x", [-95.4, -102.6])
def test_images_that_do_not_meet_are_told_with_their_distance(x):
    """The target's centre (101, 1, 1) moves by x; the source's is (2, 2.5, 3)."""
    with pytest.raises(GeometryError, match="do not overlap") as error:
        check_overlap(SOURCE, TARGET, shift(x), NAMES)
    apart = np.linalg.norm([99 + x, -1.5, -2])
    for text in (
        "moving.nii",
        "(101.0, 1.0, 1.0)",
        "(2.0, 2.5, 3.0)",
        f"{apart:.1f} mm",
    ):
        assert text in str(error.value)
