"""The outer update: how the meta-weights follow what the inner loops led to."""

from collections.abc import Sequence

import tensorflow as tf

from deepreg_meta import weights


def take_outer_step(
    network: tf.keras.layers.Layer,
    start: Sequence[tf.Tensor],
    end: Sequence[tf.Tensor],
    step_size: tf.Tensor,
    optimizer: tf.keras.optimizers.Optimizer | None = None,
    learning_rate: float = 1.0,
    is_gradient: bool = False,
) -> None:
    """
    Move the weights of a network from the meta-weights towards a goal.

    Without an optimiser this is Reptile's update, start + step_size (end - start). With
    one, `start - end` is handed to it as a gradient, at its own learning rate times the
    step size: SGD of rate 1 is Reptile's update again. Weights that are not trained,
    such as moving averages, go part of the way in any case.

    Source: Nichol, Achiam and Schulman 2018, arXiv:1803.02999, Algorithm 1 and the
    remark after it (phi - theta as a gradient for Adam).

    :param network: takes the new weights.
    :param start: the meta-weights, in the order of the network's.
    :param end: what the inner loops led to.
    :param step_size: of this episode, scalar in [0, 1].
    :param optimizer: of the outer loop; None is Reptile's update.
    :param learning_rate: of the optimiser, before it is multiplied.
    :param is_gradient: `end` has the gradients of the trained weights in their place,
        as `with_gradients` puts them there; the optimiser is given them.
    """
    moved = weights.interpolate(start, end, step_size)
    if optimizer is None:
        weights.restore(network.weights, moved)
        return
    trained = {variable.ref() for variable in network.trainable_variables}
    gradients = {}
    for variable, a, b, other in zip(network.weights, start, end, moved, strict=True):
        is_trained = variable.ref() in trained
        variable.assign(tf.cast(a if is_trained else other, variable.dtype))
        if is_trained:
            gradients[variable.ref()] = b if is_gradient else a - b
    optimizer.learning_rate.assign(learning_rate * tf.cast(step_size, tf.float32))
    pairs = [(gradients[v.ref()], v) for v in network.trainable_variables]
    optimizer.apply_gradients(pairs)


def with_gradients(
    network: tf.keras.layers.Layer, gradients: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    """
    Put gradients in the place of the weights that they are of.

    :param network: its weights that are not trained are where the inner loop left them.
    :param gradients: of the trained weights, in their order.
    :return: one tensor for each weight of the network.
    """
    by_weight = {
        variable.ref(): gradient
        for variable, gradient in zip(
            network.trainable_variables, gradients, strict=True
        )
    }
    return [by_weight.get(v.ref(), tf.identity(v)) for v in network.weights]
