"""
The inner loop: gradient steps on one pair, inside one graph.

Meta-training, test-time adaptation and the interactive session all adapt through it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from deepreg_meta import weights
from deepreg_meta.model.field_network import FieldNetwork
from deepreg_meta.model.registration import Batch, RegistrationLoss

MAX_STEPS = 100_000  # of a loop that only time ends


class Best(NamedTuple):
    """The weights with the least loss so far."""

    loss: tf.Tensor  # scalar
    step: tf.Tensor  # int32, updates that led to them
    weights: list[tf.Tensor]


class InnerLoop:
    """
    Optimise the weights of a field network on mini-batches, step after step.

    The optimiser is a black box: it is built once, and resetting it assigns the values
    that its variables had when it was new.
    """

    def __init__(
        self,
        network: FieldNetwork,
        loss: RegistrationLoss,
        optimizer: tf.keras.optimizers.Optimizer,
    ) -> None:
        """
        :param network: its weights are trained in place.
        :param loss: of a mini-batch.
        :param optimizer: a new one; its state belongs to this loop.
        """
        self.network, self.loss, self.optimizer = network, loss, optimizer
        optimizer.build(network.trainable_variables)
        self._new_state = [_compact(variable) for variable in optimizer.variables]

    def reset_optimizer(self) -> None:
        """Forget moments and step count, as before the first step."""
        for variable, value in zip(
            self.optimizer.variables, self._new_state, strict=True
        ):
            variable.assign(tf.cast(tf.fill(variable.shape, value), variable.dtype))

    def step(self, batch: Batch) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """
        Take one gradient step.

        :param batch: the mini-batch.
        :return: the losses of the field before the step, by name, and that field.
        """
        with tf.GradientTape() as tape:
            ddf = self.network(batch.moving_input, batch.fixed_input, training=True)
            parts = self.loss.parts(ddf, batch)
        variables = self.network.trainable_variables
        gradients = tape.gradient(parts["total"], variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return parts, ddf

    def run(
        self,
        draw: Callable[[tf.Tensor], Batch],
        num_steps: tf.Tensor | int,
        record: Callable[[tf.Tensor, Batch, tf.Tensor], tf.Tensor] | None = None,
        average: bool = False,
    ) -> tuple[list[tf.Tensor] | None, tf.Tensor]:
        """
        Take several steps, as a loop of the graph.

        :param draw: gives the mini-batch of a step, from its index (int32 scalar).
        :param num_steps: how many, k.
        :param record: gives further figures of a step from its index, mini-batch and
            field, shape = (n,).
        :param average: sum the iterates up, for equation 10 of Baum et al. 2022.
        :return: the mean of the k iterates (None unless `average`), and the losses of
            each step in the order of `loss.names`, then the total, then what was
            recorded, shape = (num_steps, n).
        """
        # an array, so that zero steps give zero rows of the right width
        rows = tf.TensorArray(tf.float32, size=num_steps, element_shape=[None])
        total = weights.zeros_like(self.network.weights) if average else []

        # written out, because Keras calls `train_step` without AutoGraph
        def body(index: tf.Tensor, rows: tf.TensorArray, total: list) -> tuple:
            _, row = self._recorded_step(draw(index), index, record)
            if average:
                total = weights.accumulate(total, self.network.weights)
            return index + 1, rows.write(index, row), total

        _, rows, total = tf.while_loop(
            lambda index, *_: index < num_steps,
            body,
            (tf.constant(0), rows, total),
            parallel_iterations=1,
        )
        mean = None
        if average:
            count = tf.cast(tf.maximum(num_steps, 1), tf.float32)
            mean = weights.scale(total, 1.0 / count)
        return mean, rows.stack()

    def run_for_best(
        self,
        draw: Callable[[tf.Tensor], Batch],
        judge: Callable[[], tf.Tensor],
        num_steps: tf.Tensor | int,
        seconds: tf.Tensor | float | None = None,
        record: Callable[[tf.Tensor, Batch, tf.Tensor], tf.Tensor] | None = None,
        is_own_judge: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """
        Take several steps and leave the network with the best weights met on the way.

        :param draw: gives the mini-batch of a step, from its index (int32 scalar).
        :param judge: gives the loss of the present weights, scalar; the least wins, the
            earlier one of equals, and one that is not a number never does.
        :param num_steps: how many at most, >= 1.
        :param seconds: stop before the step that would end later, judged by the mean
            of those taken; the first one is always taken. None sets no limit.
        :param record: as in `run`.
        :param is_own_judge: every step's own loss, before the update, is what `judge`
            would give, which then looks at the last weights only.
        :return: the rows of `run`, and how many updates led to the weights, int32.
        """
        variables = self.network.weights
        rows = tf.TensorArray(
            tf.float32, size=0, dynamic_size=True, element_shape=[None]
        )
        best = Best(
            tf.constant(float("inf")), tf.constant(0), weights.snapshot(variables)
        )
        begin = tf.timestamp()

        def may_go_on(index: tf.Tensor, *_: object) -> tf.Tensor:
            wanted = index < num_steps
            if seconds is None:
                return wanted
            taken = tf.cast(index, tf.float64)
            mean = (tf.timestamp() - begin) / tf.maximum(taken, 1.0)
            fits = (taken + 1.0) * mean <= tf.cast(seconds, tf.float64)
            return wanted & (fits | (index == 0))

        def body(index: tf.Tensor, rows: tf.TensorArray, best: Best) -> tuple:
            before = weights.snapshot(variables)
            loss = None if is_own_judge else judge()
            parts, row = self._recorded_step(draw(index), index, record)
            loss = parts["total"] if loss is None else loss
            return index + 1, rows.write(index, row), _better(best, loss, index, before)

        count, rows, best = tf.while_loop(
            may_go_on, body, (tf.constant(0), rows, best), parallel_iterations=1
        )
        best = _better(best, judge(), count, weights.snapshot(variables))
        weights.restore(variables, best.weights)
        return rows.stack(), best.step

    def _recorded_step(
        self,
        batch: Batch,
        index: tf.Tensor,
        record: Callable[[tf.Tensor, Batch, tf.Tensor], tf.Tensor] | None,
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Take one step and return its losses, by name and as a row of the history."""
        parts, ddf = self.step(batch)
        row = tf.stack([parts[name] for name in [*self.loss.names, "total"]])
        if record is not None:
            row = tf.concat([row, record(index, batch, ddf)], axis=0)
        return parts, row


def _better(
    best: Best, loss: tf.Tensor, step: tf.Tensor, candidate: list[tf.Tensor]
) -> Best:
    """Return the better one of the best weights so far and a candidate."""
    is_better = loss < best.loss  # never true of NaN
    kept = [
        tf.where(is_better, new, old)
        for new, old in zip(candidate, best.weights, strict=True)
    ]
    return Best(
        tf.where(is_better, loss, best.loss),
        tf.where(is_better, step, best.step),
        kept,
    )


def _compact(variable: tf.Variable) -> np.ndarray:
    """
    Return the one value that all elements of a new optimiser variable have.

    :raises ValueError: for an optimiser that starts from an array of its own.
    """
    values = np.unique(variable.numpy())
    if values.size > 1:
        raise ValueError(
            "train.optimizer: expected an optimiser whose state starts from one value "
            f"per variable, got {variable.name} with {values.size} values."
        )
    return values[0] if values.size else np.zeros([], variable.dtype.as_numpy_dtype)
