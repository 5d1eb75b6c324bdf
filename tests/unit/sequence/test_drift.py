"""Tests of deepreg_meta/sequence/drift.py."""

import numpy as np
import pytest

from deepreg_meta.geometry.landmarks import Landmarks
from deepreg_meta.sequence.drift import label_drift, point_drift


def test_labels_are_compared_structure_by_structure():
    """Dice of 1 of 2 and 2 voxels, of 1 of 2 and 1, of one that was not there."""
    first = np.array([1, 1, 0, 0, 2, 2])
    known = np.array([0, 1, 1, 0, 2, 3])
    followed = np.array([0, 1, 1, 0, 2, 2])
    rows = label_drift(4, first, followed, known)
    assert [row["label"] for row in rows] == ["1", "2", "3"]
    assert rows[0] == {
        "frame": 4, "label": "1", "dsc_still": 0.5, "dsc_tracked": 1.0
    }  # fmt: skip
    assert rows[1]["dsc_tracked"] == pytest.approx(2 / 3)
    assert rows[2]["dsc_tracked"] == 0.0


def test_points_are_compared_by_name():
    """3-4-5 triangles; a name that one side lacks is left out."""
    first = Landmarks(("a", "b"), np.array([[0.0, 0, 0], [1, 1, 1]]))
    known = Landmarks(("c", "a"), np.array([[9.0, 9, 9], [3, 4, 0]]))
    [row] = point_drift(2, first, np.array([[3.0, 4, 2], [0, 0, 0]]), known)
    assert row == {
        "frame": 2, "landmark": "a", "error_still_mm": 5.0, "error_tracked_mm": 2.0
    }  # fmt: skip
