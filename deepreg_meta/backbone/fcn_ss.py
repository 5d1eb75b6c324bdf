"""FCN-SS: a fully convolutional hourglass with a field at each of its resolutions."""

import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from deepreg.model import layer
from deepreg.registry import REGISTRY

from deepreg_meta.backbone.convolution import ConvBlock, UpConvBlock
from deepreg_meta.backbone.field_backbone import FieldBackbone, expect, planar


@REGISTRY.register_backbone(name="fcn_ss")
class FCNSelfSupervised(FieldBackbone):
    """
    A network whose layers are supervised deeply, by the images at several resolutions.

    Convolutions and pooling lead from the images to the coarsest resolution,
    transposed convolutions back, without connections between the two sides. At each
    resolution of the way back a head predicts a field of its own. The loss of training
    is that of the finest field plus, for each coarser one, its weight times the loss,
    similarity and smoothness, of that field with the images at its resolution; the
    source penalises total variation. Prediction needs the finest field alone.

    Source: Li and Fan, ISBI 2018 (arXiv:1801.04012; first form arXiv:1709.00799), with
    three resolutions, 1/4, 1/2 and 1. As public reimplementations have it: convolutions
    of size 3 with 32, 64, 128 channels, then transposed 64, plain 64, transposed 32,
    batch normalisation and ReLU after each; losses weighted 1, 0.6, 0.3 from fine to
    coarse.
    Chosen here: max pooling of 2, normalisation by the statistics of the batch in
    prediction too, heads of size 3 that start at zero. A voxel of a coarser grid stands
    for 2, 4, ... of the images' along each axis; a grid that does not divide is rounded
    up.
    """

    def __init__(
        self,
        image_size: tuple,
        out_channels: int = 3,
        num_channel_initial: int = 32,
        out_kernel_initializer: str = "zeros",
        out_activation: str | None = None,
        num_resolutions: int = 3,
        side_weights: Sequence[float] | None = None,
        normalization: str = "batch",
        name: str = "fcn_ss",
        **kwargs: Any,
    ) -> None:
        """
        :param image_size: (dim1, dim2, dim3); images have a singleton axis.
        :param out_channels: 3, the components of a field.
        :param num_channel_initial: channels at full size, doubled at each level.
        :param out_kernel_initializer: of the heads.
        :param out_activation: of the heads.
        :param num_resolutions: of fields, each half the size of the one before.
        :param side_weights: of the losses of the coarser fields, finest of them first;
            the default is 0.6, 0.3, ..., each half the one before.
        :param normalization: one of batch, moving, instance, group, none; see
            LocalNetNorm.
        :param name: of the model.
        :param kwargs: of a Keras model.
        :raises ValueError: for a number of weights that is not that of the coarser
            fields, negative weights, or another normalization.
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
        count = num_resolutions
        expect(count >= 1, "num_resolutions", "an integer >= 1", count)
        if side_weights is None:
            side_weights = [0.6 / 2**index for index in range(count - 1)]
        expect(
            len(side_weights) == count - 1 and min(side_weights, default=0.0) >= 0,
            "side_weights",
            f"{count - 1} numbers >= 0, one for each of the coarser resolutions",
            list(side_weights),
        )
        self.num_resolutions, self.normalization = count, normalization
        self._side_weights = tuple(float(weight) for weight in side_weights)
        widths = [num_channel_initial * 2**level for level in range(count)]
        options: dict[str, Any] = dict(
            activation=tf.nn.relu, normalization=normalization
        )
        block = functools.partial(ConvBlock, image_size=image_size, **options)
        self._encoder = [block(filters=width) for width in widths]
        self._pool = layer.MaxPool3d(
            pool_size=planar(2, image_size), strides=planar(2, image_size)
        )
        # of the way back, coarse to fine: one convolution at each level but the last
        self._ups = [
            UpConvBlock(widths[level], image_size, level, **options)
            for level in reversed(range(count - 1))
        ]
        self._convs = [
            block(filters=widths[level]) for level in range(count - 2, 0, -1)
        ]
        self._decoder = [*self._ups, *self._convs]
        self._heads = [self._head() for _ in range(count)]  # coarse to fine

    @property
    def side_weights(self) -> tuple[float, ...]:
        """Return the weights of the losses of the coarser fields, as in `fields`."""
        return tuple(self._side_weights)

    def get_config(self) -> dict:
        """Return the arguments that build an equal backbone."""
        return super().get_config() | dict(
            num_resolutions=self.num_resolutions,
            side_weights=list(self.side_weights),
            normalization=self.normalization,
        )

    def fields(
        self, inputs: tf.Tensor, training: bool | None = None
    ) -> list[tf.Tensor]:
        """
        Predict the fields of all resolutions.

        :param inputs: shape = (batch, dim1, dim2, dim3, ch).
        :param training: changes only what `moving` normalisation does.
        :return: finest first, float32; that of level i has shape = (batch,
            ceil(dim1 / 2^i), ceil(dim2 / 2^i), ceil(dim3 / 2^i), 3), in its own voxels.
        """
        features = tf.cast(inputs, self.compute_dtype)
        for level, block in enumerate(self._encoder):
            if level > 0:
                features = self._pool(features)
            features = block(features, training=training)
        fields = [self._heads[0](features)]
        for index, up in enumerate(self._ups):
            features = up(features, training=training)
            if index < len(self._convs):
                features = self._convs[index](features, training=training)
            fields.append(self._heads[index + 1](features))
        return fields[::-1]

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: None = None
    ) -> tf.Tensor:
        """
        Predict the field of full size.

        :param inputs: shape = (batch, dim1, dim2, dim3, ch).
        :param training: changes only what `moving` normalisation does.
        :param mask: not used.
        :return: float32, shape = (batch, dim1, dim2, dim3, 3), in voxels.
        """
        # all of them, so that the coarser heads have their weights from the first call
        # on; a graph does not compute what it does not return
        return self.fields(inputs, training=training)[0]
