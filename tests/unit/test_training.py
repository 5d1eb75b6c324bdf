"""Tests of deepreg_meta/training.py that need no training."""

from types import SimpleNamespace

import pytest

from deepreg_meta.checkpoint_path import epoch_of, newest_checkpoint
from deepreg_meta.config import ConfigError, load_config
from deepreg_meta.dataset.pipeline import EpisodeLayout
from deepreg_meta.model_file import load_model
from deepreg_meta.results.folder import claimed
from deepreg_meta.training import (
    _check_folder,
    _cut_log,
    build_model,
    check_names,
    episode_layout,
    episodes_per_epoch,
    meta_train,
)
from tests.helpers import assert_same_bits, differ, run_config, without_xla, write_yaml


@pytest.fixture
def configure(tmp_path):
    """Return a function: keys of `train` and `adapt` -> a configuration."""

    def make(train: dict, adapt: dict | None = None):
        raw = run_config()
        raw["train"] |= train
        raw["adapt"] = adapt or {}
        return load_config(write_yaml(tmp_path / "run.yaml", raw))

    return make


GLOBAL = dict(name="global", num_channel_initial=1, extract_levels=[0, 1])
LOCAL = dict(name="local_norm", num_channel_initial=1, extract_levels=[0, 1])


@pytest.mark.parametrize(
    ("train", "adapt", "message"),
    [
        (
            dict(backbone=GLOBAL, precision="mixed_bfloat16"),
            {},
            "train.precision in run.yaml: expected float32 with the backbone global",
        ),
        (
            dict(backbone=GLOBAL),
            dict(layers="decoder"),
            "adapt.layers in run.yaml: expected all or heads with the backbone G",
        ),
        (
            dict(backbone=dict(LOCAL, normalization="page")),
            {},
            "train.backbone.normalization in run.yaml: expected one of batch",
        ),
        (
            dict(backbone=dict(LOCAL, out_activation="reluu")),
            {},
            "train.backbone in run.yaml: the model cannot be built: .*reluu",
        ),
        (
            dict(loss=dict(image=dict(name="local_ncc", kernel_size=1))),
            {},
            "train.loss.image.kernel_size in run.yaml: expected an integer >= 2, got 1",
        ),
    ],
)
def test_what_the_model_refuses_is_told_with_the_key_and_its_file(
    configure, train, adapt, message
):
    with pytest.raises(ConfigError, match=f"^{message}[^\n]*$"):
        build_model(configure(train, adapt))


def test_a_precision_that_the_machine_lacks_is_told_with_its_file(configure):
    with pytest.raises(ConfigError, match="train.precision in run.yaml: expected"):
        check_names(configure(dict(precision="mixed_float16")))


def test_no_epoch_saves_the_weights_as_they_are_drawn(configure, tmp_path, untraced):
    config = configure(dict(epochs=0))
    folder = meta_train(config, log_dir="none", log_root=str(tmp_path))
    checkpoint = newest_checkpoint(folder)
    assert epoch_of(checkpoint) == 0
    found = load_model(config, checkpoint).network.weights
    assert_same_bits(found, build_model(config).network.weights)
    other = build_model(configure(dict(epochs=0, seed=99))).network.weights
    assert differ(found, other)
    # and a training can begin there
    one = configure(dict(epochs=1))
    meta_train(one, checkpoint, log_dir="none", log_root=str(tmp_path))
    meta_train(one, log_dir="one", log_root=str(tmp_path))
    ends = [
        load_model(one, newest_checkpoint(tmp_path / name)).network.weights
        for name in ("none", "one")
    ]
    assert_same_bits(*ends)


def test_a_run_without_a_network_is_read_as_one(configure, tmp_path):
    config = configure(dict(epochs=0, backbone=dict(name="identity")))
    with without_xla():
        folder = meta_train(config, log_dir="none", log_root=str(tmp_path))
        checkpoint = newest_checkpoint(folder)
        assert load_model(config, checkpoint).network.weights == []
        with pytest.raises(ValueError, match="it holds 0 arrays with 0 weights"):
            load_model(configure({}), checkpoint)


def test_a_training_stays_out_of_a_folder_that_another_one_writes_to(
    configure, tmp_path
):
    (tmp_path / "run").mkdir()
    message = "--log_dir: another training is writing"
    with claimed(tmp_path / "run", ""), pytest.raises(ValueError, match=message):
        meta_train(configure({}), log_dir="run", log_root=str(tmp_path))
    assert not list((tmp_path / "run").iterdir())


def test_a_run_goes_on_in_its_folder_from_its_newest_checkpoint_alone(tmp_path):
    """Otherwise the newest one would be that of a branch that was left."""
    (tmp_path / "save").mkdir()
    for epoch in (3, 10):
        (tmp_path / "save" / f"ckpt-{epoch}.index").touch()
    _check_folder(tmp_path, str(tmp_path / "save" / "ckpt-10"))
    with pytest.raises(ValueError, match=r"the newest .*ckpt-10, .* got .*ckpt-3\. "):
        _check_folder(tmp_path, str(tmp_path / "save" / "ckpt-3"))
    with pytest.raises(ValueError, match="holds a run already"):
        _check_folder(tmp_path, "")


@pytest.mark.parametrize("last", ["", "4,-0."])
def test_epochs_that_are_run_again_leave_the_log(tmp_path, last):
    """Those after the last checkpoint, the row that a kill has cut off among them."""
    path = tmp_path / "log.csv"
    _cut_log(path, 2)
    assert not path.exists()
    rows = ["epoch,loss\n", "0,-0.5\n", "1,-0.6\n", "2,-0.7\n", "3,-0.8\n"]
    path.write_text("".join(rows) + last)
    _cut_log(path, 2)
    assert path.read_text() == "".join(rows[:3])
    assert [own.name for own in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize(
    ("task", "update", "resamples", "batches"),
    [
        ("pair", "reptile", False, None),
        ("domain", "reptile", True, (3, 5)),
        ("domain", "fomaml", True, (4, 5)),  # the last one for its gradient
        ("domain", "fomaml", False, (1, 5)),
    ],
)
def test_an_epoch_goes_through_the_training_cases_once(
    task, update, resamples, batches
):
    meta = SimpleNamespace(task=task, update=update, resamples=resamples,
                           tasks_per_step=2, inner_steps=3,
                           episodes_per_epoch=None)  # fmt: skip
    size = SimpleNamespace(batch_size=5)
    config = SimpleNamespace(reptile_train=SimpleNamespace(meta=meta, preprocess=size))
    assert episode_layout(config) == EpisodeLayout(2, batches)
    pairs = 2 * (1 if batches is None else batches[0] * batches[1])
    assert episodes_per_epoch(config, range(3 * pairs + 1)) == 3
    assert episodes_per_epoch(config, range(1)) == 1
    meta.episodes_per_epoch = 7
    assert episodes_per_epoch(config, range(100)) == 7
