"""A backbone whose field is regularised by a trainable convolution."""

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import tensorflow as tf
from deepreg.model.backbone.global_net import GlobalNet
from deepreg.model.backbone.interface import Backbone
from deepreg.registry import BACKBONE_CLASS, REGISTRY

from deepreg_meta.config.findings import suggest
from deepreg_meta.layer.radial_conv import OPTIONS, RadialConv, option_problems

KEY = "train.backbone"
NAME = "meta_regularized"
# what cannot be wrapped: itself, and a field of zeros, which stays one
_NO_FIELD = {NAME, "identity"}


def _build_wrapped(config: object, default_args: dict) -> Backbone:
    """
    Build the backbone that is to be wrapped.

    :param config: `train.backbone.backbone`.
    :param default_args: what DeepReg gives every backbone.
    :raises ValueError: when it is no registered backbone that predicts a field.
    """
    if not isinstance(config, Mapping) or not isinstance(config.get("name"), str):
        raise ValueError(
            f"{KEY}.backbone: expected a mapping with the name of a backbone, got "
            f"{config!r}."
        )
    name = config["name"]
    if name in _NO_FIELD or not REGISTRY.contains(category=BACKBONE_CLASS, key=name):
        # DeepReg offers no public way to list a category
        known = {key for kind, key in REGISTRY._dict if kind == BACKBONE_CLASS}
        known -= _NO_FIELD
        near = suggest(name, known)
        hint = f" Did you mean `{near}`?" if near else ""
        raise ValueError(
            f"{KEY}.backbone.name: expected a registered backbone other than "
            f"{' and '.join(sorted(_NO_FIELD))}, one of {', '.join(sorted(known))}, "
            f"got {name!r}.{hint}"
        )
    wrapped = REGISTRY.build_backbone(config=dict(config), default_args=default_args)
    if isinstance(wrapped, GlobalNet):
        raise ValueError(
            f"{KEY}.backbone.name: expected a backbone that predicts a field, got "
            f"{name!r}, which predicts an affine map."
        )
    return wrapped


@REGISTRY.register_backbone(name=NAME)
class MetaRegularized(Backbone):
    """
    Wrap a backbone and convolve the field that it predicts with one trainable kernel.

    The field is one of displacements, or of velocities under a model such as dvf. The
    kernel is trained with the other weights; its penalty is a part of the loss.

    Source: Al Safadi and Song, CVPR 2021; see `RadialConv`.

    Example::

        backbone:
          name: meta_regularized
          backbone: {name: unet, num_channel_initial: 8, depth: 3}
          parameterization: separable
          kernel_size: 13
    """

    option_names = OPTIONS  # of the `options` below
    option_problems = staticmethod(option_problems)  # of their values

    def __init__(
        self,
        image_size: tuple,
        out_channels: int,
        backbone: Mapping | None = None,
        out_kernel_initializer: str = "zeros",
        out_activation: str | None = None,
        num_channel_initial: int | None = None,
        name: str = NAME,
        **options: Any,
    ) -> None:
        """
        :param image_size: (dim1, dim2, dim3).
        :param out_channels: 3.
        :param backbone: configuration of the one to wrap, with its name.
        :param out_kernel_initializer: of the wrapped one's output layers.
        :param out_activation: of the wrapped one's output layers.
        :param num_channel_initial: for the wrapped one, where its own section has none.
        :param name: of the model.
        :param options: of `RadialConv`.
        :raises ValueError: for what is no backbone, or an option that the layer does
            not have or take; the key is named.
        """
        unknown = sorted(options.keys() - set(OPTIONS))
        if unknown:
            raise ValueError(
                f"{KEY}.{unknown[0]}: expected no such key with {NAME}, which takes "
                f"backbone, {', '.join(OPTIONS)}; got {options[unknown[0]]!r}. Keys of "
                "the wrapped backbone belong below backbone."
            )
        if out_channels != 3:
            raise ValueError(
                f"{NAME}: expected a model that asks for a field of 3 channels, got "
                f"{out_channels}."
            )
        default_args = dict(
            image_size=image_size,
            out_channels=out_channels,
            out_kernel_initializer=out_kernel_initializer,
            out_activation=out_activation,
        )
        if num_channel_initial is not None:
            default_args["num_channel_initial"] = num_channel_initial
        wrapped = _build_wrapped(backbone, default_args)
        super().__init__(
            image_size=image_size,
            out_channels=out_channels,
            num_channel_initial=wrapped.num_channel_initial,
            out_kernel_initializer=out_kernel_initializer,
            out_activation=out_activation,
            name=name,
        )
        # read-only, because Keras would turn a dict into a thing to be saved
        self._wrapped_config = MappingProxyType(copy.deepcopy(dict(backbone or {})))
        self.wrapped = wrapped
        try:
            self.radial_conv = RadialConv(**options)
            with tf.name_scope(self.radial_conv.name):  # as if Keras built it
                self.radial_conv.build([None, *image_size, out_channels])
        except ValueError as err:
            raise ValueError(f"{KEY}.{err}") from err

    @property
    def is_same_in_training(self) -> bool:
        """Whether training and prediction compute the same from the same weights."""
        return getattr(self.wrapped, "is_same_in_training", False)

    @property
    def side_weights(self) -> tuple[float, ...]:
        """Return the weights of the losses of the wrapped one's coarser fields."""
        return tuple(getattr(self.wrapped, "side_weights", ()))

    def fields(
        self, inputs: tf.Tensor, training: bool | None = None
    ) -> list[tf.Tensor]:
        """
        Predict the fields of all resolutions, where the wrapped backbone has several.

        :param inputs: shape = (batch, dim1, dim2, dim3, ch).
        :param training: handed to the wrapped backbone.
        :return: the finest first, regularised; the coarser ones, by which the wrapped
            one is supervised, as it predicts them: the kernel is one of full size.
        """
        finest, *coarser = self.wrapped.fields(inputs, training=training)
        return [self.radial_conv(finest), *coarser]

    def penalty(self) -> tf.Tensor | None:
        """
        Return the penalty of the kernel.

        :return: scalar; None where all its weights are 0.
        """
        return self.radial_conv.penalty() if self.radial_conv.has_penalty else None

    def get_config(self) -> dict:
        """Return the arguments that build an equal backbone."""
        own = self.radial_conv.get_config()
        return {
            **super().get_config(),
            "backbone": copy.deepcopy(dict(self._wrapped_config)),
            **{name: own[name] for name in OPTIONS},
        }

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: None = None
    ) -> tf.Tensor:
        """
        Predict a field and regularise it.

        :param inputs: shape = (batch, dim1, dim2, dim3, ch).
        :param training: handed to the wrapped backbone.
        :param mask: not used.
        :return: float32, shape = (batch, dim1, dim2, dim3, 3).
        """
        return self.radial_conv(self.wrapped(inputs, training=training))
