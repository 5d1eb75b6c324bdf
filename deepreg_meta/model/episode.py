"""
Mini-batches drawn inside the graph from the one pair that was loaded.

Meta-training draws random frames, labels and augmentation; adaptation draws the frames
of an ordered sweep. Both use the same masks and the same alignment from what is seen.
"""

from typing import NamedTuple

import tensorflow as tf

from deepreg_meta.dataset import frame_mask
from deepreg_meta.dataset.augmentation import compose_affine, random_affine
from deepreg_meta.dataset.random_field import draw_fields
from deepreg_meta.layer.warp import (
    apply_affine,
    displaced_grid,
    reference_grid,
    sample,
    warp,
)
from deepreg_meta.model.alignment import grid_centre, soft_centroid
from deepreg_meta.model.placement import Placement, inside_box
from deepreg_meta.model.registration import Batch, MovingMask, RegistrationLoss
from deepreg_meta.model.task import Constants, DrawOptions, Task

# Folded into the seed of a draw; what is split off it does not depend on fields.
_MOVING_FIELD, _FIXED_FIELD = 0, 1


class _Moving(NamedTuple):
    """The moving side of a training mini-batch, each sample with its own."""

    image: tf.Tensor  # (batch, m_dim1, m_dim2, m_dim3)
    label: tf.Tensor  # same shape, the channel that was chosen
    gland: tf.Tensor  # same shape, the channel that aligns


class BatchDrawer:
    """Draw mini-batches of one pair for meta-training, adaptation and prediction."""

    def __init__(
        self,
        options: DrawOptions,
        loss: RegistrationLoss,
        moving_size: tuple[int, int, int],
        fixed_size: tuple[int, int, int],
    ) -> None:
        """
        :param options: how to draw.
        :param loss: prepares the fixed label for itself.
        :param moving_size: (m_dim1, m_dim2, m_dim3).
        :param fixed_size: (f_dim1, f_dim2, f_dim3).
        """
        self.options, self.loss = options, loss
        self.moving_size, self.fixed_size = moving_size, fixed_size
        self._placement = Placement(options, moving_size, fixed_size)
        # drawn at every inner step of a long training: compiled, it costs half
        self._compiled_training = tf.function(
            self._training, jit_compile=True, autograph=False
        )
        # A draw of adaptation is traced once, for updates and prediction: as a whole it
        # would take longer to compile than a pair takes to adapt.
        self._traced_adaptation = tf.function(self._adaptation, autograph=False)

    def constants(self, task: Task) -> Constants:
        """Compute what does not change between the mini-batches of a pair."""
        return self._placement.constants(task)

    def _mask(self, slices: tf.Tensor) -> tf.Tensor:
        return frame_mask.expand_frame_mask(
            slices, self.fixed_size, self.options.frame_axis
        )

    def training(self, task: Task, constants: Constants, seed: tf.Tensor) -> Batch:
        """
        Draw a mini-batch for one inner step of meta-training.

        The label is chosen and the maps and frames are drawn for each sample; the image
        is masked, the label stays complete (Baum et al., IEEE TMI 2022, III-F).

        :param task: the pair.
        :param constants: of the pair.
        :param seed: int32, shape = (2,); everything drawn depends on it alone.
        :return: the mini-batch.
        """
        return self._compiled_training(task, constants, seed)

    def _training(self, task: Task, constants: Constants, seed: tf.Tensor) -> Batch:
        """Draw the maps, the label and the frames of a training mini-batch."""
        options, size = self.options, self.options.batch_size
        seeds = tf.random.experimental.stateless_split(seed, 4)
        identity = tf.eye(3, batch_shape=[size]), tf.zeros([size, 3])
        moving_map = fixed_map = identity
        if options.affine_scale > 0.0:
            scale = options.affine_scale
            moving_map = random_affine(seeds[0], size, self.moving_size, scale)
            fixed_map = random_affine(seeds[1], size, self.fixed_size, scale)
        choice = tf.random.stateless_uniform(
            [size], seeds[2], 0, tf.maximum(task.num_labels, 1), dtype=tf.int32
        )
        volumes = [tf.repeat(task.fixed_image[None], size, axis=0)]
        labeled = self._is_labeled(task)
        if labeled:
            gland = tf.repeat(
                task.fixed_labels[options.align_label][None], size, axis=0
            )
            volumes += [tf.gather(task.fixed_labels, choice), gland]
        stacked = tf.stack(volumes, axis=-1)  # (batch, f1, f2, f3, 1 or 3)
        stacked, inside = self._move_fixed(stacked, task.fixed_inside, fixed_map, seed)
        moving = self._deform_moving(task, choice, labeled, seed)
        slices = tf.ones([size, self.fixed_size[options.frame_axis]])
        if options.frames is not None:
            extent = tf.repeat(constants.extent, size, axis=0)
            if labeled:
                extent = frame_mask.label_extent(stacked[..., 2], options.frame_axis)
            slices = frame_mask.sample_frame_mask(
                seeds[3], options.frames, extent, self.fixed_size[options.frame_axis]
            )
        return self._training_batch(
            task, constants, stacked, inside, slices, moving_map, moving, labeled
        )

    def _move_fixed(
        self,
        volumes: tf.Tensor,
        box: tf.Tensor | None,
        fixed_map: tuple[tf.Tensor, tf.Tensor],
        seed: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """
        Resample the fixed side once: mapped by its affine map, then deformed.

        :return: the volumes, and 1 for the voxels that come from inside the box.
        """
        options, grid = self.options, reference_grid(self.fixed_size)[None]
        if options.fixed_field is not None:
            own = tf.random.experimental.stateless_fold_in(seed, _FIXED_FIELD)
            size = options.batch_size, self.fixed_size
            grid = displaced_grid(draw_fields(own, *size, options.fixed_field))
        elif options.affine_scale == 0.0:
            return volumes, inside_box(box, grid, options.batch_size)
        loc = apply_affine(grid, *fixed_map)
        return sample(volumes, loc), inside_box(box, loc, options.batch_size)

    def _deform_moving(
        self, task: Task, choice: tf.Tensor, labeled: bool, seed: tf.Tensor
    ) -> _Moving:
        """Deform the moving side; its affine map takes part in the alignment."""
        options, size = self.options, self.options.batch_size
        moving = _Moving(
            tf.repeat(task.moving_image[None], size, axis=0),
            tf.gather(task.moving_labels, choice),
            tf.repeat(task.moving_labels[options.align_label][None], size, axis=0),
        )
        if options.moving_field is None:
            return moving
        own = tf.random.experimental.stateless_fold_in(seed, _MOVING_FIELD)
        ddf = draw_fields(own, size, self.moving_size, options.moving_field)
        if not labeled:  # whose labels are placeholders
            return moving._replace(image=warp(moving.image, ddf))
        return _Moving(*tf.unstack(warp(tf.stack(moving, axis=-1), ddf), axis=-1))

    def _training_batch(
        self,
        task: Task,
        constants: Constants,
        stacked: tf.Tensor,
        inside: tf.Tensor | None,
        slices: tf.Tensor,
        moving_map: tuple[tf.Tensor, tf.Tensor],
        moving: _Moving,
        labeled: bool,
    ) -> Batch:
        """Put a training mini-batch together from what was drawn."""
        size = self.options.batch_size
        ones = tf.ones([size, *self.fixed_size])
        shown = ones if self.options.frames is None else self._mask(slices)
        seen_label = stacked[..., 2] * shown if labeled else ones
        point = tf.repeat(constants.moving_centroid, size, axis=0)
        if self.options.moving_field is not None and self.options.align == "centroid":
            point = soft_centroid(moving.gland, grid_centre(self.moving_size))
        # the augmented moving label: its centroid is the own one, mapped back
        point = tf.linalg.solve(moving_map[0], (point - moving_map[1])[..., None])
        base = compose_affine(
            moving_map, (constants.matrix[None], constants.offset[None])
        )
        profile = self._placement.profile(moving.gland, base)
        aligned = self._placement.align(
            constants, seen_label, slices, point[..., 0], profile
        )
        matrix, offset = compose_affine(moving_map, aligned)
        fixed_label = stacked[..., 1] if labeled else ones
        target = fixed_label
        if self.loss.uses_label:
            target = self.loss.prepare_label(fixed_label, inside, task.fixed_spacing)
        is_sparse = self.options.frames is not None
        mask = inside
        if is_sparse:
            mask = shown if inside is None else shown * inside
        return Batch(
            moving_input=self._placement.moving_input(moving.image, matrix, offset),
            fixed_input=stacked[..., 0] * shown,
            matrix=matrix,
            offset=offset,
            moving_image=moving.image,
            moving_label=moving.label,
            # the whole label counts in meta-training, the image only where it is shown
            loss_mask=mask,
            label_target=target,
            label_mask=(ones if inside is None else inside) if is_sparse else None,
        )

    def adaptation(
        self,
        task: Task,
        constants: Constants,
        label: tf.Tensor | int,
        num_seen: tf.Tensor | int | None,
    ) -> Batch:
        """
        Draw the one sample that an update of adaptation, or the prediction, sees.

        Images, labels and alignment are masked with the frames seen so far. The masks
        of the pair restrict the losses alone.

        :param task: the pair.
        :param constants: of the pair.
        :param label: channel that adapts.
        :param num_seen: frames of the sweep seen so far; None shows everything.
        :return: a mini-batch of one.
        """
        slices = None
        if self.options.frames is not None and num_seen is not None:
            number = tf.convert_to_tensor(num_seen, tf.int32)
            slices = self.seen_slices(constants, number, self.options.frame_axis)
        return self.shown(task, constants, label, slices)

    def shown(
        self,
        task: Task,
        constants: Constants,
        label: tf.Tensor | int,
        slices: tf.Tensor | None,
    ) -> Batch:
        """
        Draw the sample that adaptation or the prediction sees of given frames.

        :param task: the pair.
        :param constants: of the pair.
        :param label: channel that adapts.
        :param slices: 1 for the frames seen, shape = (1, num_slices); None shows
            everything.
        :return: a mini-batch of one, as of `adaptation`.
        """
        label = tf.convert_to_tensor(label, tf.int32)  # each Python number is a trace
        return self._traced_adaptation(task, constants, label, slices)

    def _adaptation(
        self,
        task: Task,
        constants: Constants,
        label: tf.Tensor,
        slices: tf.Tensor | None,
    ) -> Batch:
        """Draw the sample: parameters as those of `shown`, numbers as tensors."""
        options = self.options
        mask = None if slices is None else self._mask(slices)
        if slices is None:
            slices = tf.ones([1, self.fixed_size[options.frame_axis]])
        ones = tf.ones([1, *self.fixed_size])
        shown = ones if mask is None else mask
        fixed_label = align_label = ones
        if self._is_labeled(task):
            fixed_label = task.fixed_labels[label][None]
            align_label = task.fixed_labels[options.align_label][None]
        matrix, offset = self._placement.align(
            constants,
            align_label * shown,
            slices,
            constants.moving_centroid,
            constants.profile,
        )
        inside = inside_box(task.fixed_inside, reference_grid(self.fixed_size)[None], 1)
        counts = shown if inside is None else shown * inside
        mask = mask if inside is None else counts
        if task.fixed_mask is not None:
            mask = counts * task.fixed_mask[None]
        target = fixed_label
        if self.loss.uses_label:
            target = self.loss.prepare_label(fixed_label, mask, task.fixed_spacing)
        moving_image, moving_mask = task.moving_image[None], None
        if task.moving_mask is not None:
            moving_mask = MovingMask(
                task.moving_mask[None], fixed_label, task.fixed_spacing
            )
        is_restricted = not (task.fixed_mask is None and task.moving_mask is None)
        fixed_input = task.fixed_image[None] * shown
        image_target = None
        if self.loss.uses_image and moving_mask is None:  # else new at every step
            image_target = self.loss.prepare_image(fixed_input, mask)
        return Batch(
            moving_input=self._placement.moving_input(moving_image, matrix, offset),
            fixed_input=fixed_input,
            matrix=matrix,
            offset=offset,
            moving_image=moving_image,
            moving_label=task.moving_labels[label][None],
            loss_mask=mask,
            label_target=target,
            image_target=image_target,
            shown=counts if is_restricted else None,
            moving_mask=moving_mask,
        )

    def seen_slices(
        self, constants: Constants, num_seen: tf.Tensor | int, axis: int
    ) -> tf.Tensor:
        """Return the slices that the sweep has shown, shape = (1, num_slices)."""
        if self.options.frames is None:
            raise RuntimeError("A sweep was asked for where all frames are shown.")
        return frame_mask.sweep_frame_mask(
            num_seen,
            self.options.frames[1],
            constants.extent,
            self.fixed_size[axis],
            self.options.reverse,
        )

    def frames_at(self, step: tf.Tensor, num_steps: tf.Tensor) -> tf.Tensor | None:
        """
        Return how many frames update `step` (from 0) of `num_steps` sees.

        F_min + floor(step (F_max - F_min) / num_steps): the paper's schedule, one frame
        more at each update, when num_steps = F_max - F_min.
        """
        if self.options.frames is None:
            return None
        low, high = self.options.frames
        return low + step * (high - low) // tf.maximum(num_steps, 1)

    def _is_labeled(self, task: Task) -> bool:
        return tuple(task.fixed_labels.shape[1:]) == self.fixed_size
