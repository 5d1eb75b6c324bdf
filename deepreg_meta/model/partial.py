"""The part of a network that adaptation trains; the rest of it stands still."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import tensorflow as tf
from deepreg.model.backbone import GlobalNet, LocalNet, UNet
from deepreg.model.backbone.interface import Backbone

from deepreg_meta.model.field_network import FieldNetwork

ALL, DECODER, HEADS = PARTS = ("all", "decoder", "heads")

# DeepReg's backbones: where they hold what comes after the bottleneck
_KNOWN: dict[type, dict[str, tuple[str, ...]]] = {
    LocalNet: {
        DECODER: ("_upsample_blocks", "_extract_layers"),
        HEADS: ("_extract_layers",),
    },
    UNet: {
        DECODER: ("_upsample_blocks", "_output_conv3d"),
        HEADS: ("_output_conv3d",),
    },
    GlobalNet: {HEADS: ("_dense_layer",)},
}


@dataclass(frozen=True)
class Part:
    """
    What adaptation trains of a network, and what it must hold still meanwhile.

    A plain class, because Keras would save lists of variables with the weights.
    """

    variables: list[tf.Variable]  # that are trained
    weights: list[tf.Variable]  # those, and the statistics of their layers
    still: list[tf.keras.layers.Layer]  # normalisation of the other layers

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """
        Let the other layers compute within the context as they do in prediction.

        Keras's own rule for batch normalisation that is not trainable: it normalises by
        its moving averages, and they stay where they are. What is trained then works on
        the features that it gets in prediction. Averages that nothing reads, as with
        the statistics of the batch in prediction too, go on moving in every pass.
        """
        before = [layer.trainable for layer in self.still]
        for layer in self.still:
            layer.trainable = False
        try:
            yield
        finally:
            for layer, value in zip(self.still, before, strict=True):
                layer.trainable = value


def adaptable_layers(backbone: Backbone, part: str) -> list[tf.keras.layers.Layer]:
    """
    Return the layers of a part of a backbone.

    A backbone of one's own says it by a method of this name, with the part as argument;
    DeepReg's own, and those that inherit from them, are known. One that wraps another
    (`wrapped`) has the parts of that one: what it adds stands still, as the kernel of
    `meta_regularized` does, which is there to be learned from many pairs.

    :param backbone: of a network.
    :param part: decoder, the up-sampling blocks and the heads, or heads, the output
        layers.
    :return: layers of the backbone.
    :raises ValueError: when the backbone has no such part, or does not say.
    """
    while isinstance(getattr(backbone, "wrapped", None), Backbone):
        backbone = backbone.wrapped
    own = getattr(backbone, "adaptable_layers", None)
    if own is not None:
        return list(own(part))
    parts = next((p for kind, p in _KNOWN.items() if isinstance(backbone, kind)), None)
    if parts is None:
        raise ValueError(
            f"adapt.layers: expected {ALL} with the backbone "
            f"{type(backbone).__name__}, which has no method adaptable_layers(part) to "
            f"say what its {part} is, got {part!r}."
        )
    if part not in parts:
        raise ValueError(
            f"adapt.layers: expected {' or '.join((ALL, *parts))} with the backbone "
            f"{type(backbone).__name__}, which has no {part}, got {part!r}."
        )
    layers: list[tf.keras.layers.Layer] = []
    for name in parts[part]:
        found = getattr(backbone, name)
        layers += found if isinstance(found, (list, tuple)) else [found]
    return layers


def select_part(network: FieldNetwork, part: str) -> Part:
    """
    Find the variables of a part of a network.

    :param network: with its weights.
    :param part: all, decoder or heads.
    :return: what is trained, in the order of the network's own lists.
    :raises ValueError: for another part, one that the backbone does not have, or one
        without weights to train.
    """
    if part not in PARTS:
        raise ValueError(
            f"adapt.layers: expected one of {', '.join(PARTS)}, got {part!r}."
        )
    if part == ALL:
        return Part(network.trainable_variables, network.weights, [])
    layers = adaptable_layers(network.backbone, part)
    chosen = {weight.ref() for layer in layers for weight in layer.weights}
    variables = [v for v in network.trainable_variables if v.ref() in chosen]
    if not variables:
        raise ValueError(
            f"adapt.layers: expected a part with weights to train, got {part!r}, of "
            f"which the backbone {type(network.backbone).__name__} has none."
        )
    still = [
        layer
        for layer in network.submodules
        if isinstance(layer, tf.keras.layers.BatchNormalization)
        and not any(weight.ref() in chosen for weight in layer.weights)
    ]
    if network.is_same_in_training:
        still = []  # it has the statistics of the batch in prediction too
    weights = [v for v in network.weights if v.ref() in chosen]
    return Part(variables, weights, still)
