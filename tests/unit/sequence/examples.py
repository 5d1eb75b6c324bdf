"""Small sequences, and registrars that know what they are to find."""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.geometry.grid import Grid
from deepreg_meta.sequence.echo import EchoOptions
from deepreg_meta.sequence.frames import Frame, FrameSequence
from deepreg_meta.sequence.heart import Heart
from deepreg_meta.sequence.simulated import EchoSequence, simulate
from deepreg_meta.sequence.speckle import Probe

# sides, spacing and shift are unlike along each axis, so that swapped ones show
SHIFT = np.array([2, -1, 0])  # voxels, of the tissue from frame to frame
SPACING = np.array([0.5, 0.8, 1.0])  # mm
STEP_S = 0.04


def grid_of(shape: tuple[int, int, int], spacing: NDArray = SPACING) -> Grid:
    """:return: a grid in ITK's plane, its axes to the left and to posterior."""
    return Grid(shape, np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]))


def texture(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """:return: noise in [0, 1] that has contrast in every window."""
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def shifting(
    num_frames: int = 4,
    shape: tuple[int, int, int] = (20, 17, 1),
    shift: NDArray = SHIFT,
    time_step_s: float | None = STEP_S,
) -> FrameSequence:
    """:return: a texture that moves by whole voxels, cut out of a larger one."""
    reach = np.abs(shift) * num_frames
    whole = texture(tuple(np.array(shape) + 2 * reach))
    frames = []
    for index in range(num_frames):
        start = reach - index * shift  # frame i shows at x what frame 0 has at x - i s
        cut = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
        frames.append(whole[cut])
    return FrameSequence(np.stack(frames), grid_of(shape), time_step_s=time_step_s)


class Known:
    """A registrar that returns known fields and remembers what it was asked for."""

    def __init__(self, field: Callable[[int, int], NDArray]) -> None:
        self.field = field
        self.asked: list[tuple[Frame, Frame]] = []

    def register_frames(self, fixed: Frame, moving: Frame) -> NDArray:
        self.asked.append((fixed, moving))
        return self.field(fixed.index, moving.index)


class Carrying(Known):
    """The same, of a registrar that can go on from the pair before."""

    def __init__(self, field: Callable[[int, int], NDArray]) -> None:
        super().__init__(field)
        self.carried: list[bool] = []

    def register_frames(self, fixed: Frame, moving: Frame, carry: bool) -> NDArray:
        self.carried.append(carry)
        return super().register_frames(fixed, moving)


def shift_field(
    sequence: FrameSequence, shift: NDArray = SHIFT
) -> Callable[[int, int], NDArray]:
    """:return: the true field of a sequence of `shifting`, between any two frames."""

    def field(fixed: int, moving: int) -> NDArray:
        shape = (*sequence.grid.shape, 3)
        return np.broadcast_to((moving - fixed) * shift, shape).astype(np.float32)

    return field


HEART = Heart(
    centre_mm=(0.5, 16.0), endo_mm=6.0, epi_mm=10.0, area_ratio=0.4, reach_mm=5.0,
    twist_deg=14.0, twist_reach_mm=9.0, drift_mm=(0.6, -0.4),
)  # fmt: skip
OPTIONS = EchoOptions(
    shape=(48, 44),
    spacing_mm=0.7,
    num_frames=6,
    cycles=0.5,  # systole, and the beginning of diastole
    probe=Probe(axial_mm=0.7, lateral_mm=1.1),
)


@cache
def echo() -> EchoSequence:
    """:return: a small beating heart of six frames."""
    return simulate(seed=3, options=OPTIONS, heart=HEART)
