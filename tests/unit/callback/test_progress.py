"""Tests of deepreg_meta/callback/progress.py."""

import pytest
import tensorflow as tf

from deepreg_meta.callback import progress


class Bar:
    """What was asked of tqdm."""

    def __init__(self, **options):
        self.options, self.n, self.shown, self.is_closed = options, 0, {}, False

    def set_postfix(self, shown, refresh):
        self.shown = shown

    def update(self, number):
        self.n += number

    def close(self):
        self.is_closed = True


@pytest.fixture
def bars(monkeypatch):
    """:return: the bars that are opened."""
    opened = []

    def tqdm(**options):
        opened.append(Bar(**options))
        return opened[-1]

    monkeypatch.setattr(progress, "tqdm", tqdm)
    return opened


def test_the_bar_counts_the_episodes_of_the_whole_run(bars):
    """A continued run starts where the first one ended."""
    callback = progress.Progress(num_episodes=10, first_episode=4)
    assert not bars
    callback.on_train_begin()
    for batch in range(3):
        callback.on_train_batch_end(batch, {"loss": tf.constant(-0.5 - batch)})
    [bar] = bars
    assert (bar.options["total"], bar.options["initial"]) == (10, 4)
    assert bar.n == 3
    assert bar.shown == {"loss": "-2.500"}
    assert not bar.is_closed
    callback.on_train_end()
    assert bar.is_closed


def test_the_latest_validation_stays_in_sight(bars):
    """An epoch without validation keeps the old figures; NaN is not shown."""
    callback = progress.Progress(num_episodes=2)
    callback.on_train_begin()
    first = {"val_dsc_unadapted": 0.71, "val_dsc_adapted": 0.8, "val_other": 3.0}
    callback.on_epoch_end(0, {**first, "val_loss_adapted": float("nan")})
    callback.on_epoch_end(1, {"loss": -0.2})
    callback.on_train_batch_end(0, {"loss": -0.25})
    shown = {"loss": "-0.250", "dsc_unadapted": "0.710", "dsc_adapted": "0.800"}
    assert bars[0].shown == shown
    callback.on_epoch_end(2, {"val_dsc_adapted": 0.9})
    callback.on_train_batch_end(0, None)
    assert bars[0].shown == {**shown, "loss": "nan", "dsc_adapted": "0.900"}
