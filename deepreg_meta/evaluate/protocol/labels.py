"""Hold the label values that a user chose against those that exist."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.evaluate.protocol.pairs import Pair


def absent_values(
    chosen: Sequence[int],
    pairs: Sequence[Pair],
    read_label: Callable[[Path], NDArray],
) -> list[str]:
    """
    Tell which chosen values no label of any pair holds.

    :param chosen: values of structures; 0 is background and never one.
    :param pairs: their labels are read until all values are found.
    :param read_label: of the protocol.
    :return: what is wrong, empty for nothing, or where a label cannot be read: that one
        may hold the value.
    """
    existing: set[int] = set()
    files = dict.fromkeys(path for pair in pairs for path in pair.labels or ())
    for path in files:
        if existing.issuperset(chosen):
            return []
        try:
            existing |= _values(read_label(path))
        except (ValueError, OSError):
            return []  # told by the check of the pair
    absent = sorted(set(chosen) - existing)
    if not absent:
        return []
    there = ", ".join(map(str, sorted(existing))) or "none"
    return [
        "--labels: expected values that the labels of the pairs hold, which are "
        f"{there}; got {', '.join(map(str, absent))}, in no label of any pair"
    ]


def _values(voxels: NDArray) -> set[int]:
    found = np.unique(voxels[np.isfinite(voxels)])
    return {int(value) for value in found if value == int(value) != 0}
