"""Regularisation of displacement fields, in 3-D and in 2-D with a singleton axis."""

import tensorflow as tf
from deepreg.registry import REGISTRY


def _central_difference(volume: tf.Tensor, axis: int) -> tf.Tensor:
    """
    Return (f[i + 1] - f[i - 1]) / 2 along an axis, two voxels shorter there.

    :param volume: shape = (batch, d1, d2, d3, ch).
    :param axis: 1, 2 or 3.
    """
    length = volume.shape[axis]
    ahead = [slice(None)] * volume.shape.rank
    behind = [slice(None)] * volume.shape.rank
    ahead[axis], behind[axis] = slice(2, length), slice(0, length - 2)
    return (volume[tuple(ahead)] - volume[tuple(behind)]) / 2.0


def _crop(volume: tf.Tensor, axes: list[int], margins: dict[int, int]) -> tf.Tensor:
    """Cut `margins[axis]` voxels off both ends of each of the axes."""
    index = [slice(None)] * volume.shape.rank
    for axis in axes:
        margin = margins.get(axis, 0)
        index[axis] = slice(margin, volume.shape[axis] - margin)
    return volume[tuple(index)]


def _differentiable_axes(ddf: tf.Tensor, min_length: int) -> list[int]:
    """Return the axes that are not singletons; all of them must be long enough."""
    axes = [axis for axis in (1, 2, 3) if ddf.shape[axis] > 1]
    short = [ddf.shape[axis] for axis in axes if ddf.shape[axis] < min_length]
    if short or not axes:
        raise ValueError(
            f"expected at least {min_length} voxels along every axis that is not a "
            f"singleton, got a field of shape {tuple(ddf.shape)}."
        )
    return axes


@REGISTRY.register_loss(name="bending_energy")
class BendingEnergy:
    """
    Mean squared second derivatives of a displacement field.

    Source: Rueckert et al., IEEE TMI 18(8), 1999. Equal to DeepReg's `bending` on
    volumes; along a singleton axis there is no derivative, where DeepReg's gives NaN.
    """

    def __init__(self, name: str = "bending_energy") -> None:
        """:param name: shown in logs."""
        self.name = name

    def get_config(self) -> dict:
        """Return the arguments that build an equal loss."""
        return dict(name=self.name)

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        """
        Return the bending energy, a mean over the batch as well.

        :param inputs: field, shape = (batch, d1, d2, d3, 3), at least 5 voxels along
            every axis that is not a singleton.
        :return: scalar, in 1 / voxel.
        :raises ValueError: for a grid that is too small.
        """
        axes = _differentiable_axes(inputs, min_length=5)
        first = {axis: _central_difference(inputs, axis) for axis in axes}
        energy = 0.0
        for i, axis_a in enumerate(axes):
            for axis_b in axes[i:]:
                second = _central_difference(first[axis_a], axis_b)
                # DeepReg's region: two voxels off both ends of every axis
                taken = {axis_a: 1} if axis_a != axis_b else {axis_a: 2}
                taken[axis_b] = taken.get(axis_b, 1)
                margins = {axis: 2 - taken.get(axis, 0) for axis in axes}
                weight = 1.0 if axis_a == axis_b else 2.0
                square = tf.square(_crop(second, axes, margins))
                energy += weight * tf.reduce_mean(square)
        return energy
