"""Tests of deepreg_meta/model/inner_loop.py."""

import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.model.build import build_optimizer
from deepreg_meta.model.field_network import FieldNetwork
from deepreg_meta.model.inner_loop import InnerLoop
from deepreg_meta.model.partial import PARTS, select_part
from deepreg_meta.model.registration import RegistrationLoss
from tests.helpers import (
    FIXED_SHAPE,
    assert_close,
    assert_same_bits,
    differ,
    eager,
    make_model,
    make_task,
    model_config,
    randomize,
    values,
)

RATE = 0.05
GRAPHS = {
    "test_the_graph_takes_the_same_steps_as_eager_mode",
    "test_a_gradient_that_overflows_is_zeros_and_halves_the_scale",
    "test_the_graph_has_one_loop_that_is_traced_once",
    "test_compiled_steps_are_those_of_plain_ones",
    "test_the_losses_of_steps_are_compiled_once",
    "test_the_graph_finds_the_same_best_as_eager_mode",
    "test_no_gradient_is_computed_for_what_stands_still",
    "test_compiled_steps_count_the_penalty_as_plain_ones",
    "test_the_penalty_of_a_network_is_counted_once",
    "test_as_many_steps_are_taken_as_fit_into_the_time",
    "test_one_step_is_taken_in_the_shortest_time_and_no_more_than_are_wanted",
}


@pytest.fixture(scope="module")
def model():
    """:return: supplies a network, a loss and a drawer without randomness."""
    return make_model(align="center")


@pytest.fixture(scope="module")
def batch(model):
    """:return: the mini-batch of every step."""
    task = make_task(num_labels=1)
    return model.drawer.training(task, model.drawer.constants(task), [0, 0])


@pytest.fixture(scope="module")
def weights(model):
    """:return: the weights that every test starts from."""
    return values(model.network.weights)


@pytest.fixture
def new_loop(model, weights):
    """:return: makes a loop with a new optimiser, at the start."""

    def make(
        name: str = "SGD",
        precision: str = "float32",
        **options: object,
    ) -> InnerLoop:
        for variable, value in zip(model.network.weights, weights, strict=True):
            variable.assign(value)
        config = dict(name=name, learning_rate=RATE, **options)
        optimizer = build_optimizer(config, precision)
        return InnerLoop(model.network, model.loss_fn, optimizer)

    return make


def test_one_step_is_the_gradient_times_the_rate(new_loop, model, batch):
    """Plain SGD: w - rate * dL/dw, the loss written out by hand."""
    loop = new_loop()
    start = values(model.network.trainable_variables)
    with tf.GradientTape() as tape:
        ddf = model.network(batch.moving_input, batch.fixed_input, training=True)
        parts = model.loss_fn.parts(ddf, batch)
        loss = parts["label"] + 0.1 * parts["regularization"]
    gradients = tape.gradient(loss, model.network.trainable_variables)
    assert max(float(tf.reduce_max(tf.abs(g))) for g in gradients) > 1e-3

    found, field = loop.step(batch)

    np.testing.assert_allclose(found["total"], loss, rtol=1e-6)
    np.testing.assert_allclose(field, ddf, atol=1e-6)
    expected = [s - RATE * g.numpy() for s, g in zip(start, gradients, strict=True)]
    assert_close(model.network.trainable_variables, expected)


def test_several_steps_are_one_after_the_other(new_loop, model, batch):
    """Weights and the rows of the history: the losses before each step."""
    loop = new_loop("Adam")
    rows = []
    for _ in range(3):
        parts, _ = loop.step(batch)
        rows.append([parts[name] for name in ("label", "regularization", "total")])
    expected = values(model.network.weights)

    loop = new_loop("Adam")
    mean, history = loop.run(lambda step: batch, 3)

    assert mean is None
    assert_close(model.network.weights, expected)
    np.testing.assert_allclose(history, rows, atol=1e-6)
    assert history[2, 2] < history[0, 2]


def test_a_scaled_loss_leads_the_same_way(new_loop, model, batch):
    """Powers of two cancel, whatever the optimiser."""
    new_loop("Adam").run(lambda step: batch, 3)
    expected = values(model.network.weights)
    loop = new_loop("Adam", precision="mixed_float16")
    assert float(loop.optimizer.loss_scale) == 2.0**15
    loop.run(lambda step: batch, 3)
    assert_close(model.network.weights, expected)


def test_a_step_that_overflows_is_left_out_and_halves_the_scale(new_loop, model, batch):
    loop = new_loop(precision="mixed_float16")
    start = values(model.network.trainable_variables)
    overflown = batch._replace(fixed_input=batch.fixed_input * float("nan"))
    loop.run(lambda step: overflown, 1)
    assert not differ(model.network.trainable_variables, start)
    assert float(loop.optimizer.loss_scale) == 2.0**14
    loop.reset_optimizer()  # another pair has the same network: the scale stays
    assert float(loop.optimizer.loss_scale) == 2.0**14


def test_a_gradient_that_overflows_is_zeros_and_halves_the_scale(
    new_loop, model, batch
):
    """That of first-order MAML, in a graph too; the weights stay in either case."""
    loop = new_loop("Adam", precision="mixed_float16")
    start = values(model.network.weights)
    expected = [g.numpy() for g in new_loop().gradients(batch)]
    for function in (loop.gradients, tf.function(loop.gradients, autograph=False)):
        scale = float(loop.optimizer.loss_scale)
        for found, wanted in zip(function(batch), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
        assert float(loop.optimizer.loss_scale) == scale
        overflown = batch._replace(fixed_input=batch.fixed_input * float("inf"))
        for found in function(overflown):
            np.testing.assert_array_equal(found, np.zeros(found.shape))
        assert float(loop.optimizer.loss_scale) == scale / 2
    assert not differ(model.network.weights, start)


def test_the_average_is_the_mean_of_the_iterates_without_the_start(
    new_loop, model, batch, weights
):
    """Equation 10 of Baum et al. 2022 sums theta_1 ... theta_k."""
    loop = new_loop("Adam")
    iterates = []
    for _ in range(3):
        loop.step(batch)
        iterates.append(values(model.network.weights))
    expected = [np.mean(each, axis=0) for each in zip(*iterates, strict=True)]

    mean, _ = new_loop("Adam").run(lambda step: batch, 3, average=True)

    assert_close(mean, expected)
    assert differ(mean, weights) and differ(mean, iterates[-1])
    assert_close(model.network.weights, iterates[-1])  # left at the last iterate


def test_the_graph_takes_the_same_steps_as_eager_mode(new_loop, model, batch):
    """One trace serves any number of steps."""
    expected, eager_history = {}, {}
    for steps in (1, 3):
        _, eager_history[steps] = new_loop().run(lambda step: batch, steps)
        expected[steps] = values(model.network.weights)
    loop = new_loop()
    run = tf.function(lambda steps: loop.run(lambda step: batch, steps)[1])
    start = values(model.network.weights)
    for steps in (3, 1):
        for variable, value in zip(model.network.weights, start, strict=True):
            variable.assign(value)
        history = run(tf.constant(steps))
        np.testing.assert_allclose(history, eager_history[steps], atol=1e-6)
        assert_close(model.network.weights, expected[steps])


def test_zero_steps_change_no_bit_and_give_no_rows(new_loop, model, batch, weights):
    """The width of the history is that of the losses, the total and the record."""
    loop = new_loop()
    _, history = loop.run(lambda step: batch, 0)
    assert history.shape[0] == 0
    assert_same_bits(model.network.weights, weights)


def test_draw_and_record_get_the_index_and_the_field_before_the_step(
    new_loop, model, batch
):
    """Recorded columns come after the total."""
    loop = new_loop()
    field = model.network(batch.moving_input, batch.fixed_input, training=True)
    loop = new_loop()
    drawn = []

    def draw(step):
        drawn.append(int(step))
        return batch

    def record(step, seen, ddf):
        place, shown = tf.cast(step, tf.float32), tf.reduce_mean(seen.fixed_input)
        return tf.stack([place, tf.reduce_mean(ddf), shown])

    _, history = loop.run(draw, 3, record)

    assert drawn == [0, 1, 2]
    assert history.shape == (3, 6)
    np.testing.assert_array_equal(history[:, 3], [0, 1, 2])
    np.testing.assert_allclose(history[:, 5], np.mean(batch.fixed_input), atol=1e-6)
    np.testing.assert_allclose(history[0, 4], np.mean(field), atol=1e-6)
    assert history[1, 4] != history[0, 4]


@pytest.mark.parametrize(
    ("name", "options"),
    [("Adam", {}), ("SGD", {"momentum": 0.9}), ("RMSprop", {}), ("Nadam", {})],
)
def test_a_reset_optimiser_is_a_new_one(new_loop, model, batch, name, options):
    """Moments, step count and the running product of Nadam, not the rate."""
    loop = new_loop(name, **options)
    new = values(loop.optimizer.variables)
    loop.run(lambda step: batch, 2)
    once = values(model.network.weights)
    assert differ(loop.optimizer.variables, new, atol=0)

    loop.reset_optimizer()

    assert_same_bits(loop.optimizer.variables, new)
    assert float(loop.optimizer.learning_rate) == pytest.approx(RATE)
    again = new_loop(name, **options)
    again.run(lambda step: batch, 2)
    assert_same_bits(model.network.weights, once)


def test_the_state_is_carried_from_run_to_run_without_a_reset(new_loop, model, batch):
    """2 + 1 steps are 3 steps; with a reset in between Adam goes elsewhere."""
    new_loop("Adam").run(lambda step: batch, 3)
    expected = values(model.network.weights)

    loop = new_loop("Adam")
    loop.run(lambda step: batch, 2)
    loop.run(lambda step: batch, 1)
    assert int(loop.optimizer.iterations) == 3
    assert_close(model.network.weights, expected)

    loop = new_loop("Adam")
    loop.run(lambda step: batch, 2)
    loop.reset_optimizer()
    loop.run(lambda step: batch, 1)
    assert int(loop.optimizer.iterations) == 1
    assert differ(model.network.weights, expected)


def test_the_graph_has_one_loop_that_is_traced_once(
    new_loop, model, batch, monkeypatch
):
    """No Python between the steps: mini-batch, network and record are traced once."""
    traced, own = Counter(), model.network.call

    def call(*args, **kwargs):
        traced["network"] += 1
        return own(*args, **kwargs)

    def draw(step):
        traced["draw"] += 1
        return batch

    def record(step, seen, ddf):
        traced["record"] += 1
        return tf.reduce_mean(ddf)[None]

    monkeypatch.setattr(model.network, "call", call)
    loop = new_loop("Adam")
    run = tf.function(lambda steps: loop.run(draw, steps, record, average=True))
    for steps in (1, 4, 2):
        assert run(tf.constant(steps))[1].shape == (steps, 4)
    assert run.experimental_get_tracing_count() == 1
    assert traced == {"network": 1, "draw": 1, "record": 1}
    graph = run.get_concrete_function(tf.constant(1)).graph
    assert Counter(op.type for op in graph.get_operations())["While"] == 1


@pytest.fixture(scope="module")
def compiled_loss():
    """:return: the loss of the models as users have it, compiled."""
    return make_model(align="center", with_xla=True).loss_fn


def test_compiled_steps_are_those_of_plain_ones(new_loop, model, batch, compiled_loss):
    """Weights, losses and what is recorded."""

    def record(step, seen, ddf):
        place = tf.cast(step, tf.float32)
        return tf.stack([place, tf.reduce_mean(seen.fixed_input * ddf[..., 0])])

    _, expected = new_loop("Adam").run(lambda step: batch, 3, record)
    weights = values(model.network.weights)
    loop = InnerLoop(model.network, compiled_loss, new_loop("Adam").optimizer)
    run = tf.function(lambda steps: loop.run(lambda step: batch, steps, record)[1])

    found = run(tf.constant(3))

    np.testing.assert_array_equal(found[:, 3], [0, 1, 2])
    assert np.abs(expected[:, 4]).min() > 1e-4
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert_close(model.network.weights, weights, atol=1e-5)


def test_the_losses_of_steps_are_compiled_once(
    new_loop, model, batch, compiled_loss, monkeypatch
):
    """With their gradient, in one piece, whoever takes the steps."""
    traced, own = [], compiled_loss.compute

    def compute(ddf, seen):
        traced.append(1)
        return own(ddf, seen)

    monkeypatch.setattr(compiled_loss, "compute", compute)
    loop = InnerLoop(model.network, compiled_loss, new_loop().optimizer)
    loop.step(batch)
    loop.run(lambda step: batch, 2)
    tf.function(lambda: loop.run(lambda step: batch, 2)[1])()
    assert len(traced) == 1


def test_an_optimiser_that_starts_from_an_array_is_refused(model):
    """It could not be reset by one value per variable."""

    class FromWeights(tf.keras.optimizers.Optimizer):
        def __init__(self):
            super().__init__(name="from_weights", jit_compile=False)
            self._learning_rate = self._build_learning_rate(0.1)

        def build(self, var_list):
            super().build(var_list)
            for variable in var_list:
                self.add_variable_from_reference(
                    variable, "slow", initial_value=variable.numpy()
                )

    with pytest.raises(
        ValueError, match="train.optimizer: expected an optimiser whose"
    ):
        InnerLoop(model.network, model.loss_fn, FromWeights())


# ---- the best of the steps ----


def scripted(losses: list[float]) -> Callable[[], tf.Tensor]:
    """:return: a judge that says one loss after the other, whatever the weights are."""
    rest = iter(losses)
    return lambda: tf.constant(next(rest))


NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def states(model, batch, weights):
    """:return: the weights before and after each of three updates by Adam."""
    for variable, value in zip(model.network.weights, weights, strict=True):
        variable.assign(value)
    optimizer = build_optimizer(dict(name="Adam", learning_rate=RATE))
    loop, found = InnerLoop(model.network, model.loss_fn, optimizer), [weights]
    with eager():
        for _ in range(3):
            loop.step(batch)
            found.append(values(model.network.weights))
    assert all(differ(found[i], found[i + 1]) for i in range(3))
    return found


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([3.0, 1.0, 2.0, 4.0], 1),
        ([3.0, 4.0, 2.0, 1.0], 3),  # after the last update
        ([1.0, 2.0, 3.0, 4.0], 0),  # before the first one
        ([3.0, 1.0, 1.0, 1.0], 1),  # the earlier one of equals
        ([3.0, NAN, 2.0, NAN], 2),
        ([NAN, 5.0, NAN, 7.0], 1),
        ([NAN, NAN, INF, NAN], 0),  # none is better than the start
    ],
)
def test_the_weights_of_the_least_loss_are_left(
    new_loop, model, batch, states, losses, expected
):
    """Three updates have four states; the judge sees each of them, the first too."""
    _, step = new_loop("Adam").run_for_best(lambda step: batch, scripted(losses), 3)

    assert int(step) == expected
    assert_close(model.network.weights, states[expected])


def test_steps_that_judge_themselves_look_ahead_only_at_the_end(
    new_loop, model, batch, states
):
    """The losses before the steps count, and the judge's for what the last one left."""
    loop = new_loop("Adam")
    _, history = loop.run(lambda step: batch, 3)
    best = int(np.argmin(history[:, 2]))
    assert best == 2
    for last, expected in ((float(history[2, 2]) - 0.1, 3), (0.0, 2)):
        loop = new_loop("Adam")
        rows, step = loop.run_for_best(
            lambda step: batch, scripted([last]), 3, is_own_judge=True
        )
        assert int(step) == expected
        np.testing.assert_allclose(rows, history, atol=1e-6)
        assert_close(model.network.weights, states[expected])


def test_the_search_takes_the_steps_of_a_plain_run(new_loop, batch):
    """Rows and record are the same; the judge does not disturb the steps."""

    def record(step, seen, ddf):
        return tf.stack([tf.cast(step, tf.float32), tf.reduce_mean(ddf)])

    _, expected = new_loop("Adam").run(lambda step: batch, 3, record)
    rows, _ = new_loop("Adam").run_for_best(
        lambda step: batch, scripted([4.0, 3.0, 2.0, 1.0]), 3, record=record
    )
    assert rows.shape == (3, 5)
    np.testing.assert_allclose(rows, expected, atol=1e-6)


def test_the_graph_finds_the_same_best_as_eager_mode(new_loop, model, batch, weights):
    """A rate at which losses rise and fall; one trace serves any number of steps."""

    def judge():
        ddf = model.network(batch.moving_input, batch.fixed_input, training=False)
        return model.loss_fn.parts(ddf, batch)["total"]

    def new():
        loop = new_loop("Adam")
        loop.optimizer.learning_rate.assign(1.0)
        return loop

    expected = {}
    for steps in (2, 5):
        _, step = new().run_for_best(lambda step: batch, judge, steps)
        expected[steps] = int(step), values(model.network.weights)
    assert 0 < expected[5][0] < 5
    loop = new()
    run = tf.function(lambda n: loop.run_for_best(lambda step: batch, judge, n))
    for steps in (5, 2):
        for variable, value in zip(model.network.weights, weights, strict=True):
            variable.assign(value)
        loop.reset_optimizer()
        loop.optimizer.learning_rate.assign(1.0)
        rows, step = run(tf.constant(steps))
        assert len(rows) == steps and int(step) == expected[steps][0]
        assert_close(model.network.weights, expected[steps][1], atol=1e-4)


def test_the_loss_of_the_start_is_taken_from_who_knows_it(
    new_loop, model, batch, states
):
    """The judge then looks at what each update led to, and at nothing else."""
    for start, expected in ((0.5, 0), (2.5, 2), (NAN, 2)):
        loop, asked = new_loop("Adam"), [4.0, 2.0, 3.0]
        judge = scripted(asked)
        _, step = loop.run_for_best(
            lambda step: batch, judge, 3, start_loss=tf.constant(start)
        )
        assert int(step) == expected
        with pytest.raises(StopIteration):
            judge()
        assert_close(model.network.weights, states[expected])


# ---- a part of the network ----


@pytest.fixture(scope="module")
def networks():
    """:return: gives a network whose normalisation is of a kind, and its loss."""
    built = {}

    def network(kind: str):
        if kind not in built:
            built[kind] = make_model(align="center", normalization=kind, levels=(0, 1))
        return built[kind].network, built[kind].loss_fn

    return network


def take_steps(network, loss, part: str, batch, number: int = 1, name: str = "SGD"):
    """:return: the weights after some steps, by name; the network has its old ones."""
    start = values(network.weights)
    optimizer = build_optimizer(dict(name=name, learning_rate=RATE))
    loop = InnerLoop(network, loss, optimizer, select_part(network, part))
    history = loop.run(lambda step: batch, number)[1]
    assert np.isfinite(history).all()
    after = values(network.weights)
    for variable, value in zip(network.weights, start, strict=True):
        variable.assign(value)
    names = [variable.name for variable in network.weights]
    return dict(zip(names, after, strict=True)), len(optimizer.variables)


@pytest.mark.parametrize("part", ["decoder", "heads"])
@pytest.mark.parametrize("kind", ["group", "moving"])
def test_steps_move_the_part_and_nothing_else(networks, batch, kind, part):
    """The rest to the bit, moving averages included; the optimiser knows no more."""
    network, loss = networks(kind)
    start = {v.name: v.numpy() for v in network.weights}
    chosen = select_part(network, part)
    moving = {variable.name for variable in chosen.weights}
    assert moving < start.keys()
    after, num_state = take_steps(network, loss, part, batch, 3, "Adam")
    for name, value in start.items():
        is_same = value.tobytes() == after[name].tobytes()
        assert is_same == (name not in moving), name
    assert num_state == 2 * len(chosen.variables) + 1  # moments and the step count


@pytest.mark.parametrize("part", ["decoder", "heads"])
@pytest.mark.parametrize("kind", ["batch", "group"])
def test_a_step_of_a_part_is_that_of_the_whole_for_its_variables(
    networks, batch, kind, part
):
    """Plain gradient descent: what is held still changes no other gradient."""
    network, loss = networks(kind)
    whole, _ = take_steps(network, loss, "all", batch)
    after, _ = take_steps(network, loss, part, batch)
    chosen = select_part(network, part).variables
    start = {v.name: v.numpy() for v in chosen}
    assert max(np.abs(after[n] - v).max() for n, v in start.items()) > 1e-4
    for name in start:
        np.testing.assert_allclose(after[name], whole[name], atol=1e-7)


def test_heads_are_fitted_to_the_features_of_the_prediction(networks, batch):
    """With moving averages: the gradient by hand, of the network as it predicts."""
    network, loss = networks("moving")
    heads = select_part(network, "heads").variables
    with tf.GradientTape() as tape:
        ddf = network(batch.moving_input, batch.fixed_input, training=False)
        total = loss.parts(ddf, batch)["total"]
    gradients = tape.gradient(total, heads)
    after, _ = take_steps(network, loss, "heads", batch)
    whole, _ = take_steps(network, loss, "all", batch)
    for variable, gradient in zip(heads, gradients, strict=True):
        expected = variable - RATE * gradient
        np.testing.assert_allclose(after[variable.name], expected, atol=1e-7)
    kernel = heads[0].name
    assert np.abs(after[kernel] - whole[kernel]).max() > 1e-4


def convolutions(graph: tf.Graph) -> Counter:
    """:return: how many convolutions a function runs, by kind; what it drops is not."""
    waiting = [tensor.op for tensor in graph.outputs] + list(graph.control_outputs)
    run = {}
    while waiting:
        op = waiting.pop()
        if op.name not in run:
            run[op.name] = op.type
            waiting += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
    return Counter(kind for kind in run.values() if kind.startswith("Conv3D"))


def test_no_gradient_is_computed_for_what_stands_still(networks, batch):
    """
    LocalNet of two levels: three convolutions in the down-sampling block and one at the
    bottom; a transposed one and two more in the up-sampling block; one for each head.

    A convolution has a gradient to its kernel and one to its inputs, which need none
    where nothing before it is trained. TensorFlow's transposed convolution is the
    gradient to the inputs of a plain one, whose forward pass is its own such gradient.
    """
    network, loss = networks("group")
    forward, to_inputs, to_kernel = (
        "Conv3D", "Conv3DBackpropInputV2", "Conv3DBackpropFilterV2"
    )  # fmt: skip
    found = {}
    for part in PARTS:
        optimizer = build_optimizer(dict(name="SGD", learning_rate=RATE))
        loop = InnerLoop(network, loss, optimizer, select_part(network, part))
        step = tf.function(lambda loop=loop: loop.step(batch))
        graph = step.get_concrete_function().graph
        found[part] = convolutions(graph)
        # in eager mode, too, the gradient stops where nothing before it is trained
        every = Counter(op.type for op in graph.get_operations())
        assert every[to_kernel] == found[part][to_kernel]
    # all: nine kernels; inputs of all but the first, the transposed one's as a forward
    assert found["all"] == {forward: 8 + 1, to_kernel: 9, to_inputs: 1 + 7}
    # the decoder's five; inputs of its two plain ones and of the head after them
    assert found["decoder"] == {forward: 8, to_kernel: 5, to_inputs: 1 + 3}
    # the two heads', and the inputs of nothing
    assert found["heads"] == {forward: 8, to_kernel: 2, to_inputs: 1}


@pytest.mark.parametrize("kind", ["moving", "group"])
def test_the_best_weights_of_a_part_are_left_with_the_rest_untouched(
    networks, batch, kind
):
    """As the state after so many steps of a plain run."""
    network, loss = networks(kind)
    start = values(network.weights)
    expected, _ = take_steps(network, loss, "decoder", batch, 2, "Adam")
    optimizer = build_optimizer(dict(name="Adam", learning_rate=RATE))
    part = select_part(network, "decoder")
    loop = InnerLoop(network, loss, optimizer, part)
    _, step = loop.run_for_best(lambda step: batch, scripted([4.0, 3.0, 1.0, 2.0]), 3)
    assert int(step) == 2
    assert_close(network.weights, list(expected.values()))
    for variable, value in zip(network.weights, start, strict=True):
        variable.assign(value)


# ---- a network with a penalty of its own ----

REGULARIZED = dict(
    name="meta_regularized",
    backbone=model_config()["backbone"],
    parameterization="penalty",
    kernel_size=3,
    rho1=0.5,
    rho2=0.3,
)


@pytest.fixture(scope="module")
def regularized():
    """:return: a network whose field is convolved with a free, penalised kernel."""
    tf.keras.utils.set_random_seed(3)
    network = FieldNetwork("ddf", REGULARIZED, FIXED_SHAPE)
    randomize(network)
    return network


@pytest.fixture
def new_regularized_loop(model, regularized):
    """:return: makes a loop of that network; it has its first weights at the end."""
    start = values(regularized.weights)

    def make(loss=None, part="all", precision="float32", **optimizer) -> InnerLoop:
        for variable, value in zip(regularized.weights, start, strict=True):
            variable.assign(value)
        config = {"name": "SGD", "learning_rate": RATE, **optimizer}
        return InnerLoop(
            regularized,
            loss or model.loss_fn,
            build_optimizer(config, precision),
            select_part(regularized, part),
        )

    yield make
    for variable, value in zip(regularized.weights, start, strict=True):
        variable.assign(value)


def kernel_of(network: FieldNetwork) -> tf.Variable:
    return network.backbone.radial_conv.kernel_weights


def test_the_penalty_of_a_network_is_counted_once(
    mode, new_regularized_loop, regularized, model, batch
):
    """In the total, as a part of its own, and in the gradient of the kernel alone."""
    loop = new_regularized_loop()
    network, start = regularized, values(regularized.trainable_variables)
    with tf.GradientTape(persistent=True) as tape:
        ddf = network(batch.moving_input, batch.fixed_input, training=True)
        loss = model.loss_fn.parts(ddf, batch)["total"]
        penalty = network.penalty()
        total = loss + penalty
    gradients = tape.gradient(total, network.trainable_variables)
    own = tape.gradient(penalty, kernel_of(network))
    assert abs(float(penalty)) > 0.1 and np.abs(own).max() > 0.1
    assert np.abs(tape.gradient(loss, kernel_of(network))).max() > 1e-4

    found, _ = mode(lambda: loop.step(batch))()

    np.testing.assert_allclose(found["kernel"], penalty, rtol=1e-6)
    np.testing.assert_allclose(found["total"], total, rtol=1e-6)
    expected = [s - RATE * g.numpy() for s, g in zip(start, gradients, strict=True)]
    assert_close(network.trainable_variables, expected)


def test_a_network_without_a_penalty_has_no_such_part(new_loop, model, batch):
    assert model.network.penalty() is None
    found, _ = new_loop().step(batch)
    assert found.keys() == {"label", "regularization", "total"}


def test_compiled_steps_count_the_penalty_as_plain_ones(
    new_regularized_loop, regularized, batch, compiled_loss
):
    new_regularized_loop().run(lambda step: batch, 3)
    expected = values(regularized.weights)
    loop = new_regularized_loop(compiled_loss)
    tf.function(lambda: loop.run(lambda step: batch, 3)[1])()
    assert_close(regularized.weights, expected, atol=1e-5)


def test_a_scaled_loss_scales_the_penalty_too(new_regularized_loop, regularized, batch):
    """Unscaled with the others, it would be next to nothing."""
    new_regularized_loop().run(lambda step: batch, 3)
    expected = values(regularized.weights)
    new_regularized_loop(precision="mixed_float16").run(lambda step: batch, 3)
    assert_close(regularized.weights, expected)


def test_a_part_without_the_kernel_leaves_it_where_it_is(
    new_regularized_loop, regularized, batch
):
    """Its penalty is in the total all the same, and moves nothing."""
    loop = new_regularized_loop(part="heads")
    start = kernel_of(regularized).numpy()
    heads = values(loop.part.variables)
    found, _ = loop.step(batch)
    np.testing.assert_allclose(found["kernel"], regularized.penalty(), rtol=1e-6)
    np.testing.assert_array_equal(kernel_of(regularized), start)
    assert differ(loop.part.variables, heads)


def test_the_history_has_a_column_of_the_penalty_where_the_loss_names_it(
    new_regularized_loop, regularized, batch, monkeypatch
):
    """Without that it is in the total alone, and the other columns are the same."""
    _, plain = new_regularized_loop().run(lambda step: batch, 2)
    assert plain.shape == (2, 3)
    own = RegistrationLoss.names.fget
    names = property(lambda self: [*own(self), "kernel"])
    monkeypatch.setattr(RegistrationLoss, "names", names)
    loop = new_regularized_loop()
    penalty = regularized.penalty()
    _, history = loop.run(lambda step: batch, 2)
    np.testing.assert_allclose(history[0, 2], penalty, rtol=1e-6)
    others = tf.gather(history, [0, 1, 3], axis=1)
    np.testing.assert_allclose(others, plain, atol=1e-6)


def test_the_best_step_is_that_of_the_best_field(
    new_regularized_loop, regularized, model, batch, monkeypatch
):
    """A reward for the trace falls and falls, and says nothing of what is predicted."""
    monkeypatch.setattr(regularized.backbone.radial_conv, "rho2", 50.0)

    def judge():
        ddf = regularized(batch.moving_input, batch.fixed_input, training=True)
        return model.loss_fn.parts(ddf, batch)["total"]

    loop, fields, totals = new_regularized_loop(name="Adam", learning_rate=0.3), [], []
    for _ in range(4):
        fields.append(float(judge()))
        totals.append(fields[-1] + float(regularized.penalty()))
        loop.step(batch)
    fields.append(float(judge()))
    best = int(np.argmin(fields))
    assert best < int(np.argmin(totals)) == 3

    loop = new_regularized_loop(name="Adam", learning_rate=0.3)
    _, step = loop.run_for_best(lambda step: batch, judge, 4, is_own_judge=True)

    assert int(step) == best


# ---- a limit of time ----


@pytest.fixture
def timed(new_loop, batch):
    """:return: runs for a time by steps of about 25 ms; gives rows and time stamps."""
    loop, stamps = new_loop("Adam"), []

    def wait(_):
        time.sleep(0.02)
        stamps.append(time.perf_counter())
        return np.int32(0)

    def draw(step):
        with tf.control_dependencies([tf.numpy_function(wait, [step], tf.int32)]):
            return batch._replace(fixed_input=tf.identity(batch.fixed_input))

    def judge():
        return tf.constant(0.0)

    @tf.function
    def run(seconds, steps):
        return loop.run_for_best(draw, judge, steps, seconds, is_own_judge=True)[0]

    def call(seconds: float, steps: int = 1000) -> tuple[int, np.ndarray]:
        stamps.clear()
        number = len(run(tf.constant(seconds, tf.float64), tf.constant(steps)))
        return number, np.array(stamps)

    call(1e-9)  # traced
    return call


def test_as_many_steps_are_taken_as_fit_into_the_time(timed):
    """At least half as many as fit by their mean, and none that began too late."""
    numbers = []
    for seconds in (0.1, 0.3, 0.9):
        number, stamps = timed(seconds)
        assert number == len(stamps)
        numbers.append(number)
        length = np.mean(np.diff(stamps))
        assert 0.5 * seconds / length - 1 <= number <= seconds / 0.02
        assert stamps[-1] - stamps[0] <= 1.5 * seconds
    assert 1 < numbers[0] < numbers[1] < numbers[2]


def test_one_step_is_taken_in_the_shortest_time_and_no_more_than_are_wanted(
    timed, new_loop, batch
):
    """The limit of steps holds as well."""
    assert timed(1e-9)[0] == 1
    assert timed(60.0, 4)[0] == 4
    rows, step = new_loop().run_for_best(  # in eager mode
        lambda step: batch, scripted([1.0, 0.0]), 1000, 1e-9
    )
    assert len(rows) == 1 and int(step) == 1
