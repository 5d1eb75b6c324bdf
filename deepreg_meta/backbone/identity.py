"""A backbone that displaces nothing: where the field alone is fitted to a pair."""

from typing import Any

import tensorflow as tf
from deepreg.registry import REGISTRY

from deepreg_meta.backbone.field_backbone import FieldBackbone


@REGISTRY.register_backbone(name="identity")
class Identity(FieldBackbone):
    """
    Predict a field of zeros, without weights.

    With `adapt.field` after it, registration is the classical one: no network takes
    part, and nothing is to be trained.
    """

    def __init__(
        self,
        image_size: tuple,
        out_channels: int = 3,
        num_channel_initial: int = 1,
        out_kernel_initializer: str = "zeros",
        out_activation: str | None = None,
        name: str = "identity",
        **kwargs: Any,
    ) -> None:
        """
        :param image_size: (dim1, dim2, dim3); images have a singleton axis.
        :param out_channels: 3, the components of a field.
        :param num_channel_initial: not needed.
        :param out_kernel_initializer: not needed.
        :param out_activation: not needed.
        :param name: of the model.
        :param kwargs: of a Keras model.
        """
        super().__init__(
            image_size=image_size,
            out_channels=out_channels,
            num_channel_initial=num_channel_initial,
            out_kernel_initializer=out_kernel_initializer,
            out_activation=out_activation,
            name=name,
            **kwargs,
        )

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: None = None
    ) -> tf.Tensor:
        """
        Return zeros.

        :param inputs: shape = (batch, dim1, dim2, dim3, ch).
        :param training: changes nothing.
        :param mask: not used.
        :return: float32, shape = (batch, dim1, dim2, dim3, 3).
        """
        shape = [tf.shape(inputs)[0], *self.image_size, 3]
        return tf.ensure_shape(tf.zeros(shape), [None, *self.image_size, 3])
