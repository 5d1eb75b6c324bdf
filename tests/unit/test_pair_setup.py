"""Tests of deepreg_meta/pair_setup.py: the configuration of a single pair."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from deepreg_meta.callback.fine_tune import FineTune
from deepreg_meta.config import load_config
from deepreg_meta.geometry.affine import from_parts
from deepreg_meta.pair_setup import (
    check_can_adapt,
    check_session,
    pair_config,
    reading_config,
    warn_of_places,
)
from tests.helpers import run_config, write_yaml
from tests.unit.results.examples import flat_case, make_case


@pytest.fixture
def config(tmp_path):
    """:return: of a run that aligns by centroids and learns from labels alone."""
    return load_config([write_yaml(tmp_path / "run.yaml", run_config())])


def test_the_runs_own_alignment_and_labels_stay(config):
    own = pair_config(config, "config", labeled=True)
    assert own == config


@pytest.mark.parametrize(
    ("initial", "mode"),
    [
        ("center", "center"),
        ("header", "affine"),
        ("mass", "affine"),
        ("a.tfm", "affine"),
    ],
)
def test_an_initial_transform_sets_the_mode_that_the_network_sees(
    config, initial, mode
):
    """What is checked when files are read does not look at their headers then."""
    found = pair_config(config, initial, labeled=True)
    assert (found.align.mode, found.raw["align"]["mode"]) == (mode, mode)
    assert config.raw["align"]["mode"] == "centroid"  # the run's stays
    assert reading_config(found, initial).align.mode == "center"
    assert reading_config(config, "config").align.mode == "centroid"


def test_a_pair_without_labels_loses_their_loss_and_cannot_adapt_by_them(config):
    found = pair_config(config, "center", labeled=False)
    assert not found.dataset.labeled
    assert "label" not in found.raw["train"]["loss"]
    assert "label" in config.raw["train"]["loss"]
    check_can_adapt(found, FineTune(0))
    with pytest.raises(ValueError, match="adapts by labels, got a pair without any"):
        check_can_adapt(found, FineTune(1))
    with pytest.raises(ValueError, match="adapts by labels"):
        check_can_adapt(found, FineTune(0, seconds=1.0))
    check_can_adapt(config, FineTune(1))


def test_alignment_by_labels_without_labels_is_refused(config):
    with pytest.raises(ValueError, match="aligns by 'centroid', which needs labels"):
        pair_config(config, "config", labeled=False)


def test_a_range_is_no_substitute_for_z_scores(tmp_path):
    """A network that was trained on them would see images in [0, 1]."""
    raw, steps = run_config(), [dict(name="clip", percentiles=[1, 99])]
    for has_scores in (False, True):
        raw["dataset"]["intensity"] = steps + [dict(name="z_score")] * has_scores
        config = load_config([write_yaml(tmp_path / "run.yaml", raw)])
        check_session(config, "config", labeled=True)
        if not has_scores:
            check_session(config, "config", labeled=True, has_range=True)
    with pytest.raises(ValueError, match="intensity_range: expected none for a run"):
        check_session(config, "config", labeled=True, has_range=True)


def test_headers_that_name_two_places_are_told(caplog):
    case = flat_case("volume")
    apart = replace(case.moving_source, forms_apart=6.0, path="scan.nii.gz")
    warn_of_places(replace(case, moving_source=apart))
    assert "scan.nii.gz: sform and qform name different places (by up to 6 mm)" in (
        caplog.text
    )


@pytest.mark.parametrize("layout", ["volume", "plane", "picture"])
def test_files_without_a_place_are_told_but_pictures_have_itks(layout, caplog):
    warn_of_places(flat_case(layout))
    is_told = "its header states no place in space" in caplog.text
    assert is_told is (layout != "picture")


def test_axes_that_are_laid_parallel_though_they_point_apart_are_told(caplog):
    case = make_case("upright")
    flipped = case.moving_affine @ np.diag([-1.0, 1, 1, 1])
    apart = replace(case, moving_affine=flipped)
    unknown = replace(case.moving_source, has_orientation=False)
    warn_of_places(apart, "affine")
    warn_of_places(apart)
    warn_of_places(case, "center")
    assert not caplog.text
    warn_of_places(replace(apart, moving_source=unknown), "center")
    assert "the axes point" not in caplog.text
    warn_of_places(apart, "corner")
    axes = case.fixed_grid.orientation, apart.moving_grid.orientation
    assert axes[0] != axes[1]
    assert (
        f"fixed.nii.gz and moving.nii.gz: the axes point to {axes[0]} and to "
        f"{axes[1]}, and the initial alignment (corner) lays them parallel"
    ) in caplog.text


def test_a_rotation_that_headers_state_and_the_alignment_leaves_out_is_told(caplog):
    case = make_case("upright")
    for degrees, is_told in ((1.5, False), (12.0, True)):
        caplog.clear()
        turn = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
        turned = replace(
            case, moving_affine=from_parts(turn, [3, 0, 1]) @ case.moving_affine
        )
        warn_of_places(turned)  # follows the headers
        assert not caplog.text
        warn_of_places(turned, "center")
        assert ("turned by 12 degrees against the other" in caplog.text) is is_told
