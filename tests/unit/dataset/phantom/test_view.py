"""Tests of the phantom's tissues at the voxels of a grid."""

from dataclasses import replace

import numpy as np
import pytest

from deepreg_meta.dataset.phantom.grid import voxel_grid
from deepreg_meta.dataset.phantom.view import View


def test_tissues_are_soft_memberships_of_the_grid(plain):
    view = View(plain, voxel_grid((5, 6, 7)) - 3)
    assert view.sides == (5, 6, 7)
    tissues = view.tissues()
    assert "fat" not in tissues  # what everything else is painted on
    for mask in tissues.values():
        assert mask.shape == (5, 6, 7)
        assert mask.min() >= 0 and mask.max() <= 1


def test_tissues_lie_where_the_anatomy_says(plain):
    # the gland's centre, the rectum's axis, above the bladder's neck
    points = np.array([[0, 0, 0], [9, -1, 0], [-1.2, 0, 8.6]])
    tissues = View(plain, points[:, None, None]).tissues()
    found = {name: mask.ravel() for name, mask in tissues.items()}
    # the urethra's radius is 1 voxel, its edge 0.45: 1 / (1 + exp(-1 / 0.45))
    assert found["urethra"][0] == pytest.approx(0.9022, abs=1e-3)
    assert found["transition"][0] > 0.99 and found["lumen"][0] < 0.01
    assert found["lumen"][1] > 0.99 and found["peripheral"][1] < 0.01
    assert found["bladder"][2] > 0.99 and found["capsule"][2] < 0.01


def test_what_images_and_labels_share_is_computed_once(plain):
    calls = []

    def count(points):
        calls.append(points.shape)
        return np.zeros(points.shape[:-1])

    view = View(replace(plain, shape=count, texture=count), voxel_grid((5, 6, 7)))
    for _ in range(2):
        view.tissues()
        assert view.gland.shape == view.texture.shape == (5, 6, 7)
    assert len(calls) == 2  # one for the gland's surface, one for the texture
