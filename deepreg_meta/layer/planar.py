"""
Convolution and pooling of images that are stored as volumes with a singleton axis.

TensorFlow's operations for volumes take several times as long on such images as those
for images: here they are handed over as images. The memory is the same, only seen in
another way.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf


def flat_axis(size: tf.TensorShape, *extents: Sequence[int]) -> int | None:
    """
    Return an axis along which there is nothing to compute.

    :param size: (d1, d2, d3) of a grid.
    :param extents: sizes of kernels or pools, strides, dilations, each per axis.
    :return: the last axis of one voxel along which all of them are 1; None where there
        is none.
    """
    for axis in (2, 1, 0):
        if size[axis] == 1 and all(extent[axis] == 1 for extent in extents):
            return axis
    return None


def without(values: Sequence[int], axis: int) -> list[int]:
    """Return the values of the other two axes."""
    return [value for index, value in enumerate(values) if index != axis]


class PlanarConv3DTranspose(tf.keras.layers.Conv3DTranspose):
    """Keras's Conv3DTranspose, with the same weights and results, fast on images."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """
        Convolve, transposed.

        :param inputs: shape = (batch, d1, d2, d3, ch).
        :return: shape = (batch, o1, o2, o3, filters).
        """
        axis = flat_axis(inputs.shape[1:4], self.kernel_size, self.strides)
        size = self.compute_output_shape(inputs.shape)[1:]
        is_plain = (
            self.data_format == "channels_last"
            and tuple(self.dilation_rate) == (1, 1, 1)
            and axis is not None
            and size[axis] == 1
        )
        if axis is None or not is_plain:
            return super().call(inputs)
        output = tf.nn.conv2d_transpose(
            tf.squeeze(inputs, axis + 1),
            tf.squeeze(tf.convert_to_tensor(self.kernel), axis),
            [tf.shape(inputs)[0], *without(size[:3], axis), self.filters],
            without(self.strides, axis),
            self.padding.upper(),
        )
        if self.use_bias:
            output = tf.nn.bias_add(output, self.bias)
        output = tf.expand_dims(output, axis + 1)
        output.set_shape([inputs.shape[0], *size])
        return output if self.activation is None else self.activation(output)


def _pool_image(
    layer: tf.keras.layers.Layer, inputs: tf.Tensor, pool: Callable[..., tf.Tensor]
) -> tf.Tensor | None:
    """
    Pool an image.

    :param layer: of Keras, which says how.
    :param inputs: shape = (batch, d1, d2, d3, ch).
    :param pool: TensorFlow's operation for images.
    :return: shape = (batch, o1, o2, o3, ch); None for what is no image.
    """
    axis = flat_axis(inputs.shape[1:4], layer.pool_size, layer.strides)
    if axis is None or layer.data_format != "channels_last":
        return None
    pooled = pool(
        tf.squeeze(inputs, axis + 1),
        without(layer.pool_size, axis),
        without(layer.strides, axis),
        layer.padding.upper(),
    )
    return tf.expand_dims(pooled, axis + 1)


class PlanarMaxPool3D(tf.keras.layers.MaxPool3D):
    """Keras's MaxPool3D, fast on images."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """
        Take the maxima.

        :param inputs: shape = (batch, d1, d2, d3, ch).
        :return: shape = (batch, o1, o2, o3, ch).
        """
        pooled = _pool_image(self, inputs, tf.nn.max_pool2d)
        return super().call(inputs) if pooled is None else pooled


class PlanarAveragePooling3D(tf.keras.layers.AveragePooling3D):
    """Keras's AveragePooling3D, fast on images."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """
        Take the means.

        :param inputs: shape = (batch, d1, d2, d3, ch).
        :return: shape = (batch, o1, o2, o3, ch).
        """
        pooled = _pool_image(self, inputs, tf.nn.avg_pool2d)
        return super().call(inputs) if pooled is None else pooled
