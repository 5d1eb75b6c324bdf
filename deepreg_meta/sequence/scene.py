"""Draw one frame of an animated picture: the image, its motion, a scale."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from deepreg_meta.evaluate.panel import draw_letters
from deepreg_meta.evaluate.plane import Slice

Style = Literal["arrows", "speed"]
STYLES: tuple[Style, ...] = ("arrows", "speed")
COLOURS = "plasma"  # even steps in lightness; its colours are none of the image's greys
LABEL_COLOURS = ("#56B4E9", "#009E73", "#CC79A7")
_DPI = 100
_PIXELS = 480  # of the longer side of the image
_LEAST = 300  # pixels of its width, for the words above it
_MARGINS = dict(left=10, right=105, top=34, bottom=10)  # pixels
_ARROWS = 26  # along the longer side
_REACH = 2.0  # of the arrow of the largest speed, in distances between arrows
_OPACITY = 0.6  # of colours over the image


@dataclass(frozen=True, eq=False)
class Shot:
    """
    What one picture shows of a plane.

    :param image: (rows, columns) in [0, 1].
    :param caption: above it.
    :param motion: velocity in the steps of the array axes, (rows, columns, 3), or None.
    :param inside: where the motion is shown, (rows, columns).
    :param label: whose outlines are drawn, (rows, columns), or None.
    """

    image: NDArray
    caption: str
    motion: NDArray | None = None
    inside: NDArray[np.bool_] | None = None
    label: NDArray | None = None

    def speed(self, plane: Slice) -> NDArray[np.float64]:
        """Return the speed in the plane's unit, nan where none is shown."""
        if self.motion is None:
            return np.full(self.image.shape, np.nan)
        lengths = np.linalg.norm(self.motion * np.asarray(plane.spacing), axis=-1)
        return (
            lengths if self.inside is None else np.where(self.inside, lengths, np.nan)
        )


class Scene:
    """
    Draws shots of one plane with one scale.

    :param plane: of the frames.
    :param limit: speed at the end of the scale.
    :param unit: of speeds.
    :param style: arrows, or the speed in colours over the image.
    """

    def __init__(self, plane: Slice, limit: float, unit: str, style: Style) -> None:
        self.plane, self.limit, self.unit, self.style = plane, limit, unit, style
        height, width = plane.size
        unit_px = _PIXELS / max(height, width)
        size = np.array([max(width * unit_px, _LEAST), height * unit_px])
        corner = np.array([_MARGINS["left"], _MARGINS["bottom"]])
        total = size + corner + [_MARGINS["right"], _MARGINS["top"]]
        self._total = total  # pixels, across and down
        self._box = (*(corner / total), *(size / total))
        self._figure = Figure(figsize=total / _DPI, dpi=_DPI, facecolor="black")
        self._canvas = FigureCanvasAgg(self._figure)
        self._norm = Normalize(0, limit)

    def draw(self, shot: Shot) -> Image.Image:
        """
        Draw a shot.

        :param shot: of the plane.
        :return: a picture with the palette that all share.
        """
        self._figure.clear()
        axes = self._figure.add_axes(self._box)
        axes.set_axis_off()
        self._show(axes, shot.image, cmap="gray", vmin=0, vmax=1,
                   interpolation="bilinear")  # fmt: skip
        if shot.motion is not None and self.style == "arrows":
            self._arrows(axes, shot, shot.motion)
        elif shot.motion is not None:
            self._speeds(axes, shot)
        if shot.label is not None:
            self._outlines(axes, shot.label)
        draw_letters(axes, self.plane)
        axes.set(**self.plane.limits)
        self._scale()
        self._figure.text(
            self._box[0], 1 - 9 / self._total[1], shot.caption,
            color="white", fontsize=9, va="top",
        )  # fmt: skip
        self._canvas.draw()
        pixels = np.asarray(self._canvas.buffer_rgba())[..., :3]
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        return picture.quantize(palette=palette(self.style), dither=Image.Dither.NONE)

    def _show(self, axes: Axes, values: NDArray, **style: object) -> None:
        axes.imshow(values, extent=self.plane.extent, aspect="equal", **style)  # type: ignore[arg-type]

    def _arrows(self, axes: Axes, shot: Shot, motion: NDArray) -> None:
        """Draw arrows on a raster: their length in the plane, their colour in space."""
        plane = self.plane
        raster = max(plane.size) / _ARROWS
        picked = np.ix_(
            *(
                _nearest(length, raster, own)
                for length, own in zip(plane.size, plane.coordinates(), strict=True)
            )
        )
        y, x = np.meshgrid(*plane.coordinates(), indexing="ij")
        speed = shot.speed(plane)[picked]
        shown = np.isfinite(speed)
        vectors = (motion * np.asarray(plane.spacing))[picked][shown]
        axes.quiver(
            x[picked][shown],
            y[picked][shown],
            vectors[:, plane.column_axis],
            vectors[:, plane.row_axis],
            speed[shown],
            cmap=COLOURS,
            norm=self._norm,
            angles="xy",
            scale_units="xy",
            scale=self.limit / (_REACH * raster),
            units="dots",
            width=2.4,
            headwidth=3.6,
            headlength=4.2,
            headaxislength=3.8,
            minlength=0.6,
            edgecolor="black",  # or yellow would not show on white
            linewidth=0.4,
        )

    def _speeds(self, axes: Axes, shot: Shot) -> None:
        """Lay the speed over the image."""
        self._show(
            axes,
            np.ma.masked_invalid(shot.speed(self.plane)),
            cmap=COLOURS,
            norm=self._norm,
            alpha=_OPACITY,
            interpolation="nearest",
        )

    def _outlines(self, axes: Axes, label: NDArray) -> None:
        rows, columns = self.plane.coordinates()
        values = [value for value in np.unique(label) if value]
        for number, value in enumerate(values):
            colour = LABEL_COLOURS[number % len(LABEL_COLOURS)]
            axes.contour(
                columns, rows, label == value, [0.5], colors=colour, linewidths=1.3
            )

    def _scale(self) -> None:
        """Draw the scale of the speeds beside the image."""
        left, bottom, width, height = self._box
        share = min(0.6, height)
        place = (left + width + 14 / self._total[0], bottom + (height - share) / 2,
                 13 / self._total[0], share)  # fmt: skip
        bar = self._figure.add_axes(place)
        mapped = ScalarMappable(self._norm, COLOURS)
        colours = self._figure.colorbar(mapped, cax=bar)
        colours.set_ticks(np.linspace(0, self.limit, 4).tolist())
        colours.ax.tick_params(colors="white", labelsize=8, length=2)
        colours.ax.set_title(self.unit, color="white", fontsize=8, loc="left", pad=5)
        colours.ax.yaxis.set_major_formatter("{x:.3g}")


def _nearest(length: float, raster: float, places: NDArray) -> NDArray[np.intp]:
    """Choose the voxels nearest to the points of a raster in the middle of an axis."""
    number = max(int(length / raster), 1)
    start = places[0] + (places[-1] - places[0] - (number - 1) * raster) / 2
    wanted = start + raster * np.arange(number)
    return np.unique(np.abs(places[None] - wanted[:, None]).argmin(axis=1))


@cache
def palette(style: Style) -> Image.Image:
    """
    Return the colours of all pictures: greys, those of labels, and those of the scale,
    for arrows at their edges too, for speeds over each of some greys.

    One that Pillow would choose for itself serves the many greys, differs from picture
    to picture, and turns the few colours that matter into others.

    :param style: of the pictures.
    """
    labels = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)]
                       for colour in LABEL_COLOURS])  # fmt: skip
    parts = [labels, 0.6 * labels + 20]
    if style == "arrows":
        scale = _scale_colours(44)
        parts += [_greys(116), scale, 0.7 * scale + 20, 0.45 * scale + 45]
    else:
        scale = _scale_colours(24)
        parts += [_greys(50), scale]
        parts += [(1 - _OPACITY) * grey + _OPACITY * scale for grey in _greys(7)]
    colours = np.clip(np.rint(np.concatenate(parts)), 0, 255).astype(np.uint8)
    image = Image.new("P", (1, 1))
    image.putpalette(colours.ravel().tolist())
    return image


def _greys(number: int) -> NDArray[np.float64]:
    return np.linspace(0, 255, number)[:, None] * np.ones(3)


def _scale_colours(number: int) -> NDArray[np.float64]:
    return 255 * colormaps[COLOURS](np.linspace(0, 1, number))[:, :3]
