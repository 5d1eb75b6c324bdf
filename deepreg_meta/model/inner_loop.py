"""
The inner loop: gradient steps on one pair, inside one graph.

Meta-training, test-time adaptation and the interactive session all adapt through it.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from deepreg_meta import weights
from deepreg_meta.model.registration import Batch, FieldNetwork, RegistrationLoss


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
            batch = draw(index)
            parts, ddf = self.step(batch)
            row = tf.stack([parts[name] for name in [*self.loss.names, "total"]])
            if record is not None:
                row = tf.concat([row, record(index, batch, ddf)], axis=0)
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
