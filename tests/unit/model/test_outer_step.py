"""Tests of deepreg_meta/model/outer_step.py, and of what it makes of an episode."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.model.build import build_optimizer
from deepreg_meta.model.outer_step import take_outer_step, with_gradients
from tests.helpers import (
    assert_same_bits,
    differ,
    make_model,
    make_task,
    stack_tasks,
    values,
)

SGD = {"name": "SGD", "learning_rate": 0.02}
GRAPHS: set[str] = set()  # none of the tests needs one


class Layer(tf.keras.layers.Layer):
    """Two trained weights with one that is not between them."""

    def __init__(self):
        super().__init__()
        for name, is_trained in (("a", True), ("b", False), ("c", True)):
            self.add_weight(name=name, shape=[2], trainable=is_trained)


@pytest.fixture
def layer():
    """:return: a layer; Keras lists its trained weights first."""
    return Layer()


START = [np.float32([1, 2]), np.float32([3, 4]), np.float32([5, 6])]
END = [np.float32([2, 0]), np.float32([7, 8]), np.float32([5, 9])]


def moved(layer, size, optimizer=None, rate=1.0):
    """:return: the weights after a step from START to END."""
    take_outer_step(layer, START, END, tf.constant(size), optimizer, rate)
    return values(layer.weights)


@pytest.mark.parametrize("size", [0.0, 0.25, 1.0])
def test_without_an_optimiser_it_is_part_of_the_way(layer, size):
    expected = [a + size * (b - a) for a, b in zip(START, END, strict=True)]
    np.testing.assert_allclose(moved(layer, size), expected)


@pytest.mark.parametrize("size", [0.0, 0.25, 1.0])
def test_sgd_of_rate_one_is_part_of_the_way_too(layer, size):
    optimizer = tf.keras.optimizers.SGD(1.0)
    np.testing.assert_allclose(moved(layer, size, optimizer), moved(Layer(), size))


def test_adam_follows_the_sign_and_what_is_not_trained_goes_part_of_the_way(layer):
    """Its first step is its rate, 0.1 x 0.5, in the direction of every weight."""
    found = moved(layer, 0.5, tf.keras.optimizers.Adam(0.1), 0.1)
    by_name = dict(zip((v.name for v in layer.weights), found, strict=True))
    order = [v.name for v in layer.weights]
    still = order.index("b:0")
    np.testing.assert_allclose(by_name["b:0"], (START[still] + END[still]) / 2)
    for name in ("a:0", "c:0"):
        a, b = START[order.index(name)], END[order.index(name)]
        expected = a + 0.05 * np.sign(b - a)
        np.testing.assert_allclose(by_name[name], expected, atol=1e-5)


def test_gradients_reach_the_optimiser_to_the_bit(layer):
    """Small ones too, which a difference of weights would round away."""
    gradients = [np.float32([3e-9, -1e-8]), np.float32([2e-12, 0.25])]
    layer.weights[-1].assign([7.0, 7.0])  # not trained: stays where it is
    end = with_gradients(layer, gradients)
    np.testing.assert_array_equal(end[-1], [7.0, 7.0])
    seen = []

    class Seeing(tf.keras.optimizers.SGD):
        def apply_gradients(self, pairs):
            pairs = list(pairs)
            seen.extend(np.asarray(gradient) for gradient, _ in pairs)
            return super().apply_gradients(pairs)

    optimizer = Seeing(1.0)
    take_outer_step(layer, START, end, tf.constant(1.0), optimizer, is_gradient=True)
    for found, expected in zip(seen, gradients, strict=True):
        np.testing.assert_array_equal(found, expected)
    expected = [a - g for a, g in zip(START, gradients, strict=False)]
    np.testing.assert_allclose(values(layer.trainable_variables), expected)


def episode(tasks=1, **meta):
    """:return: the weights before and after one episode, and the model."""
    model = make_model(
        normalization="moving", align="center", optimizer=SGD, tasks_per_step=tasks,
        meta_step_size=0.5, meta_step_size_end=0.5, **meta,
    )  # fmt: skip
    before = values(model.network.weights)
    model.train_step(stack_tasks(*(make_task(1 + n) for n in range(tasks))))
    return before, values(model.network.weights), model


@pytest.mark.parametrize("tasks", [1, 2])
def test_an_episode_with_outer_sgd_of_rate_one_is_reptile(tasks):
    before, plain, _ = episode(tasks)
    _, found, _ = episode(tasks, outer_optimizer={"name": "SGD", "learning_rate": 1.0})
    assert differ(before, plain)
    for a, b in zip(found, plain, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_first_order_maml_takes_the_gradient_where_the_inner_loop_ends():
    """With inner SGD of rate r, the next inner step is r times that gradient."""
    outer = {"name": "SGD", "learning_rate": 1.0}
    before, found, model = episode(update="fomaml", outer_optimizer=outer)
    plain = make_model(normalization="moving", align="center", optimizer=SGD,
                       meta_step_size=1.0, meta_step_size_end=1.0)  # fmt: skip
    ends = {}
    for steps in (2, 3):
        plain.options = plain.options._replace(inner_steps=steps)
        for variable, value in zip(plain.network.weights, before, strict=True):
            variable.assign(value)
        plain._inner.reset_optimizer()
        plain.episode.assign(0)
        plain.train_step(stack_tasks(make_task(1)))
        ends[steps] = values(plain.network.weights)
    count = len(model.network.trainable_variables)
    assert count < len(before)
    for a, b, two, three in zip(before, found, ends[2], ends[3], strict=True):
        is_trained = count > 0
        count -= 1
        if is_trained:
            gradient = (two - three) / SGD["learning_rate"]
            np.testing.assert_allclose(b, a - 0.5 * gradient, atol=1e-5)


def test_its_state_is_saved_and_goes_on(tmp_path):
    outer = {"name": "Adam", "learning_rate": 0.01}
    _, _, model = episode(outer_optimizer=outer)
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "ckpt"))
    again = make_model(normalization="moving", align="center", optimizer=SGD,
                       meta_step_size=0.5, meta_step_size_end=0.5,
                       outer_optimizer=outer)  # fmt: skip
    tf.train.Checkpoint(model=again).restore(path).assert_consumed()
    for one in (model, again):
        one.train_step(stack_tasks(make_task(3)))
    assert_same_bits(values(model.network.weights), again.network.weights)
    assert_same_bits(values(model.outer_optimizer.variables),
                     again.outer_optimizer.variables)  # fmt: skip


def test_a_gradient_without_an_optimiser_is_refused():
    with pytest.raises(ValueError, match=r"train\.meta\.update: expected reptile"):
        make_model(update="fomaml")
    assert build_optimizer({"name": "SGD", "learning_rate": 1.0}).learning_rate == 1.0
