"""
What the images of a run looked like, so that a single pair can be brought to it later.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepreg_meta.dataset.domains import Domains
from deepreg_meta.dataset.target import ROLES
from deepreg_meta.dataset.tasks import CaseSet
from deepreg_meta.dataset.volume import Facts


def describe_cases(cases: CaseSet | Domains) -> dict[str, dict[str, Any]]:
    """
    Describe the moving and the fixed images of a split.

    :param cases: the split, or several domains of one; volumes that were read already
        are not read again.
    :return: for `moving` and `fixed`, numbers and words that JSON can hold:
        `num_images`; `orientations`, the codes found, such as RAS, null for files that
        state none; `file_spacing_mm` and `grid_spacing_mm`, the medians of the voxel
        sides of the files and of the network's grid; `intensity_range` of the files.
    :raises DataError: when a file cannot be used.
    """
    return {role: _describe(cases.facts(role)) for role in ROLES}


def _describe(facts: Sequence[Facts]) -> dict[str, Any]:
    codes = {
        one.source.grid.orientation if one.source.has_orientation else None
        for one in facts
    }
    ranges = np.array([one.intensity_range for one in facts])
    return {
        "num_images": len(facts),
        "orientations": sorted(codes, key=str),
        "file_spacing_mm": _median([one.source.grid.spacing_mm for one in facts]),
        "grid_spacing_mm": _median([one.spacing_mm for one in facts]),
        "intensity_range": [float(ranges[:, 0].min()), float(ranges[:, 1].max())],
    }


def _median(sides: Sequence[np.ndarray]) -> list[float]:
    return np.median(sides, axis=0).round(6).tolist()
