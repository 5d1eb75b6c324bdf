"""Tests of the random fields and soft edges of the phantom."""

import numpy as np

from deepreg_meta.dataset.phantom.field import Waves, draw_waves, membership


def test_wave_has_the_value_of_its_cosine():
    vectors, phases = np.array([[0, np.pi / 3, 0]]), np.array([np.pi])
    points = np.array([[[5.0, 1.0, 7.0], [5.0, 3.0, 7.0]]])
    # cos(pi / 3 + pi) = -1/2 and cos(3 pi / 3 + pi) = 1
    one = Waves(vectors, phases, np.array([[2.0]]))
    np.testing.assert_allclose(one(points), [[-1, 2]])
    two = Waves(vectors, phases, np.array([[2.0, -4.0]]))
    np.testing.assert_allclose(two(points), [[[-1, 2], [2, -4]]])


def test_drawn_waves_keep_the_strength_and_the_wavelengths_asked_for(rng):
    points = rng.uniform(0, 1000, (20000, 3))
    for rms in (0.3, 2.0):
        waves = draw_waves(rng, (5, 9), rms, channels=2)
        found = np.sqrt((waves(points) ** 2).mean(axis=0))
        np.testing.assert_allclose(found, rms, rtol=0.05)
        length = 2 * np.pi / np.linalg.norm(waves.vectors, axis=1)
        assert length.min() >= 5 and length.max() <= 9


def test_membership_is_logistic_and_high_inside():
    # 1 / (1 + exp(signed / width)): ln 3 widths outside are 1/4, inside 3/4
    signed = np.array([0, np.log(3), -np.log(3)])
    np.testing.assert_allclose(membership(2 * signed, 2.0), [0.5, 0.25, 0.75])
