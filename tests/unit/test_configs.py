"""Tests of the files in config/ and demos/: all load and say what they claim."""

import dataclasses
import logging
import re
from pathlib import Path

import pytest

from deepreg_meta.config import RunConfig, load_config

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config"
# files that are merged after another one, and that one
BASES = {
    "config/paper/meta_trus.yaml": "config/meta_trus.yaml",
    "config/paper/meta_registration.yaml": "config/meta_registration.yaml",
    "demos/meta_trus/meta_trus_real.yaml": "config/meta_trus.yaml",
    "demos/meta_registration/meta_registration_real.yaml": (
        "config/meta_registration.yaml"
    ),
}
# what the demos write into folders of their own is not part of the project
WRITTEN = re.compile(r"/(dataset|logs)")
FILES = sorted(
    name
    for folder in ("config", "demos")
    for path in (ROOT / folder).rglob("*.yaml")
    if not WRITTEN.search(name := path.relative_to(ROOT).as_posix())
)


# beta_1 stands there so that the base file's does not stay
ADAM_OF_PAPER_A = {"name": "Adam", "learning_rate": 1e-5, "beta_1": 0.9}


def load(name: str) -> RunConfig:
    """Load a file after its base, if it has one."""
    return load_config([ROOT / file for file in (BASES.get(name), name) if file])


def values(config: RunConfig, *keys: str) -> dict:
    """Pick dotted keys out of the merged mapping."""
    picked = {}
    for key in keys:
        value = config.raw
        for part in key.split("."):
            value = value[part]
        picked[key] = value
    return picked


def test_every_file_that_needs_a_base_exists_with_it():
    assert {*BASES, *BASES.values()} <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_every_file_loads_without_a_warning(name, caplog):
    with caplog.at_level(logging.WARNING):
        config = load(name)
    assert config.is_reptile
    assert not caplog.records


@pytest.mark.parametrize("name", FILES)
def test_every_file_survives_being_saved_with_a_run(name, tmp_path):
    config = load(name)
    config.dump(tmp_path / "config.yaml")
    saved = load_config(tmp_path / "config.yaml")
    for field in dataclasses.fields(RunConfig):
        if field.compare:
            assert getattr(saved, field.name) == getattr(config, field.name)


@pytest.mark.parametrize("name", ["meta_trus.yaml", "meta_registration.yaml"])
def test_base_files_use_the_phantom_and_shapes_that_its_generator_takes(name):
    config = load(f"config/{name}")
    assert config.uses_phantom
    assert config.dataset.phantom.num_test >= 2
    # LocalNet halves each side once per level; a side must outlast that
    levels = max(config.raw["train"]["backbone"]["extract_levels"])
    assert min(config.dataset.fixed_shape) >= 2**levels


def test_system_a_has_the_values_of_its_paper():
    config = load("config/paper/meta_trus.yaml")
    meta = config.meta
    assert (meta.base, meta.inner_steps, meta.tasks_per_step) == ("ddf", 10, 1)
    assert (meta.meta_step_size, meta.meta_step_size_end) == (0.5, 1e-5)
    assert meta.iterate == "average"  # equation 10
    # 25000 episodes of 10 steps are the 250000 iterations of section III-I
    episodes = config.train.epochs * meta.episodes_per_epoch
    assert (episodes, episodes * meta.inner_steps) == (25_000, 250_000)
    assert config.train.preprocess.batch_size == 4
    assert config.raw["train"]["optimizer"] == ADAM_OF_PAPER_A
    assert config.sparse_frames.frames == (2, 10)
    assert config.sparse_frames.axis == 1
    assert values(
        config, "train.loss.label", "train.loss.regularization", "train.backbone"
    ) == {
        "train.loss.label": {
            "name": "multi_scale_dice",
            "weight": 1.0,
            "sigmas_mm": [0, 1, 2, 4, 8, 16, 32],
        },
        "train.loss.regularization": {"name": "bending_energy", "weight": 1.0},
        "train.backbone": {
            "name": "local_norm",
            "num_channel_initial": 32,
            "initial_kernel_size": 7,
            "extract_levels": [0, 1, 2, 3, 4],
            "normalization": "moving",
        },
    }
    assert "image" not in config.raw["train"]["loss"]


def test_system_a_adapts_as_in_its_paper():
    config = load("config/paper/meta_trus.yaml")
    assert config.adapt.steps == 8  # F_max - F_min
    assert config.adapt.labels == (0,)
    assert config.adapt.schedule == "sweep"
    assert config.adapt_frames == (2, 10)
    assert config.adapt_optimizer == ADAM_OF_PAPER_A
    assert config.align.mode == "corner"
    # the files' own 0.8 mm count
    assert config.dataset.spacing_mm is None


def test_system_b_has_the_values_of_its_paper():
    config = load("config/paper/meta_registration.yaml")
    meta = config.meta
    assert (meta.base, meta.inner_steps, meta.tasks_per_step) == ("ddf", 10, 1)
    assert (meta.meta_step_size, meta.meta_step_size_end) == (0.5, 1e-5)
    assert meta.iterate == "last"
    episodes = config.train.epochs * meta.episodes_per_epoch
    assert (episodes, episodes * meta.inner_steps) == (20_000, 200_000)
    assert config.train.preprocess.batch_size == 4
    assert config.dataset.type == "unpaired"
    assert not config.dataset.labeled
    assert config.sparse_frames is None
    assert config.raw["train"]["loss"] == {
        "image": {"name": "ssd", "weight": 1.0},
        "regularization": {"name": "bending_energy", "weight": 10.0},
    }
    assert config.raw["train"]["backbone"]["num_channel_initial"] == 32
    assert config.adapt.steps == 5
    assert config.adapt.schedule == "all"
    assert config.adapt_optimizer == {"name": "Adam", "learning_rate": 1e-5}


def test_system_b_scores_labels_on_request_without_learning_from_them():
    config = load_config(
        CONFIG / "meta_registration.yaml", {"dataset": {"labeled": True}}
    )
    assert config.dataset.labeled
    assert config.train.loss.label is None
    assert config.align.mode == "center"


def test_images_of_two_axes_have_folders_to_fill_in_and_ordinary_training():
    config = load("config/images_2d.yaml")
    assert not config.uses_phantom and config.dataset.format == "png"
    assert config.dataset.moving_shape == config.dataset.fixed_shape == (128, 128, 1)
    assert not config.dataset.labeled and config.train.loss.label is None
    meta = config.meta
    assert (meta.inner_steps, meta.meta_step_size, config.adapt.steps) == (1, 1.0, 0)
    # labels that are added to score by them stay unseen
    scored = load_config(CONFIG / "images_2d.yaml", {"dataset": {"labeled": True}})
    assert scored.adapt.labels == ()


def test_real_pairs_are_measured_in_voxels_of_their_own_grids():
    dataset = load("demos/meta_trus/meta_trus_real.yaml").dataset
    assert dataset.moving_shape == (64, 64, 60)
    assert dataset.fixed_shape == (44, 59, 41)
    assert dataset.spacing_mm.moving == dataset.spacing_mm.fixed == (1, 1, 1)
