"""Tests of loading: defaults written out, overrides, DeepReg's own methods."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest

from deepreg_meta.config import ConfigError, load_config, load_run_config
from tests.unit.config.examples import BASE, SPARSE, deepreg, load, with_key


def test_overrides_come_last_and_the_callers_mapping_stays_as_it_was(write):
    overrides = {"train": {"epochs": 1}, "adapt": {"steps": 8}}
    kept = copy.deepcopy(overrides)
    config = load_config(write(meta=BASE), overrides)
    assert (config.train.epochs, config.adapt.steps) == (1, 8)
    assert overrides == kept


def test_the_configuration_is_read_without_tensorflow():
    code = "import sys, deepreg_meta.config; print('tensorflow' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert answer.stdout.strip() == "False"


def test_the_defaults_of_our_sections_are_written_out(write):
    raw = load(write).raw
    assert raw["train"]["meta"] == {
        "base": "ddf",
        "inner_steps": 10,
        "task": "pair",
        "resample_each_step": None,
        "tasks_per_step": 1,
        "meta_step_size": 0.5,
        "meta_step_size_end": 1.0e-5,
        "iterate": "last",
        "inner_optimizer_state": "reset",
        "episodes_per_epoch": None,
        "update": "reptile",
        "outer_optimizer": None,
    }
    assert raw["dataset"]["phantom"] == {
        "seed": 0,
        "num_train": 12,
        "num_valid": 2,
        "num_test": 6,
    }
    assert raw["adapt"] == {
        "steps": 0,
        "optimizer": None,
        "labels": [0],
        "frames": None,
        "layers": "all",
        "schedule": "all",
        "keep": "last",
        "scales": None,
        "scale_start": "previous",
        "plateau": None,
        "field": None,
    }
    assert raw["align"] == {"mode": "center", "label": 0}
    assert raw["train"]["seed"] == 0
    assert raw["train"]["loss"]["label"]["weight"] == 1.0
    assert raw["train"]["preprocess"]["data_augmentation"] is None


def test_empty_sections_are_defaults(write):
    base = with_key("train.meta", None)
    base["adapt"] = None
    base["align"] = None
    base["dataset"]["dir"] = None
    assert load(write, base=base) == load(write)


def test_all_problems_are_reported_together_once_each(write):
    base = with_key("train.meta.inner_steps", 0)
    base["adapt"] = {"steps": -1}
    base["dataset"]["format"] = "dicom"
    with pytest.raises(ConfigError) as caught:
        load(write, base=base)
    problems = caught.value.problems
    assert len(problems) == len(set(problems)) == 3
    assert str(caught.value).splitlines() == list(problems)


def test_sections_are_compared_even_where_another_one_is_wrong(write):
    base = with_key("train.meta.inner_steps", 0)
    base["train"]["preprocess"]["data_augmentation"] = {**SPARSE, "frames": [1, 8]}
    with pytest.raises(ConfigError) as caught:
        load(write, base=base)
    first, second = caught.value.problems
    assert first.startswith("train.meta.inner_steps in meta.yaml")
    assert "more frames than slices: [1, 8]" in second


def test_a_deepreg_configuration_is_never_changed(write):
    base = deepreg()
    config = load(write, base=base)
    assert config.raw == base
    assert config.align.mode == "corner"
    assert config.meta is None and config.train is None
    assert not config.is_reptile and not config.uses_phantom


def test_an_alignment_that_training_ignores_is_a_warning(write, caplog):
    assert load(write, "align", "center", deepreg()).align.mode == "center"
    assert "align in meta.yaml: has no effect on training with train.method ddf" in (
        caplog.text
    )


def test_files_that_were_meant_to_change_a_saved_run_are_told_so(write, tmp_path):
    saved, own, wrong = write(
        saved=with_key("adapt.steps", 2), own="adapt: {steps: 3}",
        wrong=with_key("adapt.steps", -1),
    )  # fmt: skip
    assert load_run_config([], saved).adapt.steps == 2
    assert load_run_config([], saved, {"adapt": {"steps": 4}}).adapt.steps == 4
    assert load_run_config([saved, own], saved).adapt.steps == 3
    with pytest.raises(ConfigError) as caught:
        load_run_config([own], saved)
    assert caught.value.problems[-1].endswith(f"name it first: --config {saved} ...")
    with pytest.raises(ConfigError) as caught:
        load_run_config([wrong], saved)
    assert "--config" not in str(caught.value)
