"""Tests of the phantom's grey levels."""

import numpy as np
import pytest

from deepreg_meta.dataset.phantom.grey import MR, US, paint
from deepreg_meta.dataset.phantom.grid import voxel_grid
from deepreg_meta.dataset.phantom.landmark import Landmark
from deepreg_meta.dataset.phantom.view import View

Q = np.zeros((1, 1, 1, 3))


@pytest.mark.parametrize(
    ("modality", "expected"),
    [
        # half bone over fat, then a quarter bladder over both
        (MR, 0.75 * (0.78 + 0.42) / 2 + 0.25 * 0.96),
        (US, 0.75 * (0.50 + 0.12) / 2 + 0.25 * 0.02),
    ],
)
def test_later_tissues_cover_earlier_ones(modality, expected):
    parts = {"bone": np.full((1, 1, 1), 0.5), "bladder": np.full((1, 1, 1), 0.25)}
    assert paint(parts, [], Q, modality).item() == pytest.approx(expected)


def test_landmarks_cover_every_tissue():
    cyst = Landmark("cyst", np.zeros(3), np.zeros(3), 3.0)
    tissues = {"stroma": np.ones((1, 1, 1))}
    assert paint(tissues, [cyst], Q, MR).item() == pytest.approx(1.0, abs=1e-3)
    assert paint(tissues, [cyst], Q, US).item() == pytest.approx(0.0, abs=1e-3)


def test_every_tissue_and_every_kind_has_a_level_in_both_modalities(plain):
    view = View(plain, voxel_grid((5, 6, 7)))
    kinds = ("calcification", "cyst", "lesion", "boundary")
    marks = [Landmark(kind, np.zeros(3), np.zeros(3), 1.0) for kind in kinds]
    for modality in (MR, US):
        image = paint(view.tissues(), marks, view.q, modality)
        assert image.shape == (5, 6, 7) and 0 <= image.min() < image.max() <= 1
