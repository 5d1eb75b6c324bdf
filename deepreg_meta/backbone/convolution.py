"""
Pieces of the backbones that are made of plain convolutions.

Kernels, pools and strides have size 1 along singleton axes, so that an image costs what
an image costs.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from deepreg.model import layer

from deepreg_meta.backbone.field_backbone import expect, planar
from deepreg_meta.backbone.local import NORMALIZATIONS, norm_factory

_SLOPE = 0.2  # of leaky ReLU below zero


@tf.custom_gradient
def leaky_relu(features: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """
    Return leaky ReLU with the slope of VoxelMorph.

    Its gradient is taken from what it gave, which has the signs of what it got: bias
    and activation can then be one operation with the convolution before them, whose
    own result nobody keeps.

    :param features: any shape.
    """
    activated = tf.nn.leaky_relu(features, alpha=_SLOPE)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.LeakyReluGrad(
            gradients=upstream, features=activated, alpha=_SLOPE
        )

    return activated, gradient


def level_sizes(image_size: Sequence[int], depth: int) -> list[tuple[int, ...]]:
    """Return the grids of levels 0 to depth, each half the one before, rounded up."""
    return [
        tuple(-(-length // 2**level) for length in image_size)
        for level in range(depth + 1)
    ]


class ConvBlock(tf.keras.layers.Layer):
    """Convolution, normalisation, activation."""

    def __init__(
        self,
        filters: int,
        image_size: Sequence[int],
        activation: Callable[[tf.Tensor], tf.Tensor],
        kernel_size: int = 3,
        stride: int = 1,
        normalization: str = "none",
    ) -> None:
        """
        :param filters: channels of the output.
        :param image_size: (dim1, dim2, dim3) of the images, to know singleton axes.
        :param activation: function of a tensor.
        :param kernel_size: along the other axes.
        :param stride: along the other axes.
        :param normalization: one of batch, moving, instance, group, none.
        """
        super().__init__()
        self._conv = layer.Conv3d(
            filters=filters,
            kernel_size=planar(kernel_size, image_size),
            strides=planar(stride, image_size),
            kernel_initializer="he_normal",
            use_bias=normalization == "none",
        )
        self._norm = normalization_layer(normalization, filters)
        self._activation = activation

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """
        :param inputs: shape = (batch, dim1, dim2, dim3, ch).
        :param training: for normalisation.
        :return: shape = (batch, out_dim1, out_dim2, out_dim3, filters).
        """
        return self._activation(self._norm(self._conv(inputs), training=training))


class UpConvBlock(tf.keras.layers.Layer):
    """Transposed convolution of stride 2, normalisation, activation."""

    def __init__(
        self,
        filters: int,
        image_size: Sequence[int],
        level: int,
        activation: Callable[[tf.Tensor], tf.Tensor],
        normalization: str = "none",
    ) -> None:
        """
        :param filters: channels of the output.
        :param image_size: (dim1, dim2, dim3) of the images.
        :param level: of the output; the input is one level coarser.
        :param activation: function of a tensor.
        :param normalization: one of batch, moving, instance, group, none.
        """
        super().__init__()
        *_, size, coarse_size = level_sizes(image_size, level + 1)
        self._deconv = layer.Deconv3d(
            filters=filters,
            output_shape=size,
            kernel_size=planar(3, image_size),
            strides=planar(2, image_size),
            use_bias=normalization == "none",
        )
        # DeepReg's layer would make its own when it is first called, in whatever
        # precision holds then
        self._deconv.build((None, *coarse_size, None))
        self._norm = normalization_layer(normalization, filters)
        self._activation = activation

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """
        :param inputs: shape = (batch, c1, c2, c3, ch), of the coarser level.
        :param training: for normalisation.
        :return: shape = (batch, d1, d2, d3, filters).
        """
        return self._activation(self._norm(self._deconv(inputs), training=training))


class NearestDoubling(tf.keras.layers.Layer):
    """Repeat every voxel along each axis, and cut what is beyond an odd grid."""

    def __init__(self, size: Sequence[int]) -> None:
        """:param size: (d1, d2, d3) of the output, twice the input or one less."""
        super().__init__()
        self._size = tuple(size)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """
        :param inputs: shape = (batch, c1, c2, c3, ch).
        :return: shape = (batch, d1, d2, d3, ch).
        """
        shape = [-1, *inputs.shape[1:]]
        for axis, length in enumerate(self._size, start=1):
            if shape[axis] == length:
                continue
            shape[axis] *= 2
            pairs = tf.stack([inputs, inputs], axis=axis + 1)
            inputs = tf.reshape(pairs, shape)
            if shape[axis] > length:
                # a split, because the gradient of a slice is several times slower
                inputs, _ = tf.split(inputs, [length, 1], axis=axis)
                shape[axis] = length
        return inputs


def normalization_layer(normalization: str, channels: int) -> tf.keras.layers.Layer:
    """
    Return the normalisation that LocalNetNorm calls by this name.

    :param normalization: one of batch, moving, instance, group, none.
    :param channels: of what is normalised.
    :raises ValueError: for another name.
    """
    names = ", ".join(NORMALIZATIONS)
    is_known = normalization in NORMALIZATIONS
    expect(is_known, "normalization", f"one of {names}", normalization)
    make = norm_factory(normalization, channels) or layer.Norm
    return make()


def linear_matrix(positions: np.ndarray, count: int) -> np.ndarray:
    """
    Return the weights of linear interpolation, and extrapolation beyond both ends.

    :param positions: shape = (n,), in units of the coarse grid, 0 is its first voxel.
    :param count: coarse voxels; one alone is a constant.
    :return: float64, shape = (n, count); rows sum to 1.
    """
    if count == 1:
        return np.ones((len(positions), 1))
    below = np.clip(np.floor(positions), 0, count - 2).astype(int)
    rows = np.arange(len(positions))
    matrix = np.zeros((len(positions), count))
    matrix[rows, below] = 1.0 - (positions - below)
    matrix[rows, below + 1] = positions - below
    return matrix


def interpolate(field: tf.Tensor, matrices: Sequence[np.ndarray | None]) -> tf.Tensor:
    """
    Interpolate a field along one axis after the other.

    :param field: shape = (batch, c1, c2, c3, ch), static but for the batch.
    :param matrices: weights for each axis, shape = (d, c); None leaves the axis alone.
    :return: shape = (batch, d1, d2, d3, ch).
    """
    shape = list(field.shape[1:])
    for axis in (2, 1, 0):  # in memory, the first axis has the longest rows
        matrix = matrices[axis]
        if matrix is None:
            continue
        rows = tf.reshape(field, [-1, shape[axis], math.prod(shape[axis + 1 :])])
        rows = tf.matmul(tf.constant(matrix, field.dtype), rows)
        shape[axis] = len(matrix)
        field = tf.reshape(rows, [-1, *shape])
    return field
