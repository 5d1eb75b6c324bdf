"""Tests of deepreg_meta/callback/fine_tune.py."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.callback.fine_tune import FineTune
from tests.helpers import (
    assert_same_bits,
    make_model,
    make_task,
    stack_tasks,
    values,
)

STEPS = 2


@pytest.fixture(scope="module")
def model():
    """:return: moves its averages in every forward pass."""
    return make_model(normalization="batch", align="corner")


@pytest.fixture(scope="module")
def start(model):
    """:return: its weights."""
    return values(model.network.weights)


@pytest.fixture
def dataset():
    """:return: three pairs, one by one."""
    stacked = stack_tasks(*map(make_task, range(3)))
    return tf.data.Dataset.from_tensor_slices(stacked).batch(1)


def test_every_pair_is_adapted_timed_and_recorded(model, start, dataset):
    """The same as `adapt` for each of them; the weights are untouched throughout."""
    seen = []

    def on_pair(index, outputs, seconds):
        assert_same_bits(model.network.weights, start)
        seen.append((index, seconds, outputs["ddf"]))

    tuner = FineTune(steps=STEPS, on_pair=on_pair)
    with tuner.protect(model):
        outputs = model.predict(dataset, callbacks=[tuner], verbose=0)

    assert [index for index, *_ in seen] == [0, 1, 2]
    assert [seconds for _, seconds, _ in seen] == tuner.seconds
    assert all(0 < seconds < 300 for seconds in tuner.seconds)
    for index, history in enumerate(tuner.histories):
        expected = model.adapt(make_task(index), STEPS)
        assert history.shape == (STEPS, len(model.history_names))
        np.testing.assert_allclose(history, expected["history"], atol=1e-4)
        np.testing.assert_allclose(seen[index][2], expected["ddf"], atol=1e-4)
        np.testing.assert_array_equal(seen[index][2], outputs["ddf"][index])
    assert np.abs(outputs["ddf"] - outputs["ddf_unadapted"]).max() > 0.01
    assert_same_bits(model.network.weights, start)


def test_the_number_of_steps_of_the_model_comes_back(model, dataset):
    """Predictions before and after follow it, whatever was compiled for the other."""
    assert model.adapt_steps == 0
    model.predict(dataset.take(1), verbose=0)
    tuner = FineTune(steps=STEPS)
    with tuner.protect(model):
        model.predict(dataset.take(1), callbacks=[tuner], verbose=0)
        assert model.adapt_steps == STEPS
    assert tuner.histories[0].shape == (STEPS, len(model.history_names))
    assert model.adapt_steps == 0
    outputs = model.predict(dataset.take(1), verbose=0)
    np.testing.assert_array_equal(outputs["ddf"], outputs["ddf_unadapted"])


def test_no_step_is_plain_prediction(model, dataset):
    """Even if the model was set to adapt."""
    model.adapt_steps = STEPS
    tuner = FineTune(steps=0)
    with tuner.protect(model):
        outputs = model.predict(dataset.take(1), callbacks=[tuner], verbose=0)
    assert tuner.histories[0].shape == (0, len(model.history_names))
    np.testing.assert_array_equal(outputs["ddf"], outputs["ddf_unadapted"])
    assert model.adapt_steps == STEPS
    model.adapt_steps = 0


def test_the_weights_come_back_after_a_failure(model, start, dataset):
    """Whatever a callback did to them before it raised."""

    def spoil(index, outputs, seconds):
        model.network.weights[0].assign_add(tf.ones_like(model.network.weights[0]))
        raise RuntimeError("no space left")

    tuner = FineTune(steps=STEPS, on_pair=spoil)
    with pytest.raises(RuntimeError, match="no space left"), tuner.protect(model):
        model.predict(dataset, callbacks=[tuner], verbose=0)
    assert_same_bits(model.network.weights, start)
    assert model.adapt_steps == 0


def test_weights_that_change_during_prediction_are_noticed(model, start, dataset):
    """One bit of one weight is enough; the pair is named."""

    class Meddler(tf.keras.callbacks.Callback):
        def on_predict_batch_begin(self, batch, logs=None):
            if batch == 1:
                bias = self.model.network.weights[-1]
                bias.assign(np.nextafter(bias.numpy(), np.float32(9)))

    tuner = FineTune(steps=0)
    with (
        pytest.raises(RuntimeError, match="meta-weights changed while pair 1 was"),
        tuner.protect(model),
    ):
        model.predict(dataset, callbacks=[Meddler(), tuner], verbose=0)
    assert len(tuner.histories) == 2
    assert_same_bits(model.network.weights, start)


def test_negative_steps_are_refused():
    """The rule, and the value received."""
    with pytest.raises(
        ValueError, match="adapt.steps: expected an integer >= 0, got -1"
    ):
        FineTune(steps=-1)
