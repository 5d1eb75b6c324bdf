"""A sequence of frames on one grid, and which of them are registered to each other."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.dataset.place_check import check_same_place
from deepreg_meta.dataset.stored import Place, read_place
from deepreg_meta.evaluate.plane import PICTURE
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.picture_file import Layout

Direction = Literal["backward", "forward"]
DIRECTIONS: tuple[Direction, ...] = ("backward", "forward")
Unit = Literal["mm", "voxels"]


@dataclass(frozen=True, eq=False)
class Frame:
    """
    One frame, as a registrar is given it.

    :param index: in the sequence, from 0.
    :param image: (d1, d2, d3), as stored; a 2-D image has a last side of 1.
    :param grid: of the image.
    :param layout: of its file.
    :param path: file that holds this frame alone, or None.
    :param mask: (d1, d2, d3), where the image counts; None where all of it does.
    :param has_orientation: whether the file states where its axes point.
    """

    index: int
    image: NDArray
    grid: Grid
    layout: Layout = "volume"
    path: Path | None = None
    mask: NDArray[np.bool_] | None = None
    has_orientation: bool = True


@dataclass(frozen=True, eq=False)
class FrameSequence:
    """
    Frames in the order of time, all on one grid.

    :param images: (T, d1, d2, d3), T >= 2, as stored, finite and not all of one value.
    :param grid: of every frame.
    :param paths: T files of a frame each, or the one file of all.
    :param layout: of the files: a volume, a plane of two axes, or a picture.
    :param time_step_s: from one frame to the next; None where it is not known.
    :param has_spacing: whether lengths are known in mm; voxels otherwise.
    :param has_orientation: whether the files state where their axes point.
    """

    images: NDArray
    grid: Grid
    paths: tuple[Path, ...] = ()
    layout: Layout = "volume"
    time_step_s: float | None = None
    has_spacing: bool = True
    has_orientation: bool = True

    def __len__(self) -> int:
        """:return: number of frames, T."""
        return len(self.images)

    @property
    def unit(self) -> Unit:
        """Unit of lengths."""
        return "mm" if self.has_spacing else "voxels"

    @property
    def speed_unit(self) -> str:
        """Unit of velocities; per frame where the time step is not known."""
        return f"{self.unit}/{'frame' if self.time_step_s is None else 's'}"

    @property
    def per_interval(self) -> float:
        """What turns a motion from frame to frame into a velocity."""
        return 1.0 if self.time_step_s is None else 1.0 / self.time_step_s

    @property
    def is_planar(self) -> bool:
        """Whether the frames are images of two axes for other programs too."""
        return self.layout != "volume" and self.grid.is_planar

    @property
    def display(self) -> str | None:
        """How figures show the frames, see `evaluate.plane.Slice`."""
        is_flat = self.grid.shape[2] == 1  # not placed, it is shown as a picture is
        if self.layout == "picture" or (is_flat and not self.has_orientation):
            return PICTURE
        return self.grid.orientation if self.has_orientation else None

    @cached_property
    def intensity_range(self) -> tuple[float, float]:
        """
        What is scaled to [0, 1], one range for all frames.

        Of 8 bits all their range, so that a sequence of pictures keeps its greys; else
        from the lowest to the highest value of the whole sequence.
        """
        if self.images.dtype == np.uint8:
            return 0.0, 255.0
        return float(self.images.min()), float(self.images.max())

    def scaled(self, index: int) -> NDArray[np.float32]:
        """
        Return a frame with intensities in [0, 1].

        :param index: of the frame.
        :return: (d1, d2, d3).
        """
        low, high = self.intensity_range
        return (self.images[index].astype(np.float32) - low) / np.float32(high - low)

    def frame(self, index: int, mask: NDArray[np.bool_] | None = None) -> Frame:
        """
        Return a frame as a registrar is given it.

        :param index: of the frame.
        :param mask: (d1, d2, d3), where it counts.
        """
        path = self.paths[index] if len(self.paths) == len(self) else None
        return Frame(
            index,
            self.images[index],
            self.grid,
            self.layout,
            path,
            mask,
            self.has_orientation,
        )

    def check_same_place(self, path: str | Path, shape: tuple[int, ...]) -> None:
        """
        Check that a mask or a label lies on the frames, as those of single images do.

        :param path: of its file; where it or the frames state no place, voxels count.
        :param shape: of it.
        :raises ValueError: for another shape or place.
        """
        if tuple(shape) != self.grid.shape:
            raise ValueError(
                f"{path}: expected the grid of the frames, {self.grid.shape}, got "
                f"{tuple(shape)}."
            )
        forms = (self.grid.affine,) if self.has_orientation else ()
        own = Place(self.grid.affine, self.has_spacing, forms)
        frames = str(self.paths[0]) if self.paths else "the frames"
        problems = check_same_place(
            read_place(str(path)), own, self.grid.shape, str(path), frames
        )
        if problems:
            raise ValueError(problems[0])

    def time_s(self, index: float) -> float | None:
        """Return when a frame was taken, the first one at 0."""
        return None if self.time_step_s is None else index * self.time_step_s


def pair_indices(
    num_frames: int, direction: Direction = "backward"
) -> list[tuple[int, int]]:
    """
    List the pairs of neighbours in the order of time.

    :param num_frames: T.
    :param direction: backward: the current frame is fixed and the last one moves, as in
        the source (Zhu et al. 2021, section III.B): the field leads from each point of
        the current frame to where its tissue was. forward: the other way round: the
        field leads from a frame to where its tissue goes.
    :return: T - 1 times (fixed, moving).
    :raises ValueError: for another direction.
    """
    if direction not in DIRECTIONS:
        raise ValueError(
            f"direction: expected one of {', '.join(DIRECTIONS)}, got {direction!r}."
        )
    earlier = [(index, index + 1) for index in range(num_frames - 1)]
    if direction == "forward":
        return earlier
    return [(late, early) for early, late in earlier]


def pair_name(fixed: int, moving: int) -> str:
    """Name a pair as its files are named: `004_to_003` leads from frame 4 to 3."""
    return f"{fixed:03d}_to_{moving:03d}"
