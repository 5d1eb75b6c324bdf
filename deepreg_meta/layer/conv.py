"""3-D convolution that keeps a CPU's vector units full where there are few channels."""

from typing import NamedTuple

import tensorflow as tf

from deepreg_meta.layer.planar import flat_axis, without

LANES = 16  # float32 numbers that one AVX-512 instruction takes
MAX_PACK = 4
# Below it, the wider kernel's zeros cost more than the idle lanes did (measured).
MIN_KERNEL_SIZE = 5


def choose_pack(kernel_shape: tuple[int, ...], length: int) -> int:
    """
    Return how many neighbouring voxels along the last axis are worth packing.

    Measured on two cores with AVX-512 (bench/README.md): for kernels of 7, 1.6 times as
    fast with 8 channels and 2.5 times with 4; slower for 12 or 16 channels, and no gain
    for kernels of 3.

    :param kernel_shape: (k1, k2, k3, channels in, channels out).
    :param length: voxels along the last axis.
    :return: 1 for an ordinary convolution.
    """
    size, num_out = kernel_shape[2], kernel_shape[4]
    if size < MIN_KERNEL_SIZE or length < size:
        return 1
    return max(1, min(LANES // num_out, MAX_PACK))


class _Taps(NamedTuple):
    """Where the taps of a kernel lie in one that takes packed voxels."""

    number: int  # of packed taps
    lead: int  # zeros before the first tap
    left: int  # voxels of zeros before the image


def _pack_taps(size: int, pack: int) -> _Taps:
    """
    Place a kernel's taps so that packed SAME convolution sees them where they belong.

    :param size: odd number of taps.
    :param pack: neighbours that are one packed voxel.
    :return: the fewest packed taps that hold all, and their place.
    """
    count = -(-(size + pack - 1) // pack)
    while True:
        # SAME begins so many packed taps to the left
        begin = pack * ((count - 1) // 2)
        lead = max(0, begin - size // 2)
        if lead + size + pack - 1 <= count * pack:
            return _Taps(count, lead, max(0, size // 2 - begin))
        count += 1


def _pack_kernel(kernel: tf.Tensor, taps: _Taps, pack: int) -> tf.Tensor:
    """
    Return the kernel that takes packed voxels and gives packed voxels.

    :param kernel: shape = (k1, k2, k3, channels in, channels out).
    :param taps: their place.
    :param pack: neighbours.
    :return: shape = (k1, k2, taps.number, pack channels in, pack channels out).
    """
    k1, k2, size, num_in, num_out = kernel.shape
    spare = taps.number * pack - size - taps.lead
    none = [0, 0]
    shifted = [
        tf.pad(kernel, [none, none, [taps.lead + i, spare - i], none, none])
        for i in range(pack)
    ]
    wide = tf.stack(shifted, axis=-2)  # (k1, k2, count * pack, in, pack, out)
    return tf.reshape(wide, [k1, k2, taps.number, pack * num_in, pack * num_out])


def packed_conv3d(inputs: tf.Tensor, kernel: tf.Tensor, pack: int) -> tf.Tensor:
    """
    Convolve with stride 1 and zeros beyond the border, several voxels at a time.

    `pack` neighbours along the last axis are taken as one voxel with that many times
    the channels, which is the same memory seen in another way. The kernel that does so
    holds the taps of each of the neighbours, and zeros: for a size of 7 and two
    neighbours four taps of pairs, 8/7 of the multiplications in vectors twice as full.
    The terms of each sum stay; only zeros are added.

    :param inputs: shape = (batch, d1, d2, d3, channels in), static but for the batch.
    :param kernel: shape = (k1, k2, k3, channels in, channels out), k3 odd.
    :param pack: neighbours, >= 1.
    :return: shape = (batch, d1, d2, d3, channels out), as `tf.nn.conv3d` with SAME.
    """
    _, d1, d2, d3, num_in = inputs.shape
    num_out = kernel.shape[4]
    taps = _pack_taps(kernel.shape[2], pack)
    num_packed = -(-(d3 + taps.left) // pack)
    right = num_packed * pack - d3 - taps.left
    # Rows of a matrix, because a pad of five axes is several times slower; and a split
    # below, because the gradient of a slice is.
    rows = tf.reshape(inputs, [-1, d3 * num_in])
    rows = tf.pad(rows, [[0, 0], [taps.left * num_in, right * num_in]])
    packed = tf.reshape(rows, [-1, d1, d2, num_packed, pack * num_in])
    wide = _pack_kernel(kernel, taps, pack)
    output = tf.nn.conv3d(packed, wide, [1] * 5, "SAME")
    output = tf.reshape(output, [-1, num_packed * pack * num_out])
    sizes = [d3 * num_out, (num_packed * pack - d3) * num_out]
    output, _ = tf.split(output, sizes, axis=1)
    return tf.reshape(output, [-1, d1, d2, d3, num_out])


def loses_gradient(dtype: tf.DType, length: int | None, extent: int) -> bool:
    """
    Say whether TensorFlow would compute a wrong gradient of a kernel.

    In bfloat16 on a CPU that of an image whose first axis is shorter than the kernel is
    made of memory that nothing was written to, mostly on one thread, and with 7 taps
    TensorFlow may crash: seen with the oneDNN of version 2.21, not without it
    (`TF_ENABLE_ONEDNN_OPTS=0`). Outputs and gradients of inputs are right.

    :param dtype: of the image.
    :param length: voxels along its first axis; None is taken for enough.
    :param extent: voxels that the kernel spans along it.
    """
    is_short = length is not None and length < extent
    is_cpu = not tf.config.get_visible_devices("GPU")
    return dtype == tf.bfloat16 and is_short and is_cpu


class PackedConv3D(tf.keras.layers.Conv3D):
    """
    Keras's Conv3D, by `packed_conv3d` where that is faster on a CPU, and for images
    (a singleton axis) by the convolution of images. In float32 where bfloat16 would
    cost the gradient (`loses_gradient`); such volumes are small.

    Weights, configuration and results are those of Keras's layer, to rounding.
    """

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """
        Convolve without bias.

        :param inputs: shape = (batch, d1, d2, d3, ch).
        :param kernel: shape = (k1, k2, k3, ch, filters).
        :return: shape = (batch, o1, o2, o3, filters).
        """
        kernel = tf.convert_to_tensor(kernel)
        extents = self.kernel_size, self.strides, self.dilation_rate
        axis = flat_axis(inputs.shape[1:4], *extents)
        first = 1 if axis == 0 else 0  # axis of the convolution below
        length = inputs.shape[1:4][first]
        extent = self.dilation_rate[first] * (self.kernel_size[first] - 1) + 1
        if loses_gradient(inputs.dtype, length, extent):
            exact = (tf.cast(x, tf.float32) for x in (inputs, kernel))
            return tf.cast(self.convolution_op(*exact), inputs.dtype)
        if axis is not None and self.data_format == "channels_last":
            output = tf.nn.conv2d(
                tf.squeeze(inputs, axis + 1),
                tf.squeeze(kernel, axis),
                without(self.strides, axis),
                self.padding.upper(),
                dilations=without(self.dilation_rate, axis),
            )
            return tf.expand_dims(output, axis + 1)
        pack = 1
        if self._is_plain(inputs) and not tf.config.get_visible_devices("GPU"):
            pack = choose_pack(tuple(kernel.shape), inputs.shape[3])
        if pack == 1:
            return super().convolution_op(inputs, kernel)
        return packed_conv3d(inputs, kernel, pack)

    def _is_plain(self, inputs: tf.Tensor) -> bool:
        """Whether the convolution is one that `packed_conv3d` can do."""
        return (
            self.padding == "same"
            and self.data_format == "channels_last"
            and {*self.strides, *self.dilation_rate, self.groups} == {1}
            and self.kernel_size[2] % 2 == 1
            and inputs.shape[1:].is_fully_defined()
        )
