"""How the moving image of a mini-batch lies on the fixed grid, by what is seen."""

import tensorflow as tf
from deepreg.model.layer_util import resize3d

from deepreg_meta.dataset import frame_mask
from deepreg_meta.layer.warp import apply_affine, reference_grid, sample
from deepreg_meta.model.alignment import (
    Grids,
    SectionProfile,
    align_grids,
    align_points,
    align_sections,
    grid_centre,
    section_profile,
    soft_centroid,
)
from deepreg_meta.model.task import Constants, DrawOptions, Task

_HALF = 0.5  # of a voxel


class Placement:
    """Align the sides of a pair before the network, and lay the moving image there."""

    def __init__(
        self,
        options: DrawOptions,
        moving_size: tuple[int, int, int],
        fixed_size: tuple[int, int, int],
    ) -> None:
        """
        :param options: how pairs are aligned.
        :param moving_size: (m_dim1, m_dim2, m_dim3).
        :param fixed_size: (f_dim1, f_dim2, f_dim3).
        """
        self.options = options
        self.moving_size, self.fixed_size = moving_size, fixed_size
        # what samples a volume pays for being compiled, though it is done once a pair:
        # a tenth of a second, for a seventh of its cost
        self._cut = tf.function(self._section, jit_compile=True, autograph=False)
        self._laid = tf.function(self._lay, jit_compile=True, autograph=False)

    def constants(self, task: Task) -> Constants:
        """Compute what does not change between the mini-batches of a pair."""
        grids = Grids(
            moving_size=self.moving_size,
            fixed_size=self.fixed_size,
            moving_affine=task.moving_affine,
            fixed_affine=task.fixed_affine,
            moving_spacing=task.moving_spacing,
            fixed_spacing=task.fixed_spacing,
        )
        matrix, offset = align_grids(self.options.align, grids)
        label = self.options.align_label
        if self.options.align == "centroid":
            centre = grid_centre(self.moving_size)
            moving = soft_centroid(task.moving_labels[label][None], centre)
        else:
            moving = tf.zeros([1, 3])
        base = matrix[None], offset[None]
        profile = self.profile(task.moving_labels[label][None], base)
        extent = self._extent(task.fixed_labels[label][None])
        return Constants(matrix, offset, moving, profile, extent)

    def profile(
        self, label: tf.Tensor, base: tuple[tf.Tensor, tf.Tensor]
    ) -> SectionProfile:
        """
        Cut the moving label by the frames' planes, where that aligns.

        :param label: of the moving side, (batch, m_dim1, m_dim2, m_dim3).
        :param base: A (batch, 3, 3) and t (batch, 3), before the label aligns.
        :return: of each sample; empty where nothing is aligned so.
        """
        if self.options.align != "sections":
            return SectionProfile(tf.zeros([1, 1]), tf.zeros([1, 1, 2]))
        return self._cut(label, *base)

    def align(
        self,
        constants: Constants,
        seen_label: tf.Tensor,
        slices: tf.Tensor,
        moving_point: tf.Tensor,
        profile: SectionProfile,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """
        Align a mini-batch by what it sees.

        :param constants: of the pair.
        :param seen_label: alignment label on the frames seen, (batch, f1, f2, f3).
        :param slices: the frames seen, (batch, num_slices).
        :param moving_point: centroid of the moving label, (batch, 3).
        :param profile: of the moving label.
        :return: A (batch, 3, 3) and t (batch, 3).
        """
        batch = tf.shape(seen_label)[0]
        matrix = tf.broadcast_to(constants.matrix, [batch, 3, 3])
        base = matrix, tf.broadcast_to(constants.offset, [batch, 3])
        if self.options.align == "sections":
            axis = self.options.frame_axis
            return align_sections(base, profile, seen_label, slices, axis)
        if self.options.align != "centroid":
            return base
        # frames that miss the gland tell nothing: the grids' centres are aligned then
        fixed_point = soft_centroid(seen_label, -tf.ones([3]))
        offset = align_points(base[0], fixed_point, moving_point)
        return matrix, tf.where(fixed_point[:, :1] >= 0.0, offset, base[1])

    def moving_input(
        self, image: tf.Tensor, matrix: tf.Tensor, offset: tf.Tensor
    ) -> tf.Tensor:
        """
        Resample the moving image on the fixed grid: aligned, or as DeepReg does.

        :param image: (batch, m_dim1, m_dim2, m_dim3).
        :param matrix: A, (batch, 3, 3), fixed to moving voxels.
        :param offset: t, (batch, 3).
        :return: (batch, f_dim1, f_dim2, f_dim3).
        """
        if self.options.stretch:
            return resize3d(image=image[..., None], size=self.fixed_size)[..., 0]
        return self._laid(image, matrix, offset)

    def _section(
        self, label: tf.Tensor, matrix: tf.Tensor, offset: tf.Tensor
    ) -> SectionProfile:
        axis = self.options.frame_axis
        return section_profile(label, matrix, offset, self.fixed_size, axis)

    def _extent(self, gland: tf.Tensor) -> tf.Tensor:
        """Return the slices of the label that aligns, all where there is none."""
        if gland.shape[1:] != self.fixed_size:  # unlabeled data
            gland = tf.zeros([1, *self.fixed_size])
        return frame_mask.label_extent(gland, self.options.frame_axis)

    def _lay(self, image: tf.Tensor, matrix: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
        grid = reference_grid(self.fixed_size)[None]
        return sample(image, apply_affine(grid, matrix, offset))


def inside_box(box: tf.Tensor | None, loc: tf.Tensor, size: int) -> tf.Tensor | None:
    """
    Return where places lie in a box of voxels; None where there is no box.

    :param box: first voxel and one past the last along each axis, shape = (3, 2).
    :param loc: in voxels, shape = (1 or size, f1, f2, f3, 3).
    :param size: of the mini-batch.
    :return: 1 or 0, shape = (size, f1, f2, f3).
    """
    if box is None:
        return None
    is_in = (loc >= box[:, 0] - _HALF) & (loc <= box[:, 1] - _HALF)
    inside = tf.cast(tf.reduce_all(is_in, axis=-1), tf.float32)
    return tf.broadcast_to(inside, [size, *loc.shape[1:4]])
