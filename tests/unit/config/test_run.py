"""Tests of one run's configuration: dumping, fallbacks, what DeepReg may see."""

import pytest
import yaml

from deepreg_meta.config import load_config
from tests.unit.config.examples import BASE, SPARSE, deepreg, load, with_key


@pytest.mark.parametrize("augmentation", [SPARSE, [{"name": "affine"}, SPARSE], None])
def test_a_dumped_configuration_loads_as_the_same_one(write, tmp_path, augmentation):
    base = with_key("dataset.labels", {"zone": 3, "gland": 1})
    base["dataset"]["spacing_mm"] = [0.5, 1.0, 2.0]
    base["dataset"]["grid"] = {"spacing_mm": {"fixed": [2.0, 3.0]}}
    base["dataset"]["fixed_image_shape"] = [5, 6]
    base["align"] = "centroid"
    config = load(write, "train.preprocess.data_augmentation", augmentation, base)
    config.dump(tmp_path / "config.yaml", header="deepreg_meta 1\nseed 0")
    again = load_config(tmp_path / "config.yaml")
    assert again == config
    assert again.raw == config.raw
    assert list(again.dataset.labels) == ["zone", "gland"]  # order is channel order
    text = (tmp_path / "config.yaml").read_text()
    assert text.startswith("# deepreg_meta 1\n# seed 0\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.yaml", "meta.yaml"]


def test_a_dump_that_fails_leaves_the_old_file(write, tmp_path):
    config = load(write)
    target = tmp_path / "config.yaml"
    target.write_text("old")
    config.raw["train"]["bad"] = object()
    with pytest.raises(yaml.YAMLError):
        config.dump(target)
    assert target.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.yaml", "meta.yaml"]


def test_adaptation_takes_frames_and_optimizer_of_training_unless_it_has_its_own(write):
    base = with_key("train.preprocess.data_augmentation", SPARSE)
    config = load(write, base=base)
    assert config.sparse_frames.frames == config.adapt_frames == (2, 5)
    assert config.adapt.schedule == "sweep"
    assert config.adapt_optimizer == {"name": "Adam", "learning_rate": 1.0e-3}
    base["adapt"] = {
        "frames": [1, 3],
        "optimizer": {"name": "SGD", "learning_rate": 1, "momentum": 0.9},
    }
    config = load(write, base=base)
    assert config.adapt_frames == (1, 3)
    expected = {"name": "SGD", "learning_rate": 1.0, "momentum": 0.9}
    assert config.adapt_optimizer == expected


def test_the_phantom_is_used_only_without_any_folder(write):
    assert load(write).uses_phantom
    assert not load(write, "dataset.dir.train", "data").uses_phantom
    assert load(write, "dataset.dir", ...).uses_phantom
    assert load(write, "dataset.dir.train", "").uses_phantom  # DeepReg's form of null


def test_the_configuration_is_frozen(write):
    config = load(write)
    with pytest.raises(Exception, match="frozen"):
        config.meta.inner_steps = 3
    with pytest.raises(Exception, match="cannot assign"):
        config.seed = 3


def test_deepreg_sees_none_of_our_keys(write):
    config = load(write, "dataset.labels", {"gland": 1})
    seen = config.deepreg_config()
    assert set(seen) == {"dataset", "train"}
    assert set(seen["dataset"]) == set(BASE["dataset"])
    assert not {"seed", "meta"} & set(seen["train"])
    seen["train"]["epochs"] = 99
    assert config.raw["train"]["epochs"] == 3  # a copy


def test_deepreg_sees_three_sides_of_2d_images_and_the_file_keeps_two(write):
    config = load(write, "dataset.fixed_image_shape", [5, 6], BASE)
    seen = config.deepreg_config()["dataset"]
    assert (seen["fixed_image_shape"], seen["moving_image_shape"]) == (
        [5, 6, 1],
        [8, 9, 10],
    )
    assert config.raw["dataset"]["fixed_image_shape"] == [5, 6]


def test_deepreg_brings_its_old_configurations_up_to_date(write):
    base = deepreg()
    base["train"]["optimizer"] = {"name": "adam", "adam": {"learning_rate": 0.5}}
    seen = load(write, base=base).deepreg_config()
    assert seen["train"]["optimizer"] == {"name": "Adam", "learning_rate": 0.5}
    # its default, which method reptile does not inherit
    assert seen["train"]["preprocess"]["data_augmentation"] == {"name": "affine"}


def test_sections_that_a_run_does_not_have_are_no_bare_none(write):
    config = load(write, base=deepreg())
    with pytest.raises(RuntimeError, match="train.method ddf has no section of Rep"):
        _ = config.reptile_train
    with pytest.raises(RuntimeError, match="no dataset.phantom"):
        _ = config.phantom
    config = load(write)
    assert config.reptile_train.epochs == 3
    assert config.phantom.num_train == 12
