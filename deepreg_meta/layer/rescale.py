"""Volumes and displacement fields on coarser and finer grids of the same box."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray


def rescale_weights(length: int, target: int) -> NDArray[np.float64]:
    """
    Return what resamples an axis whose outer faces stay where they are.

    Linear interpolation between voxel centres on a finer grid. On a coarser one the
    triangle is as wide as the coarse voxels are apart, so that nothing finer than what
    they can show is left (the rule of `tf.image.resize` with `antialias`). What would
    lie beyond the border is shared by the voxels within.

    :param length: voxels of the axis.
    :param target: voxels to be had.
    :return: shape = (target, length); rows sum to 1.
    """
    ratio = length / target
    centres = (np.arange(target) + 0.5) * ratio - 0.5
    distance = np.abs(centres[:, None] - np.arange(length)) / max(ratio, 1.0)
    weights = np.maximum(0.0, 1.0 - distance)
    return weights / weights.sum(axis=1, keepdims=True)


def rescale(volumes: tf.Tensor, size: Sequence[int]) -> tf.Tensor:
    """
    Resample volumes on another grid of the same box.

    :param volumes: shape = (batch, d1, d2, d3) or (batch, d1, d2, d3, ch), static but
        for the batch, float.
    :param size: (s1, s2, s3).
    :return: shape = (batch, s1, s2, s3) or (batch, s1, s2, s3, ch).
    """
    for axis, target in enumerate(size, start=1):
        length = volumes.shape[axis]
        if length != target:
            weights = tf.constant(rescale_weights(length, target), volumes.dtype)
            after = volumes.shape[axis + 1 :].as_list()
            matrices = tf.reshape(volumes, [-1, length, int(np.prod(after))])
            shape = [-1, *volumes.shape[1:axis], target, *after]
            volumes = tf.reshape(tf.matmul(weights, matrices), shape)
    return volumes


def rescale_field(ddf: tf.Tensor, size: Sequence[int]) -> tf.Tensor:
    """
    Resample a displacement field, in voxels of its grid, for another grid.

    :param ddf: shape = (batch, d1, d2, d3, 3).
    :param size: (s1, s2, s3).
    :return: shape = (batch, s1, s2, s3, 3), in voxels of the new grid.
    """
    shape = ddf.shape[1:4].as_list()
    if shape == list(size):
        return ddf
    ratio = [new / old for new, old in zip(size, shape, strict=True)]
    return rescale(ddf, size) * tf.constant(ratio, ddf.dtype)


def rescale_mask(mask: tf.Tensor, size: Sequence[int]) -> tf.Tensor:
    """
    Resample a mask: a voxel is in it where at least half of what it covers is.

    :param mask: shape = (batch, d1, d2, d3), 1 and 0.
    :param size: (s1, s2, s3).
    :return: shape = (batch, s1, s2, s3), 1 and 0.
    """
    return tf.cast(rescale(mask, size) >= 0.5, mask.dtype)
