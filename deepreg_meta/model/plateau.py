"""When a loop of gradient steps has nothing more to gain."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

State = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]


class Plateau(NamedTuple):
    """
    When a loop ends before its last step.

    It ends once `patience` steps in a row have not brought the total loss below the
    least one so far by more than `min_delta` of its magnitude. Where steps see several
    pairs or labels in turn, `turns` of them, the loss is the mean over a round, and no
    round is left unfinished: the losses of two pairs say nothing about each other.
    """

    patience: int = 10
    min_delta: float = 1e-3
    turns: int = 1

    def begin(self) -> State:
        """
        Return what is known before any step.

        :return: the least loss so far, the steps since, and of the present round the
            sum of the losses and the steps.
        """
        zero = tf.constant(0.0)
        return tf.constant(np.inf, tf.float32), tf.constant(0), zero, tf.constant(0)

    def after(self, state: State, loss: tf.Tensor) -> State:
        """Return the same after a step of that total loss, scalar."""
        least, since, total, steps = state
        total, steps = total + loss, steps + 1
        mean, is_whole = total / self.turns, steps >= self.turns
        # as a product: nothing is known yet where the least loss is infinite
        is_less = tf.math.is_inf(least) | (mean < least - self.min_delta * abs(least))
        is_less &= is_whole
        return (
            tf.where(is_less, mean, least),
            tf.where(is_less, 0, since + 1),
            tf.where(is_whole, 0.0, total),
            tf.where(is_whole, 0, steps),
        )

    def goes_on(self, state: State) -> tf.Tensor:
        """Return whether another step is to be taken."""
        _, since, _, steps = state
        return (since < self.patience) | (steps > 0)


class _Never(Plateau):
    """A loop takes all of its steps."""

    def after(self, state: State, loss: tf.Tensor) -> State:
        """Return the state as it was."""
        return state


NEVER = _Never()
