"""
Initial alignment of the moving to the fixed grid, before any displacement.

It is an affine map from fixed to moving voxel coordinates, y = A x + t, and part of the
transform that is written. The network sees the moving image resampled by it.
"""

from typing import NamedTuple

import tensorflow as tf

from deepreg_meta.layer.warp import apply_affine, sample

MODES = ("corner", "center", "affine", "centroid", "sections")


class Grids(NamedTuple):
    """Where the two grids of a pair lie in space."""

    moving_size: tuple[int, int, int]
    fixed_size: tuple[int, int, int]
    moving_affine: tf.Tensor  # (4, 4), voxel to world, mm
    fixed_affine: tf.Tensor  # (4, 4)
    moving_spacing: tf.Tensor  # (3,), mm, possibly overridden by the configuration
    fixed_spacing: tf.Tensor  # (3,)


def soft_centroid(label: tf.Tensor, fallback: tf.Tensor) -> tf.Tensor:
    """
    Return the centres of mass of label volumes.

    :param label: shape = (batch, d1, d2, d3), values >= 0.
    :param fallback: shape = (3,) or (batch, 3), taken where a label is empty.
    :return: shape = (batch, 3), in voxels.
    """
    total = tf.reduce_sum(label, axis=[1, 2, 3])
    moments = []
    for axis in range(3):
        others = [i + 1 for i in range(3) if i != axis]
        profile = tf.reduce_sum(label, axis=others)
        position = tf.range(label.shape[axis + 1], dtype=tf.float32)
        moments.append(tf.linalg.matvec(profile, position))
    centre = tf.stack(moments, axis=1) / tf.maximum(total, 1e-6)[:, None]
    return tf.where(total[:, None] > 1e-6, centre, fallback)


def grid_centre(size: tuple[int, int, int]) -> tf.Tensor:
    """Return the centre of a grid in voxels, shape = (3,)."""
    return tf.constant([(n - 1) / 2.0 for n in size], tf.float32)


def align_grids(mode: str, grids: Grids) -> tuple[tf.Tensor, tf.Tensor]:
    """
    Relate the grids without looking at the images.

    :param mode: corner: voxel (i, j, k) to voxel (i, j, k), as DeepReg does; affine: by
        the files' affines; any other: centre to centre, axes parallel, with the ratio
        of the spacings, so that a millimetre stays a millimetre.
    :param grids: of the pair.
    :return: A (3, 3) and t (3,), from fixed to moving voxels.
    """
    if mode == "corner":
        return tf.eye(3), tf.zeros([3])
    if mode == "affine":
        matrix = tf.linalg.solve(grids.moving_affine, grids.fixed_affine)
        return matrix[:3, :3], matrix[:3, 3]
    matrix = tf.linalg.diag(grids.fixed_spacing / grids.moving_spacing)
    centre = tf.linalg.matvec(matrix, grid_centre(grids.fixed_size))
    return matrix, grid_centre(grids.moving_size) - centre


def align_points(
    matrix: tf.Tensor, fixed_point: tf.Tensor, moving_point: tf.Tensor
) -> tf.Tensor:
    """
    Return the offset t that takes fixed points to moving points, A x + t = y.

    :param matrix: A, shape = (batch, 3, 3).
    :param fixed_point: x, shape = (batch, 3), voxels of the fixed grid.
    :param moving_point: y, shape = (batch, 3), voxels of the moving grid.
    :return: t, shape = (batch, 3).
    """
    return moving_point - tf.linalg.matvec(matrix, fixed_point)


class SectionProfile(NamedTuple):
    """
    Cross-sections of a moving label by the planes of the fixed grid.

    The planes go on beyond the fixed grid by `margin` slices on both sides.
    """

    area: tf.Tensor  # (batch, num_slices + 2 margin), in fixed voxels
    moment: tf.Tensor  # (batch, num_slices + 2 margin, 2), area times in-plane centre


def _in_plane_axes(axis: int) -> list[int]:
    return [i for i in range(3) if i != axis]


def section_profile(
    label: tf.Tensor,
    matrix: tf.Tensor,
    offset: tf.Tensor,
    fixed_size: tuple[int, int, int],
    axis: int,
) -> SectionProfile:
    """
    Cut a moving label by the planes of the fixed grid, under an alignment.

    :param label: shape = (batch, m_dim1, m_dim2, m_dim3).
    :param matrix: A, shape = (batch, 3, 3), from fixed to moving voxels.
    :param offset: t, shape = (batch, 3).
    :param fixed_size: (f_dim1, f_dim2, f_dim3).
    :param axis: across the planes; the margin is half of its length.
    :return: the profile.
    """
    stride = 2  # in the plane: an area needs no more, and this is cut at every draw
    ranges = []
    for i, length in enumerate(fixed_size):
        margin = length // 2
        step = 1 if i == axis or length == 1 else stride
        ranges.append(tf.range(-margin, length + margin, step, dtype=tf.float32))
    grid = tf.stack(tf.meshgrid(*ranges, indexing="ij"), axis=-1)[None]
    section = sample(label, apply_affine(grid, matrix, offset))
    others = _in_plane_axes(axis)
    cell = 1.0
    for i in others:
        cell *= stride if fixed_size[i] > 1 else 1
    reduced = [i + 1 for i in others]
    area = tf.reduce_sum(section, axis=reduced) * cell
    moments = [
        tf.reduce_sum(section * grid[..., i], axis=reduced) * cell for i in others
    ]
    return SectionProfile(area, tf.stack(moments, axis=-1))


def _interpolate_rows(values: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """
    Interpolate linearly along axis 1.

    :param values: shape = (batch, n, ...).
    :param position: shape = (batch, ...), within [0, n - 1].
    """
    last = tf.cast(tf.shape(values)[1] - 1, tf.float32)
    position = tf.clip_by_value(position, 0.0, last)
    low = tf.floor(position)
    weight = position - low
    index = tf.cast(low, tf.int32)
    above = tf.minimum(index + 1, tf.cast(last, tf.int32))
    at_low = tf.gather(values, index, batch_dims=1)
    at_high = tf.gather(values, above, batch_dims=1)
    for _ in range(at_low.shape.rank - weight.shape.rank):
        weight = weight[..., None]
    return at_low + weight * (at_high - at_low)


def align_sections(
    base: tuple[tf.Tensor, tf.Tensor],
    profile: SectionProfile,
    seen_label: tf.Tensor,
    slices: tf.Tensor,
    axis: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """
    Shift an alignment so that the cross-sections of the label agree on the frames seen.

    Centroids mislead as long as a sweep has shown one side only. Here the shift across
    the frames is the one whose cross-section areas fit best in the least-squares sense,
    found to a quarter of a slice, and the shift in the plane matches the centroid of
    the frames with that of the same sections of the moving label.

    :param base: A (batch, 3, 3) and t (batch, 3) that the profile was cut under.
    :param profile: of the moving label.
    :param seen_label: fixed label on the frames seen, shape = (batch, f1, f2, f3).
    :param slices: the frames seen, shape = (batch, num_slices), 1 or 0.
    :param axis: across the frames.
    :return: A (batch, 3, 3) and t (batch, 3); `base` where no frame shows the label.
    """
    num_slices = seen_label.shape[axis + 1]
    margin = num_slices // 2
    others = _in_plane_axes(axis)
    area = tf.reduce_sum(seen_label, axis=[i + 1 for i in others])
    shifts = tf.range(-margin, margin + 0.125, 0.25, dtype=tf.float32)
    index = tf.range(num_slices, dtype=tf.float32) + margin
    batch = tf.shape(area)[0]
    position = tf.repeat((index[None, :] - shifts[:, None])[None], batch, axis=0)
    misfit = (_interpolate_rows(profile.area, position) - area[:, None]) ** 2
    misfit = tf.reduce_sum(misfit * slices[:, None], axis=2)
    # equal misfits, as from frames without label: the smallest shift
    misfit += 1e-3 * tf.abs(shifts)
    across = tf.gather(shifts, tf.argmin(misfit, axis=1))  # (batch,)
    position = index[None, :] - across[:, None]
    weight = slices * tf.cast(area > 0.0, tf.float32)
    moving_area = tf.reduce_sum(
        weight * _interpolate_rows(profile.area, position), axis=1
    )
    moment = tf.reduce_sum(
        weight[..., None] * _interpolate_rows(profile.moment, position), axis=1
    )
    moving_centre = moment / tf.maximum(moving_area, 1e-6)[:, None]
    fixed_centre = soft_centroid(seen_label, -tf.ones([3]))
    in_plane = tf.gather(fixed_centre, others, axis=1) - moving_centre
    shift = tf.stack([in_plane[:, 0], in_plane[:, 1]], axis=1)
    shift = tf.concat([shift[:, :axis], across[:, None], shift[:, axis:]], axis=1)
    is_seen = (fixed_centre[:, :1] >= 0.0) & (moving_area[:, None] > 1e-3)
    shift = tf.where(is_seen, shift, 0.0)
    return base[0], base[1] - tf.linalg.matvec(base[0], shift)
