"""Tests of deepreg_meta/sequence/heart.py."""

from dataclasses import replace

import numpy as np
import pytest

from deepreg_meta.sequence.heart import CAVITY, MYOCARDIUM, Heart, draw_heart
from tests.unit.sequence.examples import HEART

PHASES = (0.0, 0.1, 0.3, 0.36, 0.61, 0.97, 1.4)


@pytest.fixture
def places(rng):
    """:return: points in and around the ventricle, its middle among them, mm."""
    middle = np.array([HEART.centre_mm])
    return np.concatenate([middle, middle + rng.uniform(-40, 40, (500, 2))])


@pytest.mark.parametrize("start", PHASES)
def test_following_tissue_agrees_with_where_it_is(places, start):
    """Differences of positions, to 1e-9 mm, between any two times, both ways."""
    at_start = HEART.place(places, start)
    for end in PHASES:
        moved = HEART.follow(at_start, start, end) - at_start
        np.testing.assert_allclose(
            moved, HEART.place(places, end) - at_start, atol=1e-9
        )


@pytest.mark.parametrize("phase", PHASES)
def test_the_inverse_is_exact_where_there_is_hardly_any_radius_too(phase):
    """From a nanometre to a metre off the middle."""
    away = 10.0 ** np.arange(-6, 4)
    places = HEART.centre_mm + away[:, None] * [0.6, -0.8]
    there = HEART.place(places, phase)
    found = HEART.material(there, phase) - HEART.centre_mm
    assert np.abs(found / (places - HEART.centre_mm) - 1).max() < 1e-8


def test_one_beat_later_everything_is_where_it_was(places):
    """And at end diastole it is the material itself."""
    np.testing.assert_allclose(HEART.place(places, 0.0), places, atol=1e-12)
    np.testing.assert_allclose(HEART.place(places, 1.0), places, atol=1e-12)
    np.testing.assert_allclose(HEART.place(places, 0.3), HEART.place(places, 2.3))


def test_systole_ends_when_it_is_to():
    """The beat is 0 at end diastole, 1 at end systole, and rises and falls between."""
    for systole in (0.3, 0.36, 0.5):
        heart = replace(HEART, systole=systole)
        phases = np.linspace(0, 1, 1001)
        beat = heart.activation(phases)
        assert beat[0] == 0 and heart.activation(systole) == pytest.approx(1)
        assert phases[beat.argmax()] == pytest.approx(systole, abs=1e-3)
        rises = phases[1:] <= systole
        assert (np.diff(beat)[rises] > 0).all() and (np.diff(beat)[~rises] < 0).all()


def area_change(heart, places, phase, step=1e-4):
    """:return: determinant of the motion from end diastole, by differences."""
    ends = [
        heart.place(places + step * axis, phase)
        - heart.place(places - step * axis, phase)
        for axis in np.eye(2)
    ]
    return np.linalg.det(np.stack(ends, axis=-1) / (2 * step))


def test_the_middle_shrinks_as_it_is_to_and_muscle_far_out_keeps_its_area():
    """
    By k in the middle, and by the derivative of the hyperbola everywhere; the twist
    changes no area.
    """
    radius = np.array([0.0, 4.0, 8.0, 20.0, 80.0])
    places = HEART.centre_mm + radius[:, None] * [0.28, 0.96]
    found = area_change(HEART, places, HEART.systole)
    own = HEART.place(places, HEART.systole) - HEART.centre_mm - HEART.drift_mm
    before, now = radius**2, np.sum(own**2, axis=-1)
    c, offset = 0.4 * 1.1 - 0.1, 0.6 * 25 * 1.1 / 0.9
    first, second = now - c * before + 0.1 * offset, now - before + offset
    np.testing.assert_allclose(first * second, 0.1 * offset**2, rtol=1e-9)
    expected = (c * second + first) / (first + second)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert expected[0] == pytest.approx(0.4) and expected[-1] > 0.9999
    assert (np.diff(expected) > 0).all()


def test_the_twist_turns_without_changing_the_radius():
    """By its angle in the middle, by 0.61 of it at its reach."""
    heart = replace(HEART, area_ratio=1.0, drift_mm=(0.0, 0.0))
    for radius, share in ((1e-3, 1.0), (9.0, np.exp(-0.5))):
        there = heart.place(np.array(heart.centre_mm) + [radius, 0], heart.systole)
        own = there - heart.centre_mm
        assert np.hypot(*own) == pytest.approx(radius)
        angle = np.rad2deg(np.arctan2(own[1], own[0]))
        assert angle == pytest.approx(14 * share, rel=1e-4)


def test_the_drift_moves_everything():
    heart = replace(HEART, area_ratio=1.0, twist_deg=0.0)
    places = np.array([[0.0, 0.0], [30.0, 5.0]])
    moved = heart.place(places, heart.systole) - places
    np.testing.assert_allclose(moved, [[0.6, -0.4]] * 2, atol=1e-12)


def test_labels_move_with_the_tissue(places):
    """The same at every time; cavity, wall and outside by their radii."""
    radii = np.linalg.norm(places - HEART.centre_mm, axis=-1)
    expected = np.where(radii <= 10, MYOCARDIUM, 0)
    expected[radii < 6] = CAVITY
    for phase in PHASES:
        found = HEART.label(HEART.place(places, phase), phase)
        np.testing.assert_array_equal(found, expected)
    assert set(np.unique(expected)) == {0, 1, 2}


def test_the_wall_thickens_while_the_cavity_shrinks():
    """As that of a heart does, by an eighth at least."""
    ends = np.array(HEART.centre_mm) + [[6.0, 0], [10.0, 0]]
    own = HEART.place(ends, HEART.systole) - HEART.centre_mm - HEART.drift_mm
    inner, outer = np.linalg.norm(own, axis=-1)
    assert inner < 5 and outer - inner > 4.5


def test_drawn_hearts_differ_and_can_be():
    drawn = [draw_heart(np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert isinstance(drawn[0], Heart)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (dict(endo_mm=12.0), "0 < endo_mm < epi_mm"),
        (dict(area_ratio=0.05), "0.1 <= area_ratio"),
        (dict(reach_mm=0.0), "reaches > 0"),
        (dict(systole=0.2), "0.3 <= systole"),
    ],
)
def test_a_heart_that_cannot_beat_is_refused(change, rule):
    with pytest.raises(ValueError, match=f"heart: expected .*{rule}"):
        replace(HEART, **change)
