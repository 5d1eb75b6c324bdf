"""Tests of `adapt.scales`, `adapt.steps`, `adapt.plateau` and `train.scales`."""

import pytest

from deepreg_meta.config import ConfigError, load_config
from tests.unit.config.examples import SPARSE, deepreg, load, with_key


def test_fractions_numbers_and_mappings_are_scales(write):
    own = {"scale": "1/2", "learning_rate": 0.01, "loss": {"image": {"weight": 2.0}}}
    config = load(write, "adapt.scales", ["1/4", own, 1])
    assert [scale.scale for scale in config.adapt.scales] == [0.25, 0.5, 1.0]
    assert config.adapt.scales[1].learning_rate == 0.01
    assert config.adapt.scales[1].loss == {"image": {"weight": 2.0}}
    assert load(write, "train.scales", [0.5, 1]).train.scales == (0.5, 1.0)
    assert load(write).adapt.scales is None


def test_scales_are_saved_and_come_back(write, tmp_path):
    base = with_key("train.scales", ["1/2", 1])
    base["adapt"] = {"scales": ["1/2", {"scale": 1, "learning_rate": 0.1}],
                     "steps": [3, 4], "plateau": {"patience": 2}}  # fmt: skip
    config = load(write, base=base)
    config.dump(tmp_path / "saved.yaml")
    again = load_config([tmp_path / "saved.yaml"])
    assert again.adapt == config.adapt and again.train == config.train
    assert again.adapt.plateau.min_delta == 1e-3
    assert "scales" not in config.deepreg_config()["train"]


def test_the_field_is_fitted_at_scales_of_its_own(write, tmp_path):
    config = load(write, "adapt.field", {"steps": [3, 4], "sigma_vox": 0})
    assert config.adapt.field.scales == (0.5, 1.0)
    assert config.adapt.field_steps == (3, 4) and config.adapt.adapts
    config.dump(tmp_path / "saved.yaml")
    again = load_config([tmp_path / "saved.yaml"]).adapt.field
    assert again == config.adapt.field and again.optimizer.name == "Adam"
    every = load(write, "adapt.field", {"scales": ["1/4", "1/2", 1], "steps": 7})
    assert every.adapt.field_steps == (7, 7, 7)
    assert load(write).adapt.field_steps == ()


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (
            {"steps": [1, 2, 3]},
            r"field\.steps .* one integer or 2, one for each of scales, got \[1, 2, 3]",
        ),
        (
            {"scales": None},
            r"adapt\.field\.scales .*expected a list of scales, got null",
        ),
        ({"scales": [0.5]}, r"adapt\.field\.scales.*the last one 1"),
        ({"sigma_vox": -1}, r"adapt\.field\.sigma_vox.*a number >= 0.*got -1"),
        ({"sigma": 2}, r"adapt\.field\.sigma.*sigma_vox"),
        ({"optimizer": {"name": "Adm", "learning_rate": 0.1}}, r"Adm"),
        ({"loss": {"regularisation": {"weight": 5}}}, r"regularization.*got \{'regul"),
        ({"loss": {"image": {"weight": -1}}}, r"its weight a number >= 0, got"),
        ({"loss": {"image": 5}}, r"adapt\.field\.loss.*each a mapping, .*got"),
    ],
)
def test_a_wrong_stage_of_the_field_is_told(write, field, message):
    with pytest.raises(ConfigError, match=message):
        load(write, "adapt.field", field)


def test_the_field_is_fitted_to_whole_images_and_one_label(write):
    with pytest.raises(ConfigError, match=r"adapt\.field.* expected null with the aug"):
        key = "train.preprocess.data_augmentation"
        load(write, "adapt.field", {}, base=with_key(key, [SPARSE]))
    base = with_key("adapt", {"labels": [0, 1]})
    with pytest.raises(ConfigError, match=r"one label at most with adapt\.field"):
        load(write, "adapt.field", {}, base=base)


@pytest.mark.parametrize("key", ["adapt.scales", "train.scales"])
@pytest.mark.parametrize(
    "value", [[], [1, "1/2"], [0.5, 0.5, 1], [0, 1], [0.5, 2], ["half", 1], 1]
)
def test_scales_lead_from_coarse_to_fine(write, key, value):
    with pytest.raises(ConfigError, match=rf"{key}.* expected .*\(0, 1\]"):
        load(write, key, value)


def test_adaptation_may_end_at_a_coarse_scale_and_training_may_not(write):
    config = load(write, "adapt.scales", ["1/4", "1/2"])
    assert [scale.scale for scale in config.adapt.scales] == [0.25, 0.5]
    base = with_key("train.scales", ["1/4", "1/2", 1])
    assert load(write, "adapt.scales", ["1/4", "1/2"], base=base).adapt.scales
    with pytest.raises(ConfigError, match=r"train\.scales.*, the last one 1, got"):
        load(write, "train.scales", ["1/2"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.scales": [0.4, 0.7, 1], "adapt.scales": [0.7, 1]},
         r"those of train\.scales, .*, or the coarser ones of them, got \[0\.7"),
        ({"adapt.scales": [0.5, 1], "adapt.steps": [1]},
         r"adapt\.steps .* one integer or 2, one for each of adapt\.scales, got \[1\]"),
        ({"adapt.steps": [1, 2]}, r"one integer without adapt\.scales, got \[1, 2\]"),
        ({"adapt.steps": -1}, r"adapt\.steps .* an integer >= 0.*got -1"),
        ({"adapt.steps": []}, r"adapt\.steps .* an integer >= 0.*got \[\]"),
        ({"adapt.scales": [0.5, 1], "adapt.layers": "heads"},
         r"adapt\.layers .* expected all with adapt\.scales, got 'heads'"),
        ({"train.scales": [0.5, 1], "adapt.layers": "decoder"},
         r"adapt\.layers .* expected all with train\.scales, got 'decoder'"),
        ({"train.scales": [0.5, 1], "adapt.scales": [0.6, 1]},
         r"adapt\.scales .* those of train\.scales, \[0\.5, 1\.0\], or .* got \[0\.6"),
        ({"adapt.scales": [0.5, 1], "adapt.scale_start": "own"},
         r"adapt\.scale_start .* expected previous without train\.scales"),
        ({"adapt.scale_start": "own"},
         r"adapt\.scale_start .* expected previous without adapt\.scales, got 'own'"),
        ({"adapt.scales": [0.5, 1], "adapt.labels": [0, 1]},
         r"adapt\.labels .* one label at most with adapt\.scales, got \[0, 1\]"),
        ({"adapt.scales": [0.5, 0.51, 1]},
         r"adapt\.scales .* different grids, got two of \[3, 3, 4\]"),
        ({"adapt.scales": [0.5, 1],
          "train.preprocess.data_augmentation": SPARSE},
         r"adapt\.scales .* expected null with the augmentation sparse_frames"),
        ({"train.backbone": {"name": "identity"}, "adapt.scales": [0.5, 1]},
         r"adapt\.scales .* null with train\.backbone\.name identity.*field\.scales"),
        ({"train.backbone": {"name": "identity"}, "train.scales": [0.5, 1]},
         r"train\.scales .* null with train\.backbone\.name identity.*\[0\.5, 1"),
        ({"train.backbone": {"name": "identity"}, "adapt.steps": 3},
         r"adapt\.steps .* expected 0 with .*, got 3\. .*adapt\.field\.steps"),
        ({"adapt.plateau": {"patience": 0}}, r"adapt\.plateau\.patience .* >= 1"),
        ({"adapt.plateau": {"patient": 1}}, "unknown key. Did you mean `patience`"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(write, changes, message):
    base = None
    for key, value in changes.items():
        base = with_key(key, value) if base is None else with_key(key, value, base)
    with pytest.raises(ConfigError, match=message):
        load(write, base=base)


def test_networks_of_deepregs_methods_adapt_at_scales_too(write):
    config = load(write, "adapt.scales", ["1/2", 1], deepreg())
    assert [scale.scale for scale in config.adapt.scales] == [0.5, 1.0]
    with pytest.raises(ConfigError, match=r"train\.scales .* no such key with"):
        load(write, "train.scales", ["1/2", 1], deepreg())


def test_scales_without_updates_are_told(write, caplog):
    load(write, base=with_key("adapt.steps", 2, with_key("adapt.scales", [0.5, 1])))
    assert caplog.text == ""
    load(write, base=with_key("adapt.steps", 0, with_key("adapt.scales", [0.5, 1])))
    message = "adapt.scales in meta.yaml: no effect without updates: adapt.steps is 0"
    assert message in caplog.text
