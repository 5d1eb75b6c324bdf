"""Labels and points of single frames, as the user gives them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.geometry.landmarks import Landmarks, read_landmarks
from deepreg_meta.geometry.volume_file import read_volume
from deepreg_meta.sequence.frames import FrameSequence


@dataclass(frozen=True, eq=False)
class Given:
    """
    What is known of single frames.

    :param label: of the first frame, (d1, d2, d3), an index map or a mask; or None.
    :param points: of the first frame, or None.
    :param label_at: the label of later frames, by their index.
    :param points_at: points of later frames, by their index.
    """

    label: NDArray | None = None
    points: Landmarks | None = None
    label_at: dict[int, NDArray] = field(default_factory=dict)
    points_at: dict[int, Landmarks] = field(default_factory=dict)

    @property
    def values(self) -> list[int]:
        """The structures of the first frame's label, by their values."""
        return [] if self.label is None else values_of(self.label)


def values_of(label: NDArray) -> list[int]:
    """List the values of a label's structures; 0 is background."""
    return [int(value) for value in np.unique(label) if value]


def read_given(
    sequence: FrameSequence,
    label: str | None = None,
    points: str | None = None,
    label_at: Sequence[tuple[int, str]] = (),
    points_at: Sequence[tuple[int, str]] = (),
) -> Given:
    """
    Read what is known of single frames.

    :param sequence: the frames.
    :param label: file of the first frame's label, on the frames' grid.
    :param points: file of its points, see `read_landmarks`.
    :param label_at: frame and file of later labels, for comparison.
    :param points_at: frame and file of later points, for comparison.
    :raises FileNotFoundError: for a missing file.
    :raises ValueError: for one that does not fit, or has nothing to be compared with.
    """
    for flag, later, first in (
        ("label", label_at, label),
        ("points", points_at, points),
    ):
        _check_later(flag, [index for index, _ in later], first, len(sequence))
    known = Given(
        label=None if label is None else _read_label(label, sequence),
        points=None if points is None else _read_points(points, sequence),
        label_at={index: _read_label(path, sequence) for index, path in label_at},
        points_at={index: _read_points(path, sequence) for index, path in points_at},
    )
    for index, later_points in known.points_at.items():
        names = () if known.points is None else known.points.names
        if not set(names) & set(later_points.names):
            raise ValueError(
                f"--points-at {index}: expected points of the names of --points, "
                f"{', '.join(names)}, got {', '.join(later_points.names)}."
            )
    return known


def _check_later(
    flag: str, indices: Sequence[int], first: str | None, num_frames: int
) -> None:
    """:raises ValueError: for frames that nothing can be compared in."""
    if indices and first is None:
        raise ValueError(
            f"--{flag}-at: expected --{flag} too, what is followed from the first "
            "frame, got none."
        )
    for index in indices:
        if not 0 < index < num_frames or indices.count(index) > 1:
            raise ValueError(
                f"--{flag}-at: expected each frame once, from 1 to {num_frames - 1} "
                f"(the first one is 0), got {', '.join(map(str, indices))}."
            )


def _read_label(path: str, sequence: FrameSequence) -> NDArray:
    """Read an index map or a mask, (d1, d2, d3)."""
    volume = read_volume(path)
    label = volume.voxels
    while label.ndim > 3 and label.shape[-1] == 1:
        label = label[..., 0]
    sequence.check_same_place(volume.path, label.shape)
    rounded = np.round(label)
    if not np.isfinite(label).all() or not np.array_equal(label, rounded):
        raise ValueError(
            f"{path}: expected an index map of whole numbers, got values between them."
        )
    if rounded.min() < 0 or rounded.max() == 0 or rounded.max() > 65535:
        raise ValueError(
            f"{path}: expected an index map from 0 to 65535 at most with at least one "
            f"structure, got values from {rounded.min():g} to {rounded.max():g}."
        )
    return rounded.astype(np.uint8 if rounded.max() < 256 else np.uint16)


def _read_points(path: str, sequence: FrameSequence) -> Landmarks:
    """Read points, which have to lie on the frames."""
    landmarks = read_landmarks(Path(path), sequence.grid)
    inside = sequence.grid.contains(landmarks.points)
    if not len(landmarks) or not inside.all():
        outside = [n for n, ok in zip(landmarks.names, inside, strict=True) if not ok]
        raise ValueError(
            f"{path}: expected points within the frames, got "
            f"{', '.join(outside[:5]) + ' beyond them' if outside else 'none'}. "
            "Columns i, j count pixels from 0; x_ras, x_lps, ... are mm in the "
            "frames' space."
        )
    return landmarks
