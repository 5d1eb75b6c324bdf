"""A U-Net that learns how to enlarge its features, by transposed convolutions."""

from typing import Any

import tensorflow as tf
from deepreg.registry import REGISTRY

from deepreg_meta.backbone.concat_unet import ConcatUNet
from deepreg_meta.backbone.convolution import UpConvBlock, leaky_relu


@REGISTRY.register_backbone(name="unet_transposed")
class UNetTransposed(ConcatUNet):
    """
    VoxelMorph-2 whose decoder enlarges by transposed convolutions.

    Source: Al Safadi and Song, CVPR 2021, sections 4.4 and 5.4.3: the network under the
    meta-regularisation layer and, without it, that of the ablation is a U-Net with
    transposed convolutions in its decoder. Nothing more is said of it. Chosen here:
    VoxelMorph-2's levels, widths, activations and head, which agree with running times
    five to ten per cent above that network's; transposed convolutions of size 3 and
    stride 2 that keep the number of channels, followed by the activation. So what is
    learned of the enlargement is the only difference between the two.
    """

    def __init__(
        self, image_size: tuple, name: str = "unet_transposed", **kwargs: Any
    ) -> None:
        """
        :param image_size: (dim1, dim2, dim3).
        :param name: of the model.
        :param kwargs: further arguments of ConcatUNet: depth, encoder, decoder, ...
        """
        super().__init__(image_size=image_size, name=name, **kwargs)

    def _enlarging(self, level: int, channels: int) -> tf.keras.layers.Layer:
        """
        Return what takes features one level up.

        :param level: of the result.
        :param channels: of the features, and of the result.
        """
        return UpConvBlock(channels, self.image_size, level, leaky_relu)
