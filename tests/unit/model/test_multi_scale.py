"""Tests of deepreg_meta/model/multi_scale.py."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.callback.fine_tune import FineTune
from deepreg_meta.layer.rescale import rescale, rescale_field, rescale_mask
from deepreg_meta.layer.warp import compose, sample
from deepreg_meta.model.adapt_plan import AdaptPlan
from deepreg_meta.model.build import build_optimizer
from deepreg_meta.model.episode import BatchDrawer
from deepreg_meta.model.level import FixedSide
from deepreg_meta.model.plateau import Plateau
from deepreg_meta.model.registration import locations
from deepreg_meta.model.score import landmark_points, score_field
from tests.helpers import (
    FIXED_SHAPE,
    MOVING_SHAPE,
    assert_same_bits,
    differ,
    make_model,
    make_task,
    stack_tasks,
    values,
)

COARSE, SCALE = (8, 7, 5), 2 / 3  # bending energy needs five voxels
RATE = 0.02
IMAGE = dict(name="ssd", weight=1.0)


GRAPHS = {"test_a_plan_in_numbers_needs_no_new_graph"}


def scaled_model(*scales, optimizer="SGD", adapt=None, **config):
    """:return: a model that adapts at scales, by images and labels."""
    entries = [s if isinstance(s, dict) else dict(scale=s) for s in scales]
    return make_model(
        image=IMAGE,
        normalization="none",
        adapt=dict(
            scales=entries or None,
            optimizer=dict(name=optimizer, learning_rate=RATE),
            **(adapt or {}),
        ),
        **config,
    )


@pytest.fixture
def task():
    """:return: a pair."""
    return make_task(1)


def test_one_scale_is_the_adaptation_without_scales(task):
    plain, scaled = scaled_model(), scaled_model(1.0)
    expected = plain.adapt(task, 3)
    found = scaled.adapt(task, 3)
    for name in ("ddf", "ddf_unadapted", "matrix", "offset", "losses"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)
    np.testing.assert_allclose(found["history"][:, :-1], expected["history"], atol=1e-5)
    assert np.abs(expected["ddf"] - expected["ddf_unadapted"]).max() > 1e-3
    assert scaled.history_names == [*plain.history_names, "scale"]
    np.testing.assert_array_equal(found["history"][:, -1], [1, 1, 1])


def fixed_side(task):
    return FixedSide(task.fixed_labels[:1], task.fixed_spacing)


def step_by_hand(network, loss, batch, num_steps):
    """Adapt as any Keras user would."""
    optimizer = build_optimizer(dict(name="SGD", learning_rate=RATE))
    for _ in range(num_steps):
        with tf.GradientTape() as tape:
            field = network(batch.moving_input, batch.fixed_input, training=True)
            total = loss.parts(field, batch)["total"]
        variables = network.trainable_variables
        gradients = tape.gradient(total, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))


def by_hand(model, task, steps):
    """Two scales, one after the other, written out."""
    adaptation, drawer = model._adaptation, model.adapt_drawer
    coarse, fine = adaptation.levels
    final = drawer.adaptation(task, drawer.constants(task), 0, None)
    networks = coarse.loop.network, fine.loop.network
    start = [values(network.weights) for network in networks]
    for variable, value in zip(networks[0].weights, start[1], strict=True):
        variable.assign(value)
    batch = adaptation._level_batch(coarse, final, fixed_side(task), None)
    np.testing.assert_allclose(
        batch.moving_input, rescale(final.moving_input, COARSE), atol=1e-6
    )
    step_by_hand(networks[0], model.loss_fn, batch, steps[0])
    first = rescale_field(
        networks[0](batch.moving_input, batch.fixed_input, training=False), FIXED_SHAPE
    )
    for variable, value in zip(
        networks[1].weights, values(networks[0].weights), strict=True
    ):
        variable.assign(value)
    moved = sample(final.moving_image, locations(first, final.matrix, final.offset))
    batch = adaptation._level_batch(fine, final, fixed_side(task), first)
    np.testing.assert_allclose(batch.moving_input, moved, atol=1e-6)
    # written another way: the field of the loss is the one that is composed
    optimizer = build_optimizer(dict(name="SGD", learning_rate=RATE))
    for _ in range(steps[1]):
        with tf.GradientTape() as tape:
            residual = networks[1](moved, final.fixed_input, training=True)
            whole = compose(first, residual)
            parts = model.loss_fn.parts(whole, final)
            own = model.loss_fn.parts(residual, final)["regularization"]
            total = parts["image"] + parts["label"] + 0.1 * own
        variables = networks[1].trainable_variables
        gradients = tape.gradient(total, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
    second = networks[1](moved, final.fixed_input, training=False)
    for network, own in zip(networks, start, strict=True):
        for variable, value in zip(network.weights, own, strict=True):
            variable.assign(value)
    return compose(first, second)[0]


def test_two_scales_adapt_one_after_the_other(task):
    model = scaled_model(SCALE, 1.0)
    expected = by_hand(model, task, (2, 3))
    before = values(model.network.weights)
    found = model._adaptation.run(task, AdaptPlan(steps=(2, 3)))
    np.testing.assert_allclose(found["ddf"], expected, atol=1e-4)
    assert np.abs(found["ddf"] - found["ddf_unadapted"]).max() > 1e-3
    np.testing.assert_allclose(found["history"][:, -1], [SCALE] * 2 + [1] * 3)
    assert int(found["best_step"]) == 5
    assert_same_bits(before, model.network.weights)


@pytest.mark.parametrize("trained", [None, [SCALE, 1.0]])
def test_the_field_of_a_coarse_scale_can_be_had_by_itself(task, trained):
    """SSMSR (s) of the source: what the whole pyramid has got to after that scale."""
    model = scaled_model(SCALE, scales=trained)
    whole = scaled_model(SCALE, 1.0, scales=trained)
    networks = [model.network, whole.network]
    for a, b in zip(*(network.weights for network in networks), strict=True):
        a.assign(b)
    before = values(model.network.weights)
    found = model._adaptation.run(task, AdaptPlan(steps=2))
    [level] = model._adaptation.levels
    assert level.size == COARSE and found["ddf"].shape == (*FIXED_SHAPE, 3)
    np.testing.assert_allclose(found["history"][:, -1], [SCALE] * 2)
    assert_same_bits(before, model.network.weights)
    # a fine scale that adds nothing leaves it as it is
    fine = whole._adaptation.levels[-1].loop.network
    fine.call = lambda *images, training=None: tf.zeros([1, *FIXED_SHAPE, 3])
    expected = whole._adaptation.run(task, AdaptPlan(steps=(2, 0)))
    np.testing.assert_allclose(found["ddf"], expected["ddf"], atol=1e-5)
    assert np.abs(found["ddf"] - found["ddf_unadapted"]).max() > 1e-3


def test_each_of_three_scales_starts_where_the_one_before_it_ended(task, monkeypatch):
    adaptation, seen = scaled_model(SCALE, 0.8, 1.0)._adaptation, []
    adapt_level = adaptation._adapt_level

    def watch(level, *args):
        start = values(level.loop.network.weights)
        found = adapt_level(level, *args)
        seen.append((start, values(level.loop.network.weights)))
        return found

    monkeypatch.setattr(adaptation, "_adapt_level", watch)
    adaptation.run(task, AdaptPlan(steps=(1, 1, 1)))
    (_, first), (second, middle), (third, _) = seen
    assert_same_bits(second, first)
    assert_same_bits(third, middle)
    assert differ(middle, first, atol=1e-6)


def test_a_scale_that_starts_from_its_own_weights_does_not_see_the_coarser_ones(task):
    """Without updates at the coarse scale both ways are one; with them they differ."""
    fields = {}
    for start in ("previous", "own"):
        model = scaled_model(
            SCALE, 1.0, adapt=dict(scale_start=start), scales=[SCALE, 1.0]
        )
        assert len(model.network.networks) == 2
        for network in model.network.networks[:1]:  # of one's own from here on
            for a, b in zip(
                network.weights, model.network.networks[1].weights, strict=True
            ):
                a.assign(b)
        fields[start] = [
            model._adaptation.run(task, AdaptPlan(steps=steps))["ddf"].numpy()
            for steps in ((0, 2), (2, 2))
        ]
    np.testing.assert_allclose(fields["own"][0], fields["previous"][0], atol=1e-5)
    assert np.abs(fields["own"][1] - fields["previous"][1]).max() > 1e-4


def test_the_scores_of_an_update_are_those_of_the_whole_field(task):
    """The first update of the second scale scores what the first scale ended with."""
    model = scaled_model(SCALE, 1.0)
    full = model._adaptation.run(task, AdaptPlan(steps=(3, 1)))
    names = model.history_names
    row = dict(zip(names, full["history"][3].numpy(), strict=True))
    first = model._adaptation.run(task, AdaptPlan(steps=(3, 0)))
    drawer = model.adapt_drawer
    final = drawer.adaptation(task, drawer.constants(task), 0, None)
    points = landmark_points(task)
    expected = score_field(task, points, final, first["ddf"][None])
    np.testing.assert_allclose([row["dsc"], row["tre_mm"]], expected, rtol=1e-4)
    without = score_field(task, points, final, 0 * first["ddf"][None])
    assert row["scale"] == 1 and abs(expected[1] - without[1]) > 1e-2


def test_the_coarse_level_is_the_pair_on_a_coarser_grid(task, rng):
    """Images, labels, masks and millimetres, after what came before."""
    spacing, mask = np.float32([1.0, 2.0, 0.5]), np.zeros(MOVING_SHAPE, np.float32)
    mask[:8] = 1
    task = task._replace(
        fixed_spacing=tf.constant(spacing),
        moving_spacing=tf.constant(spacing),
        moving_mask=tf.constant(mask),
    )
    model = scaled_model(SCALE, 1.0)
    drawer, adaptation = model.adapt_drawer, model._adaptation
    final = drawer.adaptation(task, drawer.constants(task), 0, None)
    ddf = tf.constant(rng.normal(0, 0.5, (1, *FIXED_SHAPE, 3)), tf.float32)
    side = FixedSide(task.fixed_labels[:1], task.fixed_spacing)
    batch = adaptation._level_batch(adaptation.levels[0], final, side, ddf)
    loc = locations(ddf, final.matrix, final.offset)
    moved = rescale(sample(final.moving_label, loc), COARSE)
    np.testing.assert_allclose(batch.moving_label, moved, atol=1e-6)
    fixed = rescale(final.fixed_input, COARSE)
    np.testing.assert_allclose(batch.fixed_input, fixed, atol=1e-6)
    inside = rescale_mask(sample(final.moving_mask.mask, loc), COARSE)
    assert 0 < np.mean(inside) < 1
    np.testing.assert_array_equal(batch.moving_mask.mask, inside)
    # a voxel is larger by the ratio of the numbers of voxels
    mm = spacing * np.divide(FIXED_SHAPE, COARSE).astype(np.float32)
    label = rescale(task.fixed_labels[:1], COARSE)
    np.testing.assert_allclose(batch.moving_mask.fixed_label, label, atol=1e-6)
    np.testing.assert_allclose(batch.moving_mask.spacing_mm, mm, rtol=1e-6)
    target = model.loss_fn.prepare_label(label, batch.loss_mask, tf.constant(mm))
    np.testing.assert_allclose(batch.label_target.overlap, target.overlap, atol=1e-6)


def test_every_scale_adapts_by_the_label_asked_for(task):
    """Two labels that change places, the second one asked for."""
    order = [1, 0, *range(2, task.fixed_labels.shape[0])]
    swapped = task._replace(
        moving_labels=tf.gather(task.moving_labels, order),
        fixed_labels=tf.gather(task.fixed_labels, order),
    )
    first = scaled_model(SCALE, 1.0, align="corner").adapt(task, 2)
    second = scaled_model(SCALE, 1.0, align="corner", adapt=dict(labels=[1]))
    found = second.adapt(swapped, 2)
    np.testing.assert_allclose(found["ddf"], first["ddf"], atol=1e-6)
    np.testing.assert_allclose(
        found["history"][:, 0], first["history"][:, 0], atol=1e-6
    )
    assert np.abs(first["ddf"] - first["ddf_unadapted"]).max() > 1e-3


def test_a_limit_of_time_is_shared_by_the_sizes_of_the_scales(task, monkeypatch):
    model, seen = scaled_model(SCALE, 1.0), []
    for level in model._adaptation.levels:

        def run(draw, judge, steps, seconds=None, *others):
            seen.append(float(seconds))
            return tf.zeros([0, len(model.history_names)]), tf.constant(0)

        monkeypatch.setattr(level.loop, "run_for_best", run)
    model._adaptation.run(task, AdaptPlan(seconds=5.0))
    np.testing.assert_allclose(seen, [2.0, 3.0], rtol=1e-6)


def test_the_time_of_a_scale_begins_when_the_one_before_ends(task):
    """A clock outside of the loops may be read as soon as the graph starts."""
    model = scaled_model(SCALE, 1.0)

    @tf.function
    def run(seconds):
        return model._adaptation.run(task, AdaptPlan(seconds=seconds))["history"]

    concrete = run.get_concrete_function(tf.TensorSpec([], tf.float64))
    graph = concrete.graph.as_graph_def()
    assert "Timestamp" not in {node.op for node in graph.node}
    inner = {node.op for own in graph.library.function for node in own.node_def}
    assert "Timestamp" in inner


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_best_weights_of_each_scale_predict(task, keep):
    """A rate that is far too large: the best of it is what was there before."""
    model = scaled_model(
        dict(scale=SCALE, learning_rate=50.0), dict(scale=1.0, learning_rate=50.0)
    )
    found = model._adaptation.run(task, AdaptPlan(steps=3, keep=keep))
    unadapted, adapted = found["losses"].numpy()
    if keep == "best":
        assert adapted <= unadapted
    else:
        assert not adapted <= unadapted


def test_a_scale_has_its_own_rate_and_loss(task):
    slow = dict(scale=SCALE, learning_rate=1e-9)
    still = scaled_model(slow, dict(scale=1.0, learning_rate=1e-9))
    found = still.adapt(task, 2)
    np.testing.assert_allclose(found["ddf"], found["ddf_unadapted"], atol=1e-5)
    moved = scaled_model(slow, 1.0).adapt(task, 2)
    assert np.abs(moved["ddf"] - moved["ddf_unadapted"]).max() > 1e-3
    rigid = dict(scale=SCALE, loss=dict(regularization=dict(weight=7.0)))
    model = scaled_model(rigid, 1.0)
    weights = [level.loop.loss.weights for level in model._adaptation.levels]
    assert [w["regularization"] for w in weights] == [7.0, 0.1]
    assert weights[0]["image"] == weights[1]["image"] == 1.0


def test_a_scale_with_a_loss_of_its_own_has_the_parts_of_the_network_too(task):
    """Otherwise its rows would be shorter than those of the others."""
    rigid = dict(scale=SCALE, loss=dict(regularization=dict(weight=7.0)))
    layer = dict(
        name="meta_regularized",
        parameterization="penalty",
        kernel_size=3,
        backbone=dict(name="unet", num_channel_initial=2, depth=1),
    )
    model = scaled_model(rigid, 1.0, backbone=layer)
    found = model.adapt(task, 2)
    assert found["history"].shape == (4, len(model.history_names))
    kernel = found["history"][:, model.history_names.index("kernel")]
    assert np.min(np.abs(kernel)) > 0
    np.testing.assert_allclose(found["history"][:, -1], [SCALE] * 2 + [1] * 2)


def test_what_lies_on_another_grid_is_laid_there_as_the_losses_do(task):
    """The input of DeepReg's networks is stretched; its fields are not."""
    model = scaled_model(SCALE, 1.0, align="corner")
    adaptation = model._adaptation
    options = replace(model.adapt_drawer.options, stretch=True)
    drawer = BatchDrawer(options, model.loss_fn, MOVING_SHAPE, FIXED_SHAPE)
    final = drawer.adaptation(task, drawer.constants(task), 0, None)
    level = adaptation.levels[0]
    batch = adaptation._level_batch(level, final, fixed_side(task), None)
    zero = tf.zeros([1, *FIXED_SHAPE, 3])
    laid = sample(final.moving_image, locations(zero, final.matrix, final.offset))
    np.testing.assert_allclose(batch.moving_image, rescale(laid, COARSE), atol=1e-6)
    stretched = rescale(final.moving_input, COARSE)
    np.testing.assert_allclose(batch.moving_input, stretched, atol=1e-6)
    assert np.abs(batch.moving_image - stretched).max() > 1e-2


def test_the_best_of_what_carries_on_is_better_than_what_was_carried(task):
    """Not merely than the unadapted weights: a harmful update is not kept."""
    # two labels in turn: what an update sees is not what the prediction does
    model = make_model(
        image=IMAGE,
        normalization="none",
        adapt=dict(optimizer=dict(name="SGD", learning_rate=RATE), labels=[0, 1]),
    )
    adaptation = model._adaptation
    plan = AdaptPlan(steps=6, carry=True, keep="best")
    adaptation.prepare(plan)
    first = adaptation.run(task, plan)
    assert first["losses"][1] < first["losses"][0]
    adaptation.loop.optimizer.learning_rate.assign(-0.1 * RATE)  # uphill
    second = adaptation.run(task, plan)
    worse = adaptation.run(task, plan._replace(keep="last"))
    assert second["losses"][1] < worse["losses"][1] < worse["losses"][0]
    np.testing.assert_allclose(second["losses"][1], first["losses"][1], rtol=1e-6)
    assert second["best_step"] == 0


def test_a_pair_that_carries_on_starts_where_the_last_one_ended(task):
    """Plain gradient descent has no memory: twice two updates are four."""
    model = scaled_model()
    four = model.adapt(task, 4)
    carry = AdaptPlan(steps=2, carry=True)
    adaptation = model._adaptation
    adaptation.prepare(carry)
    first = adaptation.run(task, carry)
    second = adaptation.run(task, carry)
    assert np.abs(first["ddf"] - second["ddf"]).max() > 1e-4
    np.testing.assert_allclose(second["ddf"], four["ddf"], atol=1e-6)
    np.testing.assert_array_equal(second["ddf_unadapted"], four["ddf_unadapted"])
    adaptation.forget()
    np.testing.assert_allclose(adaptation.run(task, carry)["ddf"], first["ddf"])


def test_carried_weights_predict_without_updates_too(task):
    model = scaled_model()
    adaptation, carry = model._adaptation, AdaptPlan(steps=2, carry=True)
    adaptation.prepare(carry)
    first = adaptation.run(task, carry)
    second = adaptation.run(task, carry._replace(steps=0))
    np.testing.assert_allclose(second["ddf"], first["ddf"], atol=1e-6)
    np.testing.assert_allclose(second["losses"], first["losses"], rtol=1e-5)


def test_scales_carry_on_too(task):
    """
    Both scales go on: the first one where the last one of the pair before ended, as it
    does when all start from one network.
    """
    model = scaled_model(SCALE, 1.0, adapt=dict(scale_start="own"), scales=[SCALE, 1.0])
    carry = AdaptPlan(steps=(2, 0), carry=True)
    model._adaptation.prepare(carry)
    model._adaptation.run(task, carry)
    twice = model._adaptation.run(task, carry)
    once = model._adaptation.run(task, AdaptPlan(steps=(4, 0)))
    np.testing.assert_allclose(twice["ddf"], once["ddf"], atol=1e-5)


def test_updates_end_on_a_plateau(task):
    """At a rate of next to nothing the loss never falls by a thousandth."""
    patient = Plateau(patience=2, min_delta=1e-3)
    slow = [dict(scale=s, learning_rate=1e-9) for s in (SCALE, 1.0)]
    for keep in ("last", "best"):
        plan = AdaptPlan(steps=20, plateau=patient, keep=keep)
        found = scaled_model(*slow)._adaptation.run(task, plan)
        np.testing.assert_allclose(found["history"][:, -1], [SCALE] * 3 + [1] * 3)
    fast = scaled_model(SCALE, 1.0)._adaptation.run(
        task, AdaptPlan(steps=4, plateau=Plateau(2, 0.0))
    )
    assert len(fast["history"]) == 8


def test_masks_go_down_to_the_scale(task):
    mask = np.zeros(FIXED_SHAPE, np.float32)
    mask[:6] = 1
    masked = task._replace(fixed_mask=tf.constant(mask))
    model = scaled_model(SCALE, 1.0)
    adaptation, drawer = model._adaptation, model.adapt_drawer
    final = drawer.adaptation(masked, drawer.constants(masked), 0, None)
    batch = adaptation._level_batch(
        adaptation.levels[0], final, fixed_side(masked), None
    )
    np.testing.assert_array_equal(batch.loss_mask[0, :, 0, 0], [1] * 4 + [0] * 4)
    assert batch.shown is not None and np.min(batch.shown) == 1


def test_steps_are_one_number_or_one_for_each_scale(task):
    model = scaled_model(SCALE, 1.0)
    with pytest.raises(ValueError, match=r"adapt\.steps: expected one number or 2"):
        model._adaptation.run(task, AdaptPlan(steps=(1, 2, 3)))


def test_a_plan_in_numbers_needs_no_new_graph(task):
    """`predict` with other numbers of updates for the scales."""
    model = scaled_model(SCALE, 1.0)
    inputs = {k: v.numpy() for k, v in stack_tasks(task).items()}
    rows = []
    for steps in ((1, 2), (2, 3)):
        tuner = FineTune(steps)
        model.predict(inputs, batch_size=1, callbacks=[tuner], verbose=0)
        rows.append(len(tuner.histories[0]))
        function = model.predict_function
    assert rows == [3, 5]
    model.adapt_plan = AdaptPlan(steps=(4, 4))
    assert model.predict_function is function


def test_a_grid_that_the_losses_cannot_take_is_refused_before_any_pair():
    with pytest.raises(ValueError, match=r"adapt\.scales: .*6 x 5 x 4.*at least 5"):
        scaled_model(0.5, 1.0)


def test_an_unknown_loss_of_a_scale_is_told_by_its_key():
    own = dict(scale=SCALE, loss=dict(image=dict(name="nope")))
    with pytest.raises(ValueError, match=r"adapt\.scales: its loss cannot.*nope"):
        scaled_model(own, 1.0)


def test_weights_that_depend_on_the_grid_are_refused():
    with pytest.raises(ValueError, match=r"adapt\.scales: expected a backbone whose"):
        make_model(
            image=IMAGE,
            adapt=dict(scales=[dict(scale=SCALE), dict(scale=1.0)]),
            backbone=dict(name="global", num_channel_initial=1, extract_levels=[1]),
        )


def test_networks_of_the_scales_differ_and_the_run_has_one(task):
    model = scaled_model(SCALE, 1.0)
    coarse, fine = model._adaptation.levels
    assert coarse.size == COARSE and fine.loop.network is model.network
    own = values(coarse.loop.network.weights)
    assert differ(own, values(model.network.weights))  # until a pair comes
    model.adapt(task, 0)
    assert len(model.weights) == len(model.network.weights) + 1 + len(
        model.metrics[0].variables
    ) * len(model.metrics)


def image_model(*scales):
    """:return: a model that adapts by images alone."""
    return scaled_model(*scales, label={}, labeled=False)


@pytest.mark.parametrize("scales", [(), (SCALE, 1.0)])
def test_one_pair_together_is_the_pair(scales):
    model, task = image_model(*scales), make_task(1, labeled=False)
    plan = AdaptPlan(steps=3)
    expected = model._adaptation.run(task, plan)
    found = model._adaptation.run_together([task], plan)
    for name in ("ddf", "ddf_unadapted", "matrix", "offset"):
        np.testing.assert_allclose(found[name][0], expected[name], atol=1e-6)
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-5)


@pytest.mark.parametrize("keep", ["last", "best"])
@pytest.mark.parametrize("scales", [(), (SCALE, 1.0)])
def test_pairs_that_are_adapted_to_together_share_their_weights(scales, keep):
    """Two pairs in turn: as many updates on each; one network predicts both."""
    model = image_model(*scales)
    tasks = [make_task(seed, labeled=False) for seed in (1, 2)]
    before = values(model.network.weights)
    found = model._adaptation.run_together(tasks, AdaptPlan(steps=4, keep=keep))
    assert found["ddf"].shape == (2, *FIXED_SHAPE, 3)
    assert_same_bits(before, model.network.weights)
    alone = [model._adaptation.run(task, AdaptPlan(steps=2)) for task in tasks]
    for index in range(2):
        unadapted = found["ddf_unadapted"][index]
        np.testing.assert_allclose(unadapted, alone[index]["ddf_unadapted"], atol=1e-5)
        moved = np.abs(found["ddf"][index] - unadapted).max()
        assert moved > 1e-4
        # the updates on the other pair count too
        assert np.abs(found["ddf"][index] - alone[index]["ddf"]).max() > 1e-5
    losses = [float(a["losses"][0]) for a in alone]
    assert float(found["losses"][0]) == pytest.approx(np.mean(losses), rel=1e-4)


def test_two_equal_pairs_together_are_one_pair():
    """Whichever of the two an update sees, it is the same."""
    model, task = image_model(SCALE, 1.0), make_task(1, labeled=False)
    expected = model._adaptation.run(task, AdaptPlan(steps=4))
    found = model._adaptation.run_together([task, task], AdaptPlan(steps=4))
    for index in range(2):
        np.testing.assert_allclose(found["ddf"][index], expected["ddf"], atol=1e-5)


@pytest.mark.parametrize("scales", [None, [dict(scale=SCALE), dict(scale=1.0)]])
def test_pairs_together_are_each_predicted_alone(scales):
    """A network that normalises by the mini-batch sees one pair at a time."""
    model = make_model(
        image=IMAGE, normalization="batch", label={}, labeled=False, align="center",
        adapt=dict(scales=scales),
    )  # fmt: skip
    first, other = (make_task(seed, labeled=False) for seed in (1, 2))
    brighter = other._replace(
        moving_image=3 * other.moving_image, fixed_image=3 * other.fixed_image
    )
    plan = AdaptPlan(steps=0)
    found = model._adaptation.run_together([first, brighter], plan)
    for index, task in enumerate((first, brighter)):
        alone = model._adaptation.run(task, plan)
        np.testing.assert_allclose(found["ddf"][index], alone["ddf"], atol=1e-4)


@pytest.mark.parametrize("scales", [(), (1.0,)])
def test_a_plateau_of_pairs_together_is_one_of_all_of_them(scales):
    """Of two pairs one is perfect from the start, and the other is not done yet."""
    model = image_model(*scales)
    task = make_task(1, labeled=False)
    flat = task._replace(
        moving_image=0.3 * tf.ones(MOVING_SHAPE), fixed_image=0.3 * tf.ones(FIXED_SHAPE)
    )
    plan = AdaptPlan(steps=8, plateau=Plateau(patience=1, min_delta=0.0))
    assert len(model._adaptation.run_together([flat, task], plan)["history"]) == 8


def test_labels_do_not_go_together(task):
    model = scaled_model(SCALE, 1.0)
    with pytest.raises(ValueError, match=r"train\.loss\.label: expected weight 0"):
        model._adaptation.run_together([task], AdaptPlan(steps=1))
