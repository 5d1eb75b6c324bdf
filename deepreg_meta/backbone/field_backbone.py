"""What backbones have in common whose output layers make fields."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from deepreg.model.backbone.interface import Backbone

from deepreg_meta.layer.conv import PackedConv3D


def expect(is_met: bool, key: str, rule: str, value: object) -> None:
    """
    Refuse an option of a backbone.

    :param is_met: whether its value is as it must be.
    :param key: below train.backbone.
    :param rule: what is expected.
    :param value: got.
    :raises ValueError: unless `is_met`.
    """
    if not is_met:
        raise ValueError(f"train.backbone.{key}: expected {rule}, got {value!r}.")


def planar(size: int, image_size: Sequence[int]) -> tuple[int, ...]:
    """Return the size of a kernel, pool or stride, which is 1 along singleton axes."""
    return tuple(1 if length == 1 else size for length in image_size)


class FieldBackbone(Backbone):
    """A backbone that predicts a field, with an encoder, maybe a decoder, and heads."""

    normalization = "none"  # of subclasses with a choice, see LocalNetNorm
    # of the encoder nothing adapts alone; set by the subclasses
    _decoder: list[tf.keras.layers.Layer]
    _heads: list[tf.keras.layers.Layer]

    def __init__(
        self,
        image_size: Sequence[int],
        out_channels: int,
        num_channel_initial: int,
        out_kernel_initializer: str,
        out_activation: str | None,
        name: str,
        **kwargs: Any,
    ) -> None:
        """
        :param image_size: (dim1, dim2, dim3); images have a singleton axis.
        :param out_channels: 3, the components of a field.
        :param num_channel_initial: scales the widths.
        :param out_kernel_initializer: of the heads.
        :param out_activation: of the heads.
        :param name: of the model.
        :param kwargs: of a Keras model.
        :raises ValueError: for other numbers of channels.
        """
        if out_channels != 3:
            raise ValueError(
                f"train.backbone.name: expected {name} with a model that predicts a "
                f"field of 3 components, such as ddf or dvf, got {out_channels} output "
                "channel(s)."
            )
        is_positive = num_channel_initial >= 1
        expect(
            is_positive, "num_channel_initial", "an integer >= 1", num_channel_initial
        )
        super().__init__(
            image_size=tuple(image_size),
            out_channels=out_channels,
            num_channel_initial=num_channel_initial,
            out_kernel_initializer=out_kernel_initializer,
            out_activation=out_activation,
            name=name,
            **kwargs,
        )
        self._decoder, self._heads = [], []

    @property
    def is_same_in_training(self) -> bool:
        """Whether training and prediction compute the same from the same weights."""
        return self.normalization != "moving"

    def adaptable_layers(self, part: str) -> list[tf.keras.layers.Layer]:
        """
        Return the layers of a part that adaptation may train alone.

        :param part: decoder, with the heads, or heads.
        :raises ValueError: when there is no decoder.
        """
        if part == "decoder" and not self._decoder:
            raise ValueError(
                f"adapt.layers: expected all or heads with the backbone {self.name}, "
                f"which has no decoder, got {part!r}."
            )
        return [*(self._decoder if part == "decoder" else []), *self._heads]

    def _head(
        self, kernel_size: int = 3, kernel_initializer: object = None
    ) -> tf.keras.layers.Conv3D:
        """
        Return a layer that makes a field, in float32 under any policy.

        :param kernel_size: along axes that are not singleton.
        :param kernel_initializer: None takes that of the backbone.
        """
        return PackedConv3D(
            self.out_channels,
            planar(kernel_size, self.image_size),
            padding="same",
            kernel_initializer=kernel_initializer or self.out_kernel_initializer,
            activation=self.out_activation,
            dtype="float32",
        )
