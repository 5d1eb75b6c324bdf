"""What the inner steps of one task see: mini-batches of one pair, or of a domain."""

from collections.abc import Callable

import tensorflow as tf

from deepreg_meta.model.episode import BatchDrawer
from deepreg_meta.model.registration import Batch
from deepreg_meta.model.task import Task

Draw = Callable[[tf.Tensor], Batch]  # from the index of a step, int32 scalar


def pair_draws(drawer: BatchDrawer, task: Task, seed: tf.Tensor) -> Draw:
    """
    Draw every mini-batch from one pair, anew for each step.

    :param drawer: draws mini-batches.
    :param task: the pair.
    :param seed: int32, shape = (2,); everything drawn depends on it alone.
    :return: gives the mini-batch of a step.
    """
    constants = drawer.constants(task)

    def draw(step: tf.Tensor) -> Batch:
        own = tf.random.experimental.stateless_fold_in(seed, step)
        return drawer.training(task, constants, own)

    return draw


def domain_draws(drawer: BatchDrawer, task: Task, seed: tf.Tensor) -> Draw:
    """
    Draw mini-batches of different pairs, each pair seen once in it.

    :param drawer: draws mini-batches of one.
    :param task: pairs of a domain, every field with the leading axes (mini-batches,
        pairs). Steps beyond the mini-batches start from the first one again: with a
        single one all steps share its pairs, and augmentation alone is new.
    :param seed: int32, shape = (2,); everything drawn depends on it alone.
    :return: gives the mini-batch of a step.
    """
    num_batches, num_pairs = task.moving_image.shape[:2]

    def draw(step: tf.Tensor) -> Batch:
        own = tf.random.experimental.stateless_fold_in(seed, step)
        index = step % num_batches
        batches = []
        for number in range(num_pairs):
            pair = Task(*(None if v is None else v[index, number] for v in task))
            each = tf.random.experimental.stateless_fold_in(own, number)
            batches.append(drawer.training(pair, drawer.constants(pair), each))
        return tf.nest.map_structure(_join, *batches)

    return draw


def _join(*parts: tf.Tensor | None) -> tf.Tensor | None:
    """Put one field of several mini-batches together; None is None in all of them."""
    return None if parts[0] is None else tf.concat(parts, axis=0)
