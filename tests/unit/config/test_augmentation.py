"""Tests of the augmentation `gaussian_field` in a configuration."""

import pytest

from deepreg_meta.config import ConfigError
from deepreg_meta.config.augmentation import GaussianFieldConfig
from deepreg_meta.dataset.gaussian_field import FieldOptions
from tests.unit.config.examples import SPARSE, deepreg, load

KEY = "train.preprocess.data_augmentation"
ENTRY = {"name": "gaussian_field", "sigma": 16, "images": "fixed"}


def test_its_defaults_are_those_of_the_fields():
    written = GaussianFieldConfig().model_dump()
    assert {name: written[name] for name in FieldOptions.__dataclass_fields__} == (
        FieldOptions().__dict__
    )


def test_its_defaults_are_written_out(write):
    for content, place in ((ENTRY, lambda x: x), ([SPARSE, ENTRY], lambda x: x[1])):
        raw = load(write, KEY, content).raw
        found = place(raw["train"]["preprocess"]["data_augmentation"])
        assert found == {
            "name": "gaussian_field",
            "sigma": 16.0,
            "num_centers": FieldOptions.num_centers,
            "width": list(FieldOptions.width),
            "reference": 256.0,
            "fold_free": False,
            "images": "fixed",
        }


def test_short_forms_mean_the_long_ones(write):
    short = load(write, KEY, {**ENTRY, "width": 40, "reference": None})
    long = load(write, KEY, {**ENTRY, "width": [40, 40], "reference": None})
    assert short == long
    entry = long.raw["train"]["preprocess"]["data_augmentation"]
    assert entry["width"] == [40.0, 40.0] and entry["reference"] is None


def test_deepregs_methods_may_use_it_and_their_file_stays_as_it_is(write):
    config = load(write, KEY, ENTRY, deepreg())
    assert config.raw["train"]["preprocess"]["data_augmentation"] == ENTRY


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": -1}, r"\.sigma in meta.yaml: expected a number >= 0, .*got -1"),
        ({"sigma": "10"}, "got '10'. Write a number without quotes"),
        ({"sigm": 10}, "unknown key. Did you mean `sigma`"),
        ({"num_centers": 0}, "or an integer >= 1, got 0"),
        ({"num_centers": 2.5}, r"or an integer >= 1, got 2\.5"),
        ({"width": [60, 30]}, r"w_min <= w_max, got \[60, 30\]"),
        ({"width": [0, 30]}, r"w_min <= w_max, got \[0, 30\]"),
        ({"width": -2}, "w_min <= w_max, got -2"),
        ({"width": True}, "w_min <= w_max, got true"),
        ({"width": [1, 2, 3]}, r"w_min <= w_max, got \[1, 2, 3\]"),
        ({"reference": 0}, "expected a number > 0, the pixels .*got 0"),
        ({"fold_free": 1}, "expected true or false .*got 1"),
        ({"images": "fixd"}, "both, moving or fixed, got 'fixd'. Did you .*`fixed`"),
    ],
)
def test_bad_input_is_named_with_key_rule_and_value(write, change, message):
    for base in ({}, {"base": deepreg()}):
        with pytest.raises(ConfigError, match=message) as caught:
            load(write, KEY, [{"name": "affine"}, {**ENTRY, **change}], **base)
        (problem,) = caught.value.problems
        assert problem.startswith(f"{KEY}.1.")


def test_there_is_one_at_most(write):
    with pytest.raises(ConfigError, match="one gaussian_field at most, got 2"):
        load(write, KEY, [ENTRY, ENTRY])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"name": "affine", "scal": 0.5},
            "scal in .*unknown key. Did you mean `scale`",
        ),
        ({"name": "affine", "scale": "0.5"}, "got '0.5'. Write a number without"),
        (
            {"name": "affine", "scale": -3},
            r"scale in .*expected a number in \[0, 0\.5\], .*got -3",
        ),
        ({"name": "affine", "scale": 0.8}, r"further may flip it, got 0\.8"),
        ({"scale": 0.1}, "name in .*expected affine, .*got no name"),
        ({"name": "ddf"}, "name in .*expected affine, sparse_frames or .*got 'ddf'"),
        ({"name": "afine"}, "got 'afine'. Did you mean `affine`"),
    ],
)
def test_what_no_episode_would_draw_is_refused(write, entry, message):
    for content in (entry, [SPARSE, entry]):
        with pytest.raises(ConfigError, match=message) as caught:
            load(write, KEY, content)
        assert len(caught.value.problems) == 1


def test_deepregs_methods_have_deepregs_augmentations(write):
    config = load(write, KEY, {"name": "ddf", "field_strength": 3}, deepreg())
    assert config.raw["train"]["preprocess"]["data_augmentation"]["name"] == "ddf"
