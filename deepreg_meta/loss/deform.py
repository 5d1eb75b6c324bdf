"""Regularisation of displacement fields, in 3-D and in 2-D with a singleton axis."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
from deepreg.registry import REGISTRY

from deepreg_meta.loss.checks import as_field, in_models_too

Offset = tuple[int, int, int]


class _Difference(NamedTuple):
    """A finite difference, as what it takes of the voxels around each voxel."""

    taps: dict[Offset, float]  # factors by the place, in voxels from the middle
    weight: float = 1.0  # of its penalty


class _Stencils(NamedTuple):
    """Finite differences of a field, all taken where the whole of each lies inside."""

    differences: list[_Difference]
    margins: Offset  # voxels left out at both ends of the axes


def _differentiable_axes(ddf: tf.Tensor, min_length: int) -> list[int]:
    """Return the axes that are not singletons; all of them must be long enough."""
    axes = [axis for axis in (0, 1, 2) if ddf.shape[axis + 1] > 1]
    short = [axis for axis in axes if ddf.shape[axis + 1] < min_length]
    if short or not axes:
        raise ValueError(
            f"expected at least {min_length} voxels along every axis that is not a "
            f"singleton, got a field of shape {tuple(ddf.shape)}."
        )
    return axes


def _margins(axes: list[int], margin: int) -> Offset:
    """Return the margin along the axes given, 0 along the others."""
    a, b, c = (margin if axis in axes else 0 for axis in (0, 1, 2))
    return a, b, c


def _offset(steps: dict[int, int]) -> Offset:
    """Return an offset by its steps along some axes."""
    return steps.get(0, 0), steps.get(1, 0), steps.get(2, 0)


def _first_differences(axes: list[int]) -> _Stencils:
    """Return (f[i + 1] - f[i - 1]) / 2 along each axis, DeepReg's form and region."""
    differences = [
        _Difference({_offset({axis: 1}): 0.5, _offset({axis: -1}): -0.5})
        for axis in axes
    ]
    return _Stencils(differences, _margins(axes, 1))


def _second_differences(axes: list[int]) -> _Stencils:
    """
    Return central differences of central differences, DeepReg's form and region.

    Those across two axes count twice: the mixed derivatives are equal.
    """
    differences = []
    for i, a in enumerate(axes):
        taps = {_offset({a: 2}): 0.25, (0, 0, 0): -0.5, _offset({a: -2}): 0.25}
        differences.append(_Difference(taps))
        for b in axes[i + 1 :]:
            taps = {
                _offset({a: s, b: t}): 0.25 * s * t for s in (1, -1) for t in (1, -1)
            }
            differences.append(_Difference(taps, weight=2.0))
    return _Stencils(differences, _margins(axes, 2))


class _Grid(NamedTuple):
    """Where differences are taken of fields with their components side by side."""

    size: list[int]  # voxels along the axes
    margins: Offset
    strides: tuple[int, int, int]  # numbers per voxel: the components, in the last axis

    def take(self, rows: tf.Tensor, taps: dict[Offset, float]) -> tf.Tensor:
        """
        Return one difference at every voxel inside the margins.

        :param rows: shape = (batch, d1, d2, d3 * ch).
        :param taps: of the difference.
        :return: shorter by twice the margins.
        """
        inner = [n - 2 * m for n, m in zip(self.size, self.margins, strict=True)]
        return self._add(rows, taps, 1, inner)

    def give_back(self, values: tf.Tensor, taps: dict[Offset, float]) -> tf.Tensor:
        """
        Return the transpose of `take`: what every voxel contributed to some values.

        :param values: shape as from `take`.
        :param taps: of the difference.
        :return: shape = (batch, d1, d2, d3 * ch).
        """
        ends = [2 * m * c for m, c in zip(self.margins, self.strides, strict=True)]
        padded = tf.pad(values, [(0, 0), *((end, end) for end in ends)])
        return self._add(padded, taps, -1, self.size)

    def _add(
        self, rows: tf.Tensor, taps: dict[Offset, float], sign: int, size: list[int]
    ) -> tf.Tensor:
        """Add up shifted parts of a volume."""
        terms = []
        for offset, factor in taps.items():
            index = [slice(None)]
            for axis, stride in enumerate(self.strides):
                start = self.margins[axis] + sign * offset[axis]
                index.append(slice(start * stride, (start + size[axis]) * stride))
            terms.append(factor * rows[tuple(index)])
        return tf.add_n(terms)


def _mean_penalty(ddf: tf.Tensor, stencils: _Stencils, l1: bool) -> tf.Tensor:
    """
    Return the mean over voxels of the sum of squares, or of magnitudes, of differences.

    :param ddf: shape = (batch, d1, d2, d3, ch).
    :param stencils: which differences.
    :param l1: magnitudes.
    :return: scalar.
    """
    size, num_channels = ddf.shape[1:4].as_list(), ddf.shape[4]
    grid = _Grid(size, stencils.margins, (1, 1, num_channels))

    # The gradient takes the differences anew from the field: to keep them means to
    # write and read six fields, and TensorFlow's own gradient of slices is slow.
    @tf.custom_gradient
    def penalty(rows: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        parts = []
        for taps, weight in stencils.differences:
            value = grid.take(rows, taps)
            parts.append(weight * (tf.abs(value) if l1 else tf.square(value)))
        total = tf.add_n(parts)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            parts = []
            for taps, weight in stencils.differences:
                value = grid.take(rows, taps)
                slope = tf.sign(value) if l1 else 2.0 * value
                parts.append(weight * grid.give_back(slope, taps))
            return upstream / tf.cast(tf.size(total), rows.dtype) * tf.add_n(parts)

        return tf.reduce_mean(total), gradient

    return penalty(tf.reshape(ddf, [-1, size[0], size[1], size[2] * num_channels]))


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

    @in_models_too
    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        """
        Return the bending energy, a mean over the batch as well.

        :param inputs: field, shape = (batch, d1, d2, d3, 3), at least 5 voxels along
            every axis that is not a singleton.
        :return: scalar, in 1 / voxel^2.
        :raises ValueError: for a grid that is too small, or what is no field.
        """
        inputs = as_field(inputs)
        axes = _differentiable_axes(inputs, min_length=5)
        return _mean_penalty(inputs, _second_differences(axes), l1=False)


@REGISTRY.register_loss(name="gradient_norm")
class GradientNorm:
    """
    Mean squared, or absolute, first derivatives of a displacement field.

    Equal to DeepReg's `gradient` on volumes; along a singleton axis there is no
    derivative, where DeepReg's gives NaN.
    """

    def __init__(self, l1: bool = False, name: str = "gradient_norm") -> None:
        """
        :param l1: magnitudes in place of squares.
        :param name: shown in logs.
        :raises ValueError: for another value of `l1`.
        """
        if not isinstance(l1, bool):
            raise ValueError(
                f"train.loss.regularization.l1: expected true or false, got {l1!r}."
            )
        self.l1 = l1
        self.name = name

    def get_config(self) -> dict:
        """Return the arguments that build an equal loss."""
        return dict(l1=self.l1, name=self.name)

    @in_models_too
    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        """
        Return the norm of the gradient, a mean over the batch as well.

        :param inputs: field, shape = (batch, d1, d2, d3, 3), at least 3 voxels along
            every axis that is not a singleton.
        :return: scalar, without unit.
        :raises ValueError: for a grid that is too small, or what is no field.
        """
        inputs = as_field(inputs)
        axes = _differentiable_axes(inputs, min_length=3)
        return _mean_penalty(inputs, _first_differences(axes), l1=self.l1)
