"""Tests of the sections: each key's rule, with every bad value, and short forms."""

import pytest

from deepreg_meta.config import ConfigError
from deepreg_meta.config.dataset_schema import DatasetConfig
from tests.unit.config.examples import load


def test_short_forms_mean_the_long_ones(write):
    assert load(write, "align", "affine") == load(write, "align", {"mode": "affine"})
    sides = [1, 2, 3]
    long = load(write, "dataset.spacing_mm", {"moving": sides, "fixed": sides})
    assert load(write, "dataset.spacing_mm", sides) == long
    assert long.dataset.spacing_mm.fixed == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "train.meta.inner_steps",
            0,
            r"train.meta.inner_steps in meta.yaml: expected an integer >= 1, got 0\. "
            "Use `train.method: ddf` to train without meta-learning",
        ),
        ("train.meta.inner_steps", 2.0, r"expected an integer >= 1, got 2\.0"),
        ("train.meta.inner_steps", True, "expected an integer >= 1, got true"),
        ("train.meta.tasks_per_step", "2", "got '2'. Write a number without quotes"),
        ("train.meta.inner_step", 3, "unknown key. Did you mean `inner_steps`"),
        (
            "train.meta",
            {"update": "fomaml"},
            "expected an outer_optimizer with update: fomaml, whose gradient needs one",
        ),
        (
            "train.meta",
            {
                "update": "fomaml",
                "iterate": "average",
                "outer_optimizer": {"name": "SGD", "learning_rate": 1.0},
            },
            "expected iterate: last with update: fomaml",
        ),
        ("train.meta.outer_optimizer", {"name": "SGD"}, r"learning_rate"),
        ("train.meta.base", 3, "expected the name of a registered DeepReg model"),
        ("train.meta.base", "reptile", "the model that Reptile trains"),
        ("train.meta.meta_step_size", 0, r"expected a number in \(0, 1\], got 0"),
        ("train.meta.meta_step_size", 1.5, r"expected a number in \(0, 1\], got 1.5"),
        ("train.meta.meta_step_size_end", 0.6, r"meta_step_size = 0.5\], got 0.6"),
        ("train.meta.iterate", "lst", "expected last or average.*mean `last`"),
        ("train.meta", 3, "train.meta in meta.yaml: expected a mapping, got 3"),
        ("train.seed", -1, "expected an integer >= 0, got -1"),
        ("train.precision", "bfloat16", "expected float32, mixed_bfloat16 or mixed_fl"),
        ("train.recompute", 1, "expected true or false.*got 1"),
        ("train.epochs", -1, "expected an integer >= 0; 0 saves .* drawn, got -1"),
        ("train.epochs", ..., "train.epochs in meta.yaml: missing, expected an int"),
        ("train.save_period", 1.5, "expected an integer >= 1, in epochs, or a list"),
        ("train.preprocess.batch_size", 0, "expected an integer >= 1, got 0"),
        ("train.preprocess.batchsize", 1, "unknown key. Did you mean `batch_size`"),
        ("train.preprocess.data_augmentation", "affine", "expected null, a mapping"),
        ("train.method", "reptil", "unknown method 'reptil'. Did you mean `reptile`"),
        ("train.method", 3, "train.method in meta.yaml: expected the name of a me"),
        ("train", 3, "train in meta.yaml: expected a mapping of keys.*got 3"),
        ("train", ..., "train in meta.yaml: expected a mapping.*got no such section"),
        ("train.los", 3, "unknown key. Did you mean `loss`"),
        ("train.backbone", ..., "train.backbone in meta.yaml: missing"),
        ("train.optimizer.name", "adam", "AdamW, got 'adam'. Did you mean `Adam`"),
        ("train.optimizer.lr", 1, "unknown key. Did you mean `learning_rate`"),
        ("train.optimizer.learning_rate", 0, "expected a number > 0.*got 0"),
        ("train.optimizer.learning_rate", float("nan"), "expected a number.*got nan"),
        ("train.optimizer.learning_rate", ..., "learning_rate in meta.yaml: missing"),
        ("train.loss.label.weight", -1, "expected a number >= 0, got -1"),
        ("train.loss.imag", {}, "unknown key. Did you mean `image`"),
        ("dataset", ..., "dataset in meta.yaml: expected a mapping.*got null"),
        ("dataset.type", "pair", "expected paired.*got 'pair'. Did you mean `paired`"),
        ("dataset.type", "grouped", "expected paired or unpaired.*got 'grouped'"),
        ("dataset.format", "dicom", "expected nifti, h5 or png, got 'dicom'"),
        ("dataset.labeled", 1, "expected true or false, got 1"),
        ("dataset.dir.tain", "x", "unknown key. Did you mean `train`"),
        ("dataset.dir.train", 3, "expected a folder, a list of folders or null, got 3"),
        ("dataset.fixed_image_shape", [5], r"integers >= 1, of 2-D .* two, got \[5\]"),
        ("dataset.fixed_image_shape", [5, 6, 0], r"2-D images two, got \[5, 6, 0\]"),
        ("dataset.fixed_image_shape", ..., "fixed_image_shape in meta.yaml: missing"),
        ("dataset.spacing_mm", [1], r"three numbers > 0, in mm, got \[1\]"),
        ("dataset.spacing_mm", {"fixed": [1, 2, 0]}, r"fixed in.*got \[1, 2, 0\]"),
        ("dataset.labels", {"gland": "1"}, "integers >= 1 of the label files, got"),
        (
            "dataset.labels",
            {"a": 2, "b": 2},
            "for each name, got 2 for a and b",
        ),
        ("dataset.cache_gb", -1, "expected a number >= 0, got -1"),
        ("dataset.phantom.num_train", 0, "expected an integer >= 2, got 0"),
        ("dataset.phantm", {}, "unknown key. Did you mean `phantom`"),
        ("adapt.steps", -1, "adapt.steps in meta.yaml: expected an integer >= 0.*-1"),
        ("adapt.labels", 0, "expected a list of label channels"),
        ("adapt.optimizer", {"name": "SGD"}, "learning_rate in meta.yaml: missing"),
        ("adapt.layers", "head", "all, decoder or heads, got 'head'. Did.*`heads`"),
        ("adapt.layers", ["heads"], r"expected all, decoder or heads, got \['heads'"),
        ("adapt.frames", [2, 3], "without the augmentation sparse_frames"),
        ("adapt.schedule", "sweep", "expected all without the augmentation"),
        ("adpt", {}, "adpt in meta.yaml: unknown key. Did you mean `adapt`"),
        ("align", "centre", "align in meta.yaml: .* got 'centre'. Did you mean `cent"),
        ("align", {"mode": "center", "lable": 0}, "unknown key. Did you mean `label`"),
    ],
)
def test_bad_input_is_named_with_key_file_rule_and_value(write, key, value, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load(write, key, value)
    assert len(caught.value.problems) == 1


def test_two_sides_are_those_of_a_2d_image(write):
    flat = load(write, "dataset.fixed_image_shape", [5, 6])
    assert flat.dataset.fixed_shape == (5, 6, 1)
    assert flat.dataset == load(write, "dataset.fixed_image_shape", [5, 6, 1]).dataset


def test_paired_data_has_two_shapes_and_other_data_one():
    sections = dict(moving_image_shape=(8, 9, 10), fixed_image_shape=(5, 6, 7))
    paired = DatasetConfig(type="paired", format="h5", **sections)
    assert (paired.moving_shape, paired.fixed_shape) == ((8, 9, 10), (5, 6, 7))
    assert paired.volume_kinds == ("moving_images", "fixed_images")
    unpaired = DatasetConfig(
        type="unpaired", format="h5", labeled=True, image_shape=(2, 3, 4), **sections
    )
    assert unpaired.moving_shape == unpaired.fixed_shape == (2, 3, 4)
    assert unpaired.volume_kinds == ("images", "labels")
    with pytest.raises(RuntimeError, match="dataset.image_shape was read before"):
        _ = DatasetConfig(type="grouped", format="h5", **sections).fixed_shape
