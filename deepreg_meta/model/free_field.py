"""A displacement field that is its own weights, with no network before it."""

from collections.abc import Sequence

import tensorflow as tf

from deepreg_meta.loss.kernel import gaussian_matrix
from deepreg_meta.model.registration import RegistrationLoss


def smoothing_matrix(length: int, sigma_vox: float) -> tf.Tensor:
    """
    Return what smooths along an axis by a Gaussian and keeps constants as they are.

    :param length: voxels of the axis; a singleton one is left as it is.
    :param sigma_vox: standard deviation, voxels, >= 0; 0 smooths nothing.
    :return: shape = (length, length), rows sum to 1: at the border what lies beyond is
        left out.
    """
    matrix = gaussian_matrix(length, sigma_vox)
    return matrix / tf.reduce_sum(matrix, axis=1, keepdims=True)


class FreeField(tf.keras.layers.Layer):
    """
    A field on a grid: where it starts, plus smoothed displacements, which are trained.

        u(x) = base(x) + (G v)(x)

    with the Gaussian G of `sigma_vox`. A step on v moves whole neighbourhoods, so that
    fields are smooth and few steps go far. Stands in for `FieldNetwork`, whatever the
    images are: the losses alone make the field. With G = 1, `base` = 0 and gradient
    descent it is the classical registration of Baum et al. 2022 (Meta-Registration),
    section 3.3.
    """

    is_same_in_training = True

    def __init__(
        self, size: Sequence[int], sigma_vox: float = 2.0, name: str = "free_field"
    ) -> None:
        """
        :param size: (d1, d2, d3); images have a singleton axis, along which nothing is
            displaced.
        :param sigma_vox: standard deviation of G, in voxels of this grid, >= 0.
        :param name: of the layer.
        """
        super().__init__(name=name, dtype="float32")
        d1, d2, d3 = size
        self.fixed_image_size = (d1, d2, d3)
        shape, zeros = (1, d1, d2, d3, 3), "zeros"
        self.displacement = self.add_weight(
            name="displacement", shape=shape, initializer=zeros
        )
        self.base = self.add_weight(
            name="base", shape=shape, initializer=zeros, trainable=False
        )
        self._matrices = None
        if sigma_vox > 0:
            self._matrices = [smoothing_matrix(n, sigma_vox).numpy() for n in size]
        self._kept = [float(n > 1) for n in size]
        # one kernel, and one for its gradient: matrix products without their transposes
        self._smooth = tf.function(self._smoothed, autograph=False, jit_compile=True)

    def start(self, ddf: tf.Tensor) -> None:
        """
        Begin anew from a field.

        :param ddf: shape = (1, d1, d2, d3, 3), in voxels of this grid.
        """
        self.base.assign(ddf)
        self.displacement.assign(tf.zeros_like(self.displacement))

    def added(self) -> tf.Tensor:
        """Return G v, shape = (1, d1, d2, d3, 3), in voxels of this grid."""
        return self._smooth(self.displacement)

    def field(self) -> tf.Tensor:
        """Return u, shape = (1, d1, d2, d3, 3), in voxels of this grid."""
        return self.base + self.added()

    def call(
        self,
        moving_input: tf.Tensor,
        fixed_input: tf.Tensor,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Return u, as a network would; images and `training` change nothing."""
        return self.field()

    def fields(
        self, moving_input: tf.Tensor, fixed_input: tf.Tensor
    ) -> list[tf.Tensor]:
        """Return the field alone: there are none of coarser grids."""
        return [self.field()]

    def side_loss(self, loss: RegistrationLoss) -> None:
        """Return nothing: there are no coarser fields."""

    def penalty(self) -> None:
        """Return nothing: what the field costs is a part of the losses."""

    def _smoothed(self, displacement: tf.Tensor) -> tf.Tensor:
        """Return G v, without what would lead out of an image."""
        field = displacement * tf.constant(self._kept)
        if self._matrices is not None:
            first, second, third = self._matrices
            field = tf.einsum("xi,bijkc->bxjkc", first, field)
            field = tf.einsum("yj,bxjkc->bxykc", second, field)
            field = tf.einsum("zk,bxykc->bxyzc", third, field)
        return field
