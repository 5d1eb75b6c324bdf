"""
Tests of deepreg_meta/model/replicas.py.

`tests/two_devices.py` trains in a process of its own; here its results are compared.
"""

import logging
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from deepreg_meta.model import replicas as module
from deepreg_meta.model.build import build_optimizer
from deepreg_meta.model.replicas import Replicas, strategy_for
from tests.helpers import assert_close, assert_same_bits, differ, make_model

ROOT = Path(__file__).resolve().parents[3]
SGD = {"name": "SGD", "learning_rate": 0.05}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """:return: what training on two logical CPU devices led to."""
    folder = tmp_path_factory.mktemp("two_devices")
    command = [sys.executable, "-m", "tests.two_devices", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return pickle.loads((folder / "results.pickle").read_bytes())


# ---- two devices ----


def assert_same_state(a: dict, b: dict) -> None:
    """Fail unless two states are equal to rounding."""
    for key in ("weights", "optimizer"):
        assert_close(a[key], b[key])
    assert a["episode"] == b["episode"]


@pytest.mark.parametrize("episodes", [2, 3])
def test_two_devices_give_the_weights_of_one(found, episodes):
    """The state of the optimiser included; both tasks draw as they do on one."""
    one, two = found["one", episodes], found["two", episodes]
    assert differ(two["weights"], found["two", 0]["weights"], atol=1e-3)
    assert differ(two["optimizer"][1:], found["two", 0]["optimizer"][1:])
    assert int(two["optimizer"][0]) == 2 * episodes  # two inner steps per episode
    assert_same_state(two, one)


def test_the_losses_are_means_over_the_tasks_of_all_devices(found):
    """As on one device."""
    one, two = found["one", "logs"], found["two", "logs"]
    assert set(one) == set(two) >= {"loss", "label", "regularization"}
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=1e-5)


@pytest.mark.parametrize(("name", "other"), [("one", "two"), ("two", "one")])
def test_a_run_goes_on_on_another_number_of_devices(found, name, other):
    """A checkpoint holds every bit, and the next episode is what it would have been."""
    for key in ("weights", "optimizer", "episode"):
        assert_same_bits(found[f"{name} from {other}", 2][key], found[other, 2][key])
    assert_same_state(found[f"{name} from {other}", 3], found[other, 3])
    assert differ(found[other, 3]["weights"], found[other, 2]["weights"], atol=1e-3)


def test_every_replica_keeps_its_weights_and_state_on_its_device(found):
    """Nothing is read from another device in an inner step."""
    names = [[device[-5:] for device in devices] for devices in found["devices"]]
    assert names == [["CPU:0"], ["CPU:1"]]


def test_the_replicas_take_equally_many_tasks_in_order(found):
    """Four tasks are two and two."""
    assert found["shares"] == [range(0, 2), range(2, 4)]


def test_every_replica_follows_the_learning_rate(found):
    """One set to 0 after compiling: only statistics of the normalisation move."""
    start, end = found["at rate 0"]
    assert_close(start, end, atol=1e-7)


def test_the_command_trains_on_two_devices_as_on_one(found):
    """Its second epoch, repeated on one device from the checkpoint of the first."""
    two, one = (Path(found["commands"][name]) for name in ("two", "one"))
    expected = pd.read_csv(two / "log.csv").iloc[1:]
    log = pd.read_csv(one / "log.csv")
    assert list(log["epoch"]) == list(expected["epoch"]) == [1]
    assert {"loss", "val_dsc_adapted", "val_loss_unadapted"} < set(log)
    np.testing.assert_allclose(log, expected, rtol=1e-4)
    assert (two / "best" / "score.txt").exists()
    paths = [str(folder / "save" / "ckpt-2") for folder in (two, one)]
    names = [name for name, _ in tf.train.list_variables(paths[0])]
    assert names == [name for name, _ in tf.train.list_variables(paths[1])]
    weights = [
        [tf.train.load_variable(p, n) for n in names if n.startswith("model/network/")]
        for p in (*paths, str(two / "save" / "ckpt-1"))
    ]
    assert_close(weights[0], weights[1])
    assert differ(weights[0], weights[2])


def test_tasks_that_cannot_be_shared_equally_are_refused(found):
    """With the key, the rule and the value."""
    assert found["commands"]["message"] == (
        "train.meta.tasks_per_step in the overrides: expected a multiple of 2, the "
        "number of devices that train, got 3. Change it, or choose fewer devices with "
        "--gpu."
    )


# ---- what is refused ----


def test_a_model_inside_the_scope_of_a_strategy_is_refused():
    """Built or compiled there."""
    model = make_model()
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        with pytest.raises(ValueError, match="outside of `strategy.scope\\(\\)`, got"):
            make_model()
        with pytest.raises(ValueError, match="Hand the strategy to `compile`"):
            model.compile(build_optimizer(SGD))


def test_a_strategy_over_several_processes_is_refused():
    """Its other replicas would be missing."""
    strategy = SimpleNamespace(
        num_replicas_in_sync=4, extended=SimpleNamespace(worker_devices=("a", "b"))
    )
    with pytest.raises(ValueError, match="got SimpleNamespace with 2 of 4 replicas"):
        Replicas(strategy, None, None, None)


def test_a_network_that_cannot_be_built_again_is_refused():
    """Models built by hand have no `new_network` unless told."""
    model = make_model()
    model._new_network = None
    with pytest.raises(ValueError, match="built with `new_network`, got one without"):
        model.compile(
            build_optimizer(SGD), strategy=tf.distribute.OneDeviceStrategy("CPU:0")
        )


# ---- the choice of devices ----


@pytest.mark.parametrize(
    ("num_gpus", "num_tasks", "expected"),
    [(0, 4, None), (1, 4, None), (2, 1, None), (2, 2, ["0", "1"]), (2, 3, ["0", "1"])],
)
def test_all_visible_gpus_share_the_tasks(
    monkeypatch, caplog, num_gpus, num_tasks, expected
):
    """A single task cannot be shared: one of several GPUs trains, and says so."""
    gpus = [SimpleNamespace(name=str(i)) for i in range(num_gpus)]
    monkeypatch.setattr(
        module.tf.config, "list_logical_devices", {"GPU": gpus}.__getitem__
    )
    monkeypatch.setattr(module.tf.distribute, "MirroredStrategy", lambda names: names)
    with caplog.at_level(logging.INFO):
        assert strategy_for(num_tasks) == expected
    assert ("only the first of 2 GPUs" in caplog.text) == (num_gpus == 2 > num_tasks)
