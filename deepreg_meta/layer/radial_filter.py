"""Convolution of many volumes of one channel with one kernel."""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deepreg_meta.layer.conv import packed_conv3d

BORDERS = ("edge", "zero")
# Neighbours that a convolution of one channel takes as one on CPUs: measured with 13 x
# 13 taps and with 7 x 7 x 7, more than twice as fast as one by one.
_PACK = 8


def tap_places(length: int, size: int, border: str) -> NDArray[np.float64]:
    """
    Return where the taps of a symmetric kernel lie along an axis.

    :param length: number of voxels along the axis.
    :param size: odd number of taps, more than the axis has voxels if need be.
    :param border: edge: the outer voxels go on beyond the border; zero: nothing does.
    :return: how often voxel i takes voxel j with the tap that is k from the middle,
        [k, i, j], shape = (size // 2 + 1, length, length).
    """
    half, index = size // 2, np.arange(length)
    places = np.zeros([half + 1, length, length])
    for tap in range(-half, half + 1):
        source = index + tap
        inside = (source >= 0) & (source < length)
        counted = inside | (border == "edge")
        places[abs(tap), index, np.clip(source, 0, length - 1)] += counted
    return places


def _band_matrices(
    lengths: list[int], half: tf.Tensor, border: str
) -> dict[int, tf.Tensor]:
    """Return what filters along axes, by their length: shape = (length, length)."""
    matrices, size = {}, 2 * half.shape[0] - 1
    for length in set(lengths):
        places = tf.constant(tap_places(length, size, border), half.dtype)
        matrices[length] = tf.tensordot(half, places, axes=1)
    return matrices


def filter_images_separably(
    images: tf.Tensor, half: tf.Tensor, border: str
) -> tf.Tensor:
    """
    Convolve several images at a time along both axes with one symmetric profile.

    :param images: side by side, shape = (batch, d1, number, d2), static but for the
        batch: the layout in which both products are large.
    :param half: as for `filter_separably`.
    :param border: as for `tap_places`.
    :return: as the images.
    """
    _, d1, number, d2 = images.shape
    matrices = _band_matrices([d1, d2], half, border)
    columns = tf.matmul(matrices[d1], tf.reshape(images, [-1, d1, number * d2]))
    rows = tf.matmul(tf.reshape(columns, [-1, d2]), matrices[d2], transpose_b=True)
    return tf.reshape(rows, [-1, d1, number, d2])


def filter_separably(volumes: tf.Tensor, half: tf.Tensor, border: str) -> tf.Tensor:
    """
    Convolve along each axis with one symmetric profile, by products with band matrices.

    :param volumes: shape = (batch, d1, d2) or (batch, d1, d2, d3), static but for the
        batch.
    :param half: profile, the middle tap first, shape = (size // 2 + 1,).
    :param border: as for `tap_places`.
    :return: as the volumes.
    """
    lengths = volumes.shape[1:].as_list()
    matrices = _band_matrices(lengths, half, border)
    # few large products where the layout allows: along the last and the first axis
    rows = tf.reshape(volumes, [-1, lengths[-1]])
    rows = tf.matmul(rows, matrices[lengths[-1]], transpose_b=True)
    if len(lengths) == 3:
        planes = tf.reshape(rows, [-1, *lengths[1:]])
        rows = tf.matmul(matrices[lengths[1]], planes)
    columns = tf.reshape(rows, [-1, lengths[0], int(np.prod(lengths[1:]))])
    columns = tf.matmul(matrices[lengths[0]], columns)
    return tf.reshape(columns, [-1, *lengths])


def _extend(volumes: tf.Tensor, margin: int) -> tf.Tensor:
    """Repeat the outer voxels beyond the border; no axis but the first is a single."""
    for axis, length in enumerate(volumes.shape[1:], start=1):
        # split and not sliced: the gradient of a slice is several times slower
        first, middle, last = tf.split(volumes, [1, length - 2, 1], axis)
        parts = [first] * (margin + 1) + [middle] + [last] * (margin + 1)
        volumes = tf.concat(parts, axis)
    return volumes


def _crop(volumes: tf.Tensor, margin: int) -> tf.Tensor:
    """Undo `_extend`."""
    for axis, length in enumerate(volumes.shape[1:], start=1):
        sizes = [margin, length - 2 * margin, margin]
        volumes = tf.split(volumes, sizes, axis)[1]
    return volumes


def convolve(volumes: tf.Tensor, kernel: tf.Tensor, border: str) -> tf.Tensor:
    """
    Convolve: the value at x is the sum over y of kernel(y) volume(x - y).

    :param volumes: shape = (batch, d1, d2) or (batch, d1, d2, d3), static but for the
        batch, at least two voxels along each axis.
    :param kernel: shape = (n, n) or (n, n, n), n odd, its origin in the middle.
    :param border: as for `tap_places`.
    :return: as the volumes.
    """
    margin = kernel.shape[0] // 2
    if border == "edge":
        volumes = _extend(volumes, margin)
    lengths, taps = volumes.shape[1:].as_list(), kernel.shape.as_list()
    if len(lengths) == 2:  # as a volume, its voxels side by side along the last axis
        grid, size = [lengths[0], 1, lengths[1]], [taps[0], 1, taps[1]]
    else:
        grid, size = lengths, taps
    inputs = tf.reshape(volumes, [-1, *grid, 1])
    # TensorFlow's convolution is a correlation
    turned = tf.reverse(kernel, list(range(len(taps))))
    weights = tf.reshape(turned, [*size, 1, 1])
    if tf.config.get_visible_devices("GPU"):
        output = tf.nn.conv3d(inputs, weights, [1] * 5, "SAME")
    else:
        output = packed_conv3d(inputs, weights, _PACK)
    output = tf.reshape(output, [-1, *lengths])
    return _crop(output, margin) if border == "edge" else output
