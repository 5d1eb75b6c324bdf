"""Tests of deepreg_meta/model/task_loops.py; what they amount to is in test_reptile."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.model.task_loops import Outcome, TaskLoops
from tests.helpers import assert_close, differ, make_model, make_task, values

ADAM = {"name": "Adam", "learning_rate": 0.01}
GRAPHS: set[str] = set()
NUM_LOSSES = 3  # label, regularization and their sum
AUGMENTED = [{"name": "affine", "scale": 0.1}]


@pytest.fixture(scope="module")
def model():
    """:return: every inner step draws maps."""
    return make_model(align="center", augmentation=AUGMENTED, optimizer=ADAM)


def make_loops(model, **options: object) -> TaskLoops:
    """:return: of two tasks and two inner steps, unless options say otherwise."""
    given = {"inner_steps": 2, "tasks_per_step": 2, **options}
    return TaskLoops(model.drawer, model.options._replace(**given), model.optimizer)


def sum_of(outcomes: list[Outcome]) -> Outcome:
    """:return: what several devices reduce theirs to."""
    return tf.nest.map_structure(lambda *each: np.sum(each, axis=0), *outcomes)


@pytest.mark.parametrize("carry", [False, True])
def test_tasks_that_run_elsewhere_add_up_to_those_that_run_together(model, carry):
    """On this devices that share an episode rest: neither order nor place matters."""
    loops = make_loops(model, carry_optimizer_state=carry)
    tasks = [make_task(seed, num_labels=1) for seed in range(2)]
    start = loops.start(model.network, NUM_LOSSES)
    before = values(start.weights)

    def run(*indices: int) -> Outcome:
        return loops.run(model._inner, tasks, indices, start, model.episode)

    together, apart = run(0, 1), sum_of([run(1), run(0)])
    assert_close(together.weights, apart.weights)
    assert_close([together.losses], [apart.losses])
    assert_close(together.state, apart.state)
    assert bool(together.state) == carry
    assert differ([0.5 * each for each in apart.weights], before)
    model._inner.reset_optimizer()


@pytest.mark.parametrize(
    ("options", "is_shared"),
    [
        ({"carry_optimizer_state": True}, True),
        ({"carry_optimizer_state": True, "tasks_per_step": 1}, False),
        ({"carry_optimizer_state": False}, False),
    ],
)
def test_the_state_is_shared_where_several_tasks_carry_it_on(model, options, is_shared):
    """The only task of an episode goes on with the optimiser as it is."""
    state = make_loops(model, **options).shared_state()
    assert len(state) == (len(model.optimizer.variables) if is_shared else 0)
    single = TaskLoops(
        model.drawer,
        model.options._replace(tasks_per_step=1, carry_optimizer_state=True),
        model.optimizer,
        are_several=True,  # devices
    )
    assert single.shared_state()
