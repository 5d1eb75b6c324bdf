"""How far what was followed from the first frame is from what a later one shows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.evaluate import metric
from deepreg_meta.geometry.landmarks import Landmarks
from deepreg_meta.sequence.given import values_of


def label_drift(
    frame: int, first: NDArray, followed: NDArray, known: NDArray
) -> list[dict[str, Any]]:
    """
    Compare a label that was carried along with the one that is known.

    :param frame: its index.
    :param first: label of the first frame, (d1, d2, d3): what standing still would be.
    :param followed: the first label where it was carried to.
    :param known: label of the frame.
    :return: a row for each structure of either label.
    """
    values = sorted({*values_of(first), *values_of(known)})
    return [
        {
            "frame": frame,
            "label": str(value),
            "dsc_still": metric.dsc(first == value, known == value),
            "dsc_tracked": metric.dsc(followed == value, known == value),
        }
        for value in values
    ]


def point_drift(
    frame: int, first: Landmarks, followed: NDArray, known: Landmarks
) -> list[dict[str, Any]]:
    """
    Compare points that were followed with those that are known, by their names.

    :param frame: its index.
    :param first: points of the first frame: what standing still would be.
    :param followed: where they were followed to, (N, 3), mm.
    :param known: points of the frame.
    :return: a row for each name that both have; lengths in mm.
    """
    rows = []
    for name, start, end in zip(first.names, first.points, followed, strict=True):
        if name in known.names:
            true = known.points[known.names.index(name)]
            rows.append(
                {
                    "frame": frame,
                    "landmark": name,
                    "error_still_mm": float(np.linalg.norm(start - true)),
                    "error_tracked_mm": float(np.linalg.norm(end - true)),
                }
            )
    return rows
