"""Which of two predictions is kept: the later one, or the better one."""

from typing import NamedTuple

import tensorflow as tf

from deepreg_meta.model.adapt_plan import AdaptPlan


class Predicted(NamedTuple):
    """What some weights predict, or what was made of it."""

    ddf: tf.Tensor  # (batch, f1, f2, f3, 3)
    loss: tf.Tensor  # scalar, the total on what the prediction sees
    step: tf.Tensor  # int32, the updates that led to it


def keep(
    plan: AdaptPlan, before: Predicted, after: Predicted
) -> tuple[Predicted, tf.Tensor]:
    """
    Choose between what was predicted before and after some updates.

    Asked of the prediction itself, because what the updates found better in training
    mode may not be so in prediction.

    :param plan: keeps the best or the last.
    :param before: of fewer updates.
    :param after: of more.
    :return: the one that is kept, and whether it is the later one. Of equal losses the
        earlier one is the best; one that is not a number never is.
    """
    if not plan.keeps_best:
        return after, tf.constant(True)
    is_better = after.loss < before.loss
    pairs = zip(after, before, strict=True)
    return Predicted(*(tf.where(is_better, new, old) for new, old in pairs)), is_better
