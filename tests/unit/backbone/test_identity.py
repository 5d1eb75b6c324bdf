"""Tests of deepreg_meta/backbone/identity.py."""

import numpy as np
import pytest
import tensorflow as tf
from deepreg.registry import REGISTRY

from deepreg_meta.backbone.identity import Identity
from deepreg_meta.model.field_network import FieldNetwork


@pytest.mark.parametrize("size", [(5, 6, 7), (5, 6, 1)])
def test_it_displaces_nothing_and_has_no_weights(size):
    network = FieldNetwork("ddf", dict(name="identity"), size)
    image = tf.random.normal([2, *size])
    field = network(image, image)
    assert field.shape == (2, *size, 3) and not np.any(field)
    assert network.weights == [] and network.is_same_in_training


def test_it_predicts_fields_alone_and_its_configuration_comes_back():
    with pytest.raises(
        ValueError, match="expected identity with a model that predicts"
    ):
        Identity((5, 6, 7), out_channels=1)
    config = dict(name="identity", image_size=(5, 6, 7))
    backbone = REGISTRY.build_backbone(config=config)
    again = Identity(**backbone.get_config())
    assert again.get_config() == backbone.get_config()
