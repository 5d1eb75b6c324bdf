"""What a tracking starts from: everything read and checked before any long work."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.sequence.animation import Film
from deepreg_meta.sequence.frames import (
    Direction,
    Frame,
    FrameSequence,
    pair_indices,
)
from deepreg_meta.sequence.given import Given, read_given
from deepreg_meta.sequence.measure import RADIUS
from deepreg_meta.sequence.read import Axes, read_sequence
from deepreg_meta.sequence.region import (
    make_region,
    read_masks,
    read_radius,
    region_of,
)
from deepreg_meta.sequence.scene import Style
from deepreg_meta.sequence.truth import find_truth, read_truth


@dataclass(frozen=True)
class TrackOptions:
    """
    What is tracked and what is told of it; the names are those of the command line.

    :param sequence: file, folder or files, see `read_sequence`.
    :param axes: xyt where the third axis of a file is time.
    :param frame_rate: frames in a second; None takes the header's.
    :param direction: see `pair_indices`.
    :param mask: masks of the region of interest, see `read_masks`.
    :param intensity_range: of the region, see `intensity_region`.
    :param dilate: radius as text, see `read_radius`.
    :param window_radius: of NLCC, in voxels.
    :param label: file of the first frame's label.
    :param points: file of its points.
    :param label_at: frame and file of later labels, for comparison.
    :param points_at: frame and file of later points, for comparison.
    :param truth: folder of true displacements.
    :param animation: whether the film is written.
    :param animation_style: arrows or speed.
    :param plane: axis and index shown of volumes; None chooses.
    """

    sequence: Sequence[str]
    axes: Axes | None = None
    frame_rate: float | None = None
    direction: Direction = "backward"
    mask: Sequence[str] = ()
    intensity_range: tuple[float, float] | None = None
    dilate: str = "0"
    window_radius: int = RADIUS
    label: str | None = None
    points: str | None = None
    label_at: Sequence[tuple[int, str]] = ()
    points_at: Sequence[tuple[int, str]] = ()
    truth: str | None = None
    animation: bool = True
    animation_style: Style = "arrows"
    plane: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Job:
    """
    A sequence that is ready to be tracked.

    :param options: as given.
    :param sequence: the frames.
    :param region: of `make_region`.
    :param given: labels and points.
    :param truth_files: of the true field of each pair, by its name.
    :param film: to be filled, or None.
    """

    options: TrackOptions
    sequence: FrameSequence
    region: NDArray[np.bool_] | None
    given: Given
    truth_files: dict[str, Path]
    film: Film | None

    def truth(self, name: str) -> NDArray[np.float64] | None:
        """Return the true ddf of a pair, or None where it is not known."""
        path = self.truth_files.get(name)
        return None if path is None else read_truth(path, self.sequence)

    def frame_pairs(self) -> list[tuple[Frame, Frame]]:
        """Return the fixed and the moving frame of each pair, with their regions."""
        return [
            (
                self.sequence.frame(fixed, region_of(self.region, fixed)),
                self.sequence.frame(moving, region_of(self.region, moving)),
            )
            for fixed, moving in pair_indices(
                len(self.sequence), self.options.direction
            )
        ]

    def settings(self) -> dict[str, Any]:
        """Return what `tracking.json` says of the sequence and the options."""
        own, sequence = self.options, self.sequence
        region = self.region
        return {
            "sequence": [str(path) for path in sequence.paths],
            "num_frames": len(sequence),
            "shape": list(sequence.grid.shape),
            "spacing": [round(float(s), 6) for s in sequence.grid.spacing_mm],
            "unit": sequence.unit,
            "time_step_s": sequence.time_step_s,
            "speed_unit": sequence.speed_unit,
            "direction": own.direction,
            "intensity_range": list(sequence.intensity_range),
            "region": {
                "mask": [str(path) for path in own.mask],
                "intensities": None
                if own.intensity_range is None
                else list(own.intensity_range),
                "dilate": own.dilate,
                "mean_share": 1.0 if region is None else round(float(region.mean()), 6),
            },
            "nlcc_window_radius": own.window_radius,
            "label": _as_text(own.label),
            "points": _as_text(own.points),
            "truth": _as_text(own.truth),
        }


def _as_text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)


def prepare(options: TrackOptions) -> Job:
    """
    Read everything and check it.

    :param options: what is tracked.
    :raises FileNotFoundError: for what is not there.
    :raises ValueError: for what cannot be used.
    """
    if options.window_radius < 1:
        raise ValueError(
            f"--window-radius: expected an integer >= 1, got {options.window_radius}."
        )
    radius, in_mm = read_radius(options.dilate)
    sequence = read_sequence(options.sequence, options.axes, options.frame_rate)
    pair_indices(len(sequence), options.direction)  # refuses another direction
    masks = None
    if options.mask:
        masks = read_masks(options.mask, sequence, options.axes)
    region = make_region(sequence, masks, options.intensity_range, radius, in_mm)
    given = read_given(
        sequence, options.label, options.points, options.label_at, options.points_at
    )
    truth = {}
    if options.truth is not None:
        truth = find_truth(options.truth, sequence, options.direction)
        for path in truth.values():  # each is read again where it is compared
            read_truth(path, sequence)
    film = None
    if options.animation:
        film = Film(sequence, region, options.plane, options.animation_style)
    return Job(options, sequence, region, given, truth, film)
