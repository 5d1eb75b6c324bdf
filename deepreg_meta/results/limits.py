"""What a plausible transform does not do."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Limits:
    """
    Beyond these a transform is reported as suspect.

    :param fold_share: share of voxels in [0, 1] that may fold.
    :param displacement_mm: how far the network may move a voxel, the initial alignment
        left out; None is a quarter of the fixed image's longest side.
    """

    fold_share: float = 0.01
    displacement_mm: float | None = None

    def __post_init__(self) -> None:
        """:raises ValueError: for limits out of range."""
        if not 0 <= self.fold_share <= 1:
            raise ValueError(
                f"--max-folds: expected a share in [0, 1], got {self.fold_share}."
            )
        if self.displacement_mm is not None and not self.displacement_mm > 0:
            raise ValueError(
                f"--max-displacement: expected a length > 0, got "
                f"{self.displacement_mm}."
            )

    def warnings(
        self, row: Mapping[str, float], size_mm: NDArray, unit: str
    ) -> list[str]:
        """
        Say what is suspect about a registered pair.

        :param row: of the case.
        :param size_mm: (3,), sides of the fixed image.
        :param unit: of lengths.
        :return: a sentence for each limit passed.
        """
        found = []
        folds, longest = row["folds_adapted"], row["displacement_max_adapted_mm"]
        if not folds <= self.fold_share:
            found.append(
                f"{100 * folds:.2f} % of the voxels fold, more than "
                f"{100 * self.fold_share:g} %"
            )
        limit, whose = self.displacement_mm, ""
        if limit is None:
            limit = float(np.max(size_mm)) / 4
            whose = ", a quarter of the fixed image's longest side"
        if not longest <= limit:  # not a number counts as too far
            found.append(
                f"a voxel moves by {longest:.1f} {unit}, further than {limit:.1f} "
                f"{unit}{whose}"
            )
        return found
