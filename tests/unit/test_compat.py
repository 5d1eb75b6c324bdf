"""Tests of deepreg_meta/compat.py."""

import collections
import logging

import numpy as np
import pytest
import tensorflow as tf
import yaml
from deepreg.config import parser
from deepreg.model import layer, layer_util
from deepreg.registry import REGISTRY

from deepreg_meta import compat
from tests.helpers import assert_same_bits, differ, values

SHAPE = (6, 7, 8)
TRAIN = dict(
    method="ddf",
    backbone=dict(name="local", num_channel_initial=1, extract_levels=[0, 1]),
    loss=dict(
        image=dict(name="ssd", weight=1.0),
        label=dict(name="dice", weight=1.0),
        regularization=dict(name="bending", weight=0.1),
    ),
    optimizer=dict(name="Adam", learning_rate=0.01),
    preprocess=dict(batch_size=1, shuffle_buffer_num_batch=1),
    epochs=1,
    save_period=1,
)
DATASET = dict(
    type="paired", format="nifti", labeled=True,
    dir=dict(train=None, valid=None, test=None),
    moving_image_shape=list(SHAPE), fixed_image_shape=list(SHAPE),
)  # fmt: skip


# ---- configurations ----


def test_deepreg_merges_several_files(tmp_path):
    """`collections.Mapping` is gone from Python; DeepReg asks for it."""
    assert collections.Mapping is collections.abc.Mapping
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(yaml.safe_dump(dict(dataset=DATASET, train=TRAIN)))
    second.write_text("train: {loss: {label: {weight: 0.25}}, epochs: 7}")
    config = parser.load_configs([str(first), str(second)])
    assert config["train"]["epochs"] == 7
    assert config["train"]["loss"]["label"] == {"name": "dice", "weight": 0.25}
    assert config["train"]["loss"]["image"]["name"] == "ssd"


def test_an_old_configuration_is_updated_in_memory_alone(tmp_path, caplog):
    """DeepReg writes updated_<name>.yaml beside the user's file; here it only warns."""
    old = dict(TRAIN)
    backbone = old.pop("backbone")
    own = {k: v for k, v in backbone.items() if k != "name"}
    old.pop("method")
    old["model"] = dict(method="ddf", backbone="local", local=own)
    path = tmp_path / "old.yaml"
    path.write_text(yaml.safe_dump(dict(dataset=DATASET, train=old)))
    config = parser.load_configs(str(path))
    assert config["train"]["backbone"] == backbone
    assert [p.name for p in tmp_path.iterdir()] == ["old.yaml"]
    assert "old.yaml was updated to today's form in memory" in caplog.text


def test_configurations_of_runs_are_still_saved(tmp_path):
    """Only the files named updated_* are held back."""
    parser.save({"a": 1}, str(tmp_path))
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == {"a": 1}


def test_a_second_call_changes_nothing():
    """Patches do not pile up."""
    before = layer_util.resample, parser.save, layer.Norm
    compat.apply()
    assert (layer_util.resample, parser.save, layer.Norm) == before


# ---- resampling ----


@pytest.mark.parametrize("channels", [0, 2])
@pytest.mark.parametrize("one_grid", [False, True])
@pytest.mark.parametrize("zero_boundary", [False, True])
def test_an_unknown_batch_size_gives_what_a_known_one_gives(
    channels, one_grid, zero_boundary
):
    """With and without channels, one grid for all or one for each, at the border."""
    rng = np.random.default_rng(0)
    shape = (3, *SHAPE, channels) if channels else (3, *SHAPE)
    volume = tf.constant(rng.random(shape), tf.float32)
    where = rng.uniform(-1, 8, (1 if one_grid else 3, 4, 5, 6, 3))
    where = tf.constant(where, tf.float32)

    def resample(vol, loc):
        return layer_util.resample(vol, loc, zero_boundary=zero_boundary)

    # DeepReg itself wants a grid for each element
    expected = resample(volume, tf.repeat(where, 3 // where.shape[0], axis=0))
    unknown = [
        tf.TensorSpec([None, *shape[1:]]),
        tf.TensorSpec([1 if one_grid else None, 4, 5, 6, 3]),
    ]
    found = tf.function(resample, input_signature=unknown)(volume, where)
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)
    assert np.std(expected) > 0.05


# ---- training ----


def samples(number: int) -> dict[str, np.ndarray]:
    """:return: inputs of DeepReg's models."""
    rng = np.random.default_rng(number)
    names = ("moving_image", "fixed_image", "moving_label", "fixed_label")
    inputs = {n: rng.random((number, *SHAPE)).astype(np.float32) for n in names}
    return {**inputs, "indices": np.zeros((number, 2), np.float32)}


def new_model(batch_size: int = 2) -> tf.keras.Model:
    """:return: DeepReg's own ddf model, compiled."""
    tf.keras.utils.set_random_seed(1)
    sizes = dict(moving_image_size=SHAPE, fixed_image_size=SHAPE, index_size=2)
    options = dict(labeled=True, batch_size=batch_size, config=TRAIN)
    model = REGISTRY.build_model(dict(name="ddf", **sizes, **options))
    model.compile(optimizer=tf.keras.optimizers.Adam(0.01, jit_compile=False))
    return model


def test_fit_takes_a_ragged_last_batch_of_validation():
    """Three pairs in batches of two: DeepReg does not drop the remainder there."""
    model = new_model()
    train = tf.data.Dataset.from_tensor_slices(samples(2))
    valid = tf.data.Dataset.from_tensor_slices(samples(3)).batch(2)
    history = model.fit(
        train.batch(2, drop_remainder=True), validation_data=valid, verbose=0
    ).history
    assert np.isfinite(history["val_loss"][0])


def test_no_hidden_step_is_taken_before_training(tmp_path):
    """DeepReg fits for one step to create the optimiser's variables."""
    import deepreg.predict
    import deepreg.train

    model = new_model()
    start = values(model.weights)
    dataset = tf.data.Dataset.from_tensor_slices(samples(2)).batch(2).repeat()
    for module in (deepreg.train, deepreg.predict):
        callback, epoch = module.build_checkpoint_callback(
            model, dataset, str(tmp_path), save_period=1, ckpt_path=""
        )
    assert epoch == 0
    assert_same_bits(model.weights, start)
    assert int(model.optimizer.iterations) == 0
    assert len(model.optimizer.variables) > 2 * len(model.trainable_variables)

    model.fit(dataset, steps_per_epoch=1, epochs=2, callbacks=[callback], verbose=0)
    assert differ(model.weights, start)
    other = new_model()
    path = str(tmp_path / "save" / "ckpt-2")
    _, epoch = deepreg.train.build_checkpoint_callback(
        other, dataset, str(tmp_path), save_period=1, ckpt_path=path
    )
    assert epoch == 2
    assert_same_bits(other.weights, model.weights)
    assert_same_bits(other.optimizer.variables, model.optimizer.variables)
    with pytest.raises(
        ValueError, match="expected a checkpoint ending in ckpt-<epoch>"
    ):
        deepreg.train.build_checkpoint_callback(
            other, dataset, str(tmp_path), save_period=1, ckpt_path="run/save/ckpt"
        )


# ---- small things ----


def test_the_choice_of_normalisation_ends_with_its_context():
    """Even after an error; None leaves DeepReg's own."""
    original = layer.Norm
    with compat.normalisation(None):
        assert layer.Norm is original
    with pytest.raises(RuntimeError), compat.normalisation(dict):
        assert layer.Norm is dict
        raise RuntimeError
    assert layer.Norm is original


def test_only_the_warnings_of_unused_losses_are_hidden():
    """And only inside the context."""
    root, shown = logging.getLogger(), []
    handler = logging.Handler()
    handler.emit = lambda record: shown.append(record.getMessage())
    root.addHandler(handler)
    try:
        with compat.quiet_losses():
            logging.warning("The configuration is not defined.Loss is not used.")
            logging.warning("one")
        logging.warning("Loss is not used.")
    finally:
        root.removeHandler(handler)
    assert shown == ["one", "Loss is not used."]
