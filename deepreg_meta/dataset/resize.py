"""
Bring a volume to the sides that a network wants, and its affine with it.
"""

import numpy as np


def resize_linear(volume: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """
    Resize by linear interpolation between voxel centres, as DeepReg's loader does.

    The volume's outer faces stay where they are (half-pixel centres, no smoothing
    before the image is made smaller); beyond the outermost centres it is constant.

    :param volume: shape = (..., d1, d2, d3), float.
    :param shape: (out_d1, out_d2, out_d3).
    :return: shape = (..., out_d1, out_d2, out_d3), the dtype of `volume`.
    """
    for axis, num_out in zip((-3, -2, -1), shape, strict=True):
        num_in = volume.shape[axis]
        if num_in == num_out:
            continue
        centres = (np.arange(num_out) + 0.5) * num_in / num_out - 0.5
        low = np.floor(centres).astype(int)
        weight = (centres - low).astype(volume.dtype)
        weight = weight.reshape(-1, *[1] * (-1 - axis))
        before = volume.take(np.clip(low, 0, num_in - 1), axis)
        after = volume.take(np.clip(low + 1, 0, num_in - 1), axis)
        volume = before * (1 - weight) + after * weight
    return volume


def resize_affine(
    affine: np.ndarray, old: tuple[int, int, int], new: tuple[int, int, int]
) -> np.ndarray:
    """
    Give the affine of a resized volume, so that every point keeps its place in space.

    :param affine: (4, 4), voxel indices of the old grid to world coordinates.
    :param old: sides of the old grid.
    :param new: sides of the new grid.
    :return: (4, 4), voxel indices of the new grid to world coordinates.
    """
    scale = np.asarray(old, float) / np.asarray(new, float)
    to_old = np.diag([*scale, 1.0])
    to_old[:3, 3] = 0.5 * scale - 0.5  # centre of voxel 0, see `resize_linear`
    return affine @ to_old


def voxel_sides(affine: np.ndarray) -> np.ndarray:
    """
    Measure the voxels of a grid.

    :param affine: (4, 4), voxel indices to world coordinates.
    :return: (3,), lengths of the voxel's sides in the unit of the world.
    """
    return np.linalg.norm(affine[:3, :3], axis=0)
