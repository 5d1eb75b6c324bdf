"""Tests of deepreg_meta/model/field_stage.py, within the model that runs it."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.callback.fine_tune import FineTune
from deepreg_meta.config.adapt_schema import AdaptConfig
from deepreg_meta.layer.rescale import rescale_field
from deepreg_meta.model.adapt_plan import AdaptPlan
from deepreg_meta.model.build import build_optimizer
from deepreg_meta.model.build_scales import build_field_stage
from deepreg_meta.model.registration import RegistrationLoss
from tests.helpers import (
    FIXED_SHAPE,
    assert_same_bits,
    make_model,
    make_task,
    stack_tasks,
    values,
)

IMAGE = dict(name="ssd", weight=1.0)
SCALE = 2 / 3  # of (12, 10, 8): (8, 7, 5), and bending energy needs five voxels
SGD = dict(name="SGD", learning_rate=2.0)
GRAPHS = {
    "test_a_callback_chooses_its_updates_without_another_trace",
}


def field_model(adapt=None, **field):
    """:return: a model whose field is fitted after the network."""
    section = dict(scales=[1.0], steps=3, sigma_vox=1.0, optimizer=SGD, loss=None)
    return make_model(
        image=IMAGE,
        normalization="none",
        adapt=dict(adapt or {}, field={**section, **field}),
    )


@pytest.fixture
def task():
    """:return: a pair."""
    return make_task(1)


def final_batch(model, task):
    """:return: what the prediction sees."""
    return model.adapt_drawer.adaptation(
        task, model.adapt_drawer.constants(task), 0, None
    )


def test_without_updates_the_field_is_the_networks_bit_for_bit(task):
    model = field_model(scales=[SCALE, 1.0], steps=0)
    found = model.adapt(task, 0)
    np.testing.assert_array_equal(found["ddf"], found["ddf_unadapted"])
    assert found["ddf"].numpy().any() and len(found["history"]) == 0
    assert int(found["best_step"]) == 0


def test_without_smoothing_it_is_gradient_descent_on_the_field(task):
    """The classical registration: u <- u - rate * dL/du, written out."""
    model = field_model(sigma_vox=0.0)
    found = model.adapt(task, 0)
    final = final_batch(model, task)
    ddf = found["ddf_unadapted"][None]
    totals = []
    for _ in range(3):
        with tf.GradientTape() as tape:
            tape.watch(ddf)
            total = model.loss_fn.parts(ddf, final)["total"]
        totals.append(float(total))
        ddf -= SGD["learning_rate"] * tape.gradient(total, ddf)
    np.testing.assert_allclose(found["ddf"], ddf[0], atol=1e-5)
    assert np.abs(found["ddf"] - found["ddf_unadapted"]).max() > 0.01
    column = model.history_names.index("total")
    np.testing.assert_allclose(found["history"][:, column], totals, atol=1e-5)
    assert totals[-1] < totals[0]


@pytest.mark.parametrize("name", ["Adam", "Nadam"])
def test_steps_do_not_depend_on_how_small_the_gradients_are(task, name):
    """More voxels in a mean make them smaller, as does another unit of the loss."""
    found = []
    for unit in (1.0, 1e-2):
        weights = dict(image=1.0, label=0.2, regularization=0.1)
        loss = {part: dict(weight=unit * own) for part, own in weights.items()}
        field = dict(optimizer=dict(name=name, learning_rate=0.2), loss=loss, steps=5)
        found.append(field_model(**field).adapt(task, 0))
    first, second = (one["ddf"].numpy() - one["ddf_unadapted"] for one in found)
    assert np.abs(first).max() > 0.2
    assert np.abs(first - second).mean() < 2e-3


def test_an_epsilon_that_is_asked_for_is_the_optimizers(task):
    slow = dict(optimizer=dict(name="Adam", learning_rate=0.2, epsilon=1e3))
    found = field_model(**slow).adapt(task, 0)
    assert 0 < np.abs(found["ddf"] - found["ddf_unadapted"]).max() < 1e-3


def test_every_scale_goes_on_from_the_field_so_far(task):
    """Two scales are one after the other: the second starts where the first ended."""
    both = field_model(scales=[SCALE, 1.0], steps=[2, 3])
    coarse = field_model(scales=[SCALE, 1.0], steps=[2, 0])
    first = coarse.adapt(task, 0)
    found = both.adapt(task, 0)
    assert both.history_names[-1] == "scale"
    np.testing.assert_allclose(found["history"][:, -1], [SCALE] * 2 + [1] * 3)
    np.testing.assert_allclose(found["history"][:2], first["history"], atol=1e-5)
    total = both.history_names.index("total")
    np.testing.assert_allclose(
        found["history"][2, total],
        both.loss_fn.parts(first["ddf"][None], final_batch(both, task))["total"],
        atol=1e-5,
    )
    added = first["ddf"] - first["ddf_unadapted"]
    # what a coarse scale adds is smooth: it survives its own grid
    again = rescale_field(rescale_field(added[None], (8, 7, 5)), FIXED_SHAPE)[0]
    assert np.abs(again - added).max() < 0.3 * np.abs(added).max()


def test_the_best_is_kept_and_never_worse_than_the_networks_field(task):
    wild = dict(optimizer=dict(name="SGD", learning_rate=5e4))
    last, best = field_model(**wild), field_model(adapt=dict(keep="best"), **wild)
    assert last.adapt(task, 0)["losses"][1] > last.adapt(task, 0)["losses"][0]
    found = best.adapt(task, 0)
    np.testing.assert_array_equal(found["ddf"], found["ddf_unadapted"])
    assert int(found["best_step"]) == 0
    tame = field_model(adapt=dict(keep="best")).adapt(task, 0)
    assert tame["losses"][1] < tame["losses"][0] and int(tame["best_step"]) == 3


@pytest.mark.parametrize("keep", ["last", "best"])
def test_updates_of_a_scale_end_on_a_plateau(task, keep):
    """At a rate of next to nothing the loss never falls by a thousandth."""
    still = dict(optimizer=dict(name="SGD", learning_rate=1e-9))
    adapt = dict(keep=keep, plateau=dict(patience=3, min_delta=1e-3))
    model = field_model(adapt, scales=[SCALE, 1.0], steps=20, **still)
    found = model.adapt(task, 0)["history"]
    # the first loss, and three that are no less
    np.testing.assert_allclose(found[:, -1], [SCALE] * 4 + [1] * 4)


def test_it_comes_after_the_updates_of_the_network_and_of_its_scales(task):
    for scales, updates in ((None, 2), ([dict(scale=SCALE), dict(scale=1.0)], 4)):
        adapt = dict(scales=scales)
        found = field_model(adapt=adapt).adapt(task, 2)
        plain = field_model(adapt=adapt, steps=0).adapt(task, 2)
        history = found["history"].numpy()
        assert len(history) == updates + 3
        np.testing.assert_allclose(history[:updates], plain["history"], atol=1e-5)
        np.testing.assert_array_equal(history[updates:, -1], [1, 1, 1])
        assert np.isnan(history[updates:, -3]).all()  # no scores are taken
        assert np.abs(found["ddf"] - plain["ddf"]).max() > 1e-3


def test_weights_come_back_and_the_next_pair_does_not_know_the_last(task):
    model = field_model()
    before = values(model.network.weights)
    first = model.adapt(task, 1)["ddf"].numpy()
    other = model.adapt(make_task(2), 1)["ddf"].numpy()
    assert np.abs(first - other).max() > 0.01
    np.testing.assert_array_equal(model.adapt(task, 1)["ddf"], first)
    assert_same_bits(before, model.network.weights)


def test_a_callback_chooses_its_updates_without_another_trace(task):
    model = field_model()
    inputs = stack_tasks(task)
    found = {}
    for steps in (0, 1, 3):
        tuner = FineTune(0, field_steps=[steps])
        found[steps] = model.predict(inputs, 1, verbose=0, callbacks=[tuner])
        assert len(tuner.histories[0]) == steps
    np.testing.assert_array_equal(found[0]["ddf"], found[0]["ddf_unadapted"])
    np.testing.assert_allclose(
        found[3]["ddf"][0], model.adapt(task, 0)["ddf"], atol=1e-5
    )
    assert model.predict_function.experimental_get_tracing_count() == 1


def test_no_updates_asked_for_are_no_updates_of_the_field_either():
    adapt = AdaptConfig.model_validate({"field": {"steps": 5, "scales": (0.5, 1.0)}})
    assert FineTune.of(adapt).plan.field_steps == (5, 5)
    assert FineTune.of(adapt, steps=2).plan.field_steps == (5, 5)
    assert FineTune.of(adapt, steps=0).plan.field_steps == ()
    assert FineTune.of(adapt).plan.fewest().field_steps == (1, 1)


def test_its_loss_may_be_another_one(task):
    model = field_model(loss=dict(image=dict(weight=3.0)))
    found = model.adapt(task, 0)
    start = found["ddf_unadapted"][None]
    parts = model.loss_fn.parts(start, final_batch(model, task))
    parts = {name: float(value) for name, value in parts.items()}
    column = model.history_names.index("total")
    assert float(found["history"][0, column]) == pytest.approx(
        3 * parts["image"] + parts["label"] + 0.1 * parts["regularization"], abs=1e-5
    )
    with pytest.raises(ValueError, match="adapt.field: expected a loss with the parts"):
        field_model(loss=dict(image=dict(weight=0.0)))


@pytest.mark.parametrize(
    ("size", "scale", "name", "expected"),
    [
        ((64, 56, 6), 1 / 4, "gradient_norm", (16, 14, 3)),
        ((64, 56, 6), 1 / 4, "bending_energy", (16, 14, 5)),
        ((64, 56, 8), 1 / 2, "gradient_norm", (32, 28, 4)),  # nothing is too short
        ((64, 56, 1), 1 / 4, "bending_energy", (16, 14, 1)),
    ],
)
def test_axes_of_few_voxels_are_shortened_as_far_as_derivatives_allow(
    size, scale, name, expected
):
    config = dict(image=IMAGE, regularization=dict(name=name))
    loss = RegistrationLoss(config, labeled=False)
    section = dict(scales=[scale, 1.0], sigma_vox=1.0, optimizer=SGD)
    stage = build_field_stage(section, config, False, loss, size, build_optimizer)
    assert [level.size for level in stage.levels] == [expected, size]


def test_what_does_not_go_together_is_refused(task):
    with pytest.raises(ValueError, match=r"adapt.field: the grid of scale 0.2 is"):
        field_model(scales=[0.2, 1.0])
    model = field_model()
    with pytest.raises(ValueError, match="adapt.field: expected null where pairs are"):
        model._adaptation.run_together([task], AdaptPlan(field_steps=(1,)))
