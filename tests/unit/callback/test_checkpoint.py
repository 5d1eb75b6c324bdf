"""Tests of deepreg_meta/callback/checkpoint.py."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.callback.checkpoint import SaveCheckpoint, restore_model
from deepreg_meta.model.reptile import ReptileModel
from tests.helpers import (
    assert_same_bits,
    differ,
    make_model,
    make_task,
    stack_tasks,
    values,
)

# everything random and everything with a state takes part
RANDOM = dict(
    normalization="moving",
    align="centroid",
    optimizer={"name": "Adam", "learning_rate": 0.01},
    augmentation=[
        {"name": "affine", "scale": 0.1},
        {"name": "sparse_frames", "frames": [2, 5], "axis": 1},
    ],
    inner_optimizer_state="carry",
)


def every(period: int):
    """:return: whether to save after an epoch."""
    return lambda epoch: epoch % period == 0


def fit(model: ReptileModel, folder, first: int, last: int, period: int = 2) -> None:
    """Train epochs `first` to `last`, one episode each, on pairs of their own."""
    episodes = [stack_tasks(make_task(seed)) for seed in range(first, last)]
    stacked = {k: np.stack([e[k] for e in episodes]) for k in episodes[0]}
    model.fit(
        tf.data.Dataset.from_tensor_slices(stacked),
        steps_per_epoch=1,
        initial_epoch=first,
        epochs=last,
        callbacks=[SaveCheckpoint(folder, every(period), labeled=True)],
        verbose=0,
    )


def state(model: ReptileModel) -> list[np.ndarray]:
    """:return: all that decides how training goes on."""
    variables = [*model.network.weights, *model.optimizer.variables, model.episode]
    return values(variables)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """:return: folder of a run of four epochs, and its state at the end."""
    folder = tmp_path_factory.mktemp("run")
    model = make_model(**RANDOM)
    fit(model, folder, 0, 4)
    return folder, state(model)


def test_two_and_two_epochs_are_four_bit_for_bit(trained, tmp_path):
    """Restored in a new model: weights, moments, schedule and random draws go on."""
    folder, expected = trained
    model = make_model(**RANDOM)
    start = state(model)
    restore_model(model, str(folder / "save" / "ckpt-2"), weights_only=False)
    assert int(model.episode) == 2
    assert int(model.optimizer.iterations) == 4  # two inner steps per episode
    half = state(model)
    assert differ(half, start) and differ(half, expected)

    fit(model, tmp_path, 2, 4)

    assert_same_bits(state(model), expected)


def test_weights_alone_are_restored_for_prediction(trained):
    """The optimiser may then be another one; nothing complains."""
    folder, expected = trained
    other = {**RANDOM, "optimizer": {"name": "SGD", "learning_rate": 0.5}}
    model = make_model(**other)
    restore_model(model, str(folder / "save" / "ckpt-4"), weights_only=True)
    weights = model.network.weights
    assert_same_bits(weights, expected[: len(weights)])
    assert int(model.episode) == 0


def test_a_checkpoint_with_another_optimiser_cannot_be_continued(trained):
    """Silently new moments would be another training."""
    folder, _ = trained
    other = {**RANDOM, "optimizer": {"name": "SGD", "learning_rate": 0.5}}
    model = make_model(**other)
    with pytest.raises(ValueError, match="cannot be continued with the optimisers"):
        restore_model(model, str(folder / "save" / "ckpt-4"), weights_only=False)


@pytest.mark.parametrize("change", [{"channels": 2}, {"normalization": "none"}])
def test_another_architecture_is_refused_with_both_sizes(trained, change):
    """Before anything is restored."""
    folder, expected = trained
    model = make_model(**{**RANDOM, **change})
    start = state(model)
    count = sum(v.size for v in values(model.network.weights))
    saved = make_model(**RANDOM).network.weights
    sizes = f"holds {len(saved)} arrays with {sum(v.size for v in values(saved))} "
    with pytest.raises(ValueError, match="another architecture") as error:
        restore_model(model, str(folder / "save" / "ckpt-4"), weights_only=True)
    assert sizes in str(error.value)
    assert f"{len(model.network.weights)} with {count}." in str(error.value)
    assert_same_bits(state(model), start)


@pytest.mark.parametrize("ending", ["index", "data-00000-of-00001"])
def test_a_damaged_checkpoint_is_told(trained, tmp_path, ending):
    """A full disk or a broken copy cuts files off."""
    for path in (trained[0] / "save").glob("ckpt-4.*"):
        data = path.read_bytes()
        cut = len(data) // 2 if path.name.endswith(ending) else len(data)
        (tmp_path / path.name).write_bytes(data[:cut])
    with pytest.raises(ValueError, match=r"--ckpt_path: .*ckpt-4\.\*, which cannot be"):
        restore_model(make_model(**RANDOM), str(tmp_path / "ckpt-4"), True)


def test_a_checkpoint_of_no_reptile_model_is_refused(tmp_path):
    """Such as one that DeepReg wrote."""
    path = tf.train.Checkpoint(model=tf.Variable(1.0)).save(str(tmp_path / "ckpt"))
    with pytest.raises(ValueError, match="it holds no network of a Reptile model"):
        restore_model(make_model(**RANDOM), path, weights_only=True)


# ---- when it saves ----


class Stub(tf.keras.Model):
    """The little of a Reptile model that saving needs."""

    def __init__(self):
        super().__init__()
        self.episode = tf.Variable(0, dtype=tf.int64)


def run(folder, period, logs, epochs=5, labeled=True, steps=3):
    """Call the callback as `fit` does; :return: names in save and best."""
    model, callback = Stub(), SaveCheckpoint(folder, every(period), labeled)
    callback.set_model(model)
    callback.set_params({"steps": steps})
    for epoch in range(epochs):
        model.episode.assign_add(steps)
        callback.on_epoch_end(epoch, logs[epoch] if epoch < len(logs) else {})
    callback.on_train_end()
    return {
        name: sorted(path.stem for path in (folder / name).glob("*.index"))
        for name in ("save", "best")
    }


@pytest.mark.parametrize(
    ("period", "saved"),
    [(1, "12345"), (2, "245"), (5, "5"), (9, "5")],
)
def test_it_saves_every_period_and_at_the_end(tmp_path, period, saved):
    """All of them are kept."""
    found = run(tmp_path, period, [])
    assert found == {"save": [f"ckpt-{n}" for n in saved], "best": []}


@pytest.mark.parametrize(
    ("labeled", "best", "score"), [(True, 2, 0.8), (False, 3, -0.5)]
)
def test_the_best_epoch_is_kept_with_its_figure(tmp_path, labeled, best, score):
    """The highest Dice, or without labels the lowest loss; NaN never is best."""
    logs = [
        {"val_dsc_adapted": 0.7, "val_loss_adapted": -0.1},
        {"val_dsc_adapted": 0.8, "val_loss_adapted": -0.4},
        {"val_dsc_adapted": 0.75, "val_loss_adapted": -0.5},
        {"val_dsc_adapted": float("nan"), "val_loss_adapted": float("nan")},
    ]
    found = run(tmp_path, 5, logs, labeled=labeled)
    assert found["best"] == [f"ckpt-{best}"]
    assert float((tmp_path / "best" / "score.txt").read_text()) == score


def test_a_continued_run_knows_the_best_figure_so_far(tmp_path):
    """A worse epoch of the second part does not replace it."""
    run(tmp_path, 1, [{"val_dsc_adapted": 0.9}], epochs=1)
    assert run(tmp_path, 1, [{"val_dsc_adapted": 0.8}], epochs=1)["best"] == ["ckpt-1"]
    logs = [{}, {"val_dsc_adapted": 0.95}]
    assert run(tmp_path, 1, logs, epochs=2)["best"] == ["ckpt-2"]
