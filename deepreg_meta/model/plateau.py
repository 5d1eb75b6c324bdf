"""When a loop of gradient steps has nothing more to gain."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

State = tuple[tf.Tensor, tf.Tensor]


class Plateau(NamedTuple):
    """
    When a loop ends before its last step.

    It ends once `patience` steps in a row have not brought the total loss below the
    least one so far by more than `min_delta` of its magnitude.
    """

    patience: int = 10
    min_delta: float = 1e-3

    def begin(self) -> State:
        """Return the least loss so far and the steps since, before any step."""
        return tf.constant(np.inf, tf.float32), tf.constant(0)

    def after(self, state: State, loss: tf.Tensor) -> State:
        """Return the same after a step of that total loss, scalar."""
        least, since = state
        # as a product: nothing is known yet where the least loss is infinite
        is_less = tf.math.is_inf(least) | (loss < least - self.min_delta * abs(least))
        return tf.where(is_less, loss, least), tf.where(is_less, 0, since + 1)

    def goes_on(self, state: State) -> tf.Tensor:
        """Return whether another step is to be taken."""
        return state[1] < self.patience


class _Never(Plateau):
    """A loop takes all of its steps."""

    def after(self, state: State, loss: tf.Tensor) -> State:
        """Return the state as it was."""
        return state


NEVER = _Never()
