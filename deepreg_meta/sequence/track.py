"""Register the frames of a sequence, one pair of neighbours after the other."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.transform import Field
from deepreg_meta.sequence.frames import (
    Direction,
    FrameSequence,
    pair_indices,
    pair_name,
)
from deepreg_meta.sequence.region import region_of
from deepreg_meta.sequence.registrar import (
    FrameRegistrar,
    carry_arguments,
    takes_carry,
)


@dataclass(frozen=True, eq=False)
class TrackedPair:
    """
    Two neighbouring frames that have been registered.

    :param fixed: index of the frame on whose grid the field lies.
    :param moving: index of the other one.
    :param ddf: (d1, d2, d3, 3) float32, voxels: fixed(x) = moving(x + ddf(x)).
    :param seconds: that it took, by the registrar's own measure where it has one.
    """

    fixed: int
    moving: int
    ddf: NDArray[np.float32]
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """As its files are named, see `pair_name`."""
        return pair_name(self.fixed, self.moving)

    @property
    def motion(self) -> NDArray[np.float32]:
        """
        How far the tissue at each voxel of the fixed frame moves in one interval.

        Forward in time, whichever way the frames were registered: where the field leads
        back to the frame before, the tissue came from there.

        :return: (d1, d2, d3, 3), voxels.
        """
        return self.ddf if self.moving > self.fixed else -self.ddf


def track(
    sequence: FrameSequence,
    registrar: FrameRegistrar,
    direction: Direction = "backward",
    region: NDArray[np.bool_] | None = None,
    carry: bool = False,
) -> Iterator[TrackedPair]:
    """
    Register each frame of a sequence to its neighbour, in the order of time.

    Example::

        for pair in track(sequence, registrar):
            velocity = velocity_field(pair, sequence)

    Nothing is kept here: whoever needs the field of a pair later keeps it.

    :param sequence: the frames.
    :param registrar: registers two of them.
    :param direction: see `pair_indices`.
    :param region: of `make_region`; each frame is handed over with its own.
    :param carry: have the registrar go on from pair to pair; false: from its start
        each time.
    :return: T - 1 pairs, each as soon as it is registered.
    :raises ValueError: for a registrar that cannot carry on, or a field that is none.
    """
    if carry and not takes_carry(registrar):
        raise ValueError(
            "carry: expected a registrar whose `register_frames` takes `carry`, got "
            f"{type(registrar).__name__}, which starts anew with every pair."
        )
    return _pairs(sequence, registrar, direction, region, carry)


def _pairs(
    sequence: FrameSequence,
    registrar: FrameRegistrar,
    direction: Direction,
    region: NDArray[np.bool_] | None,
    carry: bool,
) -> Iterator[TrackedPair]:
    indices = pair_indices(len(sequence), direction)
    for number, (fixed, moving) in enumerate(indices):
        frames = [sequence.frame(i, region_of(region, i)) for i in (fixed, moving)]
        more = carry_arguments(registrar, carry and number > 0)
        begin = time.perf_counter()
        ddf = registrar.register_frames(frames[0], frames[1], **more)
        elapsed = time.perf_counter() - begin
        seconds = float(getattr(registrar, "seconds", elapsed))
        checked = _check(ddf, sequence.grid, pair_name(fixed, moving))
        yield TrackedPair(fixed, moving, checked, seconds)


def _check(ddf: NDArray, grid: Grid, name: str) -> NDArray[np.float32]:
    """:raises ValueError: for what is no field on the grid."""
    ddf = np.asarray(ddf, np.float32)
    if ddf.shape != (*grid.shape, 3):
        raise ValueError(
            f"{name}: expected a field of shape {(*grid.shape, 3)}, got {ddf.shape}."
        )
    num_bad = int((~np.isfinite(ddf)).any(axis=-1).sum())
    if num_bad:
        raise ValueError(
            f"{name}: expected a finite displacement at every voxel, got {num_bad} "
            "that are NaN or infinite: the registration diverged. Try fewer updates "
            "of adaptation or a smaller learning rate."
        )
    return ddf


def displacement_field(ddf: NDArray, grid: Grid) -> Field:
    """
    Express displacements in space.

    :param ddf: (d1, d2, d3, 3), voxels of the grid.
    :param grid: of the frames.
    :return: mm, RAS, on the same grid; it goes on beyond as at its border.
    """
    turn = grid.affine[:3, :3].T.astype(np.float64)
    return Field(grid, (ddf @ turn).astype(np.float32), outside="border")


def velocity_field(pair: TrackedPair, sequence: FrameSequence) -> Field:
    """
    Return how fast the tissue moves: its motion times the number of frames a second.

    :param pair: of the sequence.
    :param sequence: whose time step counts; where it is not known, the velocity is
        the motion from frame to frame.
    :return: on the fixed frame's grid, axes R, A, S, in `sequence.speed_unit`.
    """
    return displacement_field(pair.motion * sequence.per_interval, sequence.grid)
