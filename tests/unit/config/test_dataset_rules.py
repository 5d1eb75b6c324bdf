"""Tests of what the keys of `dataset` ask of each other."""

import pytest

from deepreg_meta.config import ConfigError
from tests.unit.config.examples import deepreg, load, with_key

MATCH = {"name": "match", "reference": "fixed"}


@pytest.fixture
def unpaired():
    base = with_key("dataset.type", "unpaired")
    base["dataset"]["image_shape"] = [5, 6, 7]
    return base


@pytest.mark.parametrize("key", ["dataset.spacing_mm", "dataset.grid.spacing_mm"])
def test_unpaired_images_have_one_spacing(write, unpaired, key):
    load(write, key, {"moving": 2, "fixed": [2, 2, 2]}, unpaired)
    message = f"{key} in meta.yaml: expected one spacing for unpaired data.*fixed null"
    with pytest.raises(ConfigError, match=message):
        load(write, key, {"moving": [1, 1, 2]}, unpaired)
    load(write, key, {"moving": [1, 1, 2]})  # paired


def test_unpaired_images_have_one_list_of_steps(write, unpaired):
    steps = [{"name": "equalize"}]
    load(write, "dataset.intensity", steps, unpaired)
    with pytest.raises(ConfigError, match="one list of steps for unpaired data"):
        load(write, "dataset.intensity", {"moving": steps}, unpaired)
    load(write, "dataset.intensity", {"moving": steps})


def test_only_moving_images_of_pairs_are_matched_to_the_fixed_ones(write, unpaired):
    load(write, "dataset.intensity", {"moving": [MATCH]})
    message = r"for the moving images .*Write `{moving: \[...\], fixed: \[...\]}`"
    for steps in ([MATCH], {"fixed": [MATCH]}):
        with pytest.raises(ConfigError, match=message):
            load(write, "dataset.intensity", steps)
    with pytest.raises(ConfigError, match="for unpaired data"):
        load(write, "dataset.intensity", {"moving": [MATCH]}, unpaired)


def test_deepregs_own_training_is_said_to_pass_over_the_keys(write, caplog):
    load(write, base=deepreg())
    load(write, "dataset.grid", {"fit": "resize"}, deepreg())
    assert not caplog.records
    for key, value in (("grid", {"fit": "pad"}), ("intensity", [{"name": "z_score"}])):
        config = load(write, f"dataset.{key}", value, deepreg())
        assert f"dataset.{key} in meta.yaml: has no effect on training" in caplog.text
        assert key not in config.deepreg_config()["dataset"]
        caplog.clear()
        load(write, f"dataset.{key}", value)
        assert not caplog.records
