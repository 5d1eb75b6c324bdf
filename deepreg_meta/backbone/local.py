"""LocalNet with an explicit choice of normalisation."""

import math
from collections.abc import Callable

import tensorflow as tf
from deepreg.model import layer
from deepreg.model.backbone.local_net import LocalNet
from deepreg.registry import REGISTRY

from deepreg_meta import compat
from deepreg_meta.layer.norm import FlatBatchNormalization

NORMALIZATIONS = ("batch", "moving", "instance", "group", "none")


class BatchStatistics(tf.keras.layers.Layer):
    """Batch normalisation with the statistics of the batch, at inference too."""

    def __init__(self, **kwargs: object) -> None:
        """:param kwargs: of a Keras layer."""
        super().__init__(**kwargs)
        self._norm = FlatBatchNormalization()

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """
        :param inputs: shape = (batch, ..., ch).
        :param training: not used: the same statistics in training and inference.
        :return: shape = (batch, ..., ch).
        """
        return self._norm(inputs, training=True)


class GroupStatistics(tf.keras.layers.Layer):
    """Group normalisation; as many groups as channels is instance normalisation."""

    def __init__(self, groups: int, **kwargs: object) -> None:
        """
        :param groups: number of groups, -1 for one per channel.
        :param kwargs: of a Keras layer.
        """
        super().__init__(**kwargs)
        self._norm = tf.keras.layers.GroupNormalization(groups=groups, epsilon=1e-3)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """
        :param inputs: shape = (batch, ..., ch).
        :param training: not used.
        :return: shape = (batch, ..., ch).
        """
        return self._norm(inputs)


class Identity(tf.keras.layers.Layer):
    """No normalisation."""

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Return the inputs."""
        return inputs


def norm_factory(normalization: str, num_channel_initial: int) -> Callable | None:
    """Return what makes a normalisation layer, None for DeepReg's own."""
    groups = math.gcd(8, num_channel_initial)  # divides every level's channels
    return {
        "batch": BatchStatistics,
        "moving": None,
        "instance": lambda: GroupStatistics(groups=-1),
        "group": lambda: GroupStatistics(groups=groups),
        "none": Identity,
    }[normalization]


@REGISTRY.register_backbone(name="local_norm")
class LocalNetNorm(LocalNet):
    """
    DeepReg's LocalNet whose normalisation is the same in meta-training, adaptation and
    prediction, or stated to differ.

    - `batch`: statistics of the batch, at inference too;
    - `moving`: DeepReg's batch normalisation, with moving averages at inference;
    - `instance`: statistics of each sample and channel;
    - `group`: statistics of each sample and group of channels: 8 groups, or as many of
      1, 2, 4 as divide the channels;
    - `none`: no normalisation.

    Source: Hu et al., Med. Image Anal. 49, 2018 (LocalNet). With one sample per batch
    `batch` and `instance` compute the same.
    """

    def __init__(
        self,
        image_size: tuple,
        out_channels: int,
        num_channel_initial: int,
        extract_levels: list[int],
        out_kernel_initializer: str = "zeros",
        out_activation: str | None = None,
        normalization: str = "batch",
        initial_kernel_size: int = 7,
        name: str = "LocalNetNorm",
        **kwargs: object,
    ) -> None:
        """
        :param image_size: (dim1, dim2, dim3).
        :param out_channels: 3 for a field.
        :param num_channel_initial: channels of the first level, doubled at each level.
        :param extract_levels: levels that contribute to the field, 0 is full size.
        :param out_kernel_initializer: of the output layers.
        :param out_activation: of the output layers.
        :param normalization: one of batch, moving, instance, group, none.
        :param initial_kernel_size: of the convolutions at full size, 7 in the source.
            They are nine tenths of the network's cost there; 3 makes a step on a CPU
            several times faster.
        :param name: of the model.
        :param kwargs: further arguments of DeepReg's LocalNet.
        :raises ValueError: for another normalization, or an even kernel size.
        """
        if normalization not in NORMALIZATIONS:
            raise ValueError(
                "train.backbone.normalization: expected one of "
                f"{', '.join(NORMALIZATIONS)}, got {normalization!r}."
            )
        if initial_kernel_size < 1 or initial_kernel_size % 2 == 0:
            raise ValueError(
                "train.backbone.initial_kernel_size: expected an odd integer >= 1, got "
                f"{initial_kernel_size}."
            )
        factory = norm_factory(normalization, num_channel_initial)
        with compat.normalisation(factory):
            super().__init__(
                image_size=image_size,
                out_channels=out_channels,
                num_channel_initial=num_channel_initial,
                extract_levels=extract_levels,
                out_kernel_initializer=out_kernel_initializer,
                out_activation=out_activation,
                name=name,
                **kwargs,
            )
            if initial_kernel_size != 7:
                first = layer.DownSampleResnetBlock(
                    filters=num_channel_initial, kernel_size=initial_kernel_size
                )
                self._downsample_blocks: list = [first, *self._downsample_blocks[1:]]
        self.normalization = normalization
        self.initial_kernel_size = initial_kernel_size
        self._norm_factory = factory

    @property
    def is_same_in_training(self) -> bool:
        """Whether training and prediction compute the same from the same weights."""
        return self.normalization != "moving"

    def get_config(self) -> dict:
        """Return the arguments that build an equal backbone."""
        config = super().get_config()
        config["extract_levels"] = list(self._extract_levels)
        config["normalization"] = self.normalization
        config["initial_kernel_size"] = self.initial_kernel_size
        return config

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: None = None
    ) -> tf.Tensor:
        """
        Predict a field.

        :param inputs: shape = (batch, dim1, dim2, dim3, ch).
        :param training: changes only what `moving` normalisation does.
        :param mask: not used.
        :return: shape = (batch, dim1, dim2, dim3, out_channels).
        """
        # some of DeepReg's blocks make their layers when they are first called
        with compat.normalisation(self._norm_factory):
            return super().call(inputs, training=training, mask=mask)
