"""Sampling of volumes at moved locations: warping and composition of displacements."""

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
    ones = [1] * (points.shape.rank - 2)
    rows = tf.unstack(tf.reshape(matrix, [-1, *ones, 3, 3]), axis=-2)
    mapped = [tf.reduce_sum(points * row, axis=-1) for row in rows]
    return tf.stack(mapped, axis=-1) + tf.reshape(offset, [-1, *ones, 3])


def _corner_index_and_weight(
    coordinate: tf.Tensor, length: int
) -> tuple[tf.Tensor, tf.Tensor, int]:
    """
    Split coordinates into the lower neighbour's index and the upper one's weight.

    :param coordinate: float32, any shape, in voxels along one axis.
    :param length: number of voxels along this axis.
    :return: lower index (int32), weight in [0, 1] of the voxel above it, and the step
        to that voxel: 0 along a singleton axis, which has no second neighbour.
    """
    clipped = tf.clip_by_value(coordinate, 0.0, float(length - 1))
    # clipped as an integer: what is not a number has a neighbour in the volume too, and
    # a weight that makes the sample no number either
    lower = tf.clip_by_value(tf.cast(clipped, tf.int32), 0, max(length - 2, 0))
    weight = clipped - tf.cast(lower, clipped.dtype)
    return lower, weight, 1 if length > 1 else 0


def _is_inside(loc: tf.Tensor, size: tuple[int, int, int]) -> tf.Tensor:
    """
    Tell which locations lie in the volume, its outer half voxels included (as in ITK).

    :param loc: shape = (..., 3), in voxels.
    :param size: (d1, d2, d3).
    :return: bool, shape = (...).
    """
    upper = tf.constant([n - 0.5 for n in size], dtype=loc.dtype)
    return tf.reduce_all((loc >= -0.5) & (loc < upper), axis=-1)


def _linear(
    flat: tf.Tensor, start: tf.Tensor, loc: tf.Tensor, size: tuple
) -> tf.Tensor:
    """
    Interpolate trilinearly.

    :param flat: shape = (batch * d1 * d2 * d3, ch).
    :param start: int32, index of each batch element's first voxel, broadcast to loc.
    :param loc: shape = (batch, ..., 3).
    :param size: (d1, d2, d3).
    :return: shape = (batch, ..., ch).
    """
    strides = (size[1] * size[2], size[2], 1)
    base, weights, steps = start, [], []
    for axis in range(3):
        lower, weight, step = _corner_index_and_weight(loc[..., axis], size[axis])
        base = base + lower * strides[axis]
        weights.append(weight[..., None])
        steps.append(step * strides[axis])

    def along_last(index: tf.Tensor) -> tf.Tensor:
        low = tf.gather(flat, index)
        return low + weights[2] * (tf.gather(flat, index + steps[2]) - low)

    def along_last_two(index: tf.Tensor) -> tf.Tensor:
        low = along_last(index)
        return low + weights[1] * (along_last(index + steps[1]) - low)

    low = along_last_two(base)
    return low + weights[0] * (along_last_two(base + steps[0]) - low)


def _nearest(
    flat: tf.Tensor, start: tf.Tensor, loc: tf.Tensor, size: tuple
) -> tf.Tensor:
    """Take the nearest voxel; parameters as in `_linear`."""
    index = start
    for axis, stride in enumerate((size[1] * size[2], size[2], 1)):
        # floor(x + 0.5) as in ITK: tf.round would send halves to the even neighbour
        nearest = tf.cast(tf.floor(loc[..., axis] + 0.5), tf.int32)
        index = index + tf.clip_by_value(nearest, 0, size[axis] - 1) * stride
    return tf.gather(flat, index)


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

    :param volume: shape = (batch, d1, d2, d3) or (batch, d1, d2, d3, ch), with static
        d1, d2 and d3.
    :param loc: shape = (batch, ..., 3), in voxels of the volume.
    :param interpolation: linear or nearest.
    :param boundary: zero: 0 outside the volume; border: the value at its border.
    :return: shape = (batch, ...) or (batch, ..., ch).
    :raises ValueError: for another interpolation or boundary, or a wrong rank.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"interpolation: expected one of {INTERPOLATIONS}, got {interpolation!r}."
        )
    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary: expected one of {BOUNDARIES}, got {boundary!r}.")
    if volume.shape.rank not in (4, 5) or loc.shape[-1] != 3:
        raise ValueError(
            "expected a volume (batch, d1, d2, d3[, ch]) and locations (batch, ..., 3),"
            f" got {volume.shape} and {loc.shape}."
        )
    size = tuple(volume.shape[1:4])
    num_channels = volume.shape[4] if volume.shape.rank == 5 else 1
    num_voxels = size[0] * size[1] * size[2]
    flat = tf.reshape(volume, [-1, num_channels])
    starts = tf.range(tf.shape(loc)[0]) * num_voxels
    start = tf.reshape(starts, [-1] + [1] * (loc.shape.rank - 2))
    function = _linear if interpolation == "linear" else _nearest
    sampled = function(flat, start, loc, size)  # (batch, ..., ch)
    if boundary == "zero":
        inside = tf.cast(_is_inside(loc, size), sampled.dtype)
        sampled = sampled * inside[..., None]
    return sampled if volume.shape.rank == 5 else sampled[..., 0]


def warp(volume: tf.Tensor, ddf: tf.Tensor, **kwargs: str) -> tf.Tensor:
    """
    Warp volumes by displacement fields: output voxel x takes the volume at x + ddf(x).

    :param volume: shape = (batch, d1, d2, d3) or (batch, d1, d2, d3, ch).
    :param ddf: shape = (batch, f1, f2, f3, 3), in voxels.
    :param kwargs: interpolation and boundary of `sample`.
    :return: shape = (batch, f1, f2, f3) or (batch, f1, f2, f3, ch).
    """
    return sample(volume, reference_grid(tuple(ddf.shape[1:4])) + ddf, **kwargs)


def compose(outer: tf.Tensor, inner: tf.Tensor) -> tf.Tensor:
    """
    Compose displacement fields of one grid: warping once with the result equals warping
    with `outer` first and the outcome with `inner`.

    x + result(x) = (x + inner(x)) + outer(x + inner(x)).

    :param outer: shape = (batch, d1, d2, d3, 3), in voxels.
    :param inner: shape = (batch, d1, d2, d3, 3), in voxels.
    :return: shape = (batch, d1, d2, d3, 3).
    """
    return inner + warp(outer, inner, boundary="border")


def integrate(dvf: tf.Tensor, num_steps: int = 7) -> tf.Tensor:
    """
    Integrate a stationary velocity field by scaling and squaring.

    Source: Arsigny et al., MICCAI 2006; as DeepReg's IntDVF, which has 7 steps too.

    :param dvf: shape = (batch, d1, d2, d3, 3), in voxels.
    :param num_steps: number of squarings.
    :return: displacement field, shape = (batch, d1, d2, d3, 3).
    """
    ddf = dvf / 2.0**num_steps
    for _ in range(num_steps):
        ddf = compose(ddf, ddf)
    return ddf
