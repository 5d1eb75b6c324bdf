"""Tests of the keys that say how volumes are brought to the network."""

import pytest
import yaml

from deepreg_meta.config import ConfigError, load_config
from deepreg_meta.config.preprocessing import GridConfig, IntensityStep
from tests.unit.config.examples import load, with_key


def test_by_default_nothing_is_done_and_the_defaults_are_written_out(write):
    config = load(write)
    assert config.dataset.grid == GridConfig()
    assert config.dataset.intensity is None and config.dataset.spacing_mm is None
    assert config.raw["dataset"]["grid"] == {
        "spacing_mm": None,
        "fit": "resize",
        "padding": "background",
        "orientation": None,
    }
    assert config.raw["dataset"]["intensity"] is None
    assert load(write, "dataset.grid", None) == config
    assert load(write, "dataset.grid", {}) == config


def test_one_number_is_three_and_one_spacing_is_both(write):
    for short in (1.5, [1.5, 1.5, 1.5], {"moving": 1.5, "fixed": [1.5, 1.5, 1.5]}):
        spacing = load(write, "dataset.grid", {"spacing_mm": short}).dataset.grid
        assert spacing.spacing_mm.moving == spacing.spacing_mm.fixed == (1.5,) * 3
        nominal = load(write, "dataset.spacing_mm", short).dataset.spacing_mm
        assert nominal == spacing.spacing_mm
    one_side = load(write, "dataset.grid", {"spacing_mm": {"fixed": 2}}).dataset.grid
    assert one_side.spacing_mm.moving is None


def test_one_list_of_steps_is_for_both(write):
    steps = [{"name": "clip", "percentiles": [1, 99]}, {"name": "z_score"}]
    both = load(write, "dataset.intensity", steps)
    assert both == load(write, "dataset.intensity", {"moving": steps, "fixed": steps})
    first, second = both.dataset.intensity.fixed
    assert first.percentiles == (1, 99) and first.sigmas is None
    assert second.name == "z_score"
    one = load(write, "dataset.intensity", {"moving": steps, "fixed": None})
    assert one.dataset.intensity.fixed == ()
    assert len(one.dataset.intensity.moving) == 2


def test_a_reference_is_the_pair_or_a_file_whose_home_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    pair = IntensityStep(name="match", reference="fixed")
    assert pair.is_matched_to_pair and pair.file is None
    file = IntensityStep(name="match", reference="~/mr.nii")
    assert not file.is_matched_to_pair and file.file == "/home/me/mr.nii"
    assert IntensityStep(name="equalize").file is None


def test_keys_that_are_not_given_are_not_written_and_all_others_come_back(
    write, tmp_path
):
    steps = {
        "moving": [
            {"name": "clip", "range": [-100, 250.5]},
            {"name": "match", "reference": "fixed"},
        ],
        "fixed": [{"name": "clip", "sigmas": 3}, {"name": "equalize"}],
    }
    base = with_key("dataset.intensity", steps)
    grid = {"spacing_mm": {"moving": 1}, "fit": "pad", "orientation": "LPS"}
    config = load(write, "dataset.grid", grid, base)
    config.dump(tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())["dataset"]
    assert written["intensity"] == steps
    assert written["grid"]["spacing_mm"] == {"moving": [1, 1, 1], "fixed": None}


STEPS = r"a list of steps, each a mapping with name"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("grid", 3, "dataset.grid in meta.yaml: expected a mapping with .* got 3"),
        ("grid.fit", "crop", "grid.fit in meta.yaml: expected resize or pad.* 'crop'"),
        ("grid.fits", "pad", "grid.fits in .*: unknown key. Did you mean `fit`"),
        ("grid.padding", "none", "grid.padding in .*: expected background or ignore"),
        ("grid.padding", "ignore", "padding in .*expected background with .*fit resi"),
        ("grid.orientation", "RLS", "one each of R and L, .* such as RAS, got 'RLS'"),
        ("grid.orientation", "ras", "such as RAS, got 'ras'"),
        ("grid.orientation", "RASS", "such as RAS, got 'RASS'"),
        ("grid.orientation", "RA", "such as RAS, got 'RA'"),
        ("grid.orientation", 3, "such as RAS, got 3"),
        (
            "grid.spacing_mm",
            0,
            "expected null, a number or three numbers > 0, in",
        ),
        ("grid.spacing_mm", [1], r"three numbers > 0, in mm, got \[1\]"),
        ("grid.spacing_mm", [1, 2, 3, 4], r"three numbers > 0, .* got \[1, 2, 3, 4\]"),
        ("grid.spacing_mm", True, "three numbers > 0, in mm, got true"),
        ("grid.spacing_mm", {"fixed": -1}, r"spacing_mm.fixed in .* got -1"),
        ("grid.spacing_mm", {"fix": 1}, "spacing_mm.fix in .*Did you mean `fixed`"),
        ("intensity", "clip", f"dataset.intensity in meta.yaml: expected {STEPS}"),
        ("intensity", {"moving": "clip"}, f"intensity.moving in .*: expected {STEPS}"),
        ("intensity", {"both": []}, "intensity.both in meta.yaml: unknown key"),
        ("intensity", ["clip"], "dataset.intensity.0 in .* a mapping.*, got 'clip'"),
        ("intensity", [{}], "dataset.intensity.0.name in .*: missing, expected clip"),
        (
            "intensity",
            [{"name": "equalize"}, {"name": "clp"}],
            "dataset.intensity.1.name in .*expected clip, .*Did you mean `clip`",
        ),
        (
            "intensity",
            [{"name": "clip", "sigma": 3}],
            "dataset.intensity.0.sigma in .*unknown key. Did you mean `sigmas`",
        ),
        (
            "intensity",
            [{"name": "clip"}],
            "dataset.intensity.0 in .*expected name clip with one of percentiles, sigm",
        ),
        (
            "intensity",
            {"fixed": [{"name": "clip", "sigmas": 1, "range": [0, 1]}]},
            "dataset.intensity.fixed.0 in .*name clip with one of percentiles",
        ),
        ("intensity", [{"name": "match"}], "expected name match with reference, got"),
        (
            "intensity",
            [{"name": "z_score", "sigmas": 1}],
            "expected name z_score with no key beside it, got",
        ),
        (
            "intensity",
            [{"name": "clip", "percentiles": [99, 1]}],
            r"intensity.0.percentiles in .* 0 <= low < high <= 100, got \[99, 1\]",
        ),
        (
            "intensity",
            [{"name": "clip", "percentiles": [1, 101]}],
            r"0 <= low < high <= 100, got \[1, 101\]",
        ),
        (
            "intensity",
            [{"name": "clip", "range": [2, 2]}],
            r"intensity.0.range in .*with low < high, got \[2, 2\]",
        ),
        (
            "intensity",
            [{"name": "clip", "sigmas": 0}],
            "intensity.0.sigmas in .*expected a number > 0, got 0",
        ),
    ],
)
def test_bad_input_is_named_with_its_place_and_rule(write, key, value, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load(write, f"dataset.{key}", value)
    assert len(caught.value.problems) == 1
