"""Mini-batches of several pairs that the weights are fitted to together."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from deepreg_meta.model.field_network import FieldNetwork
from deepreg_meta.model.registration import Batch


def predict_each(
    network: FieldNetwork, moving_input: tf.Tensor, fixed_input: tf.Tensor
) -> tf.Tensor:
    """
    Predict the fields of several pairs, each as if it were the only one.

    A network may normalise by what the whole mini-batch shows: updates see one pair,
    and so does a prediction.

    :param network: predicts.
    :param moving_input: shape = (batch, f1, f2, f3), the batch static.
    :param fixed_input: the same shape.
    :return: shape = (batch, f1, f2, f3, 3).
    """
    if fixed_input.shape[0] == 1:
        return network(moving_input, fixed_input, training=False)

    def predict(pair: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        moving, fixed = pair
        return network(moving[None], fixed[None], training=False)[0]

    return tf.map_fn(
        predict,
        (moving_input, fixed_input),
        fn_output_signature=tf.TensorSpec([*fixed_input.shape[1:], 3], tf.float32),
        parallel_iterations=1,
    )


def stack_batches(batches: Sequence[Batch]) -> Batch:
    """
    Make one mini-batch of several, which are without a loss of labels.

    :param batches: of one grid.
    :return: their pairs in order.
    """
    return tf.nest.map_structure(
        lambda *parts: None if parts[0] is None else tf.concat(parts, axis=0), *batches
    )


def draw_in_turn(batch: Batch) -> tuple[Callable[[tf.Tensor], Batch], int]:
    """
    Let every update see one pair of a mini-batch, in turn.

    :param batch: of one pair, which every update sees, or of several as from
        `stack_batches`.
    :return: gives the mini-batch of an update from its index; and the number of pairs.
    """
    count = batch.fixed_input.shape[0]
    if count == 1:
        return (lambda step: batch), 1

    def draw(step: tf.Tensor) -> Batch:
        index = [step % count]
        return tf.nest.map_structure(
            lambda part: None if part is None else tf.gather(part, index), batch
        )

    return draw, count
