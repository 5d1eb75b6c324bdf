"""Tests of deepreg_meta/config/domains.py."""

import pytest

from deepreg_meta.config import ConfigError, load_config
from tests.unit.config.examples import BASE, with_key

SHAPE = [16, 16]


def base(**domains):
    """:return: an unpaired run of 2-D images with domains."""
    config = with_key("dataset.domains", domains)
    dataset, train = config["dataset"], config["train"]
    for name in ("moving_image_shape", "fixed_image_shape"):
        dataset.pop(name)
    dataset |= dict(type="unpaired", labeled=False, image_shape=SHAPE)
    dataset["intensity"] = [{"name": "z_score"}]
    train["loss"].pop("label")
    return config


BRAIN = {"dir": {"train": "brain"}}


def domain(write, **keys):
    """:return: the configuration of one domain of these keys."""
    return load_config(write(meta=base(brain=BRAIN | keys))).domain("brain")


def test_a_domain_has_the_keys_of_dataset_and_its_own_in_their_place(write):
    steps = [{"name": "clip", "range": [0.0, 1.0]}]
    config = load_config(
        write(meta=base(brain=BRAIN, chest=BRAIN | {"intensity": steps, "weight": 3}))
    )
    assert {name: one.weight for name, one in config.domains.items()} == {
        "brain": 1.0,
        "chest": 3.0,
    }
    assert not config.uses_phantom
    brain, chest = config.domain("brain"), config.domain("chest")
    assert brain.dataset.folders("train") == ("brain",)
    assert brain.dataset.intensity == config.dataset.intensity
    assert [step.name for step in chest.dataset.intensity.fixed] == ["clip"]
    for one in (brain, chest):
        assert one.dataset.fixed_shape == (16, 16, 1) and not one.domains
        seen = one.deepreg_config()["dataset"]
        assert seen["image_shape"] == [16, 16, 1] and "domains" not in seen
    assert brain.data_key("dir.train").startswith("dataset.domains.brain.dir.train in ")


def test_what_is_null_in_dataset_is_its_default_in_a_domain(write):
    config = base(brain=BRAIN)
    config["dataset"]["grid"] = None
    assert load_config(write(meta=config)).domain("brain").dataset.grid.fit == "resize"


def test_a_paired_domain_takes_the_sides_of_unpaired_images(write):
    one = domain(write, type="paired", format="png").dataset
    assert (one.moving_shape, one.fixed_shape) == ((16, 16, 1),) * 2
    assert one.volume_kinds == ("moving_images", "fixed_images")


def test_it_is_saved_and_loaded_again(write, tmp_path):
    config = load_config(write(meta=base(brain=BRAIN, chest=BRAIN | {"weight": 2.5})))
    config.dump(tmp_path / "saved.yaml")
    again = load_config(tmp_path / "saved.yaml")
    assert again.raw == config.raw and again.domains == config.domains


def test_unlabeled_domains_of_a_labeled_run_have_no_names_of_labels(write):
    content = base(brain=BRAIN, chest=BRAIN | {"labeled": False})
    content["dataset"] |= {"labeled": True, "labels": {"gland": 2}}
    config = load_config(write(meta=content))
    assert config.domain("brain").dataset.labels == {"gland": 2}
    assert config.domain("chest").dataset.labels is None


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"wieght": 2}, r"domains\.brain\.wieght in .*unknown key. Did you mean `wei"),
        ({"weight": 0}, r"domains\.brain\.weight .*expected a number > 0, got 0"),
        ({"dir": None}, r"brain\.dir\.train .*expected a folder, got none"),
        ({"dir": {"train": "a", "test": "b"}}, r"brain\.dir\.test .*expected null"),
        ({"image_shape": [8, 8]}, r"sides \[\[16, 16, 1\], \[16, 16, 1\]\].*\[\[8, 8"),
        ({"labeled": True}, r"brain\.labeled .*expected false with dataset\.labeled f"),
        ({"type": "grouped"}, r"domains\.brain\.type .*expected paired or unpaired"),
        ({"format": "jpeg"}, r"domains\.brain\.format .*expected nifti, h5 or png"),
        ({"labels": {"a": 1}}, r"domains\.brain\.labels .*expected null with"),
        ({"domains": {}}, r"domains\.brain\.domains .*unknown key"),
    ],
)
def test_a_wrong_domain_is_told_with_its_key(write, keys, words):
    with pytest.raises(ConfigError, match=words):
        domain(write, **keys)


def test_what_is_no_domain_is_refused(write):
    with pytest.raises(ConfigError, match=r"domains\.brain .*a mapping.*got 'brain'"):
        load_config(write(meta=base(brain="brain")))
    with pytest.raises(ConfigError, match=r"dataset\.domains .*expected null or a map"):
        load_config(write(meta=with_key("dataset.domains", {}, base(brain=BRAIN))))


def test_training_folders_are_those_of_the_domains(write):
    content = base(brain=BRAIN)
    content["dataset"]["dir"] = {"train": "elsewhere", "test": "target"}
    with pytest.raises(ConfigError, match=r"dataset\.dir\.train .*expected null with"):
        load_config(write(meta=content))


def test_alignment_by_labels_needs_them_in_every_domain(write):
    content = base(brain=BRAIN | {"labeled": False})
    content["dataset"]["labeled"] = True
    content["align"] = "centroid"
    with pytest.raises(ConfigError, match=r"brain\.labeled .*align\.mode centroid"):
        load_config(write(meta=content))


def test_deepregs_own_methods_know_no_domains(write):
    content = with_key("train.method", "ddf")
    content["dataset"]["dir"]["train"] = "data"
    content["dataset"]["domains"] = {"brain": BRAIN}
    with pytest.raises(ConfigError, match=r"dataset\.domains .*expected null without"):
        load_config(write(meta=content))


@pytest.mark.parametrize(
    ("meta", "resamples"),
    [
        ({}, False),
        ({"task": "domain"}, True),
        ({"task": "domain", "resample_each_step": True}, True),
        ({"task": "domain", "resample_each_step": False}, False),
    ],
)
def test_inner_steps_of_a_domain_draw_pairs_of_their_own_unless_told(
    write, meta, resamples
):
    config = load_config(write(meta=with_key("train.meta", meta)))
    assert config.meta.resamples is resamples


def test_inner_steps_of_a_pair_share_it(write):
    content = with_key("train.meta", {"resample_each_step": False}, BASE)
    with pytest.raises(ConfigError, match="resample_each_step: null with task: pair"):
        load_config(write(meta=content))


def test_a_domain_of_z_scores_has_no_mutual_information(write):
    """One whose images are brought to [0, 1] may have it."""
    config = base(brain=BRAIN)
    config["dataset"].pop("intensity")
    config["train"]["loss"]["image"]["name"] = "gmi"
    load_config(write(meta=config))
    config["dataset"]["domains"]["brain"] = BRAIN | {"intensity": [{"name": "z_score"}]}
    message = "where dataset.domains.brain.intensity ends in z_score, got 'gmi'"
    with pytest.raises(ConfigError, match=message):
        load_config(write(meta=config))
