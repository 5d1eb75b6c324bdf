"""Tests of deepreg_meta/registered.py."""

import re

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
    ("section", "options", "message"),
    [
        ("backbone", dict(extract_levels=3), "extract_levels in mine.yaml: expected"),
        (
            "backbone",
            dict(extract_levels=[-1]),
            r"integers in \[0, \d\], .* got \[-1\]",
        ),
        ("backbone", dict(extract_levels=[]), r"integers in \[0, \d\], .* got \[\]"),
        ("backbone", dict(extract_levels=[0, 9]), "the longest side of .* has become"),
        (
            "backbone",
            dict(name="unet", depth="two", extract_levels=None),
            "depth in mine.yaml: expected an integer, got 'two'",
        ),
        (
            "backbone",
            dict(name="unet", depth=20, extract_levels=None),
            r"depth in mine.yaml: expected an integer in \[1, \d\]",
        ),
        (
            "backbone",
            dict(name="unet", depth=1, extract_levels=None, pooling="no"),
            "pooling in mine.yaml: expected true or false, got 'no'",
        ),
        ("loss.image", dict(name="gmi", num_bins="a"), "num_bins .* an integer"),
        ("loss.image", dict(name="bending"), "name .* two volumes, got 'bending', wh"),
        ("loss.regularization", dict(name="ssd"), "name .* one field, got 'ssd', whi"),
        (
            "loss.label",
            dict(name="dice", sigmas_mm=None, scales=[0, -1]),
            r"train.loss.label.scales in mine.yaml: expected .* got \[0, -1\]",
        ),
        (
            "loss.label",
            dict(name="dice", sigmas_mm=None, kernel="cauchyy", scales=[1]),
            "train.loss.label in mine.yaml: cannot be built",
        ),
        ("optimizer", dict(name="SGD", beta_1=0.5), "beta_1 in mine.yaml: unknown opt"),
        (
            "optimizer",
            dict(beta_1="abc"),
            r"beta_1 in mine.yaml: .* \[0, 1\), got 'abc",
        ),
        ("optimizer", dict(clipnorm=-2), "clipnorm in mine.yaml: .* > 0, got -2"),
        ("optimizer", dict(amsgrad=1), "amsgrad in mine.yaml: .* true or false, got 1"),
    ],
)
def test_wrong_options_are_told_with_rule_and_value(
    problems, section, options, message
):
    [line] = problems(section, **options)
    assert line.startswith(f"train.{section}")
    assert re.search(message, line)


@pytest.mark.parametrize(
    ("section", "options"),
    [
        ("backbone", dict(control_points=[2, 2, 2])),
        ("loss.image", dict(name="gmi", sigma_ratio=1)),  # an integer is a number
        ("loss.label", dict(name="dice", sigmas_mm=None, scales=[0, 1.5])),
        ("optimizer", dict(name="AdamW", beta_1=0, weight_decay=0.1, amsgrad=True)),
    ],
)
def test_good_options_pass(problems, section, options):
    assert problems(section, **options) == []


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


def test_the_options_of_a_wrapped_backbone_are_checked_too(problems):
    options = dict(extract_levels=None, parameterization="radial", kernel_size=5)
    good = dict(name="unet", depth=1, num_channel_initial=1)
    wrapper = dict(name="meta_regularized", **options)
    assert problems("backbone", **wrapper, backbone=good) == []
    [line] = problems("backbone", **wrapper, backbone=dict(good, dept=2))
    assert line.startswith("train.backbone.backbone.dept in mine.yaml: unknown option")
    [line] = problems("backbone", **wrapper, kernl=3, backbone=good)
    assert "train.backbone.kernl" in line and "Did you mean `kernel_size`?" in line


def test_all_values_of_the_layer_that_cannot_be_are_told_at_once(problems):
    good = dict(name="unet", depth=1, num_channel_initial=1)
    wrong = dict(parameterization="free", kernel_size=12, rho1=-1.0, border=3)
    wrapper = dict(name="meta_regularized", extract_levels=None, backbone=good)
    lines = problems("backbone", **wrapper, **wrong)
    keys = ("parameterization", "kernel_size", "border", "rho1")
    assert [line.split(":")[0] for line in lines] == [
        f"train.backbone.{key} in mine.yaml" for key in keys
    ]
    assert lines[1].endswith("expected null or an odd integer >= 3, got 12.")


def test_losses_of_adaptation_are_looked_at_as_that_of_training_is(tmp_path):
    """Their names and options by their own keys; null removes an option."""

    def problems_of(**adapt):
        raw = run_config()
        raw["adapt"] = adapt
        raw["train"]["preprocess"]["data_augmentation"] = []
        raw["train"]["loss"]["image"] = dict(name="local_ncc", kernel_size=5, weight=1)
        try:
            check_registered(load_config(write_yaml(tmp_path / "run.yaml", raw)))
        except ConfigError as err:
            return list(err.problems)
        return []

    def field(**image):
        return dict(field=dict(scales=[1], loss=dict(image=image)))

    [found] = problems_of(**field(name="sdd"))
    assert found.startswith("adapt.field.loss.image.name in run.yaml: expected one of")
    assert found.endswith("got 'sdd'. Did you mean `ssd`?")
    [found] = problems_of(**field(name="ssd"))
    assert "adapt.field.loss.image.kernel_size in run.yaml: unknown option" in found
    assert problems_of(**field(name="ssd", kernel_size=None)) == []
    smooth = dict(scale=0.5, loss=dict(regularization=dict(wieght=2.0)))
    [found] = problems_of(scales=[smooth, 1], steps=2)
    assert "adapt.scales (0.5).loss.regularization.wieght" in found
