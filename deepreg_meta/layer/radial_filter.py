"""Convolution of many volumes of one channel with one kernel."""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deepreg_meta.layer.conv import packed_conv3d

BORDERS = ("edge", "zero")
# Neighbours that a convolution of one channel takes as one on CPUs: measured with 13 x
# 13 taps and with 7 x 7 x 7, more than twice as fast as one by one.
_PACK = 8
# Voxels of a block of a band matrix. Measured with 13 taps: of 256 voxels, blocks take
# half the time of the whole matrix, of 128 nine tenths.
_BLOCK = 48


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


class _Block(NamedTuple):
    """Neighbouring voxels along an axis, and those that a kernel makes them of."""

    results: slice
    sources: slice
    places: tf.Tensor  # `tap_places` between them, [k, results, sources]


def _blocks(
    length: int, half: tf.Tensor, border: str, transposed: bool = False
) -> list[_Block]:
    """
    Cut the band matrix of a profile into blocks: outside them it is zero.

    :param length: number of voxels along the axis.
    :param half: as for `filter_field`.
    :param border: as for `tap_places`.
    :param transposed: cut the transposed matrix, whose band is as wide.
    :return: in the order of their results.
    """
    margin = half.shape[0] - 1
    places = tap_places(length, 2 * margin + 1, border)
    if transposed:
        places = places.transpose(0, 2, 1)
    edges = np.linspace(0, length, max(1, round(length / _BLOCK)) + 1).astype(int)
    blocks = []
    for low, high in itertools.pairwise(edges.tolist()):
        sources = slice(max(0, low - margin), min(length, high + margin))
        part = tf.constant(places[:, low:high, sources], half.dtype)
        blocks.append(_Block(slice(low, high), sources, part))
    return blocks


def _matrices(array: tf.Tensor, axis: int) -> tf.Tensor:
    """Return an array as matrices with an axis as rows, or, of the last, as columns."""
    length = array.shape[axis]
    if axis == len(array.shape) - 1:
        return tf.reshape(array, [-1, length])
    return tf.reshape(array, [-1, length, int(np.prod(array.shape[axis + 1 :]))])


def _along(
    array: tf.Tensor, axis: int, half: tf.Tensor, border: str, transposed: bool = False
) -> tf.Tensor:
    """Filter along one axis, or by the transposed filter: few large products."""
    parts, matrices = [], _matrices(array, axis)
    for block in _blocks(array.shape[axis], half, border, transposed):
        band = tf.tensordot(half, block.places, axes=1)
        if matrices.shape.rank == 2:
            part = tf.matmul(matrices[:, block.sources], band, transpose_b=True)
        else:
            part = tf.matmul(band, matrices[:, block.sources])
        parts.append(part)
    return tf.reshape(tf.concat(parts, axis=1), [-1, *array.shape[1:]])


def _gradient_to_half(
    array: tf.Tensor, upstream: tf.Tensor, axis: int, half: tf.Tensor, border: str
) -> tf.Tensor:
    """Return the gradient of `_along` to the profile."""
    sources, results = _matrices(array, axis), _matrices(upstream, axis)
    parts = []
    for block in _blocks(array.shape[axis], half, border):
        above, below = results[:, block.results], sources[:, block.sources]
        if sources.shape.rank == 2:
            band = tf.matmul(above, below, transpose_a=True)
        else:
            band = tf.reduce_sum(tf.matmul(above, below, transpose_b=True), axis=0)
        parts.append(tf.tensordot(block.places, band, [[1, 2], [0, 1]]))
    return tf.add_n(parts)


def _moving(field: tf.Tensor, axes: tuple[int, ...]) -> tuple[tf.Tensor, list[int]]:
    """
    Lay out the components along the axes so that products with matrices are large.

    :param field: shape = (batch, d1, d2, d3, 3).
    :param axes: two or three of 0, 1 and 2; a third one is a singleton.
    :return: shape = (batch, da, 2, db) or (batch * 3, d1, d2, d3), and where the axes
        are in it.
    """
    if len(axes) == 3:
        components = tf.transpose(field, [0, 4, 1, 2, 3])
        return tf.reshape(components, [-1, *field.shape[1:4]]), [1, 2, 3]
    da, db = (field.shape[1 + axis] for axis in axes)
    parts = [tf.reshape(field[..., axis], [-1, da, db]) for axis in axes]
    return tf.stack(parts, axis=2), [1, 3]


def _with_moved(field: tf.Tensor, moved: tf.Tensor, axes: tuple[int, ...]) -> tf.Tensor:
    """Return a field with other components along the axes: `_moving` undone."""
    shape = field.shape.as_list()[1:4]
    if len(axes) == 3:
        return tf.transpose(tf.reshape(moved, [-1, 3, *shape]), [0, 2, 3, 4, 1])
    parts = tf.unstack(field, axis=-1)
    for axis, image in zip(axes, tf.unstack(moved, axis=2), strict=True):
        parts[axis] = tf.reshape(image, [-1, *shape])
    return tf.stack(parts, axis=-1)


# Compiled: of images, they are dozens of operations on little data, whose calls would
# take most of the time.
@functools.partial(tf.function, jit_compile=True, autograph=False)
def _filtered(
    field: tf.Tensor, half: tf.Tensor, axes: tuple[int, ...], border: str
) -> tf.Tensor:
    array, places = _moving(field, axes)
    for axis in places:
        array = _along(array, axis, half, border)
    return _with_moved(field, array, axes)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _filtered_gradient(
    field: tf.Tensor,
    half: tf.Tensor,
    upstream: tf.Tensor,
    axes: tuple[int, ...],
    border: str,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the gradients of `_filtered` to the field and to the profile."""
    array, places = _moving(field, axes)
    arrays = [array]  # before the filter along each axis
    for axis in places[:-1]:
        arrays.append(_along(arrays[-1], axis, half, border))
    above, _ = _moving(upstream, axes)
    to_half = []
    for axis, array in zip(reversed(places), reversed(arrays), strict=True):
        to_half.append(_gradient_to_half(array, above, axis, half, border))
        above = _along(above, axis, half, border, transposed=True)
    return _with_moved(upstream, above, axes), tf.add_n(to_half)


def filter_field(
    field: tf.Tensor, half: tf.Tensor, axes: tuple[int, ...], border: str
) -> tf.Tensor:
    """
    Convolve a displacement field along its axes with one symmetric profile.

    :param field: shape = (batch, d1, d2, d3, 3), static but for the batch.
    :param half: profile, the middle tap first, shape = (size // 2 + 1,).
    :param axes: two or three of 0, 1 and 2, ascending: along these the components
        along these are convolved. Of an image the third axis is a singleton, and the
        component along it is left as it is.
    :param border: as for `tap_places`.
    :return: as the field.
    """

    @tf.custom_gradient
    def filtered(field: tf.Tensor, half: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return _filtered_gradient(field, half, upstream, axes, border)

        return _filtered(field, half, axes, border), gradient

    return filtered(field, tf.convert_to_tensor(half))


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
