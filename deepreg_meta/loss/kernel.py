"""Filters along the axes of a volume, as products with one small matrix per axis."""

import math

import numpy as np
import tensorflow as tf

_NUM_NEAR = 25  # taps from the centre on that are summed one by one
_TF32_BITS = 0xFFFFE000  # of float32: sign, exponent, and 10 of 23 bits of the mantissa
_NUM_PARTS = 3  # of 11 bits, which 24 fit into


def _gaussian_sum(sigma: tf.Tensor, tail: tf.Tensor) -> tf.Tensor:
    """
    Return the sum of exp(-k^2 / (2 sigma^2)) over |k| <= tail.

    Short kernels are summed, longer ones integrated (Euler-Maclaurin, exact to 1e-7):
    no shape depends on sigma, which XLA would compile anew for every value of.

    :param sigma: scalar > 0.
    :param tail: int(3 sigma), scalar of the same type.
    """

    def value(distance: tf.Tensor) -> tf.Tensor:
        return tf.exp(-0.5 * (distance / sigma) ** 2)

    taps = tf.range(1, _NUM_NEAR, dtype=sigma.dtype)
    near = 1.0 + 2.0 * tf.reduce_sum(tf.where(taps <= tail, value(taps), 0.0))
    integral = math.sqrt(2.0 * math.pi) * sigma
    integral *= tf.math.erf(tail / (math.sqrt(2.0) * sigma))
    far = integral + value(tail) * (1.0 - tail / (6.0 * sigma**2))
    return tf.where(tail < _NUM_NEAR, near, far)


def gaussian_matrix(
    length: int, sigma_vox: tf.Tensor | float, dtype: tf.DType = tf.float32
) -> tf.Tensor:
    """
    Return the matrix that filters along one axis with a zero-padded Gaussian.

    The kernel is DeepReg's `gaussian_kernel1d`: cut at int(3 sigma), then normalised.
    As a matrix it costs one small product per axis, whatever sigma is.

    :param length: number of voxels along the axis.
    :param sigma_vox: standard deviation in voxels, scalar >= 0; 0 is no filtering, and
        so is a singleton axis.
    :param dtype: of the matrix.
    :return: symmetric, shape = (length, length).
    """
    if length == 1:
        return tf.ones([1, 1], dtype)
    sigma = tf.maximum(tf.cast(sigma_vox, dtype), 1e-6)
    tail = tf.floor(3.0 * sigma)
    index = tf.range(length, dtype=dtype)
    distance = tf.abs(index[:, None] - index[None, :])
    kernel = tf.exp(-0.5 * (distance / sigma) ** 2)
    return tf.where(distance <= tail, kernel, 0.0) / _gaussian_sum(sigma, tail)


def window_matrix(
    length: int, profile: np.ndarray, dtype: tf.DType = tf.float32
) -> tf.Tensor:
    """
    Return the matrix that sums along one axis within windows, zeros beyond its ends.

    :param length: number of voxels along the axis.
    :param profile: weights of a window, shape = (size,). The middle is that of
        TensorFlow's padding `SAME`: of an even number, the first of the middle two.
    :param dtype: of the matrix.
    :return: shape = (length, length), a band; singletons are summed by no window.
    """
    if length == 1:
        return tf.ones([1, 1], dtype)
    index = np.arange(length)
    tap = index[None, :] - index[:, None] + (len(profile) - 1) // 2
    inside = (tap >= 0) & (tap < len(profile))
    values = np.where(inside, profile[np.clip(tap, 0, len(profile) - 1)], 0.0)
    return tf.constant(values, dtype)


def split_tf32(values: tf.Tensor) -> list[tf.Tensor]:
    """
    Split numbers into parts that TF32 holds exactly.

    :param values: float32, any shape.
    :return: three of the same shape, of 11 bits, of 11 and of what is left, largest
        first; their sum is exact. Its gradient is that of the first.
    """
    parts = []
    for _ in range(_NUM_PARTS - 1):
        bits = tf.bitwise.bitwise_and(
            tf.bitcast(values, tf.uint32), tf.constant(_TF32_BITS, tf.uint32)
        )
        rest = tf.stop_gradient(values - tf.bitcast(bits, tf.float32))
        parts.append(values - rest)
        values = rest
    return [*parts, values]


def tf32_factors(
    matrix: tf.Tensor, values: tf.Tensor, is_exact: bool
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """
    Return factors whose products in TF32 sum up to the one in float32.

    :param matrix: float32.
    :param values: float32.
    :param is_exact: whether TF32 holds the matrix exactly, as one of ones.
    :return: parts of both; products of small parts, which are only rounding, are left
        out.
    """
    left = [matrix] if is_exact else split_tf32(matrix)
    right = split_tf32(values)
    return [
        (a, b)
        for i, a in enumerate(left)
        for j, b in enumerate(right)
        if i + j < _NUM_PARTS
    ]


def multiplies_in_tf32(dtype: tf.DType) -> bool:
    """Return whether matrices may be multiplied with 11 bits: float32 on GPUs."""
    return (
        dtype == tf.float32
        and tf.config.experimental.tensor_float_32_execution_enabled()
        and bool(tf.config.get_visible_devices("GPU"))
    )


def filter_along_axes(
    volume: tf.Tensor,
    matrices: list[tf.Tensor],
    is_precise: bool = False,
    is_exact: bool = False,
) -> tf.Tensor:
    """
    Apply one matrix along each spatial axis; a singleton axis is left alone.

    :param volume: shape = (batch, d1, d2, d3), static but for the batch.
    :param matrices: shapes (m1, d1), (m2, d2), (m3, d3), of the volume's type.
    :param is_precise: in full precision on GPUs too, which multiply float32 in TF32: of
        differences of such sums nothing would be left but rounding.
    :param is_exact: as of `tf32_factors`.
    :return: shape = (batch, m1, m2, m3).
    """
    is_split = is_precise and multiplies_in_tf32(volume.dtype)

    def product(
        matrix: tf.Tensor, values: tf.Tensor, from_right: bool = False
    ) -> tf.Tensor:
        factors = [(matrix, values)]
        if is_split:
            factors = tf32_factors(matrix, values, is_exact)
        if from_right:
            return tf.add_n([tf.matmul(b, a, transpose_b=True) for a, b in factors])
        return tf.add_n([tf.matmul(a, b) for a, b in factors])

    d1, d2, d3 = volume.shape[1:4]
    m1, m2, m3 = (matrix.shape[0] for matrix in matrices)
    # few large products where the layout allows: along d3 and d1 the rest is flat
    if d2 > 1:
        volume = product(matrices[1], volume)
    if d3 > 1:
        rows = tf.reshape(volume, [-1, d3])
        volume = product(matrices[2], rows, from_right=True)
    if d1 > 1:
        planes = tf.reshape(volume, [-1, d1, m2 * m3])
        volume = product(matrices[0], planes)
    return tf.reshape(volume, [-1, m1, m2, m3])
