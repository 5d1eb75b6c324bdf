"""Image losses within a mask, as if there were nothing outside it."""

from typing import Any

import tensorflow as tf
from deepreg.loss.image import (
    GlobalNormalizedCrossCorrelation,
    LocalNormalizedCrossCorrelation,
    SumSquaredDifference,
)

from deepreg_meta.loss.image import LocalNcc, NccTarget

SMALLEST_SHARE = 1e-6  # in place of none, which nothing can be divided by


def mean_loss(loss: Any, y_true: tf.Tensor | NccTarget, y_pred: tf.Tensor) -> tf.Tensor:
    """
    Return the mean of an image or label loss over the batch.

    :param loss: DeepReg's; called, most of them give sums over the batch, some means.
    :param y_true: of the fixed side, shape = (batch, f1, f2, f3), or what `loss`
        prepared of it.
    :param y_pred: of the warped side, same shape.
    :return: scalar.
    """
    if isinstance(y_true, NccTarget):
        return tf.reduce_mean(loss.evaluate(y_true, y_pred))
    if isinstance(loss, tf.keras.losses.Loss):
        return tf.reduce_mean(loss.call(y_true, y_pred))
    total = loss(y_true=y_true, y_pred=y_pred)
    return total / tf.cast(tf.shape(y_true)[0], total.dtype)


def masked_loss(
    loss: Any,
    fixed: tf.Tensor | NccTarget,
    warped: tf.Tensor,
    mask: tf.Tensor,
    shown: tf.Tensor,
) -> tf.Tensor:
    """
    Return an image loss over a mask that a user gave.

    Zeros outside the mask alone would make the loss a matter of the mask's size: of
    small masks, a mean over all voxels is small against the regularisation, and
    correlations of zeros with zeros are perfect, so that it would pay to leave a mask
    which follows the moving image. Here the sum of squares is a mean over the mask, the
    global correlation that of its voxels, the local one a mean over the windows that
    see some of it; ours is of the voxels of the mask in each window, DeepReg's takes
    the others for zeros. Other losses get zeros. A mask of all that is shown changes
    nothing.

    :param loss: DeepReg's image loss or ours, or one that the user registered.
    :param fixed: shape = (batch, f1, f2, f3), 0 where nothing is shown, or what `loss`
        prepared of it within the mask.
    :param warped: shape = (batch, f1, f2, f3).
    :param mask: the voxels that count, same shape, a part of `shown`.
    :param shown: the voxels that would count without the masks of users, same shape.
    :return: scalar, mean over the batch.
    """
    count = mask.shape[0]
    if count is None or count > 1:  # every pair by its own mask
        parts = (fixed, warped, mask, shown)
        values = tf.map_fn(
            lambda one: masked_loss(loss, *tf.nest.map_structure(_of_one, one)),
            parts,
            fn_output_signature=warped.dtype,
        )
        return tf.reduce_mean(values)
    share = _share(mask, shown)
    if isinstance(loss, GlobalNormalizedCrossCorrelation):
        images = [_fill(image, mask, shown, share) for image in (fixed, warped)]
        return mean_loss(loss, *images)
    target = fixed
    if not isinstance(fixed, NccTarget):
        is_ours = isinstance(loss, LocalNcc)
        target = loss.prepare(fixed, mask) if is_ours else fixed * mask
    value = mean_loss(loss, target, warped * mask)
    if isinstance(loss, SumSquaredDifference):
        return value / share
    if isinstance(loss, (LocalNcc, LocalNormalizedCrossCorrelation)):
        seen, base = _windows(loss, mask), _windows(loss, shown)
        # windows that see nothing are perfect: each adds one to the sum
        seen_sum = tf.abs(value) - (1.0 - tf.reduce_mean(seen))
        mean = seen_sum / _share(seen, base) + (1.0 - tf.reduce_mean(base))
        return tf.sign(value) * mean  # the loss of that name is negative
    return value


def _of_one(volume: tf.Tensor) -> tf.Tensor:
    """Make a mini-batch of one volume."""
    return volume[None]


def _share(part: tf.Tensor, whole: tf.Tensor) -> tf.Tensor:
    """Return how much of a mask another one is, scalar > 0."""
    share = tf.reduce_sum(part) / tf.maximum(tf.reduce_sum(whole), 1.0)
    return tf.maximum(share, SMALLEST_SHARE)


def _fill(
    image: tf.Tensor, mask: tf.Tensor, shown: tf.Tensor, share: tf.Tensor
) -> tf.Tensor:
    """
    Fill an image with its mean in the mask.

    The contrast in the mask grows, so that the variance over all that is shown becomes
    the one in the mask.
    """
    axes = [1, 2, 3]
    total = tf.reduce_sum(image * mask, axes, keepdims=True)
    mean = total / tf.maximum(tf.reduce_sum(mask, axes, keepdims=True), 1.0)
    return shown * mean + mask * (image - mean) / tf.sqrt(share)


def _windows(
    loss: LocalNcc | LocalNormalizedCrossCorrelation, mask: tf.Tensor
) -> tf.Tensor:
    """Return 1 for every window of a local loss that sees some of a mask."""
    if isinstance(loss, LocalNcc):
        return loss.sees(mask)
    kernel, _ = loss.kernel_fn(kernel_size=loss.kernel_size, input_channel=1)
    kernel = tf.cast(kernel > 0.0, tf.float32)
    count = tf.nn.conv3d(mask[..., None], kernel, strides=[1] * 5, padding="SAME")
    return tf.cast(count > 0.5, tf.float32)
