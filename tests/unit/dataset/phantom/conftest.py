"""Phantom cases and parts of them that several test modules share."""

import numpy as np
import pytest

from deepreg_meta.dataset.phantom.anatomy import Anatomy
from deepreg_meta.dataset.phantom.case import make_case
from deepreg_meta.dataset.phantom.field import Waves


@pytest.fixture(scope="session")
def cases():
    """Return cases of about half the default sides, MR (26, 28, 24)."""
    return [make_case(seed, (26, 28, 24), (20, 24, 18)) for seed in range(6)]


@pytest.fixture(scope="session")
def large_cases():
    """Return cases of the default sides, where contrasts are resolved."""
    return [make_case(seed) for seed in range(3)]


@pytest.fixture
def flat():
    """Return a function that makes a field of constant channels."""

    def make(*channels: float) -> Waves:
        return Waves(np.zeros((1, 3)), np.zeros(1), np.array([channels]))

    return make


@pytest.fixture
def plain(flat):
    """Return a subject without random unevenness; the rectum's axis is at 9."""
    return Anatomy(
        half=np.array([4.0, 6.0, 5.0]),
        power=2.0,
        shape=flat(0.0),
        zone=flat(0.0),
        nodules=flat(0.0),
        texture=flat(0.0),
        scale=1.0,
        rectum_radius=3.0,
        rectum_gap=2.0,
        rectum_side=-1.0,
        rectum_tilt=0.1,
    )
