"""What a kernel lacks of the properties of one that regularises: equation 12."""

import itertools
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray


class PenaltyParts(NamedTuple):
    """The parts of the penalty of a kernel, without their weights."""

    symmetry: tf.Tensor  # >= 0
    trace: tf.Tensor  # the sum over the diagonals, of any sign
    diagonal_l1: tf.Tensor  # >= 0


def symmetry_deviation(kernel: tf.Tensor) -> tf.Tensor:
    """
    Return by how much a kernel differs from its mirror images, as sums of squares.

    In 2-D |K - K^T|^2 + |KJ - JK|^2, where J has ones on the anti-diagonal. KJ is K
    with its columns reversed and JK with its rows, so that the second term is
    |K - JKJ|^2: by how much a half turn changes K. Of a K = K^T, J K J is J K^T J, the
    mirror image about the anti-diagonal. Both terms together are therefore zero exactly
    for kernels symmetric about both diagonals. Such kernels need not be invariant under
    flips or quarter turns: [[1, 0, 2], [0, 3, 0], [2, 0, 1]] changes under both.

    In 3-D the same for each of the three pairs of axes, and as a seventh term
    |K(x) - K(-x)|^2, which is the second one of 2-D with all axes reversed. Without it
    xyz would pass, an odd kernel, and no reproducing kernel is odd. The first six are
    zero for the 24 symmetries of a tetrahedron, all seven exactly for the 48 of the
    cube.

    Source: Al Safadi and Song, CVPR 2021, equation 12; the 3-D form is ours.

    :param kernel: shape = (n, n) or (n, n, n).
    :return: scalar >= 0.
    """
    axes = range(kernel.shape.rank)
    images = []
    for a, b in itertools.combinations(axes, 2):
        order = list(axes)
        order[a], order[b] = b, a
        images += [tf.transpose(kernel, order), tf.reverse(kernel, [a, b])]
    if len(axes) == 3:
        images.append(tf.reverse(kernel, list(axes)))
    return tf.add_n([tf.reduce_sum(tf.square(kernel - image)) for image in images])


def diagonal_masks(size: int, num_axes: int) -> NDArray[np.float64]:
    """
    Return ones on the diagonals of a kernel: two of a square, four of a cube.

    :param size: along each axis.
    :param num_axes: 2 or 3.
    :return: shape = (2 or 4, size, ...), the main diagonal first.
    """
    main = np.zeros([size] * num_axes)
    main[(np.arange(size),) * num_axes] = 1.0
    # with the first axis as it is, the others reversed or not
    others = range(1, num_axes)
    flips = [f for k in range(num_axes) for f in itertools.combinations(others, k)]
    return np.stack([np.flip(main, flip) for flip in flips])


def diagonal_sums(kernel: tf.Tensor) -> tf.Tensor:
    """
    Return the traces of a kernel: tr K and tr JK, or those along the space diagonals.

    The tap in the middle lies on each of them.

    :param kernel: shape = (n, n) or (n, n, n).
    :return: shape = (2,) or (4,).
    """
    rank = kernel.shape.rank
    masks = tf.constant(diagonal_masks(kernel.shape[0], rank), kernel.dtype)
    return tf.reduce_sum(masks * kernel, axis=list(range(1, rank + 1)))


def penalty_parts(kernel: tf.Tensor) -> PenaltyParts:
    """
    Return the parts of the penalty of a kernel.

    :param kernel: shape = (n, n) or (n, n, n).
    :return: the deviation from symmetry; the sum over the diagonals; and the sum of the
        magnitudes on the main one.
    """
    main = diagonal_masks(kernel.shape[0], kernel.shape.rank)[0]
    return PenaltyParts(
        symmetry_deviation(kernel),
        tf.reduce_sum(diagonal_sums(kernel)),
        tf.reduce_sum(tf.abs(kernel * tf.constant(main, kernel.dtype))),
    )
