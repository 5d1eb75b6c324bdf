"""The network that predicts the field of a batch of pairs."""

import logging

import tensorflow as tf
from deepreg.model.backbone.global_net import GlobalNet
from deepreg.model.backbone.interface import Backbone
from deepreg.registry import BACKBONE_CLASS, REGISTRY

from deepreg_meta import compat
from deepreg_meta.backbone.blocks import (
    fast_blocks,
    has_large_blocks,
    singleton_axes,
)
from deepreg_meta.layer.warp import integrate
from deepreg_meta.model.registration import RegistrationLoss
from deepreg_meta.model.side_loss import SideLoss

logger = logging.getLogger(__name__)


class FieldNetwork(tf.keras.layers.Layer):
    """
    Predict a displacement field with the backbone of a registered DeepReg model.

    The DeepReg model is built on the fixed grid and asked what its backbone predicts: a
    displacement field (`ddf`) or a velocity field to be integrated (`dvf`). Along a
    singleton axis, as images have one, it displaces nothing.
    """

    def __init__(
        self,
        base: str,
        backbone: dict,
        fixed_image_size: tuple[int, int, int],
        precision: str = "float32",
        recompute: bool = False,
        name: str = "field_network",
    ) -> None:
        """
        :param base: name of a DeepReg model: ddf, dvf, or one registered by the user.
        :param backbone: its backbone, a DeepReg configuration.
        :param fixed_image_size: (f_dim1, f_dim2, f_dim3).
        :param precision: of the backbone: float32, mixed_bfloat16 or mixed_float16; the
            field is float32 in any case.
        :param recompute: save memory by computing large blocks again for the gradient.
        :param name: of the layer.
        :raises ValueError: when the model predicts no field, or for a precision that
            the model cannot have.
        """
        super().__init__(name=name)
        d1, d2, d3 = fixed_image_size
        self.fixed_image_size = (d1, d2, d3)
        kind = REGISTRY.get(category=BACKBONE_CLASS, key=backbone["name"])
        if issubclass(kind, GlobalNet) and precision != "float32":
            raise ValueError(
                "train.precision: expected float32 with the backbone "
                f"{backbone['name']}, which predicts an affine map of coordinates, got "
                f"{precision!r}."
            )
        flat = singleton_axes(self.fixed_image_size)
        # the component of a field along each axis, to be kept or not
        self._kept = [float(axis not in flat) for axis in range(3)] if flat else None
        with compat.quiet_losses(), fast_blocks(precision, recompute, flat):
            model = REGISTRY.build_model(
                config=dict(
                    name=base,
                    moving_image_size=self.fixed_image_size,
                    fixed_image_size=self.fixed_image_size,
                    index_size=1,
                    labeled=base == "conditional",
                    batch_size=1,
                    config=dict(method=base, backbone=backbone, loss={}),
                )
            )
        outputs = model._outputs  # DeepReg offers no public way to ask
        backbones = [x for x in model._model.layers if isinstance(x, Backbone)]
        if "ddf" not in outputs or len(backbones) != 1:
            raise ValueError(
                "train.meta.base: expected a model that predicts a displacement field "
                f"with one backbone, such as ddf or dvf, got {base!r}, which predicts "
                f"{sorted(outputs)}."
            )
        self.backbone = backbones[0]
        if recompute and not has_large_blocks(self.backbone):
            logger.warning(
                "train.recompute: has no effect with the backbone %s, which has none "
                "of the blocks whose inside is computed again.",
                backbone["name"],
            )
        # without it, every backbone may normalise differently in training
        self.is_same_in_training = getattr(self.backbone, "is_same_in_training", False)
        self._is_velocity = "dvf" in outputs
        self._has_theta = "theta" in outputs

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
        :param training: handed to the backbone.
        :return: ddf, float32, shape = (batch, f1, f2, f3, 3), in fixed voxels.
        """
        images = tf.stack([moving_input, fixed_input], axis=-1)
        field = self.backbone(images, training=training)
        return self._finish(field[0] if self._has_theta else field)

    def _finish(self, field: tf.Tensor) -> tf.Tensor:
        """Make the displacement field of what the backbone predicts."""
        field = tf.cast(field, tf.float32)
        if self._kept is not None:
            field *= self._kept
        return integrate(field) if self._is_velocity else field

    @property
    def side_weights(self) -> tuple[float, ...]:
        """Weights of the losses of coarser fields; a backbone without them has none."""
        return tuple(getattr(self.backbone, "side_weights", ()))

    def fields(
        self, moving_input: tf.Tensor, fixed_input: tf.Tensor
    ) -> list[tf.Tensor]:
        """
        Predict the field of a batch in training, and those of coarser grids.

        :param moving_input: as in `call`.
        :param fixed_input: as in `call`.
        :return: what `call` gives, then one field for each of `side_weights`, shape =
            (batch, ceil(f1 / 2^i), ceil(f2 / 2^i), ceil(f3 / 2^i), 3), in voxels of its
            own grid.
        """
        if not self.side_weights:
            return [self(moving_input, fixed_input, training=True)]
        images = tf.stack([moving_input, fixed_input], axis=-1)
        found = self.backbone.fields(images, training=True)
        return [self._finish(field) for field in found]

    def side_loss(self, loss: RegistrationLoss) -> SideLoss | None:
        """
        Build what judges the coarser fields.

        :param loss: of the finest field.
        :return: of all fields of `fields` but the first; None where there are none.
        :raises ValueError: where the coarser fields cannot have such a loss.
        """
        if not self.side_weights:
            return None
        return SideLoss(loss, self.side_weights, self.fixed_image_size)

    def penalty(self) -> tf.Tensor | None:
        """
        Return what the backbone adds to the loss on account of its weights alone.

        :return: scalar; None where it has no method `penalty`, or nothing to add.
        """
        own = getattr(self.backbone, "penalty", None)
        return None if own is None else own()
