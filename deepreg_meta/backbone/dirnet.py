"""DIRNet: control points from convolutions, a dense field from cubic B-splines."""

import functools
from typing import Any

import numpy as np
import tensorflow as tf
from deepreg.registry import REGISTRY

from deepreg_meta.backbone.convolution import ConvBlock, interpolate, linear_matrix
from deepreg_meta.backbone.field_backbone import FieldBackbone, expect, planar
from deepreg_meta.layer.planar import PlanarAveragePooling3D


@REGISTRY.register_backbone(name="dirnet")
class DIRNet(FieldBackbone):
    """
    A regressor of control points, whose only trained part is the encoder.

    Convolutions of 3 and average pooling of 2 alternate; convolutions of 1 follow; ELU
    everywhere but after the last one, which gives the control points' displacements. A
    cubic B-spline through the grid of control points makes the field.

    Source: de Vos et al., DLMIA 2017 (arXiv:1704.06065): 16 kernels, average pooling,
    ELU, cubic B-spline. The two convolutions of 1 before the last one, its first
    weights of zero and the absence of normalisation (an option here) are those of the
    first author's later code, TorchIR. Chosen here:

    - four poolings, that is, control points 16 voxels apart;
    - a control point lies in the centre of the voxels that were pooled for it, those of
      spacing 16 at 7.5, 23.5, ...; the last ones may lie outside of the images;
    - the spline needs two more control points at each end, which continue the outermost
      two linearly: constant and linear control points give constant and linear fields
      up to the border.
    """

    def __init__(
        self,
        image_size: tuple,
        out_channels: int = 3,
        num_channel_initial: int = 16,
        out_kernel_initializer: str = "zeros",
        out_activation: str | None = None,
        num_poolings: int = 4,
        num_pointwise: int = 2,
        normalization: str = "none",
        name: str = "dirnet",
        **kwargs: Any,
    ) -> None:
        """
        :param image_size: (dim1, dim2, dim3); images have a singleton axis.
        :param out_channels: 3, the components of a field.
        :param num_channel_initial: channels of every convolution but the last.
        :param out_kernel_initializer: of the last convolution.
        :param out_activation: of the last convolution.
        :param num_poolings: control points are 2 to this power voxels apart.
        :param num_pointwise: convolutions of size 1 before the last one.
        :param normalization: after every convolution but the last: one of batch,
            moving, instance, group, none; see LocalNetNorm.
        :param name: of the model.
        :param kwargs: of a Keras model.
        :raises ValueError: for a negative number, or another normalization.
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
        expect(num_poolings >= 1, "num_poolings", "an integer >= 1", num_poolings)
        expect(num_pointwise >= 0, "num_pointwise", "an integer >= 0", num_pointwise)
        self.num_poolings, self.num_pointwise = num_poolings, num_pointwise
        self.normalization = normalization
        block = functools.partial(
            ConvBlock,
            num_channel_initial,
            image_size,
            tf.nn.elu,
            normalization=normalization,
        )
        self._encoder = [block() for _ in range(num_poolings)]
        self._pool = PlanarAveragePooling3D(planar(2, image_size), padding="same")
        self._pointwise = [block(kernel_size=1) for _ in range(num_pointwise)]
        self._heads = [self._head(kernel_size=1)]
        matrices = [bspline_matrix(length, self.spacing) for length in self.image_size]
        self._interpolate = functools.partial(interpolate, matrices=matrices)

    @property
    def spacing(self) -> int:
        """Return the distance between control points, in voxels."""
        return 2**self.num_poolings

    def get_config(self) -> dict:
        """Return the arguments that build an equal backbone."""
        return super().get_config() | dict(
            num_poolings=self.num_poolings,
            num_pointwise=self.num_pointwise,
            normalization=self.normalization,
        )

    def control_points(
        self, inputs: tf.Tensor, training: bool | None = None
    ) -> tf.Tensor:
        """
        Predict the displacements of the control points.

        :param inputs: shape = (batch, dim1, dim2, dim3, ch).
        :param training: changes only what `moving` normalisation does.
        :return: float32, shape = (batch, c1, c2, c3, 3), in voxels of the images.
        """
        features = tf.cast(inputs, self.compute_dtype)
        for block in self._encoder:
            features = self._pool(block(features, training=training))
        for block in self._pointwise:
            features = block(features, training=training)
        return self._heads[0](features)

    def densify(self, control_points: tf.Tensor) -> tf.Tensor:
        """
        Evaluate the B-spline at every voxel.

        :param control_points: shape = (batch, c1, c2, c3, 3).
        :return: shape = (batch, dim1, dim2, dim3, 3).
        """
        return self._interpolate(control_points)

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: None = None
    ) -> tf.Tensor:
        """
        Predict a field.

        :param inputs: shape = (batch, dim1, dim2, dim3, ch).
        :param training: changes only what `moving` normalisation does.
        :param mask: not used.
        :return: float32, shape = (batch, dim1, dim2, dim3, 3), in voxels.
        """
        return self.densify(self.control_points(inputs, training=training))


def cubic_bspline(distance: np.ndarray) -> np.ndarray:
    """
    Evaluate the cubic B-spline, which is 2/3 at 0 and 0 from 2 on.

    :param distance: in spacings of the control points.
    :return: of the same shape.
    """
    t = np.abs(distance)
    near, far = 2 / 3 - t**2 + t**3 / 2, (2 - t) ** 3 / 6
    return np.where(t < 1, near, np.where(t < 2, far, 0.0))


def bspline_matrix(length: int, spacing: int) -> np.ndarray | None:
    """
    Return the weights of the control points at every voxel of an axis.

    :param length: voxels.
    :param spacing: of control points, in voxels; they are as many as reach the end.
    :return: shape = (length, control points), rows sum to 1; None along a singleton
        axis.
    """
    if length == 1:
        return None
    count = -(-length // spacing)
    voxels = (np.arange(length) + 0.5) / spacing - 0.5  # in spacings
    points = np.arange(-2, count + 2)
    weights = cubic_bspline(voxels[:, None] - points)  # (length, count + 4)
    return weights @ linear_matrix(points, count)
