"""Tests of what a configuration wants its volumes brought to."""

import numpy as np
import pytest

from deepreg_meta.dataset.target import build_targets
from deepreg_meta.dataset.volume_check import DataError
from tests.unit.dataset.examples import FIXED, MOVING, config_of, image, save


def targets_of(tmp_path, **dataset):
    return build_targets(config_of(tmp_path, tmp_path, **dataset))


def test_by_default_a_volume_is_stretched_and_nothing_else(tmp_path):
    targets = targets_of(tmp_path)
    assert {role: t.shape for role, t in targets.items()} == {
        "moving": MOVING,
        "fixed": FIXED,
    }
    for target in targets.values():
        assert target.fit == "resize"
        assert target.spacing_mm is target.voxel_mm is target.orientation is None
        voxels = image(FIXED)
        np.testing.assert_array_equal(target.intensity.transform(voxels), voxels)


def test_each_role_has_its_own_voxels_and_steps(tmp_path):
    targets = targets_of(
        tmp_path,
        spacing_mm={"fixed": [1, 2, 3]},
        labels={"gland": 3},
        grid={"spacing_mm": {"moving": 0.5}, "fit": "pad", "orientation": "LPS"},
        intensity={"moving": [{"name": "z_score"}]},
    )
    moving, fixed = targets["moving"], targets["fixed"]
    assert (moving.spacing_mm, moving.voxel_mm) == (None, (0.5, 0.5, 0.5))
    assert (fixed.spacing_mm, fixed.voxel_mm) == ((1, 2, 3), None)
    assert moving.fit == fixed.fit == "pad"
    assert moving.orientation == fixed.orientation == "LPS"
    assert moving.label_indices == {"gland": 3}
    assert moving.intensity.transform(image(MOVING)).mean() == pytest.approx(
        0, abs=1e-5
    )
    assert fixed.intensity.transform(image(FIXED)).mean() > 3


def test_a_reference_is_read_for_its_steps_and_a_bad_one_is_named(tmp_path):
    path = save(tmp_path / "ref.nii.gz", 1000 + image((9, 9, 9)))
    step = {"name": "match", "reference": str(path)}
    targets = targets_of(tmp_path, intensity=[step])
    for target in targets.values():
        assert target.intensity.transform(image(FIXED)).min() >= 999
    gone = {"name": "match", "reference": str(tmp_path / "gone.nii")}
    with pytest.raises(
        DataError, match="dataset.intensity in the overrides: a ref"
    ) as e:
        targets_of(tmp_path, intensity=[gone])
    assert e.value.problems[0].startswith(str(tmp_path / "gone.nii"))


def test_two_sides_of_2d_images_get_a_third_one(tmp_path):
    shapes = {"moving_image_shape": [8, 9], "fixed_image_shape": [5, 6]}
    grid = {"spacing_mm": {"fixed": [0.5, 3]}}
    targets = targets_of(tmp_path, spacing_mm=[2, 4], grid=grid, **shapes)
    assert targets["moving"].spacing_mm == (2, 4, 1)
    assert (targets["fixed"].shape, targets["fixed"].voxel_mm) == (
        (5, 6, 1),
        (0.5, 3, 1),
    )
