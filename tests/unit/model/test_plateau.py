"""Tests of deepreg_meta/model/plateau.py."""

import pytest
import tensorflow as tf

from deepreg_meta.model.plateau import Plateau


@pytest.mark.parametrize(
    ("losses", "taken"),
    [
        ([1.0, 0.95, 0.93, 0.0], 3),
        ([1.0, 0.95, 0.8, 0.79, 0.5, 0.49, 0.48, 0.0], 7),  # counted anew after less
        ([1.0, 2.0, 1.5, 0.0], 3),
        ([100.0, 95.0, 93.0, 0.0], 3),
        ([0.01, 0.005, 0.002, 0.001, 0.0], 5),
        ([-1.0, -1.05, -1.09, -9.0], 3),  # a share of the size, whatever its sign
        ([-1.0, -1.05, -1.2, -1.25, -1.3, -9.0], 5),
    ],
)
def test_it_ends_after_steps_in_a_row_without_a_share_of_the_least_loss(losses, taken):
    plateau, count = Plateau(patience=2, min_delta=0.1), 0
    state = plateau.begin()
    for loss in losses:
        if not plateau.goes_on(state):
            break
        state, count = plateau.after(state, tf.constant(loss)), count + 1
    assert count == taken


@pytest.mark.parametrize(
    ("losses", "taken"),
    [
        # the first pair of two is easy, and the second one's losses never reach its
        ([0.1, 9.0, 0.1, 8.0, 0.1, 7.0, 0.1, 6.9, 0.1, 6.8], 8),
        ([0.1, 9.0, 0.1, 9.0, 0.0, 0.0], 4),
    ],
)
def test_pairs_that_are_seen_in_turn_are_judged_round_by_round(losses, taken):
    plateau, count = Plateau(patience=1, min_delta=0.1, turns=2), 0
    state = plateau.begin()
    while plateau.goes_on(state):
        state, count = plateau.after(state, tf.constant(losses[count])), count + 1
    assert count == taken
