"""Tests of deepreg_meta/callback/stop_on_nan.py."""

import pytest

from deepreg_meta.callback.stop_on_nan import StopOnNan


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_training(tmp_path, loss):
    with pytest.raises(
        ValueError, match=f"expected a finite loss, got {loss} in epoch"
    ):
        StopOnNan(tmp_path).on_epoch_end(2, {"loss": loss})


def test_a_finite_loss_goes_on(tmp_path):
    assert StopOnNan(tmp_path).on_epoch_end(2, {"loss": -0.5}) is None
