"""Tests of the folders that a configuration names."""

import pytest

from deepreg_meta.config import ConfigError, check_paths
from tests.unit.config.examples import load, with_key


def test_missing_folders_are_named_with_key_and_path(write, tmp_path):
    folders = [str(tmp_path / "one"), str(tmp_path / "two")]
    (tmp_path / "one" / "moving_images").mkdir(parents=True)
    (tmp_path / "one" / "fixed_labels").mkdir()
    config = load(write, "dataset.dir.train", folders)
    with pytest.raises(ConfigError) as caught:
        check_paths(config, "train")
    prefix = "dataset.dir.train in meta.yaml: expected"
    assert caught.value.problems == (
        f"{prefix} fixed_images in the folder {folders[0]}, found none.",
        f"{prefix} moving_labels in the folder {folders[0]}, found none.",
        f"{prefix} an existing folder, got {folders[1]}.",
    )
    check_paths(config, "valid")  # not given


def test_hdf5_files_are_looked_for_in_place_of_folders(write, tmp_path):
    base = with_key("dataset.dir.train", str(tmp_path))
    base["dataset"]["format"] = "h5"
    with pytest.raises(ConfigError, match="expected moving_images.h5 in the folder"):
        check_paths(load(write, base=base), "train")


def test_png_files_lie_in_folders(write, tmp_path):
    base = with_key("dataset.dir.train", str(tmp_path))
    base["dataset"] |= {"format": "png", "labeled": False}
    base["dataset"] |= {f"{s}_image_shape": [8, 9] for s in ("moving", "fixed")}
    base["train"]["loss"].pop("label")
    (tmp_path / "fixed_images").mkdir()
    with pytest.raises(ConfigError, match="expected moving_images in the folder"):
        check_paths(load(write, base=base), "train")
    (tmp_path / "moving_images").mkdir()
    check_paths(load(write, base=base), "train")


def test_a_phantom_needs_no_folder(write):
    check_paths(load(write), "train")
