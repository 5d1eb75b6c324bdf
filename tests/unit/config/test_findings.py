"""Tests of what is told about keys that nobody reads."""

import pytest

from deepreg_meta.config import ConfigError
from deepreg_meta.config.findings import show, suggest
from tests.unit.config.examples import deepreg, load


def test_unknown_keys_of_deepreg_are_warnings_with_its_methods(write, caplog):
    load(write, "train.los", 3, deepreg())
    assert "train.los in meta.yaml: unknown key. Did you mean `loss`?" in caplog.text


@pytest.mark.parametrize("place", ["", "train.", "train.loss."])
def test_unknown_keys_are_errors_for_reptile(write, place):
    with pytest.raises(ConfigError, match=f"{place}notebook in meta.yaml: unknown key"):
        load(write, f"{place}notebook", "page 3")


@pytest.mark.parametrize(
    ("word", "nearest"),
    [("inner_step", "inner_steps"), ("LR", "learning_rate"), ("page", None)],
)
def test_the_nearest_known_word_is_suggested_if_any_is_near(word, nearest):
    assert suggest(word, ["inner_steps", "learning_rate"]) == nearest


def test_values_are_shown_as_in_yaml_and_cut_at_80_characters():
    assert [show(v) for v in (None, True, False, [1])] == [
        "null",
        "true",
        "false",
        "[1]",
    ]
    assert show("a" * 78) == "'" + "a" * 78 + "'"
    assert show("a" * 79) == "'" + "a" * 76 + "..."
