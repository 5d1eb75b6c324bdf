"""Batch normalisation of volumes at the price of that of images."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

_HELD: list[bool] = []


@contextlib.contextmanager
def hold_moving_averages() -> Iterator[None]:
    """Let `FlatBatchNormalization` leave its moving averages alone in the context."""
    _HELD.append(True)
    try:
        yield
    finally:
        _HELD.pop()


class FlatBatchNormalization(tf.keras.layers.BatchNormalization):
    """
    Keras's BatchNormalization over the last axis, with all others as one.

    The statistics are those of Keras's layer, as are weights and results to rounding.
    TensorFlow's kernel for volumes takes four times as long for the same numbers, most
    of it in the gradient. On a CPU it computes in float32 whatever the precision of the
    layers around it is: the kernel for bfloat16 takes ten times as long.
    """

    def __init__(self, **kwargs: object) -> None:
        """:param kwargs: of Keras's layer, without `axis`."""
        if not tf.config.get_visible_devices("GPU"):
            kwargs |= dict(dtype="float32", autocast=False)
        super().__init__(**kwargs)

    def build(self, input_shape: tf.TensorShape) -> None:
        """
        Create the weights.

        :param input_shape: (batch, ..., channels).
        """
        shape = tf.TensorShape(input_shape)
        super().build(tf.TensorShape([1, 1, None, shape[-1]]))
        self.input_spec = tf.keras.layers.InputSpec(
            ndim=shape.rank, axes={shape.rank - 1: shape[-1]}
        )

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """
        Normalise with the statistics of the batch in training, else the moving ones.

        :param inputs: shape = (batch, ..., channels).
        :param training: bool; None is inference.
        :return: as the inputs.
        """
        flat = tf.reshape(inputs, [1, 1, -1, inputs.shape[-1]])
        flat = tf.cast(flat, self.compute_dtype)
        if _HELD and training and self.trainable:
            output, _, _ = tf.compat.v1.nn.fused_batch_norm(
                flat, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
            )
        else:
            output = super().call(flat, training=training)
        return tf.reshape(tf.cast(output, inputs.dtype), tf.shape(inputs))
