"""The network that predicts the field of a batch of pairs."""

import tensorflow as tf
from deepreg.model.backbone.global_net import GlobalNet
from deepreg.model.backbone.interface import Backbone
from deepreg.registry import BACKBONE_CLASS, REGISTRY

from deepreg_meta import compat
from deepreg_meta.backbone.blocks import fast_blocks
from deepreg_meta.layer.warp import integrate


class FieldNetwork(tf.keras.layers.Layer):
    """
    Predict a displacement field with the backbone of a registered DeepReg model.

    The DeepReg model is built on the fixed grid and asked what its backbone predicts: a
    displacement field (`ddf`) or a velocity field to be integrated (`dvf`).
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
        self.fixed_image_size = tuple(fixed_image_size)
        kind = REGISTRY.get(category=BACKBONE_CLASS, key=backbone["name"])
        if issubclass(kind, GlobalNet) and precision != "float32":
            raise ValueError(
                "train.precision: expected float32 with the backbone "
                f"{backbone['name']}, which predicts an affine map of coordinates, got "
                f"{precision!r}."
            )
        with compat.quiet_losses(), fast_blocks(precision, recompute):
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
        if self._has_theta:
            field = field[0]
        field = tf.cast(field, tf.float32)
        return integrate(field) if self._is_velocity else field
