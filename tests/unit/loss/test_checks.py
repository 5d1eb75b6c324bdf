"""Tests of deepreg_meta/loss/checks.py, through the losses that check."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.loss.deform import BendingEnergy, GradientNorm
from deepreg_meta.loss.image import LocalNcc
from deepreg_meta.loss.label import MultiScaleDice

SHAPE = (2, 8, 9, 10)
COMPARING = [MultiScaleDice(sigmas_mm=[0, 1]), LocalNcc(kernel_size=3)]


@pytest.mark.parametrize("loss", COMPARING)
@pytest.mark.parametrize("shape", [(2, 8, 10, 9), (2, 4, 9, 10), (1, 8, 9, 10)])
def test_volumes_of_two_shapes_are_not_compared(rng, loss, shape):
    pair = [tf.constant(rng.random(size), tf.float32) for size in (SHAPE, shape)]
    for fixed, warped in (pair, pair[::-1]):
        with pytest.raises(
            ValueError, match="a fixed and a warped volume of one shape"
        ):
            loss(fixed, warped)


@pytest.mark.parametrize("loss", COMPARING)
@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (np.ones(SHAPE, np.uint8), "expected floating-point numbers, got uint8"),
        (np.ones(SHAPE[1:], np.float32), r"expected a volume .*\(8, 9, 10\)"),
        (np.ones((*SHAPE, 2), np.float32), r"expected a volume .*\(2, 8, 9, 10, 2\)"),
    ],
)
def test_what_is_no_volume_is_refused(loss, volume, message):
    with pytest.raises(ValueError, match=f"y_true: {message}"):
        loss(volume, volume)


@pytest.mark.parametrize("loss", COMPARING)
def test_volumes_of_two_types_are_not_compared(loss):
    with pytest.raises(ValueError, match="one type, got float32 and float64"):
        loss(tf.ones(SHAPE), tf.ones(SHAPE, tf.float64))


@pytest.mark.parametrize("loss", COMPARING)
def test_arrays_are_compared_as_tensors_are(rng, loss):
    a, b = rng.random((2, *SHAPE)).astype(np.float32)
    assert loss(a, b) == loss(tf.constant(a), tf.constant(b))


@pytest.mark.parametrize("loss", [BendingEnergy(), GradientNorm()])
@pytest.mark.parametrize("shape", [(8, 9, 10, 3), (2, 8, 9, 2)])
def test_what_is_no_field_is_refused(loss, shape):
    with pytest.raises(
        ValueError, match="expected a field .batch, d1, d2, d3, 3."
    ) as e:
        loss(np.ones(shape, np.float32))
    assert str(shape) in str(e.value)


@pytest.mark.parametrize("loss", [BendingEnergy(), GradientNorm()])
def test_fields_of_whole_numbers_are_refused(loss):
    with pytest.raises(ValueError, match="of floating-point numbers, got int32. Cast"):
        loss(np.ones((1, 6, 7, 8, 3), np.int32))


@pytest.mark.parametrize("loss", [BendingEnergy(), GradientNorm()])
def test_fields_may_be_arrays(rng, loss):
    field = rng.random((1, 6, 7, 8, 3)).astype(np.float32)
    assert loss(field) == loss(tf.constant(field)) > 0


@pytest.mark.parametrize(
    "loss", [*COMPARING, BendingEnergy(), GradientNorm(), GradientNorm(l1=True)]
)
def test_losses_are_parts_of_models_as_deepreg_builds_them(rng, loss):
    """By their arguments' names, as DeepReg's own methods call them; with gradients."""
    is_of_field = isinstance(loss, (BendingEnergy, GradientNorm))
    names = ["inputs"] if is_of_field else ["y_true", "y_pred"]
    shape = (*SHAPE, 3) if is_of_field else SHAPE
    values = [tf.constant(rng.random(shape), tf.float32) for _ in names]
    symbols = [tf.keras.Input(shape[1:]) for _ in names]
    model = tf.keras.Model(symbols, loss(**dict(zip(names, symbols, strict=True))))
    found = []
    for function in (lambda: model(values), lambda: loss(*values)):
        with tf.GradientTape() as tape:
            tape.watch(values[-1])
            value = function()
        found.append((value, tape.gradient(value, values[-1])))
    np.testing.assert_allclose(*[value for value, _ in found], rtol=1e-6)
    np.testing.assert_allclose(*[gradient for _, gradient in found], rtol=1e-5)
    assert np.abs(found[0][1]).max() > 0
