"""Tests of deepreg_meta/model/adaptation.py."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from deepreg_meta.model.adapt_plan import AdaptPlan, PlanValues
from deepreg_meta.model.adaptation import (
    Adaptation,
    first_task,
)
from deepreg_meta.model.build import build_optimizer
from deepreg_meta.model.inner_loop import InnerLoop
from deepreg_meta.model.partial import select_part
from deepreg_meta.model.reptile import ReptileModel
from deepreg_meta.model.task import Task
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

ADAM = {"name": "Adam", "learning_rate": 0.01}
FRAMES = {"name": "sparse_frames", "frames": [2, 4], "axis": 1}
BEST = AdaptPlan(steps=6, keep="best")
GRAPHS = {
    "test_pairs_and_numbers_of_updates_share_one_trace",
    "test_tasks_share_one_trace_in_training",
    "test_no_pair_leaves_a_trace",
    "test_the_history_has_a_row_for_every_update_that_fits",
    "test_the_numbers_of_a_plan_reach_a_graph_that_was_traced_before",
    "test_adaptation_solves_a_toy_pair",
}


def adaptation_of(
    model: ReptileModel, rate: float, name: str = "Adam", part: str = "all"
) -> Adaptation:
    """:return: adapts the network of a model with an optimiser of its own."""
    optimizer = build_optimizer(dict(name=name, learning_rate=rate))
    chosen = select_part(model.network, part)
    loop = InnerLoop(model.network, model.loss_fn, optimizer, chosen)
    return Adaptation(loop, model.adapt_drawer)


def adapt_plainly(
    model: ReptileModel,
    task: Task,
    num_steps: int,
    rate: float,
    variables: list | None = None,
    training: bool = True,
) -> tuple[list[np.ndarray], list[float]]:
    """
    Adapt as any Keras user would, and predict after every update.

    :param variables: that are trained; None is all of them.
    :param training: how the network computes in the updates.
    :return: the fields of 0 ... N updates, and their losses on what prediction sees.
    """
    variables = model.network.trainable_variables if variables is None else variables
    network, loss, drawer = model.network, model.loss_fn, model.adapt_drawer
    optimizer = build_optimizer(dict(name="Adam", learning_rate=rate))
    start, constants = values(network.weights), drawer.constants(task)
    labels, frames = drawer.options.adapt_labels, drawer.options.frames
    last = None if frames is None else frames[1]
    final = drawer.adaptation(task, constants, labels[0], last)
    fields, losses = [], []

    def look() -> None:
        before = values(network.weights)  # prediction may move the averages
        ddf = network(final.moving_input, final.fixed_input, training=False)
        fields.append(ddf[0].numpy())
        losses.append(float(loss.parts(ddf, final)["total"]))
        for variable, value in zip(network.weights, before, strict=True):
            variable.assign(value)

    look()
    for step in range(num_steps):
        label = labels[step % len(labels)]
        batch = drawer.adaptation(
            task, constants, label, drawer.frames_at(tf.constant(step), num_steps)
        )
        with tf.GradientTape() as tape:
            ddf = network(batch.moving_input, batch.fixed_input, training=training)
            total = loss.parts(ddf, batch)["total"]
        gradients = tape.gradient(total, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        look()
    for variable, value in zip(network.weights, start, strict=True):
        variable.assign(value)
    return fields, losses


@pytest.fixture(scope="module")
def models():
    """:return: gives the model of a kind, built once; two levels have a decoder."""
    options = dict(
        batch=dict(normalization="batch", align="corner"),  # each loss judges itself
        moving=dict(normalization="moving", align="corner"),  # training differs
        sweep=dict(align="centroid", augmentation=[FRAMES]),
        labels=dict(align="corner", adapt={"labels": [0, 1]}),
    )
    built = {}

    def model(kind: str, levels: tuple[int, ...] = (0,)) -> ReptileModel:
        if (kind, levels) not in built:
            built[kind, levels] = make_model(
                optimizer=ADAM, levels=levels, **options[kind]
            )
        return built[kind, levels]

    return model


# ---- which weights predict ----


@pytest.mark.parametrize(
    ("kind", "rate"),
    [("batch", 0.5), ("moving", 0.5), ("sweep", 0.5), ("labels", 0.5)],
)
def test_the_best_and_the_last_weights_predict_as_asked(models, kind, rate):
    """
    All states written out by hand, at rates where the loss rises and falls.

    The best one has the least loss on what the prediction sees, whatever the updates
    themselves saw.
    """
    model, task = models(kind), make_task(0)
    fields, losses = adapt_plainly(model, task, 4, rate)
    best = int(np.argmin(losses))
    assert 0 < best < 4 and sorted(losses)[1] > losses[best] + 1e-4
    adaptation, start = adaptation_of(model, rate), values(model.network.weights)
    for keep, step in (("best", best), ("last", 4)):
        found = adaptation.run(task, AdaptPlan(steps=4, keep=keep))
        assert int(found["best_step"]) == step
        np.testing.assert_allclose(found["losses"], [losses[0], losses[step]], 1e-3)
        np.testing.assert_allclose(found["ddf"], fields[step], rtol=1e-3, atol=2e-3)
        np.testing.assert_allclose(found["ddf_unadapted"], fields[0], atol=1e-5)
        assert found["history"].shape == (4, 6)
        assert_same_bits(model.network.weights, start)


def test_training_and_prediction_differ_where_the_judge_must_look(models):
    """With moving averages the losses of the updates say another step is best."""
    found = adaptation_of(models("moving", (0, 1)), 0.3).run(make_task(0), BEST)
    assert int(found["best_step"]) < int(np.argmin(found["history"][:, 2]))
    assert abs(found["history"][0, 2] - found["losses"][0]) > 1e-2


@pytest.mark.parametrize("kind", ["batch", "moving"])
@pytest.mark.parametrize(("name", "rate"), [("Adam", 30.0), ("SGD", 1e30)])
def test_updates_that_only_harm_leave_the_plain_prediction(models, kind, name, rate):
    """Bit for bit, also where the losses are no numbers; the weights come back."""
    model, task = models(kind, (0, 1)), make_task(0)
    adaptation, start = adaptation_of(model, rate, name), values(model.network.weights)
    plan = AdaptPlan(steps=2, keep="best")
    last = adaptation.run(task, plan._replace(keep="last"))
    assert not last["losses"][1] < last["losses"][0]
    assert np.isnan(last["losses"][1]) == (rate == 1e30)

    found = adaptation.run(task, plan)

    assert int(found["best_step"]) == 0
    assert_same_bits([found["ddf"]], [found["ddf_unadapted"]])
    assert np.isfinite(found["ddf"]).all()
    assert float(found["losses"][1]) == float(found["losses"][0])
    assert_same_bits(model.network.weights, start)
    assert_same_bits([adaptation.run(task, plan)["history"]], [found["history"]])


def test_the_result_is_not_worse_where_a_backbone_errs_about_itself(
    models, monkeypatch
):
    """It says that training is prediction, and the step it finds best is a bad one."""
    model, task = models("moving", (0, 1)), make_task(0)
    monkeypatch.setattr(model.network, "is_same_in_training", True)
    found = adaptation_of(model, 0.45).run(task, BEST)
    best = int(np.argmin(found["history"][:, 2]))
    _, losses = adapt_plainly(model, task, best, 0.45)
    assert best > 0 and losses[best] > losses[0]
    assert int(found["best_step"]) == 0
    np.testing.assert_allclose(found["losses"], [losses[0]] * 2, rtol=1e-4)
    assert_same_bits([found["ddf"]], [found["ddf_unadapted"]])


@pytest.mark.parametrize("kind", ["moving", "sweep"])
def test_the_losses_are_those_of_the_fields_that_are_returned(models, kind):
    """As `RegistrationLoss.parts` gives them for all the prediction sees."""
    model, task = models(kind), make_task(0)
    drawer = model.adapt_drawer
    frames = None if drawer.options.frames is None else 4
    final = drawer.adaptation(task, drawer.constants(task), 0, frames)
    for plan in (AdaptPlan(steps=2, keep="best"), AdaptPlan(steps=2), AdaptPlan()):
        found = adaptation_of(model, 0.1).run(task, plan)
        for name, loss in zip(("ddf_unadapted", "ddf"), found["losses"], strict=True):
            expected = model.loss_fn.parts(found[name][None], final)["total"]
            np.testing.assert_allclose(loss, expected, rtol=1e-5)
        is_equal = float(found["losses"][0]) == float(found["losses"][1])
        assert is_equal == plan.is_none


# ---- a part of the network ----


@pytest.mark.parametrize(
    ("kind", "part", "rate"),
    [
        ("batch", "heads", 1.0),
        ("sweep", "decoder", 1.0),
        ("moving", "heads", 0.3),  # whose updates see the features of the prediction
    ],
)
def test_a_part_adapts_as_if_the_rest_were_constants(models, kind, part, rate):
    """All states written out by hand; the best and the last weights predict."""
    model, task = models(kind, (0, 1)), make_task(0)
    variables = select_part(model.network, part).variables
    fields, losses = adapt_plainly(
        model, task, 3, rate, variables, training=kind != "moving"
    )
    whole, _ = adapt_plainly(model, task, 1, rate)
    assert np.abs(fields[1] - whole[1]).max() > 0.05
    best = int(np.argmin(losses))
    adaptation = adaptation_of(model, rate, part=part)
    start = values(model.network.weights)
    for keep, step in (("best", best), ("last", 3)):
        found = adaptation.run(task, AdaptPlan(steps=3, keep=keep))
        assert int(found["best_step"]) == step
        np.testing.assert_allclose(found["ddf"], fields[step], rtol=1e-3, atol=2e-3)
        np.testing.assert_allclose(found["ddf_unadapted"], fields[0], atol=1e-5)
        np.testing.assert_allclose(found["losses"], [losses[0], losses[step]], 1e-3)
        assert_same_bits(model.network.weights, start)


# ---- one trace ----


@pytest.fixture
def traced(monkeypatch):
    """:return: gives a new model that counts what Python runs for it: its traces."""

    def model(**options) -> tuple[ReptileModel, Counter]:
        built, counts = make_model(optimizer=ADAM, **options), Counter()

        def counted(owner, name):
            own = getattr(owner, name)

            def call(*args, **kwargs):
                counts[name] += 1
                return own(*args, **kwargs)

            monkeypatch.setattr(owner, name, call)

        counted(built.network, "call")
        counted(built.loss_fn, "compute")
        return built, counts

    return model


@pytest.mark.parametrize("keep", ["last", "best"])
def test_pairs_and_numbers_of_updates_share_one_trace(traced, keep):
    """
    Of the network one for the updates and one for all that only predicts, wherever in
    the graph it does; of the losses one with and one without their gradient.
    """
    model, counts = traced(align="sections", augmentation=[FRAMES])
    for number in (3, 1, 2):
        model.adapt_plan = AdaptPlan(steps=number, keep=keep)
        for seed in range(2):
            found = model.predict(stack_tasks(make_task(seed)), batch_size=1, verbose=0)
            assert found["history"].shape[1] == number
    assert counts == {"call": 2, "compute": 1}
    shared = (
        model.predict_function,
        model.adapt_drawer._traced_adaptation,
        model.loss_fn.parts,
    )
    assert [x.experimental_get_tracing_count() for x in shared] == [1, 1, 1]


def test_tasks_share_one_trace_in_training(traced):
    """Over episodes and epochs, with everything that is drawn."""
    affine = {"name": "affine", "scale": 0.1}
    model, counts = traced(align="sections", augmentation=[FRAMES, affine])
    stacked = stack_tasks(*map(make_task, range(3)))
    tasks = tf.data.Dataset.from_tensor_slices(stacked).batch(1)
    logs = model.fit(tasks, epochs=2, verbose=0)
    assert np.isfinite(logs.history["loss"]).all() and len(logs.history["loss"]) == 2
    assert model.train_function.experimental_get_tracing_count() == 1
    assert counts == {"call": 1, "compute": 1}
    compiled = model.drawer._compiled_training
    assert compiled.experimental_get_tracing_count() == 1


# ---- the weights come back ----


@pytest.mark.parametrize(
    ("kind", "plan"),
    [
        ("moving", AdaptPlan()),
        ("batch", AdaptPlan(steps=3, keep="best")),  # every step judges itself
        ("moving", AdaptPlan(steps=3, keep="best")),
    ],
)
def test_no_pair_leaves_a_trace(models, kind, plan):
    """
    Neither in the weights nor in the optimiser, in eager mode and in a graph, which has
    one loop whatever the number of updates is.
    """
    model, pairs = models(kind), [make_task(seed) for seed in range(2)]
    start = values(model.network.weights)
    adaptation = adaptation_of(model, 0.1)
    run = tf.function(lambda *fields: adaptation.run(Task(*fields), plan))
    alone = [run(*task[:10]) for task in pairs]
    graph = run.get_concrete_function(*pairs[0][:10]).graph
    kinds = Counter(op.type for op in graph.get_operations())
    assert kinds["While"] == (not plan.is_none) and kinds["StatelessWhile"] == 0
    for index in (1, 0):
        again = run(*pairs[index][:10])
        assert_same_bits([again["ddf"]], [alone[index]["ddf"]])
        assert_same_bits([again["history"]], [alone[index]["history"]])
    assert differ([alone[0]["ddf"]], [alone[1]["ddf"]], atol=1e-2)
    assert_same_bits(model.network.weights, start)

    eager = adaptation.run(pairs[1], plan)
    assert_same_bits(model.network.weights, start)
    np.testing.assert_allclose(eager["ddf"], alone[1]["ddf"], atol=1e-3)
    np.testing.assert_allclose(eager["losses"], alone[1]["losses"], rtol=1e-3)
    assert int(eager["best_step"]) == int(alone[1]["best_step"])
    moved = np.abs(eager["ddf"] - eager["ddf_unadapted"]).max()
    assert (moved == 0) == (plan.is_none or int(eager["best_step"]) == 0)


# ---- a limit of time ----


def test_the_history_has_a_row_for_every_update_that_fits(models):
    """At least one; more time gives more of them, and every frame is shown to each."""
    model, task = models("sweep"), make_task(0)
    adaptation = adaptation_of(model, 0.01)
    run = tf.function(lambda t: adaptation.run(task, AdaptPlan(seconds=t)))
    numbers, start = [], values(model.network.weights)
    for seconds in (1e-9, 0.05, 0.6):
        found = run(tf.constant(seconds, tf.float64))
        numbers.append(len(found["history"]))
        np.testing.assert_array_equal(found["history"][:, 3], 4)
        assert 0 <= int(found["best_step"]) <= numbers[-1]
        assert found["losses"][1] <= found["losses"][0]
        assert_same_bits(model.network.weights, start)
    assert numbers[0] == 1 <= numbers[1] < numbers[2]


# ---- plans ----


@pytest.mark.parametrize(
    ("plan", "is_none", "keeps_best"),
    [
        (AdaptPlan(), True, False),
        (AdaptPlan(keep="best"), True, True),
        (AdaptPlan(steps=2), False, False),
        (AdaptPlan(steps=2, keep="best"), False, True),
        (AdaptPlan(seconds=0.5), False, True),  # time takes the best in any case
        (AdaptPlan(steps=tf.constant(0)), False, False),  # only the graph knows
    ],
)
def test_what_a_plan_asks_for(plan, is_none, keeps_best):
    """Whether anything adapts, and which weights predict."""
    assert (plan.is_none, plan.keeps_best) == (is_none, keeps_best)


def test_plans_of_one_kind_differ_only_in_their_numbers():
    """N against none, steps against seconds, last against best."""
    plans = [
        AdaptPlan(),
        AdaptPlan(steps=2),
        AdaptPlan(steps=2, keep="best"),
        AdaptPlan(seconds=2.0),
        AdaptPlan(seconds=2.0, keep="best"),
    ]
    assert len({plan.kind for plan in plans}) == 5
    assert AdaptPlan(steps=3).kind == plans[1].kind
    assert AdaptPlan(seconds=0.1, keep="best").kind == plans[4].kind


def test_the_numbers_of_a_plan_reach_a_graph_that_was_traced_before():
    """Of steps and of seconds; a plan of none stays one."""
    held, traces = PlanValues(), []

    @tf.function
    def numbers():
        traces.append(1)
        steps = held.of(AdaptPlan(steps=1, keep="best"))
        assert steps.seconds is None and steps.keep == "best"
        return steps.steps, held.of(AdaptPlan(seconds=1.0)).seconds

    for steps, seconds in ((2, 0.25), (7, 1e-9)):
        held.assign(AdaptPlan(steps=steps))
        assert int(numbers()[0]) == steps
        held.assign(AdaptPlan(seconds=seconds))
        assert float(numbers()[1]) == seconds
    assert len(traces) == 1
    assert held.of(AdaptPlan()).is_none


def test_the_first_pair_of_an_element_has_the_masks_that_were_given():
    """Fields that are missing are None."""
    task = make_task(0)
    found = first_task(stack_tasks(task))
    np.testing.assert_array_equal(found.fixed_image, task.fixed_image)
    assert found.moving_mask is None and found.fixed_mask is None
    mask = tf.ones(FIXED_SHAPE)
    found = first_task(stack_tasks(task._replace(fixed_mask=mask)))
    np.testing.assert_array_equal(found.fixed_mask, mask)
    assert found.moving_mask is None


# ---- masks ----


def masks() -> dict[str, tf.Tensor]:
    """:return: masks that leave a part of the gland out, on both sides."""
    fixed = np.zeros(FIXED_SHAPE, np.float32)
    moving = np.zeros(MOVING_SHAPE, np.float32)
    fixed[:, 4:], moving[:8] = 1, 1
    return dict(fixed_mask=tf.constant(fixed), moving_mask=tf.constant(moving))


def test_a_mask_of_ones_does_not_change_adaptation(models):
    """On the fixed side: one on the moving side ends where its image does."""
    adaptation, task = adaptation_of(models("moving"), 0.01), make_task(0)
    plan = AdaptPlan(steps=3, keep="best")
    expected = adaptation.run(task, plan)
    found = adaptation.run(task._replace(fixed_mask=tf.ones(FIXED_SHAPE)), plan)
    for name in ("ddf", "history", "losses"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)
    assert differ([expected["ddf"]], [expected["ddf_unadapted"]], atol=1e-2)


@pytest.mark.parametrize("side", ["fixed_mask", "moving_mask"])
def test_masks_steer_adaptation_and_nothing_else(models, side):
    """The plain prediction and the alignment are the same, the adapted field is not."""
    adaptation, task = adaptation_of(models("sweep"), 0.03), make_task(0)
    plan = AdaptPlan(steps=3, keep="best")
    expected = adaptation.run(task, plan)
    found = adaptation.run(task._replace(**{side: masks()[side]}), plan)
    for name in ("ddf_unadapted", "matrix", "offset", "slices"):
        assert_same_bits([found[name]], [expected[name]])
    assert differ([found["ddf"]], [expected["ddf"]], atol=1e-2)
    assert differ([found["losses"]], [expected["losses"]], atol=1e-3)
    assert found["losses"][1] < found["losses"][0]


def test_a_moving_mask_that_nothing_meets_leaves_the_plain_prediction(models):
    """There is no loss to lower: none is a number that could be less."""
    task = make_task(0)._replace(moving_mask=tf.zeros(MOVING_SHAPE))
    found = adaptation_of(models("batch"), 0.03).run(task, BEST)
    np.testing.assert_array_equal(found["losses"], [np.inf, np.inf])
    assert int(found["best_step"]) == 0
    assert_same_bits([found["ddf"]], [found["ddf_unadapted"]])


# ---- what adaptation sees and records ----


@pytest.fixture(params=["moving", "batch"])
def adaptable(request, models):
    """:return: adapts on the whole label, with both kinds of batch normalisation."""
    return models(request.param)


def test_no_step_is_the_plain_prediction_of_the_network(adaptable):
    """With corners aligned the network sees the first voxels of the moving image."""
    task = make_task(0)
    f1, f2, f3 = FIXED_SHAPE
    moving = task.moving_image[None, :f1, :f2, :f3]
    start = values(adaptable.network.weights)
    expected = adaptable.network(moving, task.fixed_image[None], training=False)[0]
    for variable, value in zip(adaptable.network.weights, start, strict=True):
        variable.assign(value)

    outputs = adaptable.adapt(task, 0)

    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(outputs["ddf"], expected, atol=1e-5)
    np.testing.assert_array_equal(outputs["ddf"], outputs["ddf_unadapted"])
    np.testing.assert_array_equal(outputs["matrix"], np.eye(3))
    np.testing.assert_array_equal(outputs["offset"], np.zeros(3))


def test_adaptation_does_not_touch_the_optimiser_of_training(adaptable):
    """Carried moments must survive the validation of an epoch."""
    start = values(adaptable.optimizer.variables)
    adaptable.adapt(make_task(0), 3)
    assert_same_bits(adaptable.optimizer.variables, start)


def test_adaptation_solves_a_toy_pair(adaptable):
    """Fifty updates: Dice of the warped gland, here by SciPy, rises by far."""
    task = make_task(4)
    outputs = adaptable.adapt(task, 50)
    history = outputs["history"].numpy()
    assert history[-1, 2] < history[0, 2] - 0.05
    scores = {}
    for name in ("ddf_unadapted", "ddf"):
        grid = np.stack(np.meshgrid(*map(np.arange, FIXED_SHAPE), indexing="ij"))
        where = grid + np.moveaxis(outputs[name].numpy(), -1, 0)
        warped = ndimage.map_coordinates(task.moving_labels[0].numpy(), where, order=1)
        warped, fixed = warped >= 0.5, task.fixed_labels[0].numpy() >= 0.5
        scores[name] = 2 * (warped & fixed).sum() / (warped.sum() + fixed.sum())
    # moving averages lag behind: the prediction gains less than the last update had
    assert scores["ddf"] > scores["ddf_unadapted"] + 0.1
    assert history[-1, 4] > 0.8


def test_the_history_holds_losses_dice_and_landmark_error_of_every_step():
    """A network of zeros predicts no displacement: the first row is known by hand."""
    model = make_model(align="corner", optimizer=ADAM)
    for variable in model.network.weights:
        variable.assign(tf.zeros_like(variable))
    spacing = [1.0, 2.0, 0.5]  # anisotropic: each axis has its own millimetres
    task = make_task(0)._replace(moving_spacing=tf.constant(spacing))
    assert model.history_names == [
        "label", "regularization", "total", "num_frames", "dsc", "tre_mm"
    ]  # fmt: skip
    history = model.adapt(task, 4)["history"].numpy()

    assert history.shape == (4, 6)
    np.testing.assert_allclose(
        history[:, 2], history[:, 0] + 0.1 * history[:, 1], atol=1e-6
    )
    np.testing.assert_array_equal(history[:, 3], 0)  # no frames: everything is shown
    moving, fixed = task.moving_labels.numpy() >= 0.5, task.fixed_labels.numpy() >= 0.5
    cropped = moving[0][tuple(slice(n) for n in FIXED_SHAPE)]
    dsc = 2 * (cropped & fixed[0]).sum() / (cropped.sum() + fixed[0].sum())
    assert 0 < dsc < 1
    np.testing.assert_allclose(history[0, 4], dsc, rtol=1e-5)
    errors = [
        np.subtract(ndimage.center_of_mass(m), ndimage.center_of_mass(f)) * spacing
        for m, f in zip(moving[1:], fixed[1:], strict=True)
    ]
    tre = np.sqrt(np.mean(np.sum(np.square(errors), axis=1)))
    assert tre > 0.5
    np.testing.assert_allclose(history[0, 5], tre, rtol=1e-5)


def test_padded_landmarks_do_not_count():
    """A channel of zeros after the landmarks leaves the error as it is."""
    model = make_model(align="corner", optimizer=ADAM)
    task = make_task(0)
    pad = [(0, 1), (0, 0), (0, 0), (0, 0)]
    padded = task._replace(
        moving_labels=tf.pad(task.moving_labels, pad),
        fixed_labels=tf.pad(task.fixed_labels, pad),
    )
    rows = [model.adapt(t, 1)["history"].numpy()[0, 5] for t in (task, padded)]
    assert rows[0] > 0.1
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-6)


def test_landmarks_do_not_influence_the_adapted_field(adaptable):
    """They are for scoring: other landmarks give other errors and the same field."""
    task = make_task(0)
    other = task._replace(
        moving_labels=tf.concat(
            [task.moving_labels[:1], tf.reverse(task.moving_labels[1:], [1])], 0
        ),
        fixed_labels=tf.concat(
            [task.fixed_labels[:1], tf.reverse(task.fixed_labels[1:], [2])], 0
        ),
    )
    found = [adaptable.adapt(t, 3) for t in (task, other)]
    for name in ("ddf", "ddf_unadapted", "matrix", "offset"):
        assert_same_bits([found[0][name]], [found[1][name]])
    assert differ([found[0]["history"][:, 5]], [found[1]["history"][:, 5]])
    gland = task._replace(moving_labels=tf.reverse(task.moving_labels, [1]))
    assert differ([adaptable.adapt(gland, 3)["ddf"]], [found[0]["ddf"]])


@pytest.fixture(scope="module", params=["centroid", "sections"])
def sweeping(request):
    """:return: adapts on a sweep of 2 to 4 of 10 slices."""
    frames = {"name": "sparse_frames", "frames": [2, 4], "axis": 1}
    return make_model(align=request.param, augmentation=[frames], optimizer=ADAM)


def test_a_sweep_shows_more_frames_at_each_update(sweeping):
    """2 + floor(2 step / 5) of five updates; the prediction sees all four."""
    outputs = sweeping.adapt(make_task(0), 5)
    np.testing.assert_array_equal(outputs["history"][:, 3], [2, 2, 2, 3, 3])
    assert outputs["slices"].shape == (10,)
    assert outputs["slices"].numpy().sum() == 4


def test_what_the_sweep_does_not_show_has_no_influence(sweeping):
    """Neither image nor label between the frames, as long as the gland's extent is."""
    task = make_task(0)
    found = sweeping.adapt(task, 3)
    hidden = found["slices"].numpy() == 0
    gland = task.fixed_labels[0].numpy()
    extent = np.flatnonzero((gland >= 0.5).any(axis=(0, 2)))
    inside = np.arange(10)[hidden & (np.arange(10) > extent[0])]
    inside = inside[inside < extent[-1]]
    assert len(inside) >= 2
    image, labels = task.fixed_image.numpy(), task.fixed_labels.numpy()
    image[:, hidden], labels[0][:, inside] = 0.9, 1.0
    labels[1:] = 0.0  # landmarks are always hidden
    other = sweeping.adapt(
        task._replace(fixed_image=tf.constant(image), fixed_labels=tf.constant(labels)),
        3,
    )
    for name in ("ddf", "ddf_unadapted", "matrix", "offset", "slices"):
        assert_same_bits([found[name]], [other[name]])
    seen = np.flatnonzero(~hidden)[1]
    for change in ("image", "label"):
        image, labels = task.fixed_image.numpy(), task.fixed_labels.numpy()
        if change == "image":
            image[2:9, seen] = 0.9
        else:
            labels[0][2:9, seen] = 1.0
        other = sweeping.adapt(
            task._replace(
                fixed_image=tf.constant(image), fixed_labels=tf.constant(labels)
            ),
            3,
        )
        assert differ([found["ddf"]], [other["ddf"]], atol=1e-3), change


def test_several_labels_adapt_in_turn():
    """Channels 0 and 1 at even and odd updates: the first is as with 0 alone."""
    task, found = make_task(0), {}
    for labels in ([0], [0, 1]):
        model = make_model(align="corner", optimizer=ADAM, adapt={"labels": labels})
        found[len(labels)] = model.adapt(task, 2)["history"].numpy()
    np.testing.assert_allclose(found[2][0], found[1][0], atol=1e-5)
    # scores are those of the first label, whichever adapts: the fields are the same
    np.testing.assert_allclose(found[2][:, 3:], found[1][:, 3:], atol=1e-4)
    assert abs(found[2][1, 0] - found[1][1, 0]) > 1e-2


def test_an_optimiser_of_its_own_adapts():
    """A rate of 1e-9 moves nothing; that of training does."""
    slow = {"optimizer": {"name": "SGD", "learning_rate": 1e-9}}
    task, moved = make_task(0), []
    for adapt in (None, slow):
        model = make_model(align="corner", optimizer=ADAM, adapt=adapt)
        found = model.adapt(task, 2)
        moved.append(np.abs(found["ddf"] - found["ddf_unadapted"]).max())
    assert moved[0] > 1e-2 > 1e-5 > moved[1]


def test_unlabelled_pairs_adapt_on_their_images():
    """No label channel adapts (`adapt.labels: []`); scores are NaN."""
    model = make_model(
        labeled=False,
        align="center",
        label={},
        image={"name": "ssd", "weight": 1.0},
        adapt={"labels": []},
    )
    task = make_task(0, labeled=False)
    found = model.adapt(task, 4)
    history = found["history"].numpy()
    assert model.history_names[:3] == ["image", "regularization", "total"]
    assert history[-1, 2] < history[0, 2]
    assert np.isnan(history[:, 4:]).all()
    logs = model.test_step(stack_tasks(task))
    assert np.isfinite(logs["loss_adapted"]) and np.isnan(logs["dsc_adapted"])
