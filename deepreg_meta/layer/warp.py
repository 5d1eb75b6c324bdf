"""Sampling of volumes at moved locations: warping and composition of displacements."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

INTERPOLATIONS = ("linear", "nearest")
BOUNDARIES = ("zero", "border")


def reference_grid(size: tuple[int, int, int]) -> tf.Tensor:
    """
    Return the voxel coordinates of a grid.

    :param size: (d1, d2, d3).
    :return: float32, shape = (d1, d2, d3, 3); [i, j, k] holds (i, j, k).
    """
    axes = [tf.range(n, dtype=tf.float32) for n in size]
    return tf.stack(tf.meshgrid(*axes, indexing="ij"), axis=-1)


def apply_affine(points: tf.Tensor, matrix: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """
    Map points by y = matrix x + offset, one map per batch element.

    :param points: shape = (batch or 1, ..., 3).
    :param matrix: shape = (batch, 3, 3).
    :param offset: shape = (batch, 3).
    :return: shape = (batch, ..., 3).
    """
    # one coordinate after the other, so that XLA sees through to where they come from
    x1, x2, x3 = tf.unstack(points, axis=-1)
    ones = [1] * (points.shape.rank - 2)
    rows = tf.unstack(tf.reshape(matrix, [-1, *ones, 3, 3]), axis=-2)
    shifts = tf.unstack(tf.reshape(offset, [-1, *ones, 3]), axis=-1)
    return tf.stack(
        [
            row[..., 0] * x1 + row[..., 1] * x2 + row[..., 2] * x3 + shift
            for row, shift in zip(rows, shifts, strict=True)
        ],
        axis=-1,
    )


def _displaced(ddf: tf.Tensor) -> list[tf.Tensor]:
    """Return the coordinates of `displaced_grid`, each of shape (batch, d1, d2, d3)."""
    axes = [tf.range(n, dtype=ddf.dtype) for n in ddf.shape[1:4]]
    grid = tf.meshgrid(*axes, indexing="ij")
    return [x + u for x, u in zip(grid, tf.unstack(ddf, axis=-1), strict=True)]


def displaced_grid(ddf: tf.Tensor) -> tf.Tensor:
    """
    Return where each voxel is taken by a displacement field: x + u(x).

    Added up one coordinate at a time, through which XLA sees: with
    `reference_grid(...) + ddf`, warps and their gradients take up to twice as long.

    :param ddf: u, shape = (batch, d1, d2, d3, 3), in voxels.
    :return: shape = (batch, d1, d2, d3, 3).
    """
    return tf.stack(_displaced(ddf), axis=-1)


@tf.custom_gradient
def _take(flat: tf.Tensor, *indices: tf.Tensor) -> tuple[list[tf.Tensor], Callable]:
    """
    Gather voxels by several sets of indices.

    TensorFlow's own gradient to `flat` joins all sets before it adds them up. Here each
    set and each channel is added up by itself, which XLA does in half the time.

    :param flat: shape = (voxels,) or (voxels, ch).
    :param indices: int32, of any shape (...).
    :return: for each set of indices, shape = (...) or (..., ch).
    """

    def gradient(*upstream: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
        num_voxels = tf.shape(flat)[0]

        def add_up(values: Sequence[tf.Tensor]) -> tf.Tensor:
            pairs = zip(values, indices, strict=True)
            return tf.add_n(
                [tf.math.unsorted_segment_sum(*pair, num_voxels) for pair in pairs]
            )

        if flat.shape.rank == 1:
            total = add_up(upstream)
        else:
            channels = zip(*[tf.unstack(x, axis=-1) for x in upstream], strict=True)
            total = tf.stack([add_up(values) for values in channels], axis=-1)
        return (total, *[None] * len(indices))

    return [tf.gather(flat, index) for index in indices], gradient


def _is_inside(coordinates: list[tf.Tensor], size: tuple[int, ...]) -> tf.Tensor:
    """
    Tell which locations lie in the volume, its outer half voxels included (as in ITK).

    :param coordinates: per axis, shape = (...), in voxels.
    :param size: (d1, d2, d3).
    :return: bool, shape = (...); true of what is no number, whose sample is none.
    """
    outside = [
        (x < -0.5) | (x >= length - 0.5)
        for x, length in zip(coordinates, size, strict=True)
    ]
    return ~(outside[0] | outside[1] | outside[2])


class _Axis(NamedTuple):
    """One axis of the volume along which there is something to choose from."""

    coordinate: tf.Tensor  # shape = (batch, ...), in voxels
    last: int  # index of the last voxel, >= 1
    stride: int  # from one voxel to the next in the flat volume


def _linear(flat: tf.Tensor, start: tf.Tensor, axes: list[_Axis]) -> tf.Tensor:
    """
    Interpolate linearly along each axis.

    :param flat: shape = (batch * d1 * d2 * d3,) or (batch * d1 * d2 * d3, ch).
    :param start: int32, index of each batch element's first voxel, broadcast to the
        locations.
    :param axes: those that are no singletons: one that is needs no weight, and no
        second neighbour.
    :return: shape = (batch, ...) or (batch, ..., ch).
    """
    index, weights = start, []
    for axis in axes:
        clipped = tf.clip_by_value(axis.coordinate, 0.0, float(axis.last))
        # what is not a number stays so in XLA too, whose clipping makes a number of it
        clipped = tf.where(tf.math.is_nan(axis.coordinate), axis.coordinate, clipped)
        # clipped as an integer: what is not a number has a neighbour in the volume too,
        # and a weight that makes the sample no number either
        lower = tf.clip_by_value(tf.cast(clipped, tf.int32), 0, axis.last - 1)
        weight = clipped - tf.cast(lower, clipped.dtype)
        weights.append(weight[..., None] if flat.shape.rank == 2 else weight)
        index += lower * axis.stride
    corners = [index]
    for axis in axes:
        corners = [i for low in corners for i in (low, low + axis.stride)]
    values = _take(flat, *corners)
    for weight in reversed(weights):  # neighbours along the last axis are side by side
        values = [
            low + weight * (high - low)
            for low, high in zip(values[::2], values[1::2], strict=True)
        ]
    return values[0]


def _nearest(flat: tf.Tensor, start: tf.Tensor, axes: list[_Axis]) -> tf.Tensor:
    """Take the nearest voxel; parameters as in `_linear`."""
    index = start
    for axis in axes:
        # floor(x + 0.5) as in ITK: tf.round would send halves to the even neighbour
        nearest = tf.floor(axis.coordinate + 0.5)
        # clipped before: integers that are too large would begin anew from below
        nearest = tf.clip_by_value(nearest, 0.0, float(axis.last))
        # and after: what is not a number becomes any integer
        nearest = tf.clip_by_value(tf.cast(nearest, tf.int32), 0, axis.last)
        index += nearest * axis.stride
    return _take(flat, index)[0]


def sample(
    volume: tf.Tensor,
    loc: tf.Tensor,
    interpolation: str = "linear",
    boundary: str = "zero",
) -> tf.Tensor:
    """
    Sample volumes at locations.

    Values equal DeepReg's `layer_util.resample` in the interior. At the border they
    are ITK's: a location is inside up to half a voxel beyond the outer voxel centres.
    Along a singleton axis there is nothing to interpolate: an image (d1, d2, 1) costs
    what it does in 2-D, and its locations and displacements have a third component.

    :param volume: shape = (batch, d1, d2, d3) or (batch, d1, d2, d3, ch), with static
        d1, d2 and d3.
    :param loc: shape = (batch, ..., 3), in voxels of the volume.
    :param interpolation: linear or nearest.
    :param boundary: zero: 0 outside the volume; border: the value at its border.
    :return: shape = (batch, ...) or (batch, ..., ch).
    :raises ValueError: for another interpolation or boundary, a wrong shape, or
        locations in half precision.
    """
    volume, loc = tf.convert_to_tensor(volume), tf.convert_to_tensor(loc)
    if loc.shape.rank in (0, 1):
        raise ValueError(f"expected locations (batch, ..., 3), got {loc.shape}.")
    _check(volume, loc, interpolation, boundary)
    return _sample(volume, tf.unstack(loc, axis=-1), interpolation, boundary)


def _check(
    volume: tf.Tensor, loc: tf.Tensor, interpolation: str, boundary: str
) -> None:
    """Refuse what `sample` does not take."""
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"interpolation: expected one of {INTERPOLATIONS}, got {interpolation!r}."
        )
    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary: expected one of {BOUNDARIES}, got {boundary!r}.")
    if (
        volume.shape.rank not in (4, 5)
        or loc.shape[-1] != 3
        or not volume.shape[:1].is_compatible_with(loc.shape[:1])
    ):
        raise ValueError(
            "expected a volume (batch, d1, d2, d3[, ch]) and locations (batch, ..., 3),"
            f" got {volume.shape} and {loc.shape}."
        )
    if loc.dtype not in (tf.float32, tf.float64):
        raise ValueError(
            "expected locations or displacements in float32 or float64, got "
            f"{loc.dtype.name}, whose steps are too coarse for coordinates."
        )
    if interpolation == "linear" and volume.dtype != loc.dtype:
        raise ValueError(
            "expected a volume of the type of its locations for linear interpolation, "
            f"got {volume.dtype.name} and {loc.dtype.name}. Cast one of them."
        )


def _of_one_batch(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """
    Refuse different batch sizes when they are known at last.

    A graph knows them before it runs unless they are dynamic; it then checks as it
    runs, before anything is computed from the result. XLA, for which they are always
    known, drops the check.

    :param a: shape = (batch, ...).
    :param b: shape = (batch, ...).
    :return: `a`.
    :raises tf.errors.InvalidArgumentError: when the graph runs, for different sizes.
    """
    if a.shape[0] is not None and b.shape[0] is not None:
        return a
    message = "expected as many volumes or fields as fields"
    equal = tf.debugging.assert_equal(tf.shape(a)[0], tf.shape(b)[0], message)
    with tf.control_dependencies([] if equal is None else [equal]):
        return tf.identity(a)


def _sample(
    volume: tf.Tensor, coordinates: list[tf.Tensor], interpolation: str, boundary: str
) -> tf.Tensor:
    """Sample at locations given per axis, each of shape (batch, ...)."""
    size = tuple(volume.shape[1:4])
    volume = _of_one_batch(volume, coordinates[0])
    has_channels = volume.shape.rank == 5 and volume.shape[4] != 1
    flat = tf.reshape(volume, [-1, volume.shape[4]] if has_channels else [-1])
    starts = tf.range(tf.shape(coordinates[0])[0]) * (size[0] * size[1] * size[2])
    start = tf.reshape(starts, [-1] + [1] * (coordinates[0].shape.rank - 1))
    strides = (size[1] * size[2], size[2], 1)
    axes = [
        _Axis(x, length - 1, stride)
        for x, length, stride in zip(coordinates, size, strides, strict=True)
        if length > 1
    ]
    if not axes:  # a single voxel for all locations
        start += tf.zeros_like(coordinates[0], start.dtype)
    function = _linear if interpolation == "linear" else _nearest
    sampled = function(flat, start, axes)  # (batch, ...) or (batch, ..., ch)
    if boundary == "zero":
        inside = tf.cast(_is_inside(coordinates, size), sampled.dtype)
        sampled *= inside[..., None] if has_channels else inside
    if volume.shape.rank == 5 and not has_channels:
        sampled = sampled[..., None]
    return sampled


def warp(
    volume: tf.Tensor,
    ddf: tf.Tensor,
    interpolation: str = "linear",
    boundary: str = "zero",
) -> tf.Tensor:
    """
    Warp volumes by displacement fields: output voxel x takes the volume at x + ddf(x).

    :param volume: shape = (batch, d1, d2, d3) or (batch, d1, d2, d3, ch).
    :param ddf: shape = (batch, f1, f2, f3, 3), in voxels.
    :param interpolation: as for `sample`.
    :param boundary: as for `sample`.
    :return: shape = (batch, f1, f2, f3) or (batch, f1, f2, f3, ch).
    :raises ValueError: as `sample` does.
    """
    volume, ddf = tf.convert_to_tensor(volume), tf.convert_to_tensor(ddf)
    _check_field("ddf", ddf)
    _check(volume, ddf, interpolation, boundary)
    return _sample(volume, _displaced(ddf), interpolation, boundary)


def _check_field(name: str, field: tf.Tensor) -> None:
    """Refuse what is no displacement or velocity field of volumes."""
    if field.shape.rank != 5 or field.shape[-1] != 3:
        raise ValueError(
            f"{name}: expected a field (batch, d1, d2, d3, 3), got {field.shape}. That "
            "of an image has a singleton axis: (batch, d1, d2, 1, 3)."
        )


def _compose(outer: tf.Tensor, inner: tf.Tensor) -> tf.Tensor:
    return inner + warp(outer, inner, boundary="border")


# Compiled by itself wherever it is called from, once per shape; a batch of unknown size
# is compiled for each size met. The gradient of all squarings of `integrate` as one
# piece would take XLA eight times as long to compile.
_composed = tf.function(_compose, jit_compile=True, autograph=False)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _composition_gradient(
    outer: tf.Tensor, inner: tf.Tensor, upstream: tf.Tensor
) -> list[tf.Tensor]:
    """Return the gradients of `_compose` to both fields."""
    with tf.GradientTape() as tape:
        tape.watch([outer, inner])
        value = _compose(outer, inner)
    return tape.gradient(value, [outer, inner], output_gradients=upstream)


@tf.custom_gradient
def _compose_compiled(outer: tf.Tensor, inner: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """
    Compose by compiled functions, forward and backward.

    The backward one samples once more: left to TensorFlow, the forward one would hand
    over all that it met on its way.
    """

    def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
        return _composition_gradient(outer, inner, upstream)

    return _composed(outer, inner), gradient


def compose(outer: tf.Tensor, inner: tf.Tensor) -> tf.Tensor:
    """
    Compose displacement fields of one grid: warping once with the result equals warping
    with `outer` first and the outcome with `inner`.

    x + result(x) = (x + inner(x)) + outer(x + inner(x)).

    :param outer: shape = (batch, d1, d2, d3, 3), in voxels.
    :param inner: shape = (batch, d1, d2, d3, 3), in voxels.
    :return: shape = (batch, d1, d2, d3, 3).
    :raises ValueError: for fields of different grids, or what is no field.
    """
    outer, inner = tf.convert_to_tensor(outer), tf.convert_to_tensor(inner)
    _check_field("outer", outer)
    _check_field("inner", inner)
    if not outer.shape.is_compatible_with(inner.shape):
        raise ValueError(
            "expected fields of one grid to compose, got outer of shape "
            f"{outer.shape} and inner of shape {inner.shape}."
        )
    return _compose_compiled(_of_one_batch(outer, inner), inner)


def integrate(dvf: tf.Tensor, num_steps: int = 7) -> tf.Tensor:
    """
    Integrate a stationary velocity field by scaling and squaring.

    Source: Arsigny et al., MICCAI 2006; as DeepReg's IntDVF, which has 7 steps too.
    Each squaring runs as a compiled function, in plain graphs and eagerly as well.

    :param dvf: shape = (batch, d1, d2, d3, 3), in voxels.
    :param num_steps: number of squarings, >= 0.
    :return: displacement field, shape = (batch, d1, d2, d3, 3).
    :raises ValueError: for what is no field, or another number of squarings.
    """
    dvf = tf.convert_to_tensor(dvf)
    _check_field("dvf", dvf)
    if type(num_steps) is not int or num_steps < 0:
        raise ValueError(f"num_steps: expected an integer >= 0, got {num_steps!r}.")
    ddf = dvf / 2.0**num_steps
    for _ in range(num_steps):
        ddf = compose(ddf, ddf)
    return ddf
