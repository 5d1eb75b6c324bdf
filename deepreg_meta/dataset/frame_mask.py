"""
Sparse frames: keep a few slices of a volume, as an ultrasound sweep would show them.

Drawing a mask and applying it are two steps, so that image, label and alignment share
one mask and whatever was seen can be replayed.
"""

import tensorflow as tf
from deepreg.registry import REGISTRY


def label_extent(label: tf.Tensor, axis: int) -> tf.Tensor:
    """
    Return the first and the last slice that a label reaches.

    :param label: shape = (batch, d1, d2, d3); voxels >= 0.5 count.
    :param axis: 0, 1 or 2, the axis across the slices.
    :return: int32, shape = (batch, 2); the whole axis where the label is empty.
    """
    others = [i + 1 for i in range(3) if i != axis]
    present = tf.reduce_any(label >= 0.5, axis=others)  # (batch, num_slices)
    present = present | ~tf.reduce_any(present, axis=1, keepdims=True)
    num_slices = label.shape[axis + 1]
    first = tf.argmax(present, axis=1, output_type=tf.int32)
    from_end = tf.argmax(tf.reverse(present, [1]), axis=1, output_type=tf.int32)
    return tf.stack([first, num_slices - 1 - from_end], axis=1)


def sample_frame_mask(
    seed: tf.Tensor, frames: tuple[int, int], extent: tf.Tensor, num_slices: int
) -> tf.Tensor:
    """
    Draw random frames, as in meta-training.

    The number of frames is uniform in [F_min, F_max]; the frames are distinct slices,
    uniform within the extent. An extent of fewer slices is widened by its neighbours.

    :param seed: int32, shape = (2,); the same seed gives the same mask.
    :param frames: (F_min, F_max).
    :param extent: int32, shape = (batch, 2), first and last slice.
    :param num_slices: slices along the axis.
    :return: float32, shape = (batch, num_slices), 1 where a frame is kept.
    """
    batch = tf.shape(extent)[0]
    seeds = tf.random.experimental.stateless_split(seed, 2)
    number = tf.random.stateless_uniform(
        [batch, 1], seeds[0], frames[0], frames[1] + 1, dtype=tf.int32
    )
    index = tf.range(num_slices)[None, :]
    outside = tf.maximum(extent[:, :1] - index, index - extent[:, 1:])
    score = tf.random.stateless_uniform([batch, num_slices], seeds[1])
    # slices outside rank after all inside ones, the nearest first
    score += tf.cast(tf.maximum(outside, 0), tf.float32)
    rank = tf.argsort(tf.argsort(score, axis=1), axis=1)
    return tf.cast(rank < number, tf.float32)


def sweep_frame_mask(
    num_seen: tf.Tensor | int,
    num_frames: int,
    extent: tf.Tensor,
    num_slices: int,
    reverse: bool = False,
) -> tf.Tensor:
    """
    Return the frames that an ordered sweep has shown so far.

    The `num_frames` frames of the whole sweep lie evenly over the extent, each in the
    middle of its share, so a sweep that shows half of them has seen half of the gland.

    :param num_seen: scalar, frames shown so far, in [0, num_frames].
    :param num_frames: F_max, frames of the whole sweep.
    :param extent: int32, shape = (batch, 2); fewer slices than frames are widened.
    :param num_slices: slices along the axis, at least num_frames.
    :param reverse: sweep from the high index to the low one.
    :return: float32, shape = (batch, num_slices), 1 where a frame was seen.
    """
    first, last = extent[:, :1], extent[:, 1:]
    missing = tf.maximum(num_frames - (last - first + 1), 0)
    first = tf.clip_by_value(first - missing // 2, 0, num_slices - num_frames)
    last = tf.maximum(last, first + num_frames - 1)
    order = tf.range(num_frames)[None, :]
    step = tf.cast(last - first + 1, tf.float32) / num_frames
    offset = tf.floor((tf.cast(order, tf.float32) + 0.5) * step)
    position = first + tf.cast(offset, tf.int32)  # (batch, num_frames), distinct
    if reverse:
        position = tf.reverse(position, [1])
    seen = tf.cast(order < num_seen, tf.float32)
    return tf.reduce_sum(tf.one_hot(position, num_slices) * seen[..., None], axis=1)


def expand_frame_mask(mask: tf.Tensor, shape: tuple, axis: int) -> tf.Tensor:
    """
    Spread a mask of slices over the voxels.

    :param mask: shape = (batch, num_slices).
    :param shape: (d1, d2, d3), with num_slices at `axis`.
    :param axis: 0, 1 or 2.
    :return: shape = (batch, d1, d2, d3).
    """
    sizes = [-1, 1, 1, 1]
    sizes[axis + 1] = shape[axis]
    return tf.reshape(mask, sizes) * tf.ones([1, *shape])


@REGISTRY.register_data_augmentation(name="sparse_frames")
class SparseFrames(tf.keras.layers.Layer):
    """
    Show a network only a few random frames of the fixed image.

    As a DeepReg augmentation it masks the fixed image of every sample and leaves the
    label complete (Baum et al., IEEE TMI 2022, section III-F), so DeepReg's own methods
    can train on sparse frames. With `train.method: reptile` the same functions run
    inside the inner loop, and the mask goes on to the losses and the alignment.
    """

    def __init__(
        self,
        frames: tuple[int, int],
        axis: int,
        moving_image_size: tuple | None = None,
        fixed_image_size: tuple | None = None,
        batch_size: int | None = None,
        reverse: bool = False,
        seed: int = 0,
        name: str = "sparse_frames",
    ) -> None:
        """
        :param frames: (F_min, F_max), 1 <= F_min <= F_max <= slices.
        :param axis: 0, 1 or 2, the axis across the frames.
        :param moving_image_size: given by DeepReg, not needed.
        :param fixed_image_size: (f_dim1, f_dim2, f_dim3), given by DeepReg.
        :param batch_size: given by DeepReg, not needed.
        :param reverse: direction of sweeps in adaptation; random frames have none.
        :param seed: of the random stream.
        :param name: of the layer.
        :raises ValueError: when the frames or the axis do not fit the image.
        """
        super().__init__(trainable=False, name=name)
        first, last = int(frames[0]), int(frames[1])
        if not 1 <= first <= last:
            raise ValueError(
                f"sparse_frames.frames: expected 1 <= F_min <= F_max, got {frames}."
            )
        if axis not in (0, 1, 2):
            raise ValueError(f"sparse_frames.axis: expected 0, 1 or 2, got {axis}.")
        if fixed_image_size is not None and last > fixed_image_size[axis]:
            raise ValueError(
                f"sparse_frames.frames: expected at most {fixed_image_size[axis]} "
                f"frames, the slices along axis {axis}, got {frames}."
            )
        self.frames, self.axis, self.reverse = (first, last), axis, reverse
        self.moving_image_size = moving_image_size
        self.fixed_image_size = fixed_image_size
        self.batch_size, self.seed = batch_size, seed
        self._generator = tf.random.Generator.from_seed(seed)

    def get_config(self) -> dict:
        """Return the arguments that build an equal layer."""
        return dict(
            frames=list(self.frames),
            axis=self.axis,
            moving_image_size=self.moving_image_size,
            fixed_image_size=self.fixed_image_size,
            batch_size=self.batch_size,
            reverse=self.reverse,
            seed=self.seed,
            name=self.name,
        )

    def call(self, inputs: dict[str, tf.Tensor], **kwargs: object) -> dict:
        """
        Mask the fixed image of every sample with frames of its own.

        :param inputs: DeepReg's dictionary; fixed_image has the shape (batch, f_dim1,
            f_dim2, f_dim3).
        :param kwargs: not used.
        :return: the dictionary with the fixed image masked.
        """
        image = inputs["fixed_image"]
        shape = tuple(image.shape[1:4])
        num_slices = shape[self.axis]
        # all slices: DeepReg's samples hold one label, and the extent of a landmark
        # would give the network its position away
        extent = tf.repeat([[0, num_slices - 1]], tf.shape(image)[0], axis=0)
        seed = self._generator.make_seeds(1)[:, 0]
        mask = sample_frame_mask(seed, self.frames, extent, num_slices)
        masked = image * expand_frame_mask(mask, shape, self.axis)
        return {**inputs, "fixed_image": masked}
