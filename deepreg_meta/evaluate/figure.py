"""
Draw one registration on one page: what a reader needs to trust it, or not to.

Matplotlib's objects are used directly, without pyplot: no global state, no window, and
nothing to close, so that hundreds of cases can be drawn in one process.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from deepreg_meta.evaluate.panel import (
    CONTOURS,
    FRAME_COLOUR,
    Labels,
    Slice,
    around,
    choose_planes,
    draw_checkerboard,
    draw_contours,
    draw_cross,
    draw_displacement,
    draw_frames,
    label_axes,
    show,
    window,
)

COLUMN_TITLES = (
    "fixed",
    "moving, aligned",
    "warped",
    "contours",
    "checkerboard",
    "displaced grid x + u(x)",
)
PANEL_INCH = 2.3


def case_figure(
    path: str | Path,
    *,
    fixed_image: ArrayLike,
    moving_image_aligned: ArrayLike,
    warped_image: ArrayLike,
    ddf: ArrayLike,
    spacing_mm: Sequence[float] | NDArray,
    fixed_label: ArrayLike | None = None,
    moving_label_aligned: ArrayLike | None = None,
    warped_label: ArrayLike | None = None,
    frames: Sequence[int] | NDArray | None = None,
    frame_axis: int | None = None,
    title: str = "",
    unit: str = "mm",
) -> Path:
    """
    Draw a case on one page (PNG): a row per plane, planes through the fixed gland.

    Columns: the fixed image, the moving one after the initial alignment alone, the
    warped one; the contours of the labels on the fixed image; a checkerboard of fixed
    and warped; the displacement as a deformed grid over its magnitude. All on the
    fixed grid, of shape (f1, f2, f3); array axes are named, as no orientation can be
    assumed of them.

    :param path: target; its folder is made.
    :param fixed_image: any range of intensities; windowed around the gland.
    :param moving_image_aligned: resampled on the fixed grid.
    :param warped_image: the same, after registration.
    :param ddf: (f1, f2, f3, 3), in voxels of the fixed grid.
    :param spacing_mm: (3,) voxel size of the fixed image.
    :param fixed_label: in [0, 1]; the planes pass through its centroid, or through the
        centre of the grid where it is None or empty.
    :param moving_label_aligned: in [0, 1]; drawn as "before".
    :param warped_label: in [0, 1].
    :param frames: indices of the sampled frames along `frame_axis`, marked by lines.
    :param frame_axis: 0, 1 or 2.
    :param title: of the page.
    :param unit: "mm", or "voxels" where the spacing is nominal.
    :return: the path.
    :raises ValueError: when a volume has another shape than the fixed image, or frames
        come without their axis.
    """
    images = [
        np.asarray(image, dtype=np.float32)
        for image in (fixed_image, moving_image_aligned, warped_image)
    ]
    labels = {
        name: None if label is None else np.asarray(label, dtype=np.float32)
        for name, label in zip(
            CONTOURS, (fixed_label, moving_label_aligned, warped_label), strict=True
        )
    }
    ddf = np.asarray(ddf, dtype=np.float32)
    _check(images, labels, ddf, frames, frame_axis)
    lines = (() if frames is None else tuple(frames), frame_axis)
    planes = choose_planes(images[0].shape, spacing_mm, labels["fixed"])
    magnitude = np.linalg.norm(ddf * np.asarray(spacing_mm, np.float32), axis=-1)
    shown = np.concatenate([plane.take(magnitude).ravel() for plane in planes])
    limit = max(shown[np.isfinite(shown)], default=0.0) or 1.0

    figure, grid = _page(planes, title)
    gland = around(labels["fixed"], images[0].shape)
    fixed_window, moving_window = (window(image, gland) for image in images[:2])
    # one window before and after: brightness must not change by registration
    windows = (fixed_window, moving_window, moving_window)
    for row, plane in enumerate(planes):
        for column in range(3):
            show(grid[row][column], plane, images[column], windows[column])
        draw_frames(grid[row][0], plane, *lines)
        show(grid[row][3], plane, images[0], windows[0])
        draw_cross(grid[row][3], plane, planes)
        draw_contours(grid[row][3], plane, labels)
        draw_checkerboard(
            grid[row][4], plane, (images[0], images[2]), (windows[0], windows[2])
        )
        colours = draw_displacement(grid[row][5], plane, ddf, magnitude, limit)
        label_axes(grid[row], plane, unit)
    _draw_legend(figure, labels, bool(lines[0]))
    bar = figure.colorbar(colours, cax=grid[-1][6], label=f"displacement ({unit})")
    bar.ax.spines["outline"].set_linewidth(0.5)
    return save_figure(figure, path)


def save_figure(figure: Figure, path: str | Path, dpi: int = 130) -> Path:
    """
    Write a figure as PNG at once, by a rename, and let go of it.

    :param figure: drawn without pyplot.
    :param path: target; its folder is made.
    :param dpi: dots per inch.
    :return: the path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        FigureCanvasAgg(figure).print_figure(temporary, dpi=dpi, format="png")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _check(
    images: Sequence[NDArray],
    labels: Labels,
    ddf: NDArray,
    frames: Sequence[int] | NDArray | None,
    frame_axis: int | None,
) -> None:
    shape = images[0].shape
    named = {"moving_image_aligned": images[1], "warped_image": images[2]}
    named |= {f"label {name}": v for name, v in labels.items() if v is not None}
    for name, volume in named.items():
        if volume.shape != shape or len(shape) != 3:
            raise ValueError(
                f"case_figure: expected {name} on the fixed grid, three axes, "
                f"got {volume.shape} for a fixed image {shape}."
            )
    if ddf.shape != (*shape, 3):
        raise ValueError(f"case_figure: expected ddf {(*shape, 3)}, got {ddf.shape}.")
    if frames is not None and frame_axis not in (0, 1, 2):
        raise ValueError(
            f"case_figure: expected frame_axis 0, 1 or 2 with frames, got {frame_axis}."
        )


def _page(planes: list[Slice], title: str) -> tuple[Figure, list[list[Axes]]]:
    """Lay out the panels so that one length is as long in every panel of the page."""
    inch = PANEL_INCH / max(plane.size[1] for plane in planes)
    # a plane far higher than wide, or flatter than its tick labels, keeps to the page
    heights = [float(np.clip(plane.size[0] * inch, 0.8, 5.0)) for plane in planes]
    top, bottom, gap = 0.75, 0.95, 0.42
    total = sum(heights) + gap * (len(planes) - 1) + top + bottom
    figure = Figure(figsize=(6 * 1.07 * PANEL_INCH + 1.9, total), facecolor="white")
    spec = figure.add_gridspec(
        len(planes),
        7,
        width_ratios=[1] * 6 + [0.06],
        height_ratios=heights,
        left=0.06,
        right=0.945,
        bottom=bottom / total,
        top=1 - top / total,
        wspace=0.07,
        hspace=gap / float(np.mean(heights)),
    )
    grid = [
        [figure.add_subplot(spec[row, column]) for column in range(6)]
        for row in range(len(planes))
    ]
    grid[-1].append(figure.add_subplot(spec[:, 6]))
    for axes, name in zip(grid[0], COLUMN_TITLES, strict=False):
        axes.set_title(name, fontsize=10)
    figure.suptitle(title, fontsize=12, y=1 - 0.15 / total, va="top")
    return figure, grid


def _draw_legend(figure: Figure, labels: Labels, has_frames: bool) -> None:
    names = {
        "fixed": "fixed label",
        "before": "moving label before registration",
        "warped": "moving label warped",
    }
    handles = [
        Line2D([], [], color=colour, linestyle=style, lw=2, label=names[name])
        for name, (colour, style) in CONTOURS.items()
        if labels[name] is not None
    ]
    if has_frames:
        handles.append(Line2D([], [], color=FRAME_COLOUR, label="frames seen"))
    if handles:
        legend = figure.legend(
            handles=handles, loc="lower center", ncols=4, fontsize=9, frameon=True
        )
        legend.get_frame().set_facecolor("#333333")
        for text in legend.get_texts():
            text.set_color("white")
