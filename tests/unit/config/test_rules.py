"""Tests of what the sections ask of each other."""

import pytest

from deepreg_meta.config import ConfigError
from tests.unit.config.examples import SPARSE, deepreg, load, with_key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": [5, 2]}, r"1 <= F_min <= F_max, got \[5, 2\]"),
        ({"frames": [0, 2]}, r"1 <= F_min <= F_max, got \[0, 2\]"),
        ({"frames": 5}, "1 <= F_min <= F_max, got 5"),
        ({"frames": [2, 7]}, r"at most 6 frames.*axis 1, got more frames than slices"),
        ({"axis": 3}, "expected 0, 1 or 2.*got 3"),
        ({"axis": True}, "expected 0, 1 or 2.*got true"),
        ({"frame": [1, 2]}, "unknown key. Did you mean `frames`"),
    ],
)
def test_impossible_sparse_frames_are_refused(write, change, message):
    key = "train.preprocess.data_augmentation"
    with pytest.raises(ConfigError, match=message) as caught:
        load(write, key, [{"name": "affine"}, {**SPARSE, **change}])
    assert str(caught.value).startswith(f"{key}.1.")
    with pytest.raises(ConfigError, match=message):  # DeepReg's methods may use it too
        load(write, key, {**SPARSE, **change}, deepreg())


def test_as_many_frames_as_slices_are_accepted_and_one_more_in_adaptation_is_not(write):
    base = with_key("train.preprocess.data_augmentation", {**SPARSE, "frames": [6, 6]})
    assert load(write, base=base).adapt_frames == (6, 6)
    with pytest.raises(ConfigError, match="adapt.frames .* more frames than slices"):
        load(write, "adapt.frames", [1, 7], base)


def test_losses_must_have_something_to_register(write):
    base = with_key("train.loss.image.weight", 0)
    with pytest.raises(ConfigError, match="image or label with a weight > 0"):
        load(write, "train.loss.label.weight", 0, base)
    load(write, "train.loss.label.weight", 0.1, base)


def test_mutual_information_of_z_scores_is_refused(write):
    """DeepReg's clips them to [0, 1]; in training, at any scale, of either image."""
    steps = [{"name": "clip", "sigmas": 3.0}, {"name": "z_score"}]
    gmi = with_key("train.loss.image.name", "gmi")
    load(write, "dataset.intensity", steps)
    load(write, "dataset.intensity", steps[::-1], gmi)  # brought to [0, 1]
    message = (
        r"train.loss.image.name in meta.yaml: expected another loss than gmi, .* where "
        "dataset.intensity ends in z_score, got 'gmi'"
    )
    for value in (steps, {"moving": steps}, {"fixed": steps}):
        with pytest.raises(ConfigError, match=message):
            load(write, "dataset.intensity", value, gmi)
    off = with_key("train.loss.image.weight", 0, gmi)
    load(write, "dataset.intensity", steps, off)
    scored = with_key("dataset.intensity", steps)
    loss = {"image": {"name": "gmi"}}
    for key, value in (
        ("adapt.scales", [0.5, {"scale": 1, "loss": loss}]),
        ("adapt.field", {"scales": [1], "loss": loss}),
    ):
        with pytest.raises(ConfigError, match=f"{key}.*loss.image.name.*got 'gmi'"):
            load(write, key, value, scored)


def test_what_reptile_does_not_use_is_told(write, caplog):
    load(write, "train.preprocess.shuffle_buffer_num_batch", 1)
    assert "shuffle_buffer" not in caplog.text
    load(write, "train.preprocess.shuffle_buffer_num_batch", 4)
    assert "shuffle_buffer_num_batch in meta.yaml: has no effect" in caplog.text


def test_without_labels_nothing_may_ask_for_them(write):
    base = with_key("dataset.labeled", False)
    with pytest.raises(ConfigError, match="weight 0 with dataset.labeled false"):
        load(write, base=base)
    del base["train"]["loss"]["label"]
    assert load(write, base=base).adapt.labels == ()
    for key, value, message in [
        ("adapt.labels", [0], "adapt.labels in .* no label .* got channel 0"),
        ("align", "centroid", "align in meta.yaml: expected no label .*align: center"),
        ("dataset.labels", {"gland": 1}, "expected null with dataset.labeled false"),
    ]:
        with pytest.raises(ConfigError, match=message):
            load(write, key, value, base)


def test_a_loss_of_labels_adapts_on_none_that_was_not_named(write):
    with pytest.raises(ConfigError, match="adapt.labels .*where train.loss.label has"):
        load(write, "adapt.labels", [])
    base = with_key("train.loss.label.weight", 0)
    base["train"]["loss"]["image"] = {"name": "ssd", "weight": 1.0}
    assert load(write, "adapt.labels", [], base).adapt.labels == ()


def test_a_channel_beyond_the_declared_labels_is_refused(write):
    base = with_key("dataset.labels", {"gland": 1, "zone": 2})
    assert load(write, "adapt.labels", [1], base).adapt.labels == (1,)
    with pytest.raises(ConfigError, match="adapt.labels .* channel below 2.* got 2"):
        load(write, "adapt.labels", [2], base)


def test_unpaired_volumes_have_one_shape_and_one_spacing(write):
    base = with_key("dataset.type", "unpaired")
    with pytest.raises(ConfigError, match="image_shape in meta.yaml: missing"):
        load(write, base=base)
    base["dataset"]["image_shape"] = [5, 6, 7]
    config = load(write, base=base)
    assert config.dataset.moving_shape == config.dataset.fixed_shape == (5, 6, 7)
    dataset = config.deepreg_config()["dataset"]
    assert "moving_image_shape" not in dataset  # DeepReg refuses those of paired data
    with pytest.raises(ConfigError, match="expected one spacing for unpaired data"):
        load(write, "dataset.spacing_mm", {"moving": [1, 1, 2]}, base)


def test_adaptation_is_allowed_and_meta_is_not_with_deepregs_methods(write):
    assert load(write, "adapt.steps", 4, deepreg()).adapt.steps == 4
    with pytest.raises(ConfigError, match="adapt.steps .* got -1"):
        load(write, "adapt.steps", -1, deepreg())
    with pytest.raises(ConfigError, match="train.meta .*no such section.*method ddf"):
        load(write, "train.meta", {"inner_steps": 3}, deepreg())


def test_precision_is_not_for_deepregs_own_training(write):
    for key, value in (("precision", "mixed_bfloat16"), ("recompute", False)):
        rule = f"train.{key} .*no such key with train.method ddf, which"
        with pytest.raises(ConfigError, match=rule):
            load(write, f"train.{key}", value, deepreg())


def test_a_missing_section_of_deepreg_is_no_bare_key_error(write):
    with pytest.raises(ConfigError, match="train.loss .*expected a mapping.*got null"):
        load(write, "train.loss", ..., deepreg())
    with pytest.raises(ConfigError, match="dataset.dir .*expected a folder for train"):
        load(write, "dataset.dir.train", None, deepreg())
