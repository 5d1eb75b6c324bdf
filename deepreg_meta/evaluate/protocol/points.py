"""The landmarks of an image, in voxels as the challenge counts, and in mm."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.landmarks import read_landmarks

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Points:
    """
    Landmarks of an image.

    :param names: N names.
    :param voxels: (N, 3), voxel coordinates of the image.
    :param world: (N, 3), mm, RAS.
    """

    names: tuple[str, ...]
    voxels: NDArray[np.float64]
    world: NDArray[np.float64]

    def chosen(self, names: tuple[str, ...]) -> "Points":
        """Return the landmarks of some names, in their order."""
        rows = [self.names.index(name) for name in names]
        return Points(names, self.voxels[rows], self.world[rows])


def read_points(path: Path, grid: Grid) -> Points:
    """
    Read landmarks.

    :param path: a CSV file of numbers alone, three in each line, holds voxel
        coordinates of the image, as the challenge's do; for all other files see
        `read_landmarks`.
    :param grid: of the image.
    :return: the landmarks.
    :raises ValueError: for a file that cannot be read.
    """
    voxels = _bare_numbers(path)
    if voxels is not None:
        # not by way of mm: rounding would put points on the border outside
        names = tuple(str(number) for number in range(1, len(voxels) + 1))
        return Points(names, voxels, grid.to_world(voxels))
    landmarks = read_landmarks(path, grid)
    points = landmarks.points
    return Points(landmarks.names, grid.to_voxel(points), points)


def _bare_numbers(path: Path) -> NDArray[np.float64] | None:
    """Return (N, 3) numbers, or None for a file that is more than that."""
    if path.suffix.lower() != ".csv":
        return None
    try:
        voxels = np.loadtxt(path, delimiter=",", ndmin=2)
    except ValueError:
        return None
    return voxels if voxels.shape[1:] == (3,) and voxels.size else None


def unpaired(files: tuple[Path, Path]) -> list[str]:
    """
    Tell when bare numbers, which only their lines pair, differ in number.

    :param files: of the fixed and of the moving image; one may be missing.
    :return: what is wrong, empty for nothing.
    """
    if not all(path.is_file() for path in files):
        return []
    fixed, moving = (_bare_numbers(path) for path in files)
    if fixed is None or moving is None or len(fixed) == len(moving):
        return []
    return [
        f"{files[0]} and {files[1]}: expected as many landmarks in both, as bare "
        f"numbers are paired by their line, got {len(fixed)} and {len(moving)}. "
        "Where some have no partner, give names: columns name, i, j, k."
    ]


def read_pair_points(
    files: tuple[Path, Path], grids: tuple[Grid, Grid], where: str
) -> tuple[Points, Points]:
    """
    Read the landmarks of two images and bring them into one order.

    :param files: of the fixed and of the moving image, see `read_points`.
    :param grids: of both images.
    :param where: the case, for messages.
    :return: both, reduced to the names that both have.
    :raises ValueError: when there is no common name, when bare numbers differ in
        number, or when a file cannot be read.
    """
    if problems := unpaired(files):
        raise ValueError(problems[0])
    fixed, moving = (read_points(*given) for given in zip(files, grids, strict=True))
    names = tuple(name for name in fixed.names if name in moving.names)
    if not names:
        raise ValueError(
            f"{where}: expected landmarks of the same names in both images, got "
            f"{', '.join(fixed.names)} and {', '.join(moving.names)}."
        )
    left_out = len(fixed.names) + len(moving.names) - 2 * len(names)
    if left_out:
        logger.warning(
            "%s: %d landmarks are in one image alone and left out.", where, left_out
        )
    return fixed.chosen(names), moving.chosen(names)
