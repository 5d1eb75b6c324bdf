"""Tests of deepreg_meta/model/kept.py: which of two predictions is kept."""

import pytest
import tensorflow as tf

from deepreg_meta.model.adapt_plan import AdaptPlan
from deepreg_meta.model.kept import Predicted, keep


def predicted(value: float, loss: float, step: int) -> Predicted:
    ddf = tf.fill([1, 2, 3, 4, 3], value)
    return Predicted(ddf, tf.constant(loss), tf.constant(step))


@pytest.mark.parametrize(
    ("plan", "losses", "is_later"),
    [
        (AdaptPlan(keep="last"), (0.5, 0.7), True),
        (AdaptPlan(keep="last"), (0.5, float("nan")), True),
        (AdaptPlan(keep="best"), (0.5, 0.4), True),
        (AdaptPlan(keep="best"), (0.5, 0.5), False),
        (AdaptPlan(keep="best"), (0.5, 0.7), False),
        (AdaptPlan(keep="best"), (0.5, float("nan")), False),
        (AdaptPlan(keep="last", seconds=1.0), (0.5, 0.7), False),
    ],
)
def test_the_last_or_the_best_is_kept_as_a_whole(plan, losses, is_later):
    before, after = predicted(1.0, losses[0], 3), predicted(2.0, losses[1], 8)
    kept, found = keep(plan, before, after)
    wanted = after if is_later else before
    assert bool(found) is is_later
    assert int(kept.step) == int(wanted.step)
    assert float(kept.ddf[0, 0, 0, 0, 0]) == float(wanted.ddf[0, 0, 0, 0, 0])
    assert str(float(kept.loss)) == str(float(wanted.loss))
