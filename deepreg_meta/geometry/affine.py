"""
Affine maps between voxel indices and space, with the checks that they deserve.

Space is nibabel's: mm, axes to the right, to anterior and to superior (RAS). ITK's axes
L, P, S appear at the edge to files alone.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_SINE = 1e-6  # of the angles between the axes; below it a grid is flat
# RAS to LPS and back, for points and displacements
FLIP = np.array([-1.0, -1.0, 1.0])


class GeometryError(ValueError):
    """A place in space that cannot be right: an affine, a spacing, a field."""


def spacing_of(affine: NDArray) -> NDArray[np.float64]:
    """
    Return the voxel sides of a grid.

    :param affine: (4, 4), voxel to world.
    :return: (3,), in the unit of the world.
    """
    return np.linalg.norm(affine[:3, :3], axis=0)


def check_affine(affine: ArrayLike, name: str) -> NDArray[np.float64]:
    """
    Check that an affine places every voxel somewhere of its own.

    :param affine: voxel to world.
    :param name: of the file or the argument, for messages.
    :return: (4, 4) float64.
    :raises GeometryError: for another shape, values that are not finite, a voxel side
        of zero, or axes that lie in one plane.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    shown = np.round(matrix, 4).tolist()
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise GeometryError(
            f"{name}: expected a finite affine of shape (4, 4), got {shown}."
        )
    sides = spacing_of(matrix)
    if not (sides > 0).all():
        raise GeometryError(
            f"{name}: expected voxel sides > 0, got a spacing of "
            f"{np.round(sides, 4).tolist()} mm. Correct the header of the file."
        )
    if abs(np.linalg.det(matrix[:3, :3] / sides)) <= MIN_SINE:
        raise GeometryError(
            f"{name}: expected an invertible affine, got a singular one, {shown}: two "
            "of its axes point the same way. Correct the header of the file."
        )
    return matrix


def apply(affine: NDArray, points: ArrayLike) -> NDArray[np.float64]:
    """
    Map points by a homogeneous matrix.

    :param affine: (4, 4).
    :param points: (..., 3).
    :return: (..., 3).
    """
    return np.asarray(points) @ affine[:3, :3].T + affine[:3, 3]


def from_parts(matrix: ArrayLike, offset: ArrayLike) -> NDArray[np.float64]:
    """
    Build the homogeneous matrix of x -> matrix x + offset.

    :param matrix: (3, 3).
    :param offset: (3,).
    :return: (4, 4).
    """
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, offset
    return affine


def swap_ras_lps(affine: NDArray) -> NDArray[np.float64]:
    """
    Express a map of space to space, given in RAS, in LPS, or the other way round.

    :param affine: (4, 4), mm to mm.
    :return: (4, 4).
    """
    flip = np.diag([*FLIP, 1.0])
    return flip @ affine @ flip
