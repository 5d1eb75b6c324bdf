"""A U-Net that appends the encoder's features to the decoder's."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from deepreg_meta.backbone.convolution import (
    ConvBlock,
    NearestDoubling,
    leaky_relu,
    level_sizes,
)
from deepreg_meta.backbone.field_backbone import FieldBackbone, expect


class SkipBlock(tf.keras.layers.Layer):
    """Enlarge, append the encoder's features of that level, convolve."""

    def __init__(
        self, level: int, enlarge: tf.keras.layers.Layer, conv: ConvBlock
    ) -> None:
        """
        :param level: whose features are appended.
        :param enlarge: from the coarser level.
        :param conv: of both.
        """
        super().__init__()
        self.level, self._enlarge, self._conv = level, enlarge, conv

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """
        :param inputs: features of the coarser level, and those to append, with shapes
            (batch, c1, c2, c3, ch) and (batch, d1, d2, d3, skip_ch).
        :return: shape = (batch, d1, d2, d3, filters).
        """
        coarse, skip = inputs
        return self._conv(tf.concat([self._enlarge(coarse), skip], axis=4))


class ConcatUNet(FieldBackbone):
    """
    A U-Net whose encoder strides and whose decoder appends the encoder's features.

    Convolutions of 3 with leaky ReLU (slope 0.2) and no normalisation; an axis of odd
    length is rounded up by a stride and cut again by the decoder.
    """

    _FINEST = 0  # level of the head: 0 has the images' size, 1 half of it
    _LAST_WIDTHS: tuple[int, ...] = (32, 16, 16)  # after those of levels depth to 1

    def __init__(
        self,
        image_size: tuple,
        out_channels: int = 3,
        num_channel_initial: int = 16,
        out_kernel_initializer: str = "zeros",
        out_activation: str | None = None,
        depth: int = 4,
        encoder: Sequence[int] | None = None,
        decoder: Sequence[int] | None = None,
        head_stddev: float = 1e-5,
        name: str = "concat_unet",
        **kwargs: Any,
    ) -> None:
        """
        :param image_size: (dim1, dim2, dim3); images have a singleton axis.
        :param out_channels: 3, the components of a field.
        :param num_channel_initial: channels of the first level. The default widths are
            those of the source for 16, and in proportion (rounded up) for others.
        :param out_kernel_initializer: of the head; `zeros`, which DeepReg hands to the
            backbones of fields, gives way to `head_stddev`.
        :param out_activation: of the head.
        :param depth: number of strides.
        :param encoder: channels of the strided convolutions; the default is 16, 32, 32,
            ..., one for each level.
        :param decoder: channels of the decoder's convolutions: one at each level from
            depth to 1, a second one at level 1, and the others at the finest level; the
            default is 32 at every level, then the class's last widths.
        :param head_stddev: standard deviation of the head's first weights, so that the
            first field is tiny; 0 for zeros.
        :param name: of the model.
        :param kwargs: of a Keras model.
        :raises ValueError: for widths that do not fit the depth.
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
        expect(depth >= 1, "depth", "an integer >= 1", depth)
        expect(head_stddev >= 0, "head_stddev", "a number >= 0", head_stddev)
        self.depth, self.head_stddev = depth, head_stddev
        self.encoder_widths = self._widths(encoder, (16, *[32] * (depth - 1)))
        self.decoder_widths = self._widths(decoder, (*[32] * depth, *self._LAST_WIDTHS))
        self._check_widths()
        self._encoder = [
            ConvBlock(width, image_size, leaky_relu, stride=2)
            for width in self.encoder_widths
        ]
        self._decoder = self._make_decoder()
        initializer = None
        if out_kernel_initializer == "zeros" and head_stddev > 0:
            initializer = tf.keras.initializers.RandomNormal(stddev=head_stddev)
        self._heads = [self._head(kernel_initializer=initializer)]

    def _widths(
        self, given: Sequence[int] | None, default: Sequence[int]
    ) -> tuple[int, ...]:
        """Return the widths given, or those of the source in proportion."""
        if given is not None:
            return tuple(given)
        return tuple(-(-width * self.num_channel_initial // 16) for width in default)

    def _check_widths(self) -> None:
        """
        Check that every level has its convolutions.

        :raises ValueError: otherwise.
        """
        encoder, decoder = list(self.encoder_widths), list(self.decoder_widths)
        is_right = len(encoder) == self.depth and min(encoder) >= 1
        expect(is_right, "encoder", f"{self.depth} integers >= 1 (depth)", encoder)
        at_least = self.depth + 2 - self._FINEST
        is_right = len(decoder) >= at_least and min(decoder) >= 1
        expect(is_right, "decoder", f"at least {at_least} integers >= 1", decoder)

    @property
    def _levels(self) -> list[int]:
        """Return the level of each convolution of the decoder."""
        rest = len(self.decoder_widths) - self.depth - 1
        return [*range(self.depth, 0, -1), 1, *[self._FINEST] * rest]

    def _make_decoder(self) -> list[ConvBlock | SkipBlock]:
        """Return the decoder's blocks, deepest first."""
        blocks: list[ConvBlock | SkipBlock] = []
        before, channels = self.depth, self.encoder_widths[-1]
        for level, width in zip(self._levels, self.decoder_widths, strict=True):
            block: ConvBlock | SkipBlock = ConvBlock(width, self.image_size, leaky_relu)
            if level < before:
                block = SkipBlock(level, self._enlarging(level, channels), block)
            blocks.append(block)
            before, channels = level, width
        return blocks

    def _enlarging(self, level: int, channels: int) -> tf.keras.layers.Layer:
        """
        Return what takes features one level up.

        :param level: of the result.
        :param channels: of the features.
        """
        del channels
        return NearestDoubling(level_sizes(self.image_size, level)[level])

    def get_config(self) -> dict:
        """Return the arguments that build an equal backbone."""
        return super().get_config() | dict(
            depth=self.depth,
            encoder=list(self.encoder_widths),
            decoder=list(self.decoder_widths),
            head_stddev=self.head_stddev,
        )

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: None = None
    ) -> tf.Tensor:
        """
        Predict a field.

        :param inputs: shape = (batch, dim1, dim2, dim3, ch).
        :param training: not used: the same in training and prediction.
        :param mask: not used.
        :return: float32, shape = (batch, dim1, dim2, dim3, 3), in voxels.
        """
        features = tf.cast(inputs, self.compute_dtype)
        skips = []  # by level
        for block in self._encoder:
            skips.append(features)
            features = block(features)
        for block in self._decoder:
            if isinstance(block, SkipBlock):
                features = block([features, skips[block.level]])
            else:
                features = block(features)
        return self._heads[0](features)
