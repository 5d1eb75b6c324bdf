"""An animated picture of the motion: the frames, with arrows or colours over them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.evaluate.plane import Slice, choose_planes
from deepreg_meta.geometry.whole_file import whole_file
from deepreg_meta.sequence.frames import FrameSequence
from deepreg_meta.sequence.region import region_of
from deepreg_meta.sequence.scene import STYLES, Scene, Shot, Style
from deepreg_meta.sequence.track import TrackedPair

_PERCENTILE = 99.0  # of the speeds, that the scale ends at


@dataclass
class Film:
    """
    The frames in one plane, with the motion where it is known.

    Example::

        film = Film(sequence, region)
        for pair in track(sequence, registrar):
            film.add(pair)
        film.save("motion.gif")

    :param sequence: the frames.
    :param region: of `make_region`: motion is shown there.
    :param plane: axis and index of the plane shown; None is the one across the last
        axis, or of a volume the axial one, through the middle of the region.
    :param style: arrows, or speed as colour over the image.
    :param frame_ms: how long each frame is shown.
    """

    sequence: FrameSequence
    region: NDArray[np.bool_] | None = None
    plane: tuple[int, int] | None = None
    style: Style = "arrows"
    frame_ms: int = 120
    _motions: dict[int, NDArray] = field(default_factory=dict, init=False)
    _labels: dict[int, NDArray] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """:raises ValueError: for a plane that is not there, or another style."""
        if self.style not in STYLES:
            raise ValueError(
                f"--animation-style: expected one of {', '.join(STYLES)}, got "
                f"{self.style!r}."
            )
        self._slice = _choose_plane(self.sequence, self.region, self.plane)

    def add(self, pair: TrackedPair) -> None:
        """Keep what the plane shows of a pair's motion."""
        speed = pair.motion * self.sequence.per_interval
        self._motions[pair.fixed] = self._slice.take(speed)

    def add_label(self, index: int, label: NDArray) -> None:
        """Keep what it shows of the label of a frame, (d1, d2, d3)."""
        self._labels[index] = self._slice.take(label)

    def save(self, path: str | Path) -> Path:
        """
        Write the film as a GIF: every frame once, in the order of time.

        The frame on which no field lies is shown without motion. The same film gives
        the same file.

        :param path: ends in .gif.
        :return: the path.
        :raises ValueError: when there is no motion to show.
        """
        if not self._motions:
            raise ValueError(f"{path}: expected a registered pair to show, got none.")
        unit = self.sequence.speed_unit
        scene = Scene(self._slice, self._limit(), unit, self.style)
        pictures = [scene.draw(self.shot(i)) for i in range(len(self.sequence))]
        with whole_file(path) as part:
            pictures[0].save(
                part,
                format="GIF",
                save_all=True,
                append_images=pictures[1:],
                duration=self.frame_ms,
                loop=0,
                optimize=False,
                disposal=1,
            )
        return Path(path)

    def shot(self, index: int) -> Shot:
        """Return what the picture of a frame shows."""
        own = region_of(self.region, index)
        return Shot(
            image=self._slice.take(self.sequence.scaled(index)),
            caption=self._caption(index),
            motion=self._motions.get(index),
            inside=None if own is None else self._slice.take(own),
            label=self._labels.get(index),
        )

    def _caption(self, index: int) -> str:
        text = f"frame {index} / {len(self.sequence) - 1}"
        time = self.sequence.time_s(index)
        if time is not None:
            text += f"   {time:.3f} s"
        return text if index in self._motions else f"{text}   (no motion known)"

    def _limit(self) -> float:
        """Return the speed that the scale of all pictures ends at."""
        shots = (self.shot(index) for index in self._motions)
        values = np.concatenate([shot.speed(self._slice).ravel() for shot in shots])
        values = values[np.isfinite(values)]
        top = float(np.percentile(values, _PERCENTILE)) if len(values) else 0.0
        return round_up(top) if top > 0 else 1.0


def _choose_plane(
    sequence: FrameSequence,
    region: NDArray[np.bool_] | None,
    plane: tuple[int, int] | None,
) -> Slice:
    shape, sides = sequence.grid.shape, sequence.grid.spacing_mm
    if plane is None:
        label = None if region is None else np.asarray(region.any(axis=0), np.float32)
        return choose_planes(shape, sides, label, sequence.display)[0]
    axis, index = plane
    if not 0 <= axis < 3 or not 0 <= index < shape[axis]:
        raise ValueError(
            f"--plane: expected an axis from 0 to 2 and an index on it, of frames of "
            f"shape {shape}, got {axis} {index}."
        )
    widths = tuple(float(side) for side in sides)
    return Slice(axis, index, shape, widths, sequence.display)


def round_up(value: float) -> float:
    """Return the next of 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(value))
    steps = np.array([1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10]) * power
    return float(steps[np.searchsorted(steps, value * (1 - 1e-9))])
