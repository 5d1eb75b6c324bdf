"""Tests of deepreg_meta/model/reptile.py."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.model.adapt_plan import AdaptPlan
from deepreg_meta.model.build import build_optimizer
from deepreg_meta.model.reptile import ReptileModel
from deepreg_meta.model.task import Task
from tests.helpers import (
    assert_close,
    assert_same_bits,
    differ,
    eager,
    make_model,
    make_task,
    randomize,
    stack_tasks,
    values,
)

ADAM = {"name": "Adam", "learning_rate": 0.01}
GRAPHS = {
    "test_one_seed_gives_one_result_bit_for_bit_and_another_seed_another",
    "test_models_compiled_as_users_have_them_validate_and_predict_alike",
    "test_validation_follows_its_plan_and_the_label_that_adapts",
}
AUGMENTED = [
    {"name": "affine", "scale": 0.1},
    {"name": "sparse_frames", "frames": [2, 5], "axis": 1},
]


def fresh(model: ReptileModel, **options: object) -> ReptileModel:
    """:return: the model as it was built, with other options of the outer loop."""
    model.options = model.options._replace(**options)
    randomize_from_zero(model)
    model.episode.assign(0)
    model._inner.reset_optimizer()
    model.reset_metrics()
    return model


def randomize_from_zero(model: ReptileModel) -> None:
    """Set weights that depend on nothing but the network's shapes."""
    for variable in model.network.weights:
        is_scale = "variance" in variable.name or "gamma" in variable.name
        variable.assign(tf.ones_like(variable) * (1.0 if is_scale else 0.01))
    randomize(model.network)


@pytest.fixture(scope="module")
def model():
    """:return: moving averages take part, nothing random is drawn."""
    return make_model(normalization="moving", align="center", optimizer=ADAM)


@pytest.fixture(scope="module")
def random_model():
    """:return: draws maps, frames and labels in every inner step."""
    return make_model(align="sections", augmentation=AUGMENTED, optimizer=ADAM)


@pytest.fixture(scope="module")
def tasks():
    """:return: pairs with one label, so that there is no choice of labels."""
    return [make_task(seed, num_labels=1) for seed in range(2)]


def train_plainly(
    model: ReptileModel,
    task: Task,
    num_steps: int,
    optimizer: tf.keras.optimizers.Optimizer | None = None,
) -> list[list[np.ndarray]]:
    """
    Train on one pair as any Keras user would, with neither snapshots nor inner loop.

    :param optimizer: with the state to go on with; None is a new one.
    :return: all weights after each step.
    """
    network = model.network
    optimizer = optimizer or build_optimizer(ADAM)
    batch = model.drawer.training(task, model.drawer.constants(task), [0, 0])
    iterates = []
    for _ in range(num_steps):
        with tf.GradientTape() as tape:
            ddf = network(batch.moving_input, batch.fixed_input, training=True)
            loss = model.loss_fn.parts(ddf, batch)["total"]
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(
            zip(gradients, network.trainable_variables, strict=True)
        )
        iterates.append(values(network.weights))
    return iterates


# ---- the outer loop ----


def test_a_meta_step_of_zero_changes_no_bit(model, tasks):
    """Statistics of the normalisation included; the episode is counted."""
    fresh(model, meta_step_size=0.0, meta_step_size_end=0.0, inner_steps=3)
    start = values(model.network.weights)
    model.train_step(stack_tasks(tasks[0]))
    assert_same_bits(model.network.weights, start)
    assert int(model.episode) == 1


@pytest.mark.parametrize("inner_steps", [1, 3])
def test_a_meta_step_of_one_with_carried_state_is_ordinary_training(
    model, tasks, inner_steps
):
    """Two episodes of k steps on a pair are 2 k steps with one optimiser."""
    fresh(model)
    expected = train_plainly(model, tasks[0], 2 * inner_steps)[-1]

    fresh(
        model,
        inner_steps=inner_steps,
        meta_step_size=1.0,
        meta_step_size_end=1.0,
        carry_optimizer_state=True,
    )
    start = values(model.network.weights)
    for _ in range(2):
        model.train_step(stack_tasks(tasks[0]))

    assert differ(start, expected, atol=0.005)
    assert_close(model.network.weights, expected)
    assert int(model.optimizer.iterations) == 2 * inner_steps
    model.options = model.options._replace(carry_optimizer_state=False)


def test_a_reset_optimiser_starts_every_episode_anew(model, tasks):
    """Two episodes of two steps: two new optimisers, not one of four steps."""
    fresh(model)
    train_plainly(model, tasks[0], 2)
    expected = train_plainly(model, tasks[0], 2)[-1]
    fresh(model)
    carried = train_plainly(model, tasks[0], 4)[-1]

    fresh(model, inner_steps=2, meta_step_size=1.0, meta_step_size_end=1.0)
    for _ in range(2):
        model.train_step(stack_tasks(tasks[0]))

    assert int(model.optimizer.iterations) == 2
    # Adam's division makes more of rounding, which depends on the number of threads
    assert_close(model.network.weights, expected, atol=1e-5)
    assert differ(carried, expected, atol=1e-3)


@pytest.mark.parametrize("meta_step_size", [0.25, 0.5, 1.0])
@pytest.mark.parametrize(("inner_steps", "num_tasks"), [(1, 1), (3, 1), (2, 2)])
def test_the_meta_step_goes_part_of_the_way_to_the_mean_of_the_tasks(
    model, tasks, meta_step_size, inner_steps, num_tasks
):
    """phi + eps (mean theta - phi), every task from phi with a new optimiser."""
    start, ends = None, []
    for task in tasks[:num_tasks]:
        fresh(model)
        start = values(model.network.weights)
        ends.append(train_plainly(model, task, inner_steps)[-1])
    mean = [np.mean(each, axis=0) for each in zip(*ends, strict=True)]
    expected = [s + meta_step_size * (m - s) for s, m in zip(start, mean, strict=True)]

    fresh(
        model,
        inner_steps=inner_steps,
        tasks_per_step=num_tasks,
        meta_step_size=meta_step_size,
        meta_step_size_end=meta_step_size,
    )
    model.train_step(stack_tasks(*tasks[:num_tasks]))

    assert differ(expected, start, atol=1e-3)
    assert_close(model.network.weights, expected)
    model.options = model.options._replace(tasks_per_step=1)


def test_a_carried_state_is_the_mean_over_the_tasks(model, tasks):
    """Every task goes on from the state of the last episode, as from its weights."""
    fresh(model)
    weights, state = values(model.network.weights), None
    for _ in range(2):
        ends, states = [], []
        for task in tasks:
            for variable, value in zip(model.network.weights, weights, strict=True):
                variable.assign(value)
            optimizer = build_optimizer(ADAM)
            optimizer.build(model.network.trainable_variables)
            for variable, value in zip(optimizer.variables, state or [], strict=False):
                variable.assign(value)
            ends.append(train_plainly(model, task, 2, optimizer)[-1])
            states.append(values(optimizer.variables))
        weights = [np.mean(each, axis=0) for each in zip(*ends, strict=True)]
        state = [
            np.mean(each, axis=0).astype(each[0].dtype)
            for each in zip(*states, strict=True)
        ]

    fresh(
        model,
        inner_steps=2,
        tasks_per_step=2,
        meta_step_size=1.0,
        meta_step_size_end=1.0,
        carry_optimizer_state=True,
    )
    for _ in range(2):
        model.train_step(stack_tasks(*tasks))

    assert_close(model.network.weights, weights)
    assert_close(model.optimizer.variables, state)
    assert int(model.optimizer.iterations) == 4  # updates of one task, not of both
    assert differ(state[1:], states[0][1:])
    model.options = model.options._replace(
        tasks_per_step=1, carry_optimizer_state=False
    )


@pytest.mark.parametrize("carry", [False, True])
def test_the_order_of_the_tasks_matters_only_to_rounding(model, tasks, carry):
    """The optimiser's state reset or carried on; nothing random is drawn here."""
    found = []
    for pair in (tasks, tasks[::-1]):
        fresh(
            model,
            inner_steps=2,
            tasks_per_step=2,
            meta_step_size=1.0,
            carry_optimizer_state=carry,
        )
        for _ in range(2):
            model.train_step(stack_tasks(*pair))
        found.append(values(model.network.weights))
    assert_close(*found)
    fresh(model, tasks_per_step=1, carry_optimizer_state=False)
    model.train_step(stack_tasks(tasks[0]))
    assert differ(model.network.weights, found[0])


def test_the_average_of_the_iterates_is_taken_over_all_steps_and_tasks(model, tasks):
    """Equation 10 of Baum et al. 2022, for all weights."""
    iterates = []
    for task in tasks:
        fresh(model)
        iterates += train_plainly(model, task, 3)
    expected = [np.mean(each, axis=0) for each in zip(*iterates, strict=True)]

    fresh(
        model,
        inner_steps=3,
        tasks_per_step=2,
        average_iterates=True,
        meta_step_size=1.0,
        meta_step_size_end=1.0,
    )
    model.train_step(stack_tasks(*tasks))

    assert_close(model.network.weights, expected)
    assert differ(expected, iterates[-1])
    model.options = model.options._replace(tasks_per_step=1, average_iterates=False)


def test_the_meta_step_size_falls_linearly_to_its_end_and_stays_there(model):
    """0.5 to 0.2 over four episodes: steps of 0.1."""
    options = dict(meta_step_size=0.5, meta_step_size_end=0.2, num_episodes=4)
    fresh(model, **options)
    sizes = []
    for episode in range(6):
        model.episode.assign(episode)
        sizes.append(float(model.meta_step_size()))
    np.testing.assert_allclose(sizes, [0.5, 0.4, 0.3, 0.2, 0.2, 0.2], rtol=1e-6)
    fresh(model, **{**options, "num_episodes": 1})
    assert float(model.meta_step_size()) == 0.5


def test_the_logs_are_means_over_the_inner_steps_and_the_epoch(model, tasks):
    """Losses before each step; label + 0.1 regularization is the loss."""
    fresh(model, inner_steps=1, meta_step_size=0.4, meta_step_size_end=0.2)
    model.options = model.options._replace(num_episodes=2)
    batch = model.drawer.training(tasks[0], model.drawer.constants(tasks[0]), [0, 0])
    ddf = model.network(batch.moving_input, batch.fixed_input, training=True)
    parts = model.loss_fn.parts(ddf, batch)

    fresh(model)
    first = {k: float(v) for k, v in model.train_step(stack_tasks(tasks[0])).items()}
    second = {k: float(v) for k, v in model.train_step(stack_tasks(tasks[0])).items()}

    assert set(first) == {"loss", "label", "regularization", "meta_step_size"}
    assert first["label"] == pytest.approx(float(parts["label"]), rel=1e-5)
    total = first["label"] + 0.1 * first["regularization"]
    assert first["loss"] == pytest.approx(total, rel=1e-5)
    assert first["meta_step_size"] == pytest.approx(0.4)
    assert second["meta_step_size"] == pytest.approx(0.3)  # the mean of 0.4 and 0.2


def test_the_losses_that_are_logged_are_means_over_steps_and_tasks(model, tasks):
    """Of two steps on each of two pairs, each before its step."""
    losses = []
    for task in tasks:
        fresh(model)
        batch = model.drawer.training(task, model.drawer.constants(task), [0, 0])
        optimizer = build_optimizer(ADAM)
        for _ in range(2):
            inputs = batch.moving_input, batch.fixed_input
            ddf = model.network(*inputs, training=True)
            losses.append(float(model.loss_fn.parts(ddf, batch)["total"]))
            train_plainly(model, task, 1, optimizer)
    assert np.ptp(losses[:2]) > 1e-3 and abs(np.mean(losses[:2]) - losses[2]) > 1e-3
    fresh(model, inner_steps=2, tasks_per_step=2)
    logs = model.train_step(stack_tasks(*tasks))
    model.options = model.options._replace(tasks_per_step=1)
    assert float(logs["loss"]) == pytest.approx(np.mean(losses), rel=1e-5)


def test_one_seed_gives_one_result_bit_for_bit_and_another_seed_another():
    """Two models of their own, in graphs, with random maps, frames and labels."""
    found = []
    for _ in range(2):
        model = make_model(align="centroid", augmentation=AUGMENTED, seed=3)
        step = tf.function(model.train_step)
        for index in range(2):
            step(stack_tasks(make_task(index)))
        found.append(values(model.network.weights))
    assert_same_bits(*found)
    options = dict(meta_step_size=1.0, meta_step_size_end=1.0, inner_steps=3)
    for seed in (3, 4):
        fresh(model, seed=seed, **options)
        model.train_step(stack_tasks(make_task(0)))
        found.append(values(model.network.weights))
    assert differ(*found[2:])


def test_the_draws_of_an_episode_depend_on_its_number_alone(random_model):
    """Episode 5 is the same whether others came before it or not."""
    data = stack_tasks(make_task(0))
    options = dict(meta_step_size=1.0, meta_step_size_end=1.0, inner_steps=3)
    found = {}
    for episodes in ((5,), (2, 5), (6,)):
        for episode in episodes:
            fresh(random_model, **options)
            random_model.episode.assign(episode)
            random_model.train_step(data)
        found[episodes] = values(random_model.network.weights)
    assert_same_bits(found[(5,)], found[(2, 5)])
    assert differ(found[(5,)], found[(6,)])


def test_equal_tasks_of_one_episode_draw_differently(random_model):
    """The mean over twice the same pair is not what one of them gives."""
    task, found = make_task(0), []
    options = dict(meta_step_size=1.0, meta_step_size_end=1.0, inner_steps=3)
    for number in (1, 2):
        fresh(random_model, tasks_per_step=number, **options)
        random_model.train_step(stack_tasks(*[task] * number))
        found.append(values(random_model.network.weights))
    random_model.options = random_model.options._replace(tasks_per_step=1)
    assert differ(*found)


# ---- validation ----


def test_validation_scores_before_and_after_adaptation():
    """Losses as in adaptation, Dice of the gland, means over the cases."""
    model = make_model(align="corner", optimizer=ADAM)
    model.adapt_steps = 3
    histories, logs = [], {}
    for seed in (0, 1):
        histories.append(model.adapt(make_task(seed), 4)["history"].numpy())
        logs = {
            k: float(v)
            for k, v in model.test_step(stack_tasks(make_task(seed))).items()
        }
    expected = np.mean(histories, axis=0)
    assert set(logs) == {
        "loss_unadapted", "loss_adapted", "dsc_unadapted", "dsc_adapted"
    }  # fmt: skip
    # row i is the field after i updates: batch statistics make no difference here
    for stage, row in (("unadapted", 0), ("adapted", 3)):
        assert logs[f"loss_{stage}"] == pytest.approx(expected[row, 2], rel=1e-4)
        assert logs[f"dsc_{stage}"] == pytest.approx(expected[row, 4], rel=1e-4)
    assert logs["loss_adapted"] < logs["loss_unadapted"]


def test_models_compiled_as_users_have_them_validate_and_predict_alike():
    """Validation leaves out parts of an adaptation, which compiled ones must bear."""
    data = tf.data.Dataset.from_tensors(stack_tasks(make_task()))
    found = []
    for with_xla in (False, True):
        model = make_model(with_xla=with_xla, optimizer=ADAM)
        model.adapt_steps = 2
        with eager(not with_xla):
            logs = model.evaluate(data, verbose=0, return_dict=True)
            ddf = model.predict(data, verbose=0)["ddf"]
        found.append((*(logs[name] for name in sorted(logs)), np.abs(ddf).mean()))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3)


def test_validation_follows_its_plan_and_the_label_that_adapts():
    """Although Keras keeps what it traced before."""
    data = tf.data.Dataset.from_tensors(stack_tasks(make_task()))
    model = make_model(optimizer=ADAM, align="corner", adapt=dict(labels=[1]))

    def scores():
        return model.evaluate(data, verbose=0, return_dict=True)

    none = scores()
    assert none["loss_adapted"] == none["loss_unadapted"]
    model.adapt_steps = 3
    some = scores()
    history = model.adapt(make_task(), 4)["history"].numpy()
    # the losses of the second label, which adapts, before the first and after 3 updates
    for stage, row in (("unadapted", 0), ("adapted", 3)):
        assert some[f"loss_{stage}"] == pytest.approx(history[row, 2], rel=1e-4)
    assert abs(history[3, 2] - history[0, 2]) > 1e-4


# ---- plans of adaptation ----


def test_a_plan_lasts_until_another_is_set(model):
    """Steps alone may be set too; what was traced for another kind is not used."""
    traced = object()
    model.adapt_plan = AdaptPlan(steps=3, keep="best")
    for change, is_kept in (
        (lambda: setattr(model, "adapt_steps", 5), True),
        (lambda: setattr(model, "adapt_plan", AdaptPlan(7, keep="best")), True),
        (lambda: setattr(model, "adapt_plan", AdaptPlan(7)), False),
        (lambda: setattr(model, "adapt_plan", AdaptPlan(seconds=2.0)), False),
        (lambda: setattr(model, "adapt_plan", AdaptPlan()), False),
    ):
        model.predict_function = traced
        change()
        assert (model.predict_function is traced) == is_kept
    assert model.adapt_plan == AdaptPlan()
    model.adapt_plan = AdaptPlan(steps=3, keep="best")
    assert model.predict_function is traced  # it has waited
    model.adapt_drawer = model.adapt_drawer  # it is no graph: forget it
    assert model.predict_function is None
    model.adapt_steps = 4
    assert model.adapt_plan == AdaptPlan(steps=4, keep="best")
    model.adapt_plan = AdaptPlan()


def test_a_checkpoint_holds_nothing_of_a_plan(model):
    """Neither numbers nor kinds: only weights, optimiser, means and the episode."""
    found = []
    for plan in (AdaptPlan(), AdaptPlan(steps=3, seconds=2.0, keep="best")):
        model.adapt_plan = plan
        graph = tf.train.Checkpoint(model=model)
        found.append(sorted(list_variables(graph)))
    assert found[0] == found[1]
    assert not [key for key in found[0] if "plan" in key]
    assert [key for key in found[0] if "network" in key]
    assert [key for key in found[0] if "episode" in key]
    model.adapt_plan = AdaptPlan()


def list_variables(checkpoint: tf.train.Checkpoint) -> list[str]:
    """:return: the keys under which a checkpoint stores its variables."""
    with tempfile.TemporaryDirectory() as folder:
        path = checkpoint.write(str(Path(folder) / "ckpt"))
        return [name for name, _ in tf.train.list_variables(path)]


def test_what_is_no_strategy_is_refused():
    model = make_model()
    with pytest.raises(ValueError, match="expected a tf.distribute.Strategy or None"):
        model.compile(optimizer="adam", strategy="mirrored")
