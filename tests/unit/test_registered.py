"""Tests of deepreg_meta/registered.py."""

import pytest
from deepreg.registry import BACKBONE_CLASS, REGISTRY

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


@pytest.fixture
def problems(tmp_path):
    """Return a function: an overlay as keys and values -> lines of problems."""

    def find(section: str, **options: object) -> list[str]:
        raw = run_config()
        raw["train"]["backbone"] = dict(
            name="local", num_channel_initial=2, extract_levels=[0, 1]
        )
        change: dict = {"train": {}}
        place = change["train"]
        for part in section.split("."):
            place = place.setdefault(part, {})
        place.update(options)
        files = [write_yaml(tmp_path / "run.yaml", raw)]
        files += [write_yaml(tmp_path / "mine.yaml", change)]
        try:
            check_registered(load_config(files))
        except ConfigError as err:
            return list(err.problems)
        return []

    return find


def test_an_option_of_another_backbone_is_named_with_its_file(problems):
    found = problems("backbone", name="unet", depth=2)
    assert found == [
        "train.backbone.extract_levels in run.yaml: unknown option of unet. unet takes "
        "concat_skip, control_points, depth, num_channel_initial, "
        "out_activation, out_kernel_initializer, pooling. null removes what an earlier "
        "file has set."
    ]


def test_null_removes_an_option_that_an_earlier_file_has_set(problems):
    assert problems("backbone", name="unet", depth=2, extract_levels=None) == []


def test_options_without_a_default_are_asked_for(problems):
    [line] = problems("backbone", name="unet", extract_levels=None)
    assert line == "train.backbone.depth in mine.yaml: missing, unet needs it."


@pytest.mark.parametrize(
    ("section", "option", "hint"),
    [
        ("backbone", "control_point", "Did you mean `control_points`?"),
        ("loss.label", "sigma_mm", "Did you mean `sigmas_mm`?"),
        ("loss.regularization", "page", "bending_energy takes no options."),
    ],
)
def test_a_misspelt_option_is_told_with_what_there_is(problems, section, option, hint):
    [line] = problems(section, **{option: 3})
    assert line.startswith(f"train.{section}.{option} in mine.yaml: unknown option of")
    assert hint in line


def test_a_class_that_takes_anything_is_asked_nothing(problems, monkeypatch):
    class Anything:
        def __init__(self, **kwargs):
            pass

    monkeypatch.setitem(REGISTRY._dict, (BACKBONE_CLASS, "anything"), Anything)
    assert problems("backbone", name="anything", depth=2) == []
