"""What registers two frames: the small protocol between tracking and any method."""

import inspect
from typing import Any, Protocol

from numpy.typing import NDArray

from deepreg_meta.sequence.frames import Frame


class FrameRegistrar(Protocol):
    """
    Registers one frame to another of the same grid.

    A registrar that keeps its state between neighbouring frames (weights, the last
    field) takes one more argument, `carry: bool`: true asks it to go on from the pair
    before, false to start anew. `track` hands it over where it is there. One that
    measures its own time, as compilation is none of a pair, may have an attribute
    `seconds` of the last pair.

    Example::

        class Still:
            def register_frames(self, fixed, moving):
                return np.zeros((*fixed.grid.shape, 3), np.float32)
    """

    def register_frames(self, fixed: Frame, moving: Frame) -> NDArray:
        """
        Register two frames.

        :param fixed: the frame on whose grid the field lies; with a mask where a region
            of interest is given.
        :param moving: the other frame.
        :return: ddf, (d1, d2, d3, 3), in voxels: fixed(x) = moving(x + ddf(x)). Along
            a singleton axis it is 0.
        """


def takes_carry(registrar: FrameRegistrar) -> bool:
    """
    Tell whether a registrar can go on from the pair before.

    :param registrar: whose `register_frames` is looked at.
    """
    parameters = inspect.signature(registrar.register_frames).parameters
    return "carry" in parameters


def carry_arguments(registrar: FrameRegistrar, carry: bool) -> dict[str, Any]:
    """
    Return the further arguments of `register_frames`.

    :param registrar: whom they are for.
    :param carry: whether it goes on from the pair before.
    """
    return {"carry": carry} if takes_carry(registrar) else {}
