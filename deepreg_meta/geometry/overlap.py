"""Check that two images meet."""

import numpy as np

from deepreg_meta.geometry.affine import GeometryError
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.transform import Transform


def check_overlap(
    source: Grid, target: Grid, transform: Transform, names: tuple[str, str]
) -> None:
    """
    Check that some voxel of a grid is led into an image.

    :param source: grid of the image that is sampled.
    :param target: grid it is brought to.
    :param transform: space of `target` to that of `source`.
    :param names: of source and target, for the message.
    :raises GeometryError: when none is.
    """
    for part, voxels in target.slabs():
        if source.contains(transform.map_slab(target, part, voxels)).any():
            return
    led = transform.map_points(target.centre)
    apart = float(np.linalg.norm(led - source.centre))
    raise GeometryError(
        f"{names[0]} and {names[1]} do not overlap: the centre of {names[1]}, "
        f"{_shown(target.centre)}, is led to {_shown(led)}, {apart:.1f} mm from the "
        f"centre of {names[0]}, {_shown(source.centre)} (mm, RAS). Check that the "
        "transform belongs to these images and leads from the fixed to the moving one, "
        "or align their centres of mass first (mass)."
    )


def _shown(point: np.ndarray) -> str:
    return f"({', '.join(f'{value:.1f}' for value in point)})"
