"""Draw one panel of a case's page: a plane of an image and what lies on it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import AbstractPathEffect, withStroke
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from deepreg_meta.evaluate.metric import FOREGROUND
from deepreg_meta.evaluate.plane import Slice

Labels = Mapping[str, NDArray | None]  # keys of CONTOURS
Window = tuple[float, float]  # intensities of black and white

# Okabe and Ito's colours, safe for colour-blind readers; the style of the line tells
# them too: fixed solid, warped dashed, before dotted.
CONTOURS: dict[str, tuple[str, Literal["-", "--", ":"], float]] = {
    "fixed": ("#009E73", "-", 1.4),
    "before": ("#F0E442", ":", 1.3),
    "warped": ("#D55E00", "--", 1.4),
}
FRAME_COLOUR = "#56B4E9"
TILES = 6  # of the checkerboard, along the shorter side
_MAX_SAMPLE = 500_000  # voxels that a window is chosen from
# nearest where voxels are large, averaged where several fall into one pixel
_AS_IT_IS: dict[str, Any] = dict(interpolation="auto", aspect="equal")


def halo(width: float, colour: str = "black") -> list[AbstractPathEffect]:
    """Surround a line, so that it is seen on bright and on dark tissue."""
    return [withStroke(linewidth=width + 1.0, foreground=colour, alpha=0.55)]


class Neighbourhood(NamedTuple):
    """A part of a volume: a box of voxels, some of which count."""

    box: tuple[slice, ...]
    counts: NDArray[np.bool_]


def around(label: NDArray | None) -> Neighbourhood | None:
    """
    Find a label and two voxels around it; of large ones, not every voxel is looked at.

    :param label: (d1, d2, d3) in [0, 1].
    :return: None without a label, or for an empty one.
    """
    if label is None:
        return None
    inside = label >= FOREGROUND
    flat = np.any(inside, axis=2)
    profiles = [np.any(flat, axis=1), np.any(flat, axis=0)]
    profiles.append(np.any(np.any(inside, axis=0), axis=0))
    found = [np.flatnonzero(profile) for profile in profiles]
    if not len(found[0]):
        return None
    sides = [(max(own[0] - 2, 0), own[-1] + 3) for own in found]
    step = _step(int(np.prod([stop - start for start, stop in sides])))
    box = tuple(slice(start, stop, step) for start, stop in sides)
    return Neighbourhood(box, binary_dilation(inside[box], iterations=2))


def window(image: NDArray, near: Neighbourhood | None) -> Window:
    """
    Choose the intensities of black and white.

    Black leaves out the lowest 1 % of the image, white the highest 1 % of the gland's
    neighbourhood: bright fat elsewhere must not leave the gland in the dark, and what
    lies around it has to stay visible. Large volumes are sampled.

    :param image: (d1, d2, d3).
    :param near: of the gland; without one the whole image counts.
    :return: black and white, apart from each other.
    """
    every = tuple(slice(None, None, min(_step(image.size), n)) for n in image.shape)
    everywhere = _finite(image[every])
    close = everywhere if near is None else _finite(image[near.box][near.counts])
    low = float(np.percentile(everywhere, 1)) if everywhere.size else 0.0
    high = float(np.percentile(close, 99)) if close.size else low
    return (low, high) if high > low else (low, low + 1.0)


def _step(size: int) -> int:
    """Choose every n-th voxel of each axis so that few enough are looked at."""
    return max(1, round((size / _MAX_SAMPLE) ** (1 / 3)))


def _finite(values: NDArray) -> NDArray:
    return values[np.isfinite(values)]


def grey(plane: NDArray, limits: Window) -> NDArray:
    """Bring intensities to [0, 1], black to white."""
    scaled = (plane.astype(np.float32) - limits[0]) / (limits[1] - limits[0])
    return np.clip(scaled, 0, 1)


def show(
    axes: Axes, plane: Slice, image: NDArray, limits: Window, white: float = 0.0
) -> None:
    """
    Show a plane of an image in grey.

    :param axes: to draw in.
    :param plane: of the volume.
    :param image: (d1, d2, d3).
    :param limits: intensities of black and white.
    :param white: how far to fade towards white, in [0, 1], below drawings.
    """
    shown = grey(plane.take(image), limits)
    axes.imshow(
        white + (1 - white) * shown,
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=plane.extent,
        **_AS_IT_IS,
    )


def draw_letters(axes: Axes, plane: Slice) -> None:
    """Write at the sides where they lie in the patient, if that is known."""
    places = {
        "left": (0.02, 0.5, "left", "center"),
        "right": (0.98, 0.5, "right", "center"),
        "top": (0.5, 0.985, "center", "top"),
        "bottom": (0.5, 0.015, "center", "bottom"),
    }
    for side, letter in plane.letters.items():
        x, y, horizontal, vertical = places[side]
        axes.text(
            x,
            y,
            letter,
            transform=axes.transAxes,
            ha=horizontal,
            va=vertical,
            fontsize=8,
            fontweight="bold",
            color="white",
            path_effects=halo(1.0),
        )


def draw_frames(
    axes: Axes, plane: Slice, frames: Sequence[int], frame_axis: int | None
) -> None:
    """Mark the lines in which the sampled frames cut the plane."""
    if not frames or frame_axis is None or frame_axis == plane.axis:
        return
    draw = axes.axhline if frame_axis == plane.row_axis else axes.axvline
    for frame in frames:
        draw(frame * plane.spacing[frame_axis], color=FRAME_COLOUR, lw=0.6, alpha=0.7)


def draw_cross(axes: Axes, plane: Slice, planes: list[Slice]) -> None:
    """Dot the lines in which the page's other planes cut this one."""
    for other in planes:
        if other.axis != plane.axis:
            draw = axes.axhline if other.axis == plane.row_axis else axes.axvline
            position = other.index * plane.spacing[other.axis]
            draw(position, color="white", lw=0.5, ls=(0, (1, 3)), alpha=0.6)


def draw_contours(axes: Axes, plane: Slice, labels: Labels, **style: Any) -> None:
    """
    Draw the outlines of the labels that the plane shows.

    :param axes: to draw in.
    :param plane: of the volume.
    :param labels: keys of CONTOURS.
    :param style: instead of a label's own `colors`, `linestyles`, `linewidths`.
    """
    rows, columns = (
        np.concatenate([[x[0] - dx], x, [x[-1] + dx]])
        for x, dx in zip(
            plane.coordinates(),
            (plane.spacing[plane.row_axis], plane.spacing[plane.column_axis]),
            strict=True,
        )
    )
    for name, (colour, line, width) in CONTOURS.items():
        label = labels.get(name)
        # a border of background closes the contour of a label that leaves the image
        cut = None if label is None else np.pad(plane.take(label), 1)
        if cut is None or not cut.max() > FOREGROUND:
            continue  # contour() warns where there is no line to draw
        own: dict[str, Any] = dict(colors=colour, linestyles=line, linewidths=width)
        outline = axes.contour(
            columns, rows, cut.astype(np.float32), levels=[FOREGROUND], **own | style
        )
        if not style:
            outline.set_path_effects(halo(width))


def draw_checkerboard(
    axes: Axes,
    plane: Slice,
    images: tuple[NDArray, NDArray],
    limits: tuple[Window, Window],
) -> None:
    """Alternate square tiles of two images, the first one at the first voxel."""
    first, second = (
        grey(plane.take(image), pair)
        for image, pair in zip(images, limits, strict=True)
    )
    tile = min(plane.size) / TILES
    rows, columns = plane.coordinates()
    odd = (rows[:, None] // tile + columns[None] // tile) % 2 == 1
    board = np.where(odd, second, first)
    axes.imshow(board, cmap="gray", vmin=0, vmax=1, extent=plane.extent, **_AS_IT_IS)
