"""Tests of deepreg_meta/model/adapt_plan.py."""

import pytest

from deepreg_meta.model.adapt_plan import AdaptPlan


def test_scales_have_their_own_updates_and_share_the_time():
    plan = AdaptPlan(steps=(2, 5), seconds=6.0, keep="best")
    parts = [plan.at(i, 2, share) for i, share in enumerate((0.4, 0.6))]
    assert [part.steps for part in parts] == [2, 5]
    assert [part.seconds for part in parts] == pytest.approx([2.4, 3.6])
    assert AdaptPlan(steps=3).at(1, 2, 0.6) == AdaptPlan(steps=3)
