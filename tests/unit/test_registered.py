"""Tests of deepreg_meta/registered.py."""

import pytest

from deepreg_meta.config import ConfigError, load_config
from deepreg_meta.registered import check_registered
from tests.helpers import run_config, write_yaml


def test_unknown_names_are_reported_together_with_the_nearest(tmp_path):
    raw = run_config()
    raw["train"]["loss"]["label"]["name"] = "multi_scale_dise"
    raw["train"]["backbone"]["name"] = "locale"
    config = load_config(write_yaml(tmp_path / "run.yaml", raw))
    with pytest.raises(ConfigError) as caught:
        check_registered(config)
    backbone, loss = caught.value.problems
    assert backbone.startswith("train.backbone.name in ")
    assert "got 'locale'. Did you mean `local`?" in backbone
    assert "local_norm" in backbone and "unet" in backbone
    assert "Did you mean `multi_scale_dice`?" in loss


def test_registered_names_pass(tmp_path):
    assert (
        check_registered(load_config(write_yaml(tmp_path / "a.yaml", run_config())))
        is None
    )
