"""Tests of deepreg_meta/results/limits.py."""

import numpy as np
import pytest

from deepreg_meta.results.limits import Limits

SIZE = np.array([40.0, 80.0, 20.0])  # a quarter of the longest side is 20


def row(folds=0.0, longest=3.0):
    return {"folds_adapted": folds, "displacement_max_adapted_mm": longest}


@pytest.mark.parametrize(("folds", "longest"), [(0, 0), (0.01, 20), (0.005, 19.9)])
def test_within_the_limits_nothing_is_said(folds, longest):
    """The limits themselves are within."""
    assert Limits().warnings(row(folds, longest), SIZE, "mm") == []


def test_folds_and_lengths_are_told_with_their_limits():
    """Each in a sentence of its own, with where the limit comes from."""
    assert Limits().warnings(row(folds=0.0312), SIZE, "mm") == [
        "3.12 % of the voxels fold, more than 1 %"
    ]
    assert Limits().warnings(row(longest=20.5), SIZE, "voxels") == [
        "a voxel moves by 20.5 voxels, further than 20.0 voxels, a "
        "quarter of the fixed image's longest side"
    ]
    assert len(Limits().warnings(row(0.5, 90), SIZE, "mm")) == 2


def test_limits_may_be_set():
    """None at all may fold; 2.5 mm whatever the size."""
    found = Limits(0, 2.5).warnings(row(1e-5, 3.0), SIZE, "mm")
    assert "more than 0 %" in found[0] and "further than 2.5 mm" in found[1]
    assert Limits(1, 90).warnings(row(1.0, 89), SIZE, "mm") == []


def test_what_is_not_a_number_is_suspect():
    found = Limits().warnings(row(np.nan, np.nan), SIZE, "mm")
    assert len(found) == 2 and "nan" in found[0] and "nan" in found[1]


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_is_in_0_to_1(share):
    with pytest.raises(ValueError, match=rf"--max-folds: .* \[0, 1\], got {share}"):
        Limits(fold_share=share)


@pytest.mark.parametrize("length", [0.0, -2.0, float("nan")])
def test_a_displacement_is_longer_than_nothing(length):
    with pytest.raises(ValueError, match=f"--max-displacement: .* > 0, got {length}"):
        Limits(displacement_mm=length)
