"""Tests of pairs: how two volumes are joined, and what they have against each other."""

import dataclasses

import numpy as np
import pytest

from deepreg_meta.dataset.case import check_pair, make_case
from deepreg_meta.dataset.target import Target
from deepreg_meta.dataset.volume import prepare
from tests.unit.dataset.examples import (
    AFFINE,
    FIXED,
    MOVING,
    config_of,
    image,
    label,
    place,
    raw_volume,
)


def volume(shape, num_labels=1, affine=AFFINE, target=None, **options):
    labels = [label(shape, num_labels)] if num_labels else []
    raw = raw_volume(image(shape), affine, labels, **options)
    return prepare(raw, target or Target(shape), lambda: (raw.image, None))


def test_a_case_takes_each_part_from_its_volume():
    other = AFFINE @ np.diag([2, 1, 1, 1])
    moving = volume(MOVING, 2, other, Target((24, 7, 8)))
    fixed = volume(FIXED, 2, place=place(AFFINE, has_affine=False))
    fixed = dataclasses.replace(fixed, label_names=("gland", "apex"))
    mask = np.ones(FIXED, np.float32)
    case = make_case("one", (4,), moving, fixed, {"fixed": mask})
    assert (case.name, case.indices) == ("one", (4,))
    assert case.moving_image is moving.image and case.fixed_image is fixed.image
    assert case.labels == (moving.labels, fixed.labels)
    assert case.label_names == ("gland", "apex")
    assert case.moving_source is moving.source and case.fixed_source is fixed.source
    assert case.fixed_mask is mask and case.moving_mask is None
    assert case.spacing_is_nominal  # one of both is enough
    # the moving grid has voxels a quarter as long along axis 0 as its file: 4 to 1 mm
    assert case.moving_grid.shape == (24, 7, 8) and case.fixed_grid.shape == FIXED
    np.testing.assert_allclose(case.moving_grid.spacing_mm, [1, 0.5, 1.5])
    np.testing.assert_array_equal(case.fixed_grid.affine, AFFINE)
    np.testing.assert_allclose(case.fixed_spacing_mm, [2, 0.5, 1.5])
    np.testing.assert_allclose(case.moving_spacing_mm, [1, 0.5, 1.5])
    np.testing.assert_allclose(case.moving_source.grid.spacing_mm, [4, 0.5, 1.5])


def test_volumes_that_lie_apart_matter_only_where_affines_align_them(tmp_path):
    far = AFFINE.copy()
    far[:3, 3] += 500
    moving, fixed = volume(MOVING, affine=far), volume(FIXED)
    assert check_pair(config_of(tmp_path, tmp_path), moving, fixed) == []
    by_affine = config_of(tmp_path, tmp_path, align="affine")
    (problem,) = check_pair(by_affine, moving, fixed)
    assert "expected some overlap with the fixed image" in problem
    assert check_pair(by_affine, volume(MOVING), fixed) == []


@pytest.mark.parametrize(
    ("numbers", "options", "message"),
    [
        ((2, 1), {}, r"as many label channels as label_0.nii \(1\), got 2"),
        ((1, 1), {"adapt": {"labels": [0, 2]}}, "a channel for adapt.labels 2, got 1"),
        ((1, 1), {"align": {"mode": "centroid", "label": 1}}, "for align.label, got 1"),
    ],
)
def test_labels_that_do_not_fit_are_named(tmp_path, numbers, options, message):
    config = config_of(tmp_path, tmp_path, **options)
    moving, fixed = volume(MOVING, numbers[0]), volume(FIXED, numbers[1])
    (problem,) = check_pair(config, moving, fixed)
    with pytest.raises(ValueError, match=f"^label_0.nii: expected .*{message}"):
        raise ValueError(problem)
    assert check_pair(config, volume(MOVING, 0), volume(FIXED, 0)) == []
