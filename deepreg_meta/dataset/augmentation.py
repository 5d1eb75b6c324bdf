"""Random affine maps drawn inside the graph, from stateless seeds."""

import numpy as np
import tensorflow as tf

# homogeneous corners C, G, D, A of DeepReg's gen_rand_affine_transform
_CORNERS = np.array(
    [[-1, -1, -1, 1], [-1, -1, 1, 1], [-1, 1, -1, 1], [1, -1, -1, 1]], dtype=np.float64
)
_CORNERS_INVERSE = np.linalg.inv(_CORNERS).astype(np.float32)


def random_affine(
    seed: tf.Tensor, batch: int, size: tuple[int, int, int], scale: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """
    Draw affine maps of voxel coordinates, without flips, as DeepReg's `affine` does.

    Four corners of the grid, centred in [-1, 1]^3, are each pulled towards the centre
    by factors uniform in [1 - scale, 1]. DeepReg draws them with NumPy, which a
    compiled graph would freeze, and applies the map to raw voxel coordinates; here
    every seed gives its own map, about the centre of the grid.

    :param seed: int32, shape = (2,).
    :param batch: number of maps.
    :param size: (d1, d2, d3) of the grid.
    :param scale: in [0, 0.5], so that no corner passes the plane of the others; 0 gives
        the identity.
    :return: matrix (batch, 3, 3) and offset (batch, 3): a voxel at x of the augmented
        image shows the original image at matrix x + offset.
    """
    noise = tf.random.stateless_uniform([batch, 4, 3], seed, 1.0 - scale, 1.0)
    moved = tf.constant(_CORNERS[:, :3], tf.float32) * noise  # (batch, 4, 3)
    theta = tf.matmul(tf.constant(_CORNERS_INVERSE)[None], moved)  # [x 1] theta
    linear = tf.transpose(theta[:, :3], [0, 2, 1])
    # from the unit cube to voxels: x = half (p + 1); a singleton axis has no extent
    half = tf.constant([(n - 1) / 2.0 for n in size], tf.float32)
    inverse = tf.math.divide_no_nan(1.0, half)
    matrix = half[:, None] * linear * inverse[None, :]
    matrix += tf.linalg.diag(tf.cast(half == 0.0, tf.float32))
    shift = half * (theta[:, 3] + 1.0)
    return matrix, shift - tf.linalg.matvec(matrix, half)


def compose_affine(
    outer: tuple[tf.Tensor, tf.Tensor], inner: tuple[tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """
    Compose affine maps: x -> outer(inner(x)).

    :param outer: matrix (batch, 3, 3) and offset (batch, 3).
    :param inner: the same.
    :return: the same.
    """
    matrix = tf.matmul(outer[0], inner[0])
    return matrix, tf.linalg.matvec(outer[0], inner[1]) + outer[1]
