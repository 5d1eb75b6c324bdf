"""A volume of which frames arrive one by one, as a probe or a scanner delivers them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepreg_meta.config.preprocessing import IntensityStep
from deepreg_meta.dataset.intensity import Intensity
from deepreg_meta.dataset.pair import own_target
from deepreg_meta.dataset.place_check import check_place
from deepreg_meta.dataset.route import check_route, plan_route
from deepreg_meta.dataset.source import RawVolume, Voxels
from deepreg_meta.dataset.stored import Place
from deepreg_meta.dataset.target import Target
from deepreg_meta.dataset.volume import Volume, prepare
from deepreg_meta.dataset.volume_check import ROUNDING, DataError
from deepreg_meta.geometry.grid import Grid


class Frame(NamedTuple):
    """One slice of the volume."""

    image: NDArray  # (a, b), float32, intensities of the device
    labels: NDArray  # (L, a, b), float32 in [0, 1]


class FrameStack:
    """
    The frames of one volume that have arrived, each at its place in it.

    Every frame is a slice of the volume's grid across one axis, that which is the
    network's frame axis once the grid is turned as the training data was.

    Between the frames nothing is known. What the network's grid needs there is the
    nearest frame's; the network is shown the frames alone.
    """

    def __init__(
        self,
        grid: Grid,
        place: Place,
        path: str,
        target: Target,
        frame_axis: int,
        label_names: Sequence[str],
        expected: Mapping[str, Any] | None = None,
        intensity_range: tuple[float, float] | None = None,
    ) -> None:
        """
        :param grid: of the volume that the frames are slices of.
        :param place: what is known of where it lies.
        :param path: a name for it, for messages.
        :param target: what fixed volumes of the run are brought to.
        :param frame_axis: of the network's grid, across the frames.
        :param label_names: one for each label channel; none without labels.
        :param expected: of fixed volumes, as of `read_pair`.
        :param intensity_range: intensities that become 0 and 1, those beyond them too;
            None takes the least and the greatest of the frames so far, or what
            `dataset.intensity` says.
        :raises DataError: for a grid that the run cannot take.
        """
        empty = np.zeros(grid.shape, np.float32)
        raw = RawVolume(path, empty, place)
        problems = check_place(place, path)
        target = own_target(target, raw, expected or {})
        if not problems:
            has_orientation = place.has_orientation
            problems = check_route(path, grid, has_orientation, target)
        if problems:
            raise DataError("A grid that cannot be used:", problems)
        if intensity_range is not None:
            if not (
                len(intensity_range) == 2 and intensity_range[0] < intensity_range[1]
            ):
                raise ValueError(
                    "intensity_range: expected two numbers, the first one less than "
                    f"the second, got {intensity_range}."
                )
            step = IntensityStep(name="clip", range=intensity_range)
            target = dataclasses.replace(target, intensity=Intensity((step,)))
        self.grid, self.label_names = grid, tuple(label_names)
        self._place, self._path, self._target = place, path, target
        self._route = plan_route(grid.shape, place.affine, target)
        to_file = self._route.to_file[:3, frame_axis]
        self.axis = int(np.abs(to_file).argmax())
        self._step = float(to_file[self.axis])  # slices of the file to one of the net
        self._first = float(self._route.to_file[self.axis, 3])
        self._num_slices = target.shape[frame_axis]
        self._frames: dict[int, Frame] = {}

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Sides of a frame: those of the grid without the axis across the frames."""
        first, second = (n for i, n in enumerate(self.grid.shape) if i != self.axis)
        return first, second

    @property
    def positions(self) -> tuple[int, ...]:
        """Where frames have arrived, in order."""
        return tuple(sorted(self._frames))

    def add(self, image: ArrayLike, position: int, labels: ArrayLike | None) -> None:
        """
        Take in a frame, in place of an earlier one of the same position.

        :param image: (a, b), finite intensities.
        :param position: index of the slice.
        :param labels: (L, a, b) in [0, 1], or None where there are no labels.
        :raises ValueError: for a frame that does not fit.
        """
        self.slice_of(position)
        shape = self.frame_shape
        image = np.array(image, np.float32)
        if image.shape != shape:
            raise ValueError(
                f"image: expected a frame of {shape[0]} x {shape[1]} voxels, the grid "
                f"{self.grid.shape} without its axis {self.axis}, got shape "
                f"{image.shape}."
            )
        if not np.isfinite(image).all():
            raise ValueError("image: expected finite intensities, got others.")
        count = len(self.label_names)
        given = np.zeros((count, *shape)) if labels is None else labels
        own = np.array(given, np.float32)
        if own.shape != (count, *shape):
            raise ValueError(
                f"label: expected {count} channels of {shape[0]} x {shape[1]} voxels, "
                f"got shape {own.shape}."
            )
        if not ((own >= -ROUNDING) & (own <= 1 + ROUNDING)).all():
            raise ValueError(
                f"label: expected values in [0, 1], got {own.min():g} to "
                f"{own.max():g}. Of a mask with other values give `mask > 0`."
            )
        self._frames[int(position)] = Frame(image, own)

    def remove(self, position: int) -> None:
        """
        Forget a frame.

        :param position: of the frame.
        :raises ValueError: where there is none.
        """
        if position not in self._frames:
            raise ValueError(
                f"position: expected that of a frame, one of {list(self.positions)}, "
                f"got {position}."
            )
        del self._frames[position]

    def slice_of(self, position: int) -> int:
        """
        Return the slice of the network's grid that is nearest to one of the volume's.

        :param position: index of the slice.
        :raises ValueError: where the volume or the network's grid has none.
        """
        last = self.grid.shape[self.axis] - 1
        if not (isinstance(position, int | np.integer) and 0 <= position <= last):
            raise ValueError(
                f"position: expected an integer from 0 to {last}, a slice along axis "
                f"{self.axis}, got {position!r}."
            )
        index = round((position - self._first) / self._step)
        if not 0 <= index < self._num_slices:
            raise ValueError(
                f"position: expected a slice that the network's grid reaches, got "
                f"{position}, which lies outside."
            )
        return index

    def slices(self) -> NDArray[np.float32]:
        """Return 1 for the network's slices that are seen, else 0, (num_slices,)."""
        seen = np.zeros(self._num_slices, np.float32)
        seen[[self.slice_of(position) for position in self._frames]] = 1
        return seen

    def volume(self) -> Volume:
        """
        Return the volume on the network's grid.

        :raises ValueError: without a frame, or where all frames are of one grey value.
        """
        if not self._frames:
            raise ValueError("No frame has arrived: expected one at least before this.")
        values = {value for f in self._frames.values() for value in _ends(f.image)}
        if len(values) == 1:
            raise ValueError(
                "image: expected frames with contrast, got the constant "
                f"{values.pop():g} in all of them, at the positions "
                f"{list(self.positions)}."
            )
        nearest = _nearest(self.positions, self.grid.shape[self.axis])
        image = self._stack([self._frames[i].image for i in nearest])
        labels = self._stack([self._frames[i].labels for i in nearest])
        # on the file's grid with nothing but what was seen, for whoever looks at it
        known = self._known()
        return self._prepared(image, labels, lambda: known)

    def stand_in(self) -> Volume:
        """Return a volume of the same kind, to compile by: a ramp, without labels."""
        size = self.grid.shape
        ramp = np.arange(np.prod(size), dtype=np.float32).reshape(size)
        labels = np.zeros((len(self.label_names), *size), np.float32)
        return self._prepared(ramp, labels, lambda: (ramp, labels))

    def _prepared(self, image: NDArray, labels: NDArray, read: Any) -> Volume:
        """Bring image and labels to the network's grid."""
        volume = prepare(RawVolume(self._path, image, self._place), self._target, read)
        if not self.label_names:
            return volume
        carried = np.ascontiguousarray(self._route.carry(labels))
        # not through `prepare`, for which a label without voxels is a mistake: here
        # the structure may not have come into view
        return dataclasses.replace(volume, labels=carried, label_names=self.label_names)

    def _stack(self, frames: Sequence[NDArray]) -> NDArray:
        """Put slices together along the axis across them; (a, b) or (L, a, b) each."""
        return np.stack(frames, axis=frames[0].ndim - 2 + self.axis)

    def _known(self) -> Voxels:
        """Return image and labels on the grid of the volume, 0 off the frames."""
        blank = Frame(
            *(np.zeros_like(part) for part in next(iter(self._frames.values())))
        )
        rows = [self._frames.get(i, blank) for i in range(self.grid.shape[self.axis])]
        image = self._stack([row.image for row in rows])
        if not self.label_names:
            return image, None
        return image, self._stack([row.labels for row in rows])


def _ends(image: NDArray) -> tuple[float, float]:
    """Return the least and the greatest value."""
    return float(image.min()), float(image.max())


def _nearest(positions: Sequence[int], count: int) -> list[int]:
    """Return for each of `count` slices the nearest position, the lower of two."""
    apart = np.abs(np.arange(count)[:, None] - np.asarray(positions)[None])
    return [positions[i] for i in apart.argmin(axis=1)]
