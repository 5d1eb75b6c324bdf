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


@pytest.fixture
def flat():
    """:return: a configuration of 2-D images."""
    base = with_key("dataset.moving_image_shape", [8, 9])
    base["dataset"]["fixed_image_shape"] = [5, 6]
    return base


@pytest.mark.parametrize("key", ["dataset.spacing_mm", "dataset.grid.spacing_mm"])
def test_two_voxel_sides_are_for_2d_images(write, flat, key):
    load(write, key, [1, 2], flat)
    message = rf"{key} in meta.yaml: expected a number or three .*, got \[1.0, 2.0\]"
    with pytest.raises(ConfigError, match=message) as caught:
        load(write, key, [1, 2])
    assert len(caught.value.problems) == 1
    flat["dataset"]["moving_image_shape"] = [8, 9, 10]
    load(write, key, {"fixed": [1, 2]}, flat)
    with pytest.raises(ConfigError, match=message):
        load(write, key, {"moving": [1, 2]}, flat)


def test_hdf5_files_are_not_generated(write):
    base = with_key("dataset.format", "h5")
    load(write, "dataset.dir", {"train": "data"}, base)
    with pytest.raises(ConfigError, match="dataset.format h5, got none. The generated"):
        load(write, "dataset.dir", None, base)


def test_png_files_are_2d_state_no_orientation_and_are_not_generated(write, flat):
    flat["dataset"] |= {"format": "png", "dir": {"train": "data"}}
    assert load(write, base=flat).dataset.moving_shape == (8, 9, 1)
    for key, value, message in (
        (
            "fixed_image_shape",
            [5, 6, 7],
            r"expected two integers .* png, got \[5, 6, 7\]",
        ),
        ("grid.orientation", "RAS", "expected null with dataset.format png.* 'RAS'"),
        ("dir", {"train": None}, "expected a folder .* png, got none. The generated"),
    ):
        with pytest.raises(ConfigError, match=f"dataset.{key} in meta.yaml: {message}"):
            load(write, f"dataset.{key}", value, flat)
    base = with_key("train.method", "ddf", flat)
    base["dataset"]["dir"] = {"train": None}
    with pytest.raises(ConfigError) as caught:
        load(write, base=base)
    *shapes, folder = caught.value.problems
    assert len(shapes) == 2 and "expected a folder for train" in folder
    for key, problem in zip(("moving", "fixed"), shapes, strict=True):
        assert (
            f"dataset.{key}_image_shape in meta.yaml: expected three sides" in problem
        )
