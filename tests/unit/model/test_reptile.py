"""Tests of deepreg_meta/model/reptile.py."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from deepreg_meta.model.build import build_optimizer
from deepreg_meta.model.episode import Task
from deepreg_meta.model.reptile import ReptileModel
from tests.helpers import (
    FIXED_SHAPE,
    assert_close,
    assert_same_bits,
    differ,
    make_model,
    make_task,
    randomize,
    stack_tasks,
    values,
)

ADAM = {"name": "Adam", "learning_rate": 0.01}
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
    assert_close(model.network.weights, expected)
    assert differ(carried, expected)


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


def test_the_order_of_the_tasks_matters_only_to_rounding(model, tasks):
    """With the optimiser reset; nothing random is drawn here."""
    found = []
    for pair in (tasks, tasks[::-1]):
        fresh(model, inner_steps=2, tasks_per_step=2, meta_step_size=1.0)
        model.train_step(stack_tasks(*pair))
        found.append(values(model.network.weights))
    assert_close(*found)
    fresh(model, tasks_per_step=1)
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


# ---- adaptation ----


@pytest.fixture(scope="module", params=["moving", "batch"])
def adaptable(request):
    """:return: adapts on the whole label, with both kinds of batch normalisation."""
    return make_model(normalization=request.param, align="corner", optimizer=ADAM)


@pytest.mark.parametrize("num_steps", [0, 5])
def test_adaptation_gives_the_weights_back_bit_for_bit(adaptable, num_steps):
    """In eager mode and in a graph, where batch normalisation moves its averages."""
    start = values(adaptable.network.weights)
    task = make_task(0)
    outputs = adaptable.adapt(task, num_steps)
    assert_same_bits(adaptable.network.weights, start)
    graph = tf.function(lambda *fields: adaptable.adapt(Task(*fields), num_steps))
    found = graph(*task)
    assert_same_bits(adaptable.network.weights, start)
    np.testing.assert_allclose(found["ddf"], outputs["ddf"], atol=1e-4)
    moved = np.abs(outputs["ddf"] - outputs["ddf_unadapted"]).max()
    assert moved > 0.05 if num_steps else moved == 0


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


def test_the_order_of_the_cases_does_not_matter(adaptable):
    """Neither weights nor the optimiser's state pass from case to case."""
    found = {}
    for order in ((0, 1), (1, 0)):
        for seed in order:
            ddf = adaptable.adapt(make_task(seed), 3)["ddf"].numpy()
            assert_same_bits([found.setdefault(seed, ddf)], [ddf])
    assert differ([found[0]], [found[1]])


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
    assert history[-1, 4] > 0.85


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
