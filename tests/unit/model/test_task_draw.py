"""Tests of deepreg_meta/model/task_draw.py: laws of tasks that are domains."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.model.task import Task
from deepreg_meta.model.task_draw import domain_draws, pair_draws
from tests.helpers import (
    assert_close,
    assert_same_bits,
    differ,
    make_model,
    make_task,
    stack_tasks,
    values,
)

SGD = {"name": "SGD", "learning_rate": 0.2}
GRAPHS: set[str] = set()  # none of the tests needs one


def model_of(steps, task="domain", batch_size=1, **meta):
    """:return: a model whose weights are the same at every call; nothing is drawn."""
    model = make_model(
        normalization="none", align="center", optimizer=SGD, task=task,
        batch_size=batch_size, meta_step_size=1.0, meta_step_size_end=1.0, **meta,
    )  # fmt: skip
    model.options = model.options._replace(inner_steps=steps)
    return model


def pairs(*seeds):
    """:return: pairs of one label, of which none is to be drawn."""
    return [make_task(seed, num_labels=1) for seed in seeds]


def domain_of(batches):
    """:return: an element of the training data: one task of these mini-batches."""
    stacked = [stack_tasks(*batch) for batch in batches]
    return {k: tf.stack([one[k] for one in stacked])[None] for k in stacked[0]}


def after(model, *elements):
    """:return: the weights after one episode for each element."""
    for element in elements:
        model.train_step(element)
    return values(model.network.weights)


def test_inner_steps_over_a_domain_are_steps_on_one_pair_after_the_other():
    a, b, c = pairs(1, 2, 3)
    found = after(model_of(3), domain_of([[a], [b], [c]]))
    singles = [stack_tasks(pair) for pair in (a, b, c)]
    expected = after(model_of(1, "pair"), *singles)
    assert_close(found, expected)
    assert differ(found, after(model_of(3), domain_of([[a]])), atol=1e-5)


def test_one_mini_batch_is_shared_by_all_steps():
    (a,) = pairs(1)
    found = after(model_of(3), domain_of([[a]]))
    expected = after(model_of(3, "pair"), stack_tasks(a))
    assert_close(found, expected)


def test_a_mini_batch_takes_the_mean_of_the_gradients_of_its_pairs():
    a, b = pairs(1, 2)
    start = values(model_of(1).network.weights)
    both = after(model_of(1, batch_size=2), domain_of([[a, b]]))
    alone = [after(model_of(1), domain_of([[pair]])) for pair in (a, b)]
    expected = [(x + y) / 2 for x, y in zip(*alone, strict=True)]
    assert differ(start, both)
    assert_close(both, expected, atol=2e-6)


def test_pairs_of_different_voxels_keep_their_own_filters_of_labels():
    a, b = pairs(1, 2)
    b = b._replace(fixed_spacing=tf.fill([3], 2.0), moving_spacing=tf.fill([3], 2.0))
    alone = [after(model_of(1), domain_of([[pair]])) for pair in (a, b)]
    both = after(model_of(1, batch_size=2), domain_of([[a, b]]))
    expected = [(x + y) / 2 for x, y in zip(*alone, strict=True)]
    assert_close(both, expected, atol=2e-6)


def test_first_order_maml_takes_its_gradient_on_the_last_mini_batch():
    outer = {"name": "SGD", "learning_rate": 1.0}
    a, b, c = pairs(1, 2, 3)
    start = values(model_of(2).network.weights)
    found = after(
        model_of(2, update="fomaml", outer_optimizer=outer), domain_of([[a], [b], [c]])
    )
    two = after(model_of(2), domain_of([[a], [b]]))
    three = after(model_of(3), domain_of([[a], [b], [c]]))
    for s, f, x, y in zip(start, found, two, three, strict=True):
        gradient = (x - y) / SGD["learning_rate"]
        np.testing.assert_allclose(f, s - gradient, atol=2e-5)


def test_a_pair_without_labels_takes_no_part_in_the_label_loss():
    (a,) = pairs(1)
    bare = a._replace(
        moving_labels=tf.zeros_like(a.moving_labels),
        fixed_labels=tf.zeros_like(a.fixed_labels),
        num_labels=tf.constant(0),
    )
    image = {"name": "ssd", "weight": 1.0}
    found = after(model_of(1, image=image), domain_of([[bare]]))
    without = make_model(
        labeled=False, normalization="none", align="center", optimizer=SGD,
        task="domain", meta_step_size=1.0, meta_step_size_end=1.0, image=image,
    )  # fmt: skip
    without.options = without.options._replace(inner_steps=1)
    expected = after(without, domain_of([[make_task(1, labeled=False)]]))
    assert_close(found, expected)


@pytest.mark.parametrize("resumed", [False, True])
def test_augmentation_hangs_on_seed_and_episode_alone(resumed):
    augmentation = [{"name": "affine", "scale": 0.2}]
    element = domain_of([pairs(1, 2)])
    first = model_of(2, batch_size=2, augmentation=augmentation)
    second = model_of(2, batch_size=2, augmentation=augmentation)
    second.episode.assign(0 if resumed else 1)
    found, other = after(first, element), after(second, element)
    if resumed:
        assert_same_bits(found, other)
    else:
        assert differ(found, other, atol=1e-6)


def seeds_of(draws):
    """:return: the seeds of all draws of four steps."""
    seen = []

    class Drawer:
        def constants(self, task):
            return None

        def training(self, task, constants, seed):
            seen.append(tuple(np.asarray(seed).tolist()))
            return {"x": tf.zeros([1])}

    task = Task(*[tf.zeros([2, 3, 1])] * len(Task._fields))
    draw = draws(Drawer(), task, tf.constant([3, 5]))
    for step in range(4):
        draw(tf.constant(step))
    return seen


@pytest.mark.parametrize(("draws", "count"), [(pair_draws, 4), (domain_draws, 12)])
def test_every_step_and_every_pair_of_a_mini_batch_draws_anew(draws, count):
    found = seeds_of(draws)
    assert len(found) == len(set(found)) == count
    assert found == seeds_of(draws)
