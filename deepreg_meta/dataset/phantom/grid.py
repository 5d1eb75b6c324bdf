"""The grids of the phantom: default sides, voxel coordinates, size."""

import numpy as np

MOVING_SHAPE = (48, 48, 44)
FIXED_SHAPE = (36, 44, 32)
SPACING_MM = 1.6  # of the default grids: a gland is then about 35 x 43 x 32 mm
_MIN_SIDE = 12


def voxel_grid(shape: tuple[int, ...], step: int = 1) -> np.ndarray:
    """
    List the voxel coordinates of a grid.

    :param shape: sides (d1, d2, d3).
    :param step: take every step-th voxel of each axis.
    :return: (d1, d2, d3, 3) float64, or fewer points when step > 1.
    """
    axes = [np.arange(0, n, step, dtype=float) for n in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def grid_scale(fixed_shape: tuple[int, ...]) -> float:
    """Relate the size of a fixed grid to that of the default one, which has 1."""
    return float(np.prod(np.divide(fixed_shape, FIXED_SHAPE)) ** (1 / 3))


def check_shape(name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """
    Check the sides of a grid that a caller asks for.

    :param name: of the parameter, for the message.
    :return: the sides as plain integers.
    :raises ValueError: when these are not three sides of at least 12 voxels.
    """
    sides = tuple(int(side) for side in shape)
    if len(sides) != 3 or min(sides) < _MIN_SIDE:
        raise ValueError(
            f"phantom {name}: expected three sides of at least {_MIN_SIDE} voxels, "
            f"got {shape}. There is none of 2-D images: name folders in dataset.dir."
        )
    return sides
