"""Tests of deepreg_meta/sequence/scatterers.py."""

from dataclasses import replace

import numpy as np
import pytest

from deepreg_meta.sequence.echo import EchoOptions
from deepreg_meta.sequence.heart import CAVITY, MYOCARDIUM
from deepreg_meta.sequence.scatterers import draw_scatterers, echo_strengths, renew
from deepreg_meta.sequence.speckle import Probe
from tests.unit.sequence.examples import HEART, OPTIONS


@pytest.mark.parametrize("sector", [None, 70.0])
def test_every_frame_is_full_of_scatterers(rng, sector):
    """Also where tissue has moved in from beyond the first frame."""
    options = replace(OPTIONS, probe=replace(OPTIONS.probe, sector_deg=sector))
    material = draw_scatterers(rng, HEART, options)
    low, high = options.screen.bounds
    for phase in (0.0, 0.2, HEART.systole, 0.8):
        places = HEART.place(material, phase)
        inside = ((places > low - 3) & (places < high + 3)).all(axis=1)
        cells = np.floor((places[inside] - low + 3) / 3).astype(int)
        found = set(map(tuple, cells))
        wanted = np.ceil((high - low + 6) / 3).astype(int)
        assert len(found) >= (wanted - 1).prod()


def test_there_are_as_many_as_are_asked_for(rng):
    """Of those in a full width at half maximum of the point-spread function."""
    material = draw_scatterers(rng, HEART, replace(OPTIONS, per_cell=20))
    inside = (np.abs(material - [0, 15]) < [10, 12]).all(axis=1)
    cell = 8 * np.log(2) * 0.7 * 1.1
    assert inside.sum() / (20 * 24 / cell) == pytest.approx(20, rel=0.05)


def test_tissues_echo_by_their_kind(rng):
    material = draw_scatterers(rng, HEART, OPTIONS)
    found = echo_strengths(HEART, material, OPTIONS)
    kinds = HEART.label(material, 0.0)
    for kind, strength in ((CAVITY, 0.05), (MYOCARDIUM, 1.0), (0, 0.2)):
        assert (found[kinds == kind] == strength).all() and (kinds == kind).any()


def test_renewed_strengths_keep_their_variance_and_lose_their_correlation(rng):
    scales = np.full(200_000, 3.0)
    before = scales * rng.standard_normal(len(scales))
    after = renew(rng, before, scales, 0.25)
    assert after.std() == pytest.approx(3.0, rel=0.01)
    assert np.corrcoef(before, after)[0, 1] == pytest.approx(0.75, abs=0.005)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (dict(num_frames=1), "num_frames >= 2"),
        (dict(decorrelation=1.0), "0 <= decorrelation < 1"),
        (dict(noise_db=3.0), "noise_db < 0"),
        (dict(per_cell=0), "per_cell > 0"),
        (dict(shape=(10,)), "shape of two sides"),
    ],
)
def test_options_that_cannot_be_are_refused(change, rule):
    with pytest.raises(ValueError, match=f"echo: expected .*{rule}"):
        replace(OPTIONS, **change)


def test_frames_cover_whole_cycles():
    """The end of the last one, which is the beginning of the next, left out."""
    options = EchoOptions(num_frames=10, cycles=2.0, cycle_s=0.8, probe=Probe())
    assert options.phase(0) == 0 and options.phase(5) == 1.0
    assert options.time_step_s == pytest.approx(0.16)
