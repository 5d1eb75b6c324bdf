"""Tests of deepreg_meta/atlas/similarity.py."""

import math

import numpy as np
import pytest

from deepreg_meta.atlas.similarity import MEASURES, similarity

SHAPE = (10, 11, 12)


def test_the_correlation_is_that_of_numpy(rng):
    a, b = rng.random(SHAPE), rng.random(SHAPE)
    expected = np.corrcoef(a.ravel(), b.ravel())[0, 1]
    np.testing.assert_allclose(similarity("ncc", a, b), expected, rtol=1e-10)


def test_local_correlation_forgives_a_slow_change_of_contrast(rng):
    """Where the other does not: contrast turns round from left to right."""
    image = rng.random((40, 12, 12))
    turned = (image - 0.5) * np.linspace(-4, 4, 40)[:, None, None]
    assert similarity("nlcc", image, turned) > 0.8
    assert abs(similarity("ncc", image, turned)) < 0.2


@pytest.mark.parametrize("measure", MEASURES)
def test_an_image_is_most_like_itself_at_any_scale(rng, measure):
    image = rng.random(SHAPE)
    assert similarity(measure, image, 5 * image + 2) == pytest.approx(1.0)
    noisy = image + 0.3 * rng.random(SHAPE)
    assert similarity(measure, image, noisy) < 0.99


def test_a_constant_image_has_no_correlation(rng):
    assert math.isnan(similarity("ncc", rng.random(SHAPE), np.zeros(SHAPE)))


def test_another_measure_is_refused(rng):
    with pytest.raises(ValueError, match="--select: expected one of ncc, nlcc, got"):
        similarity("mse", rng.random(SHAPE), rng.random(SHAPE))
