"""Tests of deepreg_meta/callback/fine_tune.py."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.callback.fine_tune import FineTune
from deepreg_meta.config import load_config
from deepreg_meta.config.adapt_schema import AdaptConfig, FieldConfig
from deepreg_meta.dataset.pipeline import single_dataset
from deepreg_meta.model.adapt_plan import AdaptPlan
from deepreg_meta.model.adaptation import Adaptation
from deepreg_meta.model.build import build_optimizer
from deepreg_meta.model.inner_loop import InnerLoop
from tests.helpers import (
    assert_same_bits,
    make_model,
    make_task,
    run_config,
    stack_tasks,
    values,
    write_yaml,
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


def forget_graphs(model):
    """Trace anew, for every kind of plan."""
    model.adapt_drawer = model.adapt_drawer
    assert model.predict_function is None


@pytest.fixture
def plainly(model, untraced):
    """Trace nothing, and let Keras forget what it kept of that for tests that do."""
    forget_graphs(model)
    yield
    forget_graphs(model)


def test_every_pair_is_adapted_timed_and_recorded(model, start, dataset, plainly):
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


def test_the_weights_come_back_after_a_failure(model, start, dataset, plainly):
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


def test_numbers_of_numpy_are_numbers_of_updates():
    assert FineTune(steps=np.int64(2)).plan == FineTune(steps=2).plan
    plan = FineTune(steps=np.arange(1, 3)).plan
    assert plan.steps == (1, 2) and type(plan.steps[0]) is int
    for wrong in (2.0, True, "2"):
        with pytest.raises(ValueError, match="adapt.steps: expected an integer >= 0, "):
            FineTune(steps=wrong)


def test_no_time_limits_the_updates_of_a_field():
    adapt = AdaptConfig(field=FieldConfig())
    assert FineTune.of(adapt, 2).plan.field_steps == (40, 40)
    with pytest.raises(ValueError, match="expected none with adapt.field, .*got 0.5"):
        FineTune.of(adapt, seconds=0.5)


def test_a_time_keeps_the_best_weights():
    adapt = AdaptConfig(keep="last")
    assert FineTune.of(adapt, seconds=0.5).plan.seconds == 0.5
    with pytest.raises(ValueError, match="--keep: expected best with a time .*'last'"):
        FineTune.of(adapt, seconds=0.5, keep="last")


def test_negative_steps_are_refused():
    """The rule, and the value received."""
    with pytest.raises(
        ValueError, match="adapt.steps: expected an integer >= 0, got -1"
    ):
        FineTune(steps=-1)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(seconds):
    """The rule, and the value received."""
    with pytest.raises(ValueError, match="expected a number > 0, got "):
        FineTune(seconds=seconds)


def test_another_choice_of_weights_is_refused():
    """The two that there are, and the value received."""
    with pytest.raises(ValueError, match="expected last or best, got 'first'"):
        FineTune(steps=1, keep="first")


# ---- plans ----


@pytest.fixture
def traces(model, monkeypatch):
    """:return: grows by one whenever Python runs `predict_step`: at each trace."""
    calls, original = [], model.predict_step

    def counted(data):
        calls.append(1)
        return original(data)

    monkeypatch.setattr(model, "predict_step", counted)
    forget_graphs(model)
    return calls


def test_another_number_needs_no_new_trace(model, start, dataset, traces):
    """Of updates or of seconds; another kind of plan does."""
    numbers = []

    def predict(**plan):
        tuner = FineTune(**plan)
        model.predict(dataset.take(1), callbacks=[tuner], verbose=0)
        numbers.append(len(tuner.histories[0]))
        return len(traces)

    with FineTune().protect(model):
        assert [predict(steps=steps) for steps in (2, 3, 5)] == [1, 1, 1]
        assert [predict(seconds=seconds) for seconds in (1e-9, 0.6)] == [2, 2]
    assert numbers[:4] == [2, 3, 5, 1] and numbers[4] > 1
    assert_same_bits(model.network.weights, start)


@pytest.mark.parametrize("plan", [{"steps": 3}, {"seconds": 0.2}, {}])
def test_a_warm_up_compiles_what_predicts_and_leaves_no_trace(
    model, start, traces, plan
):
    """The weights are the same, the result too, and nothing is traced again."""
    tuner = FineTune(**plan)
    inputs = {k: v.numpy() for k, v in stack_tasks(make_task(2)).items()}
    with tuner.protect(model):
        seconds = tuner.warm_up(model, single_dataset(inputs))
        assert_same_bits(model.network.weights, start)
        assert tuner.histories == [] and tuner.seconds == []
        assert seconds > 0 and len(traces) == 1
        for _ in range(2):
            data = single_dataset(inputs)
            outputs = model.predict(data, callbacks=[tuner], verbose=0)
        assert len(traces) == 1
    assert tuner.seconds[0] < seconds
    if "seconds" not in plan:
        steps = plan.get("steps", 0)
        expected = model.adapt(make_task(2), steps)["history"]
        np.testing.assert_allclose(tuner.histories[0], expected, atol=1e-4)
        assert outputs["history"].shape[:2] == (1, steps)
    assert model.adapt_plan == AdaptPlan()


def test_the_best_weights_predict_when_they_are_kept(
    model, start, dataset, monkeypatch, plainly
):
    """Each pair for itself, at a rate where the last ones are not the best."""
    optimizer = build_optimizer(dict(name="Adam", learning_rate=1.0))
    loop = InnerLoop(model.network, model.loss_fn, optimizer)
    monkeypatch.setattr(model, "_adaptation", Adaptation(loop, model.adapt_drawer))
    tuner = FineTune(steps=3, keep="best")
    with tuner.protect(model):
        outputs = model.predict(dataset, callbacks=[tuner], verbose=0)
    losses, steps = outputs["losses"], outputs["best_step"]
    assert losses.shape == (3, 2) and steps.shape == (3,)
    assert ((steps > 0) & (steps < 3)).any()
    for (before, after), step, history in zip(
        losses, steps, tuner.histories, strict=True
    ):
        # row i is the loss after i updates: here training and prediction are the same
        assert before == pytest.approx(history[0, 2], abs=1e-5)
        assert after <= min(history[:, 2]) + 1e-5
        if step < 3:
            assert after == pytest.approx(history[step, 2], abs=1e-5)
    assert_same_bits(model.network.weights, start)


def test_the_whole_plan_of_the_model_comes_back(model):
    """Its time and its choice of weights, after a failure too."""
    plan = AdaptPlan(steps=1, seconds=3.0, keep="best")
    model.adapt_plan = plan
    with pytest.raises(RuntimeError, match="stop"), FineTune(steps=2).protect(model):
        model.adapt_plan = AdaptPlan(steps=2)
        raise RuntimeError("stop")
    assert model.adapt_plan == plan
    model.adapt_plan = AdaptPlan()


# ---- what is saved of it ----


@pytest.mark.parametrize(
    ("options", "expected", "remarks"),
    [
        (dict(steps=3), (3, "last", True), ()),
        (dict(steps=0), (0, "last", False), ()),
        (dict(keep="best"), (5, "best", True), ()),
    ],
)
def test_the_configuration_that_is_saved_says_what_was_done(
    tmp_path, options, expected, remarks
):
    """Whatever its own numbers are; it is read again as it was written."""
    config = run_with_field(tmp_path)
    tuner = FineTune.of(config.adapt, **options)
    used = tuner.used_config(config)
    used.dump(tmp_path / "used.yaml")
    for found in (used, load_config(tmp_path / "used.yaml")):
        adapt = found.adapt
        assert (adapt.steps, adapt.keep, adapt.field is not None) == expected
    assert tuner.remarks == remarks
    assert config.adapt.steps == 5 and config.raw["adapt"]["steps"] == 5


def test_a_limit_of_time_is_a_remark_and_keeps_the_best(tmp_path):
    config = run_with_field(tmp_path, field=None)
    tuner = FineTune.of(config.adapt, seconds=2.5)
    assert tuner.remarks == ("adapt-seconds 2.5",)
    assert tuner.used_config(config).raw["adapt"]["keep"] == "best"


def run_with_field(tmp_path, **adapt):
    """:return: a run of five updates, after which the field is fitted."""
    config = run_config()
    config["train"]["preprocess"]["data_augmentation"] = []
    config["adapt"] = {"steps": 5, "field": {"steps": 2}, **adapt}
    return load_config(write_yaml(tmp_path / "run.yaml", config))
