"""Scores of a field inside the graph, for histories and validation."""

import tensorflow as tf

from deepreg_meta.layer.warp import sample
from deepreg_meta.model.alignment import soft_centroid
from deepreg_meta.model.registration import Batch, locations
from deepreg_meta.model.task import Task


class MeanOfKnown(tf.keras.metrics.Mean):
    """The mean of what is a number: pairs without a label have no Dice."""

    def update_state(
        self, values: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        """
        Take figures in.

        :param values: any shape; NaN is left out.
        :param sample_weight: of each, None for equal ones.
        """
        is_known = tf.cast(~tf.math.is_nan(values), tf.float32)
        weight = is_known if sample_weight is None else is_known * sample_weight
        known = tf.where(is_known > 0, values, tf.zeros_like(values))
        super().update_state(known, weight)

    def result(self) -> tf.Tensor:
        """Return the mean so far; NaN without any number."""
        return tf.divide(self.total, self.count)


def landmark_points(task: Task) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """
    Return the centroids of all labels but the first.

    :param task: the pair.
    :return: fixed points (n, 3), moving points (n, 3), in voxels, and 1 for those that
        are landmarks and 0 for padding (n,).
    """
    fixed = tf.cast(task.fixed_labels[1:] >= 0.5, tf.float32)
    moving = tf.cast(task.moving_labels[1:] >= 0.5, tf.float32)
    missing = -tf.ones([3])
    points = soft_centroid(fixed, missing), soft_centroid(moving, missing)
    present = tf.reduce_all((points[0] >= 0.0) & (points[1] >= 0.0), axis=1)
    return *points, tf.cast(present, tf.float32)


def score_field(task: Task, points: tuple, batch: Batch, ddf: tf.Tensor) -> tf.Tensor:
    """
    Return hard Dice of the whole first label and the RMS landmark error in mm.

    Scores only: no gradient runs through them and no update sees them.

    :param task: the pair.
    :param points: from `landmark_points`.
    :param batch: gives the alignment.
    :param ddf: shape = (1, f1, f2, f3, 3).
    :return: shape = (2,); NaN where there is no label or no landmark.
    """
    if task.fixed_labels.shape[1:] != ddf.shape[1:4]:
        return tf.constant([float("nan")] * 2)
    loc = locations(ddf, batch.matrix, batch.offset)
    warped = tf.cast(sample(task.moving_labels[:1], loc) >= 0.5, tf.float32)
    fixed = tf.cast(task.fixed_labels[:1] >= 0.5, tf.float32)
    sizes = tf.reduce_sum(warped) + tf.reduce_sum(fixed)
    dsc = 2.0 * tf.reduce_sum(warped * fixed) / sizes
    fixed_points, moving_points, present = points
    mapped = fixed_points + sample(ddf, fixed_points[None], boundary="border")[0]
    mapped = tf.linalg.matvec(batch.matrix[0], mapped) + batch.offset[0]
    distance = (mapped - moving_points) * task.moving_spacing
    square = tf.reduce_sum(distance**2, axis=1)
    mean_square = tf.reduce_sum(square * present) / tf.reduce_sum(present)
    return tf.stack([dsc, tf.sqrt(mean_square)])
