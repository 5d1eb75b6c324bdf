"""One scale of an adaptation: its grid, what it is shown, and what it trains."""

from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from deepreg_meta.geometry.scale import Size
from deepreg_meta.layer.rescale import rescale, rescale_mask
from deepreg_meta.layer.warp import sample
from deepreg_meta.model.inner_loop import InnerLoop
from deepreg_meta.model.registration import (
    Batch,
    MovingMask,
    RegistrationLoss,
    locations,
)


class FixedSide(NamedTuple):
    """What the labels of a level are made of on the fixed side."""

    label: tf.Tensor | None  # (batch, f1, f2, f3); None where no loss looks at labels
    spacing: tf.Tensor  # (3,), mm


@dataclass(frozen=True, eq=False)
class Level:
    """
    One scale.

    :param scale: of the full grid's sides, in (0, 1].
    :param loop: trains the network of this scale by the loss of this scale.
    """

    scale: float
    loop: InnerLoop

    @property
    def size(self) -> Size:
        """The grid of the scale."""
        return self.loop.network.fixed_image_size


def level_batch(
    level: Level,
    final: Batch,
    side: FixedSide,
    ddf: tf.Tensor | None,
    common: RegistrationLoss,
    full: Size,
) -> Batch:
    """
    Draw what one level sees: both images on its grid, the moving one moved so far.

    :param level: the scale.
    :param final: what the prediction sees, on the full grid.
    :param side: the fixed side of labels.
    :param ddf: the field so far, by which the moving image is moved; None moves it
        by nothing but the initial alignment.
    :param common: the loss that `final` was prepared for.
    :param full: the full grid.
    :return: a mini-batch of as many pairs, its moving side on the same grid. On the
        full grid nothing is interpolated twice: the loss composes the two fields.
    """
    size, loss = level.size, level.loop.loss
    moved = final.moving_input
    if ddf is not None:
        moved = moved_volume(final.moving_image, final, ddf)
    if size == full:
        batch = final._replace(moving_input=moved, base=ddf)
        if loss is common:
            return batch
        target = final.label_target
        if loss.uses_label:
            target = loss.prepare_label(side.label, final.loss_mask, side.spacing)
        image_target = None
        if loss.uses_image and final.moving_mask is None:
            image_target = loss.prepare_image(final.fixed_input, final.loss_mask)
        return batch._replace(label_target=target, image_target=image_target)
    field = tf.zeros([*moved.shape, 3]) if ddf is None else ddf
    moving, fixed = rescale(moved, size), rescale(final.fixed_input, size)
    moving_image = moving
    if ddf is None and final.moving_image.shape[1:4] != full:
        # as the losses lay it on the grid; the network's input may be stretched there
        laid = moved_volume(final.moving_image, final, field)
        moving_image = rescale(laid, size)
    mask = _rescaled(final.loss_mask, size)
    ratio = [n / s for n, s in zip(full, size, strict=True)]
    spacing = side.spacing * tf.constant(ratio, tf.float32)
    moving_label = target = tf.ones_like(fixed)
    fixed_label = tf.ones_like(fixed)
    if loss.uses_label:
        fixed_label = rescale(side.label, size)
        moving_label = rescale(moved_volume(final.moving_label, final, field), size)
        target = loss.prepare_label(fixed_label, mask, spacing)
    moving_mask = None
    if final.moving_mask is not None:
        inside = moved_volume(final.moving_mask.mask, final, field)
        moving_mask = MovingMask(rescale_mask(inside, size), fixed_label, spacing)
    image_target = None
    if loss.uses_image and moving_mask is None:
        image_target = loss.prepare_image(fixed, mask)
    return Batch(
        moving_input=moving,
        fixed_input=fixed,
        matrix=tf.eye(3, batch_shape=[fixed.shape[0]]),
        offset=tf.zeros([fixed.shape[0], 3]),
        moving_image=moving_image,
        moving_label=moving_label,
        loss_mask=mask,
        label_target=target,
        image_target=image_target,
        shown=_rescaled(final.shown, size),
        moving_mask=moving_mask,
    )


def _rescaled(mask: tf.Tensor | None, size: Size) -> tf.Tensor | None:
    """Resample a mask, where there is one."""
    return None if mask is None else rescale_mask(mask, size)


def moved_volume(volume: tf.Tensor, batch: Batch, ddf: tf.Tensor) -> tf.Tensor:
    """Warp a moving volume on the full fixed grid."""
    return sample(volume, locations(ddf, batch.matrix, batch.offset))
