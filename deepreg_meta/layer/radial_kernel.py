"""Kernels that regularise fields, made of the numbers that are free to be learned."""

import functools

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

PARAMETERIZATIONS = ("penalty", "cholesky", "separable", "radial")
# Added to the diagonal of a kernel of rank 1 before it is factorised: a column of U
# that starts as zeros has no gradient, and would stay so.
_RIDGE = 1e-3


def gaussian_profile(size: int, sigma_vox: float) -> NDArray[np.float64]:
    """
    Return a sampled Gaussian whose sum is 1.

    :param size: odd number of taps.
    :param sigma_vox: standard deviation in voxels, >= 0; 0 gives 1 in the middle and 0
        elsewhere.
    :return: symmetric to the bit, shape = (size,).
    """
    distance = np.abs(np.arange(size) - size // 2)
    if sigma_vox == 0:
        return (distance == 0).astype(np.float64)
    profile = np.exp(-0.5 * (distance / sigma_vox) ** 2)
    return profile / profile.sum()


def ring_indices(size: int, num_axes: int) -> NDArray[np.int64]:
    """
    Number the rings of equal distance from the middle of a kernel.

    :param size: odd number of taps along each axis.
    :param num_axes: 2 or 3.
    :return: 0 in the middle, then the nearer ring first, shape = (size,) * num_axes.
    """
    squares: NDArray[np.int64] = (np.arange(size) - size // 2) ** 2
    distances = squares
    for _ in range(num_axes - 1):
        distances = np.add.outer(distances, squares)
    _, indices = np.unique(distances, return_inverse=True)
    return indices.reshape(distances.shape)


def initial_weights(
    parameterization: str, size: int, num_axes: int, sigma_vox: float
) -> NDArray[np.floating]:
    """
    Return the weights of a narrow Gaussian kernel with sum 1.

    :param parameterization: one of `PARAMETERIZATIONS`. The kernel of `cholesky` has a
        thousandth more on its diagonal, before its sum is made 1 again.
    :param size: odd number of taps along each axis.
    :param num_axes: 2 or 3.
    :param sigma_vox: standard deviation in voxels; 0 is the identity.
    :return: what `dense_kernel` takes.
    """
    profile = gaussian_profile(size, sigma_vox)
    if parameterization == "separable":
        return profile[size // 2 :]
    kernel = functools.reduce(np.multiply.outer, [profile] * num_axes)
    if parameterization == "radial":
        rings = ring_indices(size, num_axes)
        weights = np.zeros(rings.max() + 1)
        weights[rings] = kernel  # equal within a ring: exp(-x^2) exp(-y^2)
        return weights
    if parameterization == "cholesky":
        ridged = (kernel + _RIDGE * np.eye(size)) / (1.0 + size * _RIDGE)
        # J K J = L L^T with L lower triangular, hence K = U U^T with U = J L J
        upper = np.linalg.cholesky(ridged[::-1, ::-1])[::-1, ::-1]
        return upper[np.triu_indices(size)]
    return kernel


def symmetric_profile(half: tf.Tensor) -> tf.Tensor:
    """
    Return a profile from its middle and one of its sides.

    :param half: the middle tap first, shape = (size // 2 + 1,).
    :return: shape = (size,).
    """
    return tf.concat([tf.reverse(half[1:], [0]), half], axis=0)


def _place(weights: tf.Tensor, index: NDArray[np.int64]) -> tf.Tensor:
    """
    Return the weight of each index, and 0 where it is that after the last one.

    A product with zeros and ones: the gradient of `tf.gather` is a list of slices, of
    which optimisers take the path for embeddings.
    """
    number = weights.shape[0]
    ones = tf.constant(np.eye(number + 1)[index][..., :number], weights.dtype)
    return tf.tensordot(ones, weights, axes=1)


def _gram_matrix(weights: tf.Tensor, size: int) -> tf.Tensor:
    """
    Return U U^T.

    :param weights: the upper triangle of U, row by row; of those on the diagonal the
        absolute values count.
    :param size: of U.
    """
    rows, columns = np.triu_indices(size)
    index = np.full([size, size], len(rows))  # 0 below the diagonal
    index[rows, columns] = np.arange(len(rows))
    upper = _place(weights, index)
    upper = tf.linalg.set_diag(upper, tf.abs(tf.linalg.diag_part(upper)))
    return tf.matmul(upper, upper, transpose_b=True)


def dense_kernel(
    parameterization: str, weights: tf.Tensor, size: int, num_axes: int
) -> tf.Tensor:
    """
    Return the kernel that some weights stand for.

    - `penalty`: every tap is free, shape = (size,) * num_axes;
    - `cholesky`: K = U U^T with U upper triangular and a non-negative diagonal, hence
      positive semi-definite, in 2-D; its size (size + 1) / 2 entries, row by row;
    - `separable`: the outer product of a symmetric profile with itself, of which the
      middle and one side are free: K = p p^T is symmetric, positive semi-definite and
      of rank 1, and its trace is |p|^2 >= 0; shape = (size // 2 + 1,);
    - `radial`: one weight per ring of equal distance, in the order of `ring_indices`.

    Positive semi-definite is said of K as a matrix, as in the source. Convolution with
    K is a positive operator only where the Fourier transform of K is not negative.

    Source: Al Safadi and Song, CVPR 2021, section 4.3 (`penalty`, `cholesky`); 4.2
    derives that K is an outer product.

    :param parameterization: one of `PARAMETERIZATIONS`.
    :param weights: as above.
    :param size: odd number of taps along each axis.
    :param num_axes: 2 or 3.
    :return: shape = (size,) * num_axes.
    """
    if parameterization == "separable":
        profiles = [symmetric_profile(weights)] * num_axes
        return functools.reduce(lambda a, b: tf.tensordot(a, b, axes=0), profiles)
    if parameterization == "radial":
        return _place(weights, ring_indices(size, num_axes))
    if parameterization == "cholesky":
        return _gram_matrix(weights, size)
    return tf.convert_to_tensor(weights)
