"""Networks of several scales, whose residual fields are composed."""

from collections.abc import Sequence

import tensorflow as tf

from deepreg_meta.layer.rescale import rescale, rescale_field
from deepreg_meta.layer.warp import compose, warp
from deepreg_meta.model.field_network import FieldNetwork
from deepreg_meta.model.registration import RegistrationLoss
from deepreg_meta.model.side_loss import ScaleLoss


def refine(
    ddf: tf.Tensor | None, residual: tf.Tensor, size: Sequence[int]
) -> tf.Tensor:
    """
    Add what a scale has found to the field of the coarser ones.

    With u the field so far and r the residual, brought to the full grid in size and in
    value, the moving image warped by u is to be taken at x + r(x), so

        u'(x) = r(x) + u(x + r(x)).

    Equation 5 of the source has it the other way round, u(x) + r(x + u(x)): that is the
    field of an image warped by r first, whereas r was found on one warped by u.

    Source: Zhu et al., ICRA 2021, section II-E.

    :param ddf: u, shape = (batch, f1, f2, f3, 3), in voxels; None before the first.
    :param residual: r, shape = (batch, s1, s2, s3, 3), in voxels of its own grid.
    :param size: (f1, f2, f3).
    :return: u', shape = (batch, f1, f2, f3, 3).
    """
    fine = rescale_field(residual, size)
    return fine if ddf is None else compose(ddf, fine)


class PyramidNetwork(tf.keras.layers.Layer):
    """
    Predict a displacement field scale by scale, each with a network of its own.

    At every scale the moving image, warped by the field so far, and the fixed one are
    resampled on the grid of the scale; its network predicts the residual field. Stands
    in for `FieldNetwork`. Each network is trained by the loss of the field up to its
    scale, and by no other: what the coarser ones have found is given. With a loss of
    the finest field alone, a coarse one may drift, since the finer ones take it back at
    no cost, until content leaves the image.

    Source: Zhu et al., ICRA 2021, section II-D.
    """

    def __init__(self, networks: Sequence[FieldNetwork], name: str = "pyramid") -> None:
        """
        :param networks: from the coarsest scale to the finest, that of the full grid.
        :param name: of the layer.
        :raises ValueError: for networks whose coarser fields are supervised too: the
            losses of those are not those of a residual.
        """
        super().__init__(name=name)
        if any(network.side_weights for network in networks):
            raise ValueError(
                "train.scales: expected a backbone with one field, got one whose "
                "coarser fields are trained too. Remove train.scales, or set "
                "train.backbone.side_weights: []."
            )
        self.networks = list(networks)
        self.fixed_image_size = networks[-1].fixed_image_size
        self.is_same_in_training = all(x.is_same_in_training for x in networks)

    @property
    def backbone(self) -> tf.keras.layers.Layer:
        """The backbone of the finest scale."""
        return self.networks[-1].backbone

    @property
    def side_weights(self) -> tuple[float, ...]:
        """Weights of the losses of the coarser scales: all alike, no two share any."""
        return (1.0,) * (len(self.networks) - 1)

    def call(
        self,
        moving_input: tf.Tensor,
        fixed_input: tf.Tensor,
        training: bool | None = None,
    ) -> tf.Tensor:
        """
        Predict the field of a batch.

        :param moving_input: initially aligned, shape = (batch, f1, f2, f3).
        :param fixed_input: shape = (batch, f1, f2, f3).
        :param training: handed to the networks.
        :return: ddf, float32, shape = (batch, f1, f2, f3, 3), in fixed voxels.
        """
        return self._climb(moving_input, fixed_input, training)[-1]

    def fields(
        self, moving_input: tf.Tensor, fixed_input: tf.Tensor
    ) -> list[tf.Tensor]:
        """
        Predict the fields of a batch in training, up to each of the scales.

        :param moving_input: as in `call`.
        :param fixed_input: as in `call`.
        :return: what `call` gives, then the field up to each coarser scale, the finest
            of them first, of the same shape. The gradient of each is one to the network
            of its own scale.
        """
        return self._climb(moving_input, fixed_input, training=True)[::-1]

    def _climb(
        self, moving_input: tf.Tensor, fixed_input: tf.Tensor, training: bool | None
    ) -> list[tf.Tensor]:
        """Return the field up to every scale, that of the coarsest first."""
        found: list[tf.Tensor] = []
        for network in self.networks:
            size = network.fixed_image_size
            so_far = tf.stop_gradient(found[-1]) if found else None
            moved = moving_input if so_far is None else warp(moving_input, so_far)
            images = rescale(moved, size), rescale(fixed_input, size)
            residual = network(*images, training=training)
            found.append(refine(so_far, residual, self.fixed_image_size))
        return found

    def side_loss(self, loss: RegistrationLoss) -> ScaleLoss | None:
        """
        Build what judges the fields of the coarser scales.

        :param loss: of the finest field.
        :return: of all fields of `fields` but the first; None for one scale.
        """
        return ScaleLoss(loss) if len(self.networks) > 1 else None

    def penalty(self) -> tf.Tensor | None:
        """
        Return what the backbones add to the loss on account of their weights alone.

        :return: scalar; None where none of them has something to add.
        """
        penalties = [network.penalty() for network in self.networks]
        found = [penalty for penalty in penalties if penalty is not None]
        return tf.add_n(found) if found else None
