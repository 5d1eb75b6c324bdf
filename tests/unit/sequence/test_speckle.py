"""Tests of deepreg_meta/sequence/speckle.py."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import hilbert

from deepreg_meta.sequence.speckle import (
    Probe,
    Screen,
    compress,
    make_raster,
    receive,
    to_screen,
)

PROBE = Probe(frequency_mhz=2.5, axial_mm=0.8, lateral_mm=1.2)
SCREEN = Screen((24, 30), (0.6, 0.5))


def envelope_of(places, strengths, screen=SCREEN, probe=PROBE):
    raster = make_raster(screen, probe)
    signal = receive(np.asarray(places), np.asarray(strengths), raster, probe)
    return to_screen(np.abs(signal), raster, screen, probe)


def test_the_screen_has_its_depth_from_the_upper_edge_and_its_middle_at_zero():
    np.testing.assert_allclose(SCREEN.points[0, 0], [-11.5 * 0.6, 0.25])
    np.testing.assert_allclose(SCREEN.points[-1, -1], [11.5 * 0.6, 14.75])
    np.testing.assert_allclose(SCREEN.bounds, [[-7.2, 0], [7.2, 15]])


def test_a_single_scatterer_shows_the_point_spread_function():
    """A Gaussian at its very place, between pixels too, wider across the beam."""
    place = np.array([0.37, 7.21])
    found = envelope_of([place], [2.0])
    apart = (SCREEN.points - place) / [1.2, 0.8]
    expected = 2 * np.exp(-0.5 * np.sum(apart**2, axis=-1))
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found.max() > 1.9


def test_the_envelope_is_that_of_the_oscillating_echoes():
    """
    Hilbert's envelope of the sum of cosine-modulated Gaussians, sampled so finely along
    the beam that the oscillation is resolved, as other simulations do it.
    """
    rng = np.random.default_rng(4)
    places = rng.uniform([-6, 2], [6, 13], (40, 2))
    strengths = rng.standard_normal(40)
    fine = 20  # samples for each pixel
    depth = (np.arange(30 * fine) + 0.5) * 0.5 / fine
    across = SCREEN.points[:, 0, 0]
    echoes = np.zeros((24, len(depth)))
    for (x, z), strength in zip(places, strengths, strict=True):
        along = np.exp(-0.5 * ((depth - z) / 0.8) ** 2)
        along *= np.cos(PROBE.wave_number * (depth - z))
        echoes += strength * np.exp(-0.5 * ((across[:, None] - x) / 1.2) ** 2) * along
    envelope = np.abs(hilbert(echoes, axis=1))
    # the middle of a pixel lies between two fine samples
    middle = (envelope[:, fine // 2 - 1 :: fine] + envelope[:, fine // 2 :: fine]) / 2
    found = envelope_of(places, strengths)
    assert np.abs(found - middle).max() < 0.01 * middle.max()
    assert np.ptp(middle) > 1


def test_the_wave_number_is_that_of_an_echo():
    """There and back: two wavelengths of 0.616 mm at 2.5 MHz for each period."""
    assert pytest.approx(2 * np.pi / (1.54 / 2.5 / 2)) == PROBE.wave_number
    # half a period apart they cancel, a whole one apart they add up
    period = 1.54 / 2.5 / 2
    pair = np.array([[0.1, 7.0], [0.1, 7.0 + period / 2]])
    wide = replace(PROBE, axial_mm=15.0)  # as long as the screen is deep
    single = envelope_of(pair[:1], [1.0], probe=wide).max()
    assert envelope_of(pair, [1.0, 1.0], probe=wide).max() < 0.01 * single
    pair[1, 1] += period / 2
    assert envelope_of(pair, [1.0, 1.0], probe=wide).max() > 1.99 * single


def test_speckle_moves_with_its_scatterers():
    """By whole pixels the image is the same, moved; nothing hangs on the grid."""
    rng = np.random.default_rng(2)
    places = rng.uniform([-20, -20], [20, 35], (900, 2))
    strengths = rng.standard_normal(900)
    first = envelope_of(places, strengths)
    second = envelope_of(places + [2 * 0.6, -3 * 0.5], strengths)
    np.testing.assert_allclose(second[2:, :-3], first[:-2, 3:], rtol=1e-6, atol=1e-9)


def test_many_scatterers_make_fully_developed_speckle():
    """Rayleigh's: the mean is sqrt(pi / (4 - pi)) = 1.913 standard deviations."""
    rng = np.random.default_rng(0)
    screen = Screen((120, 120), (0.8, 0.6))
    places = rng.uniform([-55, -8], [55, 80], (60_000, 2))
    found = envelope_of(places, rng.standard_normal(len(places)), screen)
    assert found.mean() / found.std() == pytest.approx(1.913, rel=0.04)


def test_scatterers_beyond_the_image_count_as_far_as_they_reach():
    """Half of the one on the edge; nothing of one five widths away."""
    edge = envelope_of([[-7.2, 5.25]], [1.0])
    assert edge[0, 10] == pytest.approx(np.exp(-0.5 * (0.3 / 1.2) ** 2), rel=1e-6)
    assert envelope_of([[-7.2 - 5 * 1.2, 5.25]], [1.0]).max() == 0
    assert envelope_of([[2.0, 15 + 5 * 0.8]], [1.0]).max() == 0
    for corner in ([-9.0, -1.2], [9.0, 16.0]):
        assert 0 < envelope_of([corner], [1.0]).max() < 0.6


SECTOR = replace(PROBE, sector_deg=80.0, focus_mm=20.0)
WIDE = Screen((61, 50), (1.0, 1.0))


def width_across(depth, screen, probe):
    """:return: standard deviation across the beam of a scatterer at a depth, mm."""
    found = envelope_of([[0.0, depth]], [1.0], screen, probe)
    row = found[:, int(depth)]
    x = screen.points[:, 0, 0]
    return np.sqrt((row * x**2).sum() / row.sum())


def test_beams_of_a_sector_widen_with_the_depth():
    """In proportion: at the focus as wide as is asked for."""
    probe = replace(SECTOR, lateral_mm=1.0)
    widths = [width_across(depth, WIDE, probe) for depth in (19.5, 39.5)]
    assert widths[0] == pytest.approx(1.0 * 19.5 / 20, rel=0.08)
    assert widths[1] / widths[0] == pytest.approx(39.5 / 19.5, rel=0.08)


def test_a_sector_shows_scatterers_where_they_are_and_nothing_beside_it():
    rng = np.random.default_rng(1)
    for place in ([-12.0, 30.5], [9.0, 24.5]):
        found = envelope_of([place], [1.0], WIDE, SECTOR)
        at = np.unravel_index(found.argmax(), found.shape)
        assert np.abs(WIDE.points[at] - place).max() < 0.8
        assert found.max() > 0.75
    places = rng.uniform([-40, 0], [40, 60], (4000, 2))
    found = envelope_of(places, np.ones(4000), WIDE, SECTOR)
    angle = np.rad2deg(np.arctan2(WIDE.points[..., 0], WIDE.points[..., 1]))
    assert (found[np.abs(angle) > 40] == 0).all()
    assert (found[np.abs(angle) < 39] > 0).mean() > 0.99


def test_decibels_become_greys():
    """White at the reference, black at the end of the range, even steps between."""
    grey = compress(np.array([0.0, 0.001, 0.1, 1.0, 10.0]), 1.0, 40.0)
    np.testing.assert_allclose(grey, [0, 0, 0.5, 1, 1], atol=1e-6)
    assert grey.dtype == np.float32


@pytest.mark.parametrize(
    "change", [dict(axial_mm=0), dict(sector_deg=180), dict(dynamic_range_db=-1)]
)
def test_a_probe_that_cannot_be_is_refused(change):
    with pytest.raises(
        ValueError, match="probe: expected lengths, frequency and range"
    ):
        replace(PROBE, **change)
