"""Tests of deepreg_meta/model_file.py; DeepReg's own in integration/test_deepreg.py."""

import random

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.config import ConfigError, load_config
from deepreg_meta.model_file import load_model, usable_config
from tests.helpers import assert_same_bits, values, without_xla, write_yaml
from tests.pairs import run_of, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run") / "run", run_of())


def load(config, run):
    with without_xla():
        return load_model(config, str(run / "save" / "ckpt-1"))


def test_the_network_has_the_weights_of_the_checkpoint(run):
    """Each of them, bit for bit."""
    model = load(load_config(run / "config.yaml"), run)
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    path = str(run / "save" / "ckpt-1")
    saved = [
        tf.train.load_variable(path, name)
        for name, _ in tf.train.list_variables(path)
        if name.startswith("model/network/") and name.endswith(suffix)
        and "OPTIMIZER_SLOT" not in name
    ]  # fmt: skip
    found = {value.tobytes() for value in values(model.network.weights)}
    assert len(saved) == len(model.network.weights) > 5
    assert found == {value.tobytes() for value in saved}


def test_what_is_no_weight_follows_the_configuration(run, tmp_path):
    """Another optimiser, alignment and number of updates; the weights are the same."""
    config = run_of({"align": "affine", "adapt": {"steps": 7, "keep": "best"}})
    config["train"]["optimizer"] = {"name": "SGD", "learning_rate": 0.5}
    other = load_config(write_yaml(tmp_path / "other.yaml", config))
    model = load(other, run)
    assert model.adapt_drawer.options.align == "affine"
    assert (model.adapt_plan.steps, model.adapt_plan.keep) == (7, "best")
    assert model.optimizer.get_config()["name"] == "SGD"
    same = load(load_config(run / "config.yaml"), run)
    assert_same_bits(model.network.weights, same.network.weights)


def test_what_a_program_draws_does_not_start_anew(run):
    """With every network that is read."""
    config = load_config(run / "config.yaml")
    random.seed(7)
    np.random.seed(7)
    expected = random.random(), np.random.rand()
    random.seed(7)
    np.random.seed(7)
    load(config, run)
    assert (random.random(), np.random.rand()) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(adapt=dict(field=dict(optimizer=dict(name="Adam", learning_rate=0.1,
                                                   beta1=0.9)))),
         r"adapt\.field\.optimizer\.beta1 in other.yaml: .*beta_1"),
        (dict(image=dict(name="local_ncc", kernelsize=9)),
         r"train\.loss\.image\.kernelsize in other.yaml: .*kernel_size"),
    ],
)  # fmt: skip
def test_a_misspelt_option_is_named_without_training_too(
    run, tmp_path, change, message
):
    other = load_config(write_yaml(tmp_path / "other.yaml", run_of(change)))
    with pytest.raises(ConfigError, match=message):
        load(other, run)


def test_another_architecture_is_refused(run, tmp_path):
    config = run_of()
    config["train"]["backbone"]["num_channel_initial"] = 3
    other = load_config(write_yaml(tmp_path / "other.yaml", config))
    with pytest.raises(ValueError, match="--ckpt_path: .* another architecture than"):
        load(other, run)


def test_a_network_of_a_precision_that_is_missing_predicts_in_float32(
    run, tmp_path, monkeypatch, caplog
):
    """Its weights are float32; a machine without a GPU has no pooling in float16."""
    config = run_of()
    config["train"]["precision"] = "mixed_float16"
    half = load_config(write_yaml(tmp_path / "half.yaml", config))
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind=None: [])
    usable = usable_config(half)
    assert usable.reptile_train.precision == "float32"
    assert usable.raw["train"]["precision"] == "float32"
    assert half.raw["train"]["precision"] == "mixed_float16"
    assert "adapts in float32" in caplog.text
    assert usable_config(usable) is usable
    model = load(half, run)
    assert_same_bits(model.network.weights, load(usable, run).network.weights)
