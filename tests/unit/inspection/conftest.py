"""Small data sets with planted defects."""

import shutil

import pytest

from deepreg_meta.config import load_config
from tests.helpers import run_config, write_yaml
from tests.unit.inspection.examples import FIXED, MOVING, write_split


@pytest.fixture(scope="session")
def good_data(tmp_path_factory):
    """:return: folder of a data set of which nothing can be said, not to be changed."""
    folder = tmp_path_factory.mktemp("good")
    write_split(folder / "train", seeds=(0, 1, 2))
    write_split(folder / "test", seeds=(3, 4))
    return folder


@pytest.fixture
def data(good_data, tmp_path):
    """:return: a copy of the data set, to be spoilt."""
    return shutil.copytree(good_data, tmp_path / "data")


@pytest.fixture
def configure(tmp_path):
    """:return: makes the configuration of a folder with train and test."""

    def make(folder, align="center", adapt=None, method="reptile", **dataset):
        config = run_config()
        if method != "reptile":
            config["train"]["method"] = method
            config["train"].pop("meta")
            config["train"]["preprocess"]["data_augmentation"] = dict(name="affine")
        config["align"] = align
        if adapt is not None:
            config["adapt"] = adapt
        config["dataset"].pop("phantom")
        config["dataset"] |= dict(
            dir={mode: str(folder / mode) for mode in ("train", "test")},
            moving_image_shape=list(MOVING),
            fixed_image_shape=list(FIXED),
        )
        config["dataset"] |= dataset
        if not config["dataset"]["labeled"]:
            config["align"] = "center"
            config["train"]["loss"] |= dict(label=None, image=dict(name="ssd"))
        return load_config(write_yaml(tmp_path / "mine.yaml", config))

    return make
