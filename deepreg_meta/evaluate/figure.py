"""
Draw one registration on one page: what a reader needs to trust it, or not to.

Matplotlib's objects are used directly, without pyplot: no global state, no window, and
nothing to close, so that hundreds of cases can be drawn in one process.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike, NDArray

from deepreg_meta.evaluate import field_panel as field
from deepreg_meta.evaluate import panel
from deepreg_meta.evaluate.figure_page import (
    draw_bars,
    draw_legend,
    finish_row,
    new_page,
    palette,
)
from deepreg_meta.evaluate.picture import save_figure
from deepreg_meta.evaluate.plane import Slice, check_orientation, choose_planes

DPI = 100


class _Case(NamedTuple):
    """What is drawn, all of it on the fixed grid."""

    images: tuple[NDArray, NDArray, NDArray]  # fixed, moving aligned, warped
    labels: panel.Labels
    ddf: NDArray
    frames: tuple[int, ...]
    frame_axis: int | None


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
    frames_alone: bool = False,
    title: str = "",
    unit: str = "mm",
    orientation: str | None = None,
) -> Path:
    """
    Draw a case on one page: a row per plane, planes through the fixed label.

    Columns: the fixed image, the moving one after the initial alignment alone, the
    warped one; the contours of the labels on the fixed image; a checkerboard of fixed
    and warped; the length of the displacement; the deformed grid over the fixed image;
    the Jacobian determinant, folds in black. All on the fixed grid, of shape
    (f1, f2, f3).

    With an orientation the planes are axial, coronal and sagittal, shown as
    radiologists do: the patient's right at the left of the picture, anterior up in
    axial, superior up in the others, anterior at the left in sagittal. Without one
    array axes are named, for nothing can be assumed of them. An image of one slice has
    one plane.

    :param path: target, PNG; its folder is made.
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
    :param frames_alone: the fixed image is not known elsewhere: the plane across
        `frame_axis` is the nearest frame.
    :param title: of the page.
    :param unit: "mm", or "voxels" where the spacing is nominal.
    :param orientation: where the array axes point, such as "RAS"; of oblique axes the
        nearest one. None where it is not known; "picture" for an image of one slice
        whose axis 0 runs to the right and axis 1 down.
    :return: the path.
    :raises ValueError: when a volume has another shape than the fixed image, frames
        come without their axis, or the orientation is none.
    """
    labels = (fixed_label, moving_label_aligned, warped_label)
    case = _Case(
        (np.asarray(fixed_image), np.asarray(moving_image_aligned),
         np.asarray(warped_image)),
        {
            name: None if label is None else np.asarray(label)
            for name, label in zip(panel.CONTOURS, labels, strict=True)
        },
        np.asarray(ddf),
        () if frames is None else tuple(int(frame) for frame in frames),
        frame_axis,
    )  # fmt: skip
    _check(case, orientation)
    planes = choose_planes(
        case.images[0].shape, spacing_mm, case.labels["fixed"], orientation
    )
    if frames_alone and case.frames:
        planes = [
            replace(plane, index=min(case.frames, key=lambda i: abs(i - plane.index)))
            if plane.axis == frame_axis
            else plane
            for plane in planes
        ]
    figure, grid, bars = new_page(planes, title)
    _draw_images(grid, planes, case)
    colours = _draw_field(grid, planes, case)
    for row, plane in zip(grid, planes, strict=True):
        finish_row(row, plane, unit)
    draw_bars(bars, colours, unit)
    shown = [name for name, label in case.labels.items() if label is not None]
    draw_legend(figure, shown, bool(case.frames))
    return save_figure(figure, path, dpi=DPI, palette=palette())


def _check(case: _Case, orientation: str | None) -> None:
    check_orientation(orientation)
    shape = case.images[0].shape
    named: dict[str, NDArray] = {
        "moving_image_aligned": case.images[1],
        "warped_image": case.images[2],
    }
    named |= {f"label {name}": v for name, v in case.labels.items() if v is not None}
    for name, volume in named.items():
        if volume.shape != shape or len(shape) != 3:
            raise ValueError(
                f"case_figure: expected {name} on the fixed grid, three axes, "
                f"got {volume.shape} for a fixed image {shape}."
            )
    if case.ddf.shape != (*shape, 3):
        raise ValueError(
            f"case_figure: expected ddf {(*shape, 3)}, got {case.ddf.shape}."
        )
    if case.frames and case.frame_axis not in (0, 1, 2):
        raise ValueError(
            "case_figure: expected frame_axis 0, 1 or 2 with frames, "
            f"got {case.frame_axis}."
        )


def _draw_images(grid: list[list[Axes]], planes: list[Slice], case: _Case) -> None:
    near = panel.around(case.labels["fixed"])
    fixed, moving = (panel.window(image, near) for image in case.images[:2])
    # one window before and after: brightness must not change by registration
    windows = (fixed, moving, moving)
    for row, plane in zip(grid, planes, strict=True):
        for axes, image, limits in zip(row, case.images, windows, strict=False):
            panel.show(axes, plane, image, limits)
            panel.draw_letters(axes, plane)
        panel.draw_frames(row[0], plane, case.frames, case.frame_axis)
        panel.show(row[3], plane, case.images[0], fixed)
        panel.draw_cross(row[3], plane, planes)
        panel.draw_contours(row[3], plane, case.labels)
        panel.draw_letters(row[3], plane)
        pair = case.images[0], case.images[2]
        panel.draw_checkerboard(row[4], plane, pair, (fixed, moving))
        panel.show(row[6], plane, case.images[0], fixed, white=0.72)


def _draw_field(
    grid: list[list[Axes]], planes: list[Slice], case: _Case
) -> tuple[AxesImage, AxesImage]:
    """Draw the last three columns; the colours mean the same in every row."""
    lengths = [field.magnitude_of(plane, case.ddf) for plane in planes]
    determinants = [field.determinant_of(plane, case.ddf) for plane in planes]
    limit, end = field.largest(lengths), field.jacobian_end(determinants)
    fixed = {"fixed": case.labels["fixed"]}
    for row, plane, length, determinant in zip(
        grid, planes, lengths, determinants, strict=True
    ):
        magnitude = field.draw_magnitude(row[5], plane, length, limit)
        field.draw_grid(row[6], plane, case.ddf)
        jacobian = field.draw_jacobian(row[7], plane, determinant, end)
        for axes, colour in ((row[5], "white"), (row[6], "black"), (row[7], "black")):
            style = dict(colors=colour, linewidths=0.9, linestyles="-")
            panel.draw_contours(axes, plane, fixed, **style)
    return magnitude, jacobian
