"""Tests of deepreg_meta/run_data.py."""

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from deepreg_meta.config import load_config
from deepreg_meta.run_data import open_cases, phantom_folder
from tests.helpers import (
    PHANTOM_FIXED_SHAPE,
    PHANTOM_MOVING_SHAPE,
    run_config,
    write_yaml,
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """:return: folder of generated data."""
    monkeypatch.setenv("DEEPREG_META_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def load(tmp_path: Path, **dataset: object):
    """:return: the configuration of a run with other keys of `dataset`."""
    config = run_config()
    config["dataset"]["phantom"] = dict(num_train=2, num_valid=0, num_test=1)
    config["dataset"].update(dataset)
    return load_config(write_yaml(tmp_path / "run.yaml", config))


def test_without_folders_the_phantom_is_generated_and_named(tmp_path, cache, caplog):
    """The message says where it is and how to use other images."""
    with caplog.at_level(logging.INFO):
        cases = open_cases(load(tmp_path), ("train", "valid", "test"))
    [folder] = cache.glob("phantom_*")
    assert f"the generated phantom in {folder}" in caplog.text
    assert "set dataset.dir.train" in caplog.text
    assert len(cases["train"]) == 2 and len(cases["test"]) == 1
    assert cases["valid"] is None  # num_valid is 0
    case = cases["train"][0]
    assert case.moving_image.shape == PHANTOM_MOVING_SHAPE
    assert case.fixed_image.shape == PHANTOM_FIXED_SHAPE
    assert len(case.fixed_labels) >= 3
    assert not np.array_equal(case.fixed_image, cases["test"][0].fixed_image)


def test_the_phantom_is_made_once_for_each_choice(tmp_path, cache):
    """The same folder again, another one for another seed or another type."""
    first = Path(phantom_folder(load(tmp_path)))
    stamp = (first / "phantom.json").stat().st_mtime_ns
    assert phantom_folder(load(tmp_path)) == str(first)
    assert (first / "phantom.json").stat().st_mtime_ns == stamp
    seeded = dict(seed=5, num_train=2, num_valid=0, num_test=1)
    other = Path(phantom_folder(load(tmp_path, phantom=seeded)))
    assert other != first and other.parent == first.parent == cache
    name = "train/fixed_images/case000000.nii.gz"
    images = [nib.load(folder / name).get_fdata() for folder in (first, other)]
    assert not np.array_equal(*images)


def test_unpaired_data_gets_unpaired_phantoms(tmp_path):
    """One grid for all images; no two labels of different subjects but the gland."""
    config = run_config()
    for side in ("moving", "fixed"):
        config["dataset"].pop(f"{side}_image_shape")
    config["dataset"] |= dict(type="unpaired", image_shape=list(PHANTOM_FIXED_SHAPE))
    config["dataset"]["phantom"] = dict(num_train=3, num_valid=0, num_test=0)
    loaded = load_config(write_yaml(tmp_path / "run.yaml", config))
    cases = open_cases(loaded, ("train", "test"))
    assert cases["train"].num_images == 3 and cases["test"] is None
    case = cases["train"].get_pair(0, 2)
    assert case.moving_image.shape == case.fixed_image.shape == PHANTOM_FIXED_SHAPE
    assert len(case.fixed_labels) == 1


def test_folders_of_the_user_are_read_and_no_phantom_is_made(tmp_path, cache):
    """A split without a folder is None."""
    folder = phantom_folder(load(tmp_path))
    cache.rename(tmp_path / "own")
    own = folder.replace(str(cache), str(tmp_path / "own"))
    dirs = dict(train=f"{own}/train", valid=None, test=None)
    config = load(tmp_path, dir=dirs, phantom=None)
    cases = open_cases(config, ("train", "valid"))
    assert len(cases["train"]) == 2 and cases["valid"] is None
    assert not cache.exists()


def test_every_file_is_checked_before_anything_starts(tmp_path, cache):
    """Two bad files of a split are named together."""
    folder = Path(phantom_folder(load(tmp_path)))
    paths = [folder / f"train/fixed_images/case00000{i}.nii.gz" for i in range(2)]
    for path, value in zip(paths, (np.nan, 3.0), strict=True):
        image = nib.load(path)
        data = np.full(image.shape, value, np.float32)
        nib.save(nib.Nifti1Image(data, image.affine), path)
    with pytest.raises(ValueError, match="dataset.dir.train .*2 problems") as error:
        open_cases(load(tmp_path), ("test", "train"))
    assert all(str(path) in str(error.value) for path in paths)


def test_missing_folders_of_all_splits_are_named_together(tmp_path):
    folders = {mode: str(tmp_path / mode) for mode in ("train", "valid", "test")}
    with pytest.raises(ValueError) as caught:
        open_cases(load(tmp_path, dir=folders), ("train", "valid"))
    for mode in ("train", "valid"):
        assert f"dataset.dir.{mode}" in str(caught.value)
    assert "dataset.dir.test" not in str(caught.value)
