"""The region of interest: from masks or intensities, widened by dilation."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt

from deepreg_meta.sequence.frames import FrameSequence
from deepreg_meta.sequence.read import Axes, read_stack

PAPER_RANGE = (0.005, 0.995)  # Zhu et al. 2021, section III.A
_ROUNDING = 1e-9  # of distances that are sums of decimal voxel sides


def intensity_region(
    sequence: FrameSequence, low: float = PAPER_RANGE[0], high: float = PAPER_RANGE[1]
) -> NDArray[np.bool_]:
    """
    Take the voxels whose intensity lies in a range, frame by frame.

    Source: Zhu et al. 2021, section III.A, whose intensities are scaled to [0, 1] too.

    :param sequence: the frames.
    :param low: least intensity that counts, of [0, 1].
    :param high: largest one.
    :return: (T, d1, d2, d3).
    :raises ValueError: for another range, or a frame without any voxel in it.
    """
    if not 0 <= low < high <= 1:
        raise ValueError(
            f"--intensity-range: expected 0 <= LOW < HIGH <= 1, got {low:g} {high:g}."
        )
    frames = (sequence.scaled(index) for index in range(len(sequence)))
    region = np.stack([(low <= frame) & (frame <= high) for frame in frames])
    _check_not_empty(region, f"--intensity-range {low:g} {high:g}")
    return region


def dilate(
    mask: ArrayLike, radius: float, spacing_mm: Sequence[float] | NDArray | None = None
) -> NDArray[np.bool_]:
    """
    Widen a mask by a ball, of an image by a disc.

    Equal to a morphological dilation whose structuring element holds all voxels within
    the radius of its middle, at a cost that does not grow with the radius.

    :param mask: (d1, d2, d3); nothing is widened along a singleton axis.
    :param radius: >= 0, in voxels, or in mm where the spacing is given.
    :param spacing_mm: (3,), voxel sides.
    :return: (d1, d2, d3).
    :raises ValueError: for a negative radius, or one that is no number.
    """
    inside = np.asarray(mask, dtype=bool)
    if not 0 <= radius < float("inf"):
        raise ValueError(f"--dilate: expected a radius >= 0, got {radius:g}.")
    if radius == 0 or not inside.any():
        return inside.copy()
    sides = np.ones(3) if spacing_mm is None else np.asarray(spacing_mm, float)
    axes = [axis for axis in range(3) if inside.shape[axis] > 1]
    if not axes:
        return inside.copy()
    # SciPy would measure along singleton axes as well, which changes nothing but time
    plane = np.squeeze(inside, axis=tuple(a for a in range(3) if a not in axes))
    distance = distance_transform_edt(~plane, sampling=sides[axes])
    return (distance <= radius * (1 + _ROUNDING)).reshape(inside.shape)


def read_radius(text: str) -> tuple[float, bool]:
    """
    Read `--dilate`.

    :param text: `16` in voxels, `4.5mm` in mm.
    :return: the radius, and whether it is in mm.
    :raises ValueError: for anything else.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e-?\d+)?)\s*(mm)?\s*", text)
    try:
        radius = float(match[1]) if match else -1.0
    except ValueError:
        radius = -1.0
    if match is None or not 0 <= radius < float("inf"):
        raise ValueError(
            f"--dilate: expected a radius >= 0 in voxels (16) or in mm (4.5mm), got "
            f"{text!r}."
        )
    return radius, match[2] is not None


def read_masks(
    paths: str | Path | Sequence[str | Path],
    sequence: FrameSequence,
    axes: Axes | None = None,
) -> NDArray[np.bool_]:
    """
    Read masks: all voxels that are not 0 count.

    :param paths: one file for all frames; or one mask for each frame, as a file with an
        axis of time, a folder, or files.
    :param sequence: the frames, on whose grid the masks lie.
    :param axes: as for `read_sequence`; a mask of two axes holds for all frames.
    :return: (T, d1, d2, d3), or (1, d1, d2, d3) for all frames.
    :raises FileNotFoundError: when something is not there.
    :raises ValueError: for masks on another grid, another number of them, or an empty
        one.
    """
    flag = "--mask"
    try:
        stack = read_stack(paths, axes, flag, allows_one=True)
    except ValueError:
        if axes is None:
            raise
        stack = read_stack(paths, None, flag, allows_one=True)  # of two axes
    where = f"{flag}: {stack.paths[0]}"
    sequence.check_same_place(stack.paths[0], stack.images.shape[1:])
    if len(stack.images) not in (1, len(sequence)):
        raise ValueError(
            f"{where}: expected one mask for all frames or one for each of "
            f"{len(sequence)}, got {len(stack.images)}."
        )
    region = stack.images != 0
    _check_not_empty(region, where)
    return region


def make_region(
    sequence: FrameSequence,
    masks: NDArray[np.bool_] | None = None,
    intensities: tuple[float, float] | None = None,
    radius: float = 0.0,
    in_mm: bool = False,
) -> NDArray[np.bool_] | None:
    """
    Build the region of interest of each frame.

    :param sequence: the frames.
    :param masks: of `read_masks`, or None.
    :param intensities: range of `intensity_region`, or None; with masks too, both have
        to hold.
    :param radius: of the dilation afterwards.
    :param in_mm: whether the radius is in mm.
    :return: (T, d1, d2, d3) or (1, d1, d2, d3); None where nothing is restricted.
    :raises ValueError: for a region that is empty, a dilation of none, or one in mm of
        frames whose spacing is not known.
    """
    regions = [] if masks is None else [masks]
    if intensities is not None:
        regions.append(intensity_region(sequence, *intensities))
    if not regions:
        if radius > 0:
            raise ValueError(
                "--dilate: expected a region to widen, got none. Give --mask or "
                "--intensity-range too."
            )
        return None
    if in_mm and not sequence.has_spacing:
        raise ValueError(
            "--dilate: expected a radius in voxels for frames that state no spacing, "
            f"got {radius:g} mm."
        )
    region = regions[0] if len(regions) == 1 else regions[0] & regions[1]
    _check_not_empty(region, "--mask and --intensity-range together")
    spacing = sequence.grid.spacing_mm if in_mm else None
    return np.stack([dilate(mask, radius, spacing) for mask in region])


def region_of(region: NDArray[np.bool_] | None, index: int) -> NDArray[np.bool_] | None:
    """Return the region of one frame of `make_region`, (d1, d2, d3), or None."""
    if region is None:
        return None
    return region[0] if len(region) == 1 else region[index]


def _check_not_empty(region: NDArray[np.bool_], where: str) -> None:
    empty = [index for index, mask in enumerate(region) if not mask.any()]
    if empty:
        raise ValueError(f"{where}: expected voxels in it, got none in {empty[0]}.")
