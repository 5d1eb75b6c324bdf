"""Tests of the configuration: reading, merging, defaults, and every bad input."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deepreg_meta.config import ConfigError, check_paths, load_config

BASE = {
    "dataset": {
        "type": "paired",
        "format": "nifti",
        "dir": {"train": None, "valid": None, "test": None},
        "labeled": True,
        "moving_image_shape": [8, 9, 10],
        "fixed_image_shape": [5, 6, 7],
    },
    "train": {
        "method": "reptile",
        "backbone": {"name": "local", "num_channel_initial": 4},
        "loss": {
            "image": {"name": "ssd", "weight": 0.1},
            "label": {"name": "dice"},
            "regularization": {"name": "bending", "weight": 10.0},
        },
        "optimizer": {"name": "Adam", "learning_rate": 1.0e-3},
        "preprocess": {"batch_size": 2},
        "epochs": 3,
    },
}
SPARSE = {"name": "sparse_frames", "frames": [2, 5], "axis": 1}


@pytest.fixture
def write(tmp_path):
    """Write mappings (or text) as YAML files; return their paths."""

    def write_files(**contents):
        paths = []
        for name, content in contents.items():
            path = tmp_path / f"{name}.yaml"
            text = (
                content
                if isinstance(content, str)
                else yaml.safe_dump(content, sort_keys=False)
            )
            path.write_text(text)
            paths.append(path)
        return paths

    return write_files


def with_key(key, value, base=BASE):
    """Copy `base` with one dotted key set; the value `...` removes it."""
    config = copy.deepcopy(base)
    *parents, last = key.split(".")
    section = config
    for parent in parents:
        section = section.setdefault(parent, {})
    if value is ...:
        del section[last]
    else:
        section[last] = value
    return config


def load(write, key=None, value=None, base=BASE):
    """Load `base` with one key changed, as meta.yaml."""
    content = with_key(key, value, base) if key else base
    return load_config(write(meta=content))


def deepreg(method="ddf"):
    """A plain DeepReg configuration."""
    config = with_key("train.method", method)
    config["dataset"]["dir"]["train"] = "data"
    return config


# ---- merging ----


def test_later_files_replace_values_and_keep_their_siblings(write):
    paths = write(
        meta=BASE,
        paper={"train": {"epochs": 7, "optimizer": {"learning_rate": 0.5}}},
        shape={"dataset": {"fixed_image_shape": [6, 7, 8]}},
    )
    config = load_config(paths)
    assert config.train.epochs == 7
    assert config.train.optimizer.learning_rate == 0.5
    assert config.train.optimizer.name == "Adam"  # sibling, from the first file
    assert config.dataset.fixed_shape == (6, 7, 8)  # a list is replaced, not merged
    assert config.dataset.moving_shape == (8, 9, 10)
    assert config.source == ("meta.yaml", "paper.yaml", "shape.yaml")


def test_merging_is_associative_and_the_same_file_twice_changes_nothing(write):
    second = {"train": {"meta": {"inner_steps": 3}, "epochs": 5}}
    third = {"train": {"meta": {"base": "dvf"}}}
    once, twice = write(meta=BASE, second=second), write(third=third)
    stepwise = load_config(once).raw
    joined = load_config(write(joined=stepwise) + twice).raw
    assert joined == load_config(once + twice).raw
    assert load_config([*once, *once, *twice]).raw == joined


def test_overrides_come_last_and_the_callers_mapping_stays_as_it_was(write):
    overrides = {"train": {"epochs": 1}, "adapt": {"steps": 8}}
    kept = copy.deepcopy(overrides)
    config = load_config(write(meta=BASE), overrides)
    assert (config.train.epochs, config.adapt.steps) == (1, 8)
    assert overrides == kept


def test_an_error_names_the_last_file_that_set_the_key(write):
    paths = write(meta=BASE, paper={"train": {"epochs": 0, "save_period": 1}})
    with pytest.raises(ConfigError, match=r"^train.epochs in paper.yaml: .* got 0\.$"):
        load_config(paths)
    with pytest.raises(ConfigError, match="train.save_period by --period: .* got -1"):
        load_config(paths[:1], {"train": {"save_period": -1}}, "by --period")


def test_files_of_one_name_are_told_apart_by_their_folders(write, tmp_path):
    other = tmp_path / "other" / "meta.yaml"
    other.parent.mkdir()
    other.write_text("train: {epochs: 0}")
    with pytest.raises(ConfigError, match="train.epochs in .*other/meta.yaml"):
        load_config([*write(meta=BASE), other])


def test_home_is_expanded_in_paths_and_folders(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(meta=with_key("dataset.dir.train", "~/data"))
    config = load_config("~/meta.yaml")
    assert config.dataset.folders("train") == (str(tmp_path / "data"),)
    assert config.raw["dataset"]["dir"]["train"] == "~/data"


def test_exponents_without_a_point_are_numbers(write):
    text = yaml.safe_dump(with_key("train.optimizer.learning_rate", 0.125))
    config = load_config(write(meta=text.replace("0.125", "1e-5")))
    assert config.train.optimizer.learning_rate == 1.0e-5


# ---- files ----


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected a mapping of keys to values, got an empty file"),
        ("- 1\n- 2", r"expected a mapping of keys to values, got \[1, 2\]"),
        ("train:\n  a: [1\nb: 2", "meta.yaml, line 3: not valid YAML"),
        ("a: 1\nb: 2\na: 3", "meta.yaml, line 3: not valid YAML: key `a` twice"),
        ("a: !!python/object:os.system 1", "line 1: not valid YAML: could not"),
    ],
)
def test_an_unreadable_file_is_named_with_its_fault(write, content, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(meta=content))


def test_all_unusable_files_are_named_at_once(tmp_path):
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(ConfigError) as caught:
        load_config([tmp_path / "gone.yaml", tmp_path / "meta.json", tmp_path])
    first, second, third = str(caught.value).splitlines()
    assert first.startswith(f"gone.yaml: no such file (looked in {tmp_path}")
    assert second == "meta.json: expected a file that ends with .yaml."
    assert "expected a file that ends with .yaml" in third


def test_nothing_is_written_beside_the_users_file(write, tmp_path):
    paths = write(meta=BASE)
    before = paths[0].read_bytes()
    load_config(paths)
    assert list(tmp_path.iterdir()) == paths
    assert paths[0].read_bytes() == before


def test_the_configuration_is_read_without_tensorflow():
    code = "import sys, deepreg_meta.config; print('tensorflow' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert answer.stdout.strip() == "False"


# ---- defaults ----


def test_the_defaults_of_our_sections_are_written_out(write):
    raw = load(write).raw
    assert raw["train"]["meta"] == {
        "base": "ddf",
        "inner_steps": 10,
        "tasks_per_step": 1,
        "meta_step_size": 0.5,
        "meta_step_size_end": 1.0e-5,
        "iterate": "last",
        "inner_optimizer_state": "reset",
        "episodes_per_epoch": None,
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
        "schedule": "all",
    }
    assert raw["align"] == {"mode": "center", "label": 0}
    assert raw["train"]["seed"] == 0
    assert raw["train"]["loss"]["label"]["weight"] == 1.0
    assert raw["train"]["preprocess"]["data_augmentation"] is None


@pytest.mark.parametrize("augmentation", [SPARSE, [{"name": "affine"}, SPARSE], None])
def test_a_dumped_configuration_loads_as_the_same_one(write, tmp_path, augmentation):
    base = with_key("dataset.labels", {"zone": 3, "gland": 1})
    base["dataset"]["spacing_mm"] = [0.5, 1.0, 2.0]
    base["align"] = "centroid"
    config = load(write, "train.preprocess.data_augmentation", augmentation, base)
    config.dump(tmp_path / "config.yaml", header="deepreg_meta 1\nseed 0")
    again = load_config(tmp_path / "config.yaml")
    assert again == config
    assert again.raw == config.raw
    assert list(again.dataset.labels) == ["zone", "gland"]  # order is channel order
    text = (tmp_path / "config.yaml").read_text()
    assert text.startswith("# deepreg_meta 1\n# seed 0\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.yaml", "meta.yaml"]


def test_a_dump_that_fails_leaves_the_old_file(write, tmp_path):
    config = load(write)
    target = tmp_path / "config.yaml"
    target.write_text("old")
    config.raw["train"]["bad"] = object()
    with pytest.raises(yaml.YAMLError):
        config.dump(target)
    assert target.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.yaml", "meta.yaml"]


def test_adaptation_takes_frames_and_optimizer_of_training_unless_it_has_its_own(write):
    base = with_key("train.preprocess.data_augmentation", SPARSE)
    config = load(write, base=base)
    assert config.sparse_frames.frames == config.adapt_frames == (2, 5)
    assert config.adapt.schedule == "sweep"
    assert config.adapt_optimizer == {"name": "Adam", "learning_rate": 1.0e-3}
    base["adapt"] = {
        "frames": [1, 3],
        "optimizer": {"name": "SGD", "learning_rate": 1, "momentum": 0.9},
    }
    config = load(write, base=base)
    assert config.adapt_frames == (1, 3)
    expected = {"name": "SGD", "learning_rate": 1.0, "momentum": 0.9}
    assert config.adapt_optimizer == expected


def test_the_phantom_is_used_only_without_any_folder(write):
    assert load(write).uses_phantom
    assert not load(write, "dataset.dir.train", "data").uses_phantom
    assert load(write, "dataset.dir", ...).uses_phantom
    assert load(write, "dataset.dir.train", "").uses_phantom  # DeepReg's form of null


def test_short_forms_mean_the_long_ones(write):
    assert load(write, "align", "affine") == load(write, "align", {"mode": "affine"})
    sides = [1, 2, 3]
    long = load(write, "dataset.spacing_mm", {"moving": sides, "fixed": sides})
    assert load(write, "dataset.spacing_mm", sides) == long
    assert long.dataset.spacing_mm.fixed == (1.0, 2.0, 3.0)


def test_empty_sections_are_defaults(write):
    base = with_key("train.meta", None)
    base["adapt"] = None
    base["align"] = None
    base["dataset"]["dir"] = None
    assert load(write, base=base) == load(write)


def test_the_configuration_is_frozen(write):
    config = load(write)
    with pytest.raises(Exception, match="frozen"):
        config.meta.inner_steps = 3
    with pytest.raises(Exception, match="cannot assign"):
        config.seed = 3


# ---- bad values, one by one ----


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
        ("train.meta.base", 3, "expected the name of a registered DeepReg model"),
        ("train.meta.base", "reptile", "the model that Reptile trains"),
        ("train.meta.meta_step_size", 0, r"expected a number in \(0, 1\], got 0"),
        ("train.meta.meta_step_size", 1.5, r"expected a number in \(0, 1\], got 1.5"),
        ("train.meta.meta_step_size_end", 0.6, r"meta_step_size = 0.5\], got 0.6"),
        ("train.meta.iterate", "lst", "expected last or average.*mean `last`"),
        ("train.meta", 3, "train.meta in meta.yaml: expected a mapping, got 3"),
        ("train.seed", -1, "expected an integer >= 0, got -1"),
        ("train.epochs", 0, "expected an integer >= 1, got 0"),
        ("train.epochs", ..., "train.epochs in meta.yaml: missing, expected an int"),
        ("train.save_period", 1.5, "expected an integer >= 1, in epochs, got 1.5"),
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
        ("dataset.format", "dicom", "expected nifti or h5, got 'dicom'"),
        ("dataset.labeled", 1, "expected true or false, got 1"),
        ("dataset.dir.tain", "x", "unknown key. Did you mean `train`"),
        ("dataset.dir.train", 3, "expected a folder, a list of folders or null, got 3"),
        ("dataset.dir.test", "x", "dir.train in meta.yaml: expected a folder where"),
        ("dataset.fixed_image_shape", [5, 6], r"got \[5, 6\]. A 2-D image has a last"),
        ("dataset.fixed_image_shape", [5, 6, 0], r"integers >= 1, got \[5, 6, 0\]"),
        ("dataset.fixed_image_shape", ..., "fixed_image_shape in meta.yaml: missing"),
        ("dataset.spacing_mm", [1, 2], r"three numbers > 0, in mm, got \[1, 2\]"),
        ("dataset.spacing_mm", {"fixed": [1, 2, 0]}, r"fixed in.*got \[1, 2, 0\]"),
        ("dataset.labels", {"gland": "1"}, "integers >= 1 of the label files, got"),
        ("dataset.labels", {"a": 2, "b": 2}, "a different integer for each name"),
        ("dataset.cache_gb", -1, "expected a number >= 0, got -1"),
        ("dataset.phantom.num_train", 0, "expected an integer >= 2, got 0"),
        ("dataset.phantm", {}, "unknown key. Did you mean `phantom`"),
        ("adapt.steps", -1, "adapt.steps in meta.yaml: expected an integer >= 0.*-1"),
        ("adapt.labels", 0, "expected a list of label channels"),
        ("adapt.optimizer", {"name": "SGD"}, "learning_rate in meta.yaml: missing"),
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


def test_all_problems_are_reported_together_once_each(write):
    base = with_key("train.meta.inner_steps", 0)
    base["adapt"] = {"steps": -1}
    base["dataset"]["format"] = "dicom"
    with pytest.raises(ConfigError) as caught:
        load(write, base=base)
    problems = caught.value.problems
    assert len(problems) == len(set(problems)) == 3
    assert str(caught.value).splitlines() == list(problems)


# ---- DeepReg's own methods ----


def test_a_deepreg_configuration_is_never_changed(write):
    base = deepreg()
    config = load(write, base=base)
    assert config.raw == base
    assert config.align.mode == "corner"
    assert config.meta is None and config.train is None
    assert not config.is_reptile and not config.uses_phantom


def test_unknown_keys_of_deepreg_are_warnings_with_its_methods(write, caplog):
    load(write, "train.los", 3, deepreg())
    assert "train.los in meta.yaml: unknown key. Did you mean `loss`?" in caplog.text


def test_an_unknown_key_like_no_other_is_a_warning_for_reptile_too(write, caplog):
    load(write, "notebook", "page 3")
    assert "notebook in meta.yaml: unknown key. Known: adapt, align" in caplog.text


def test_adaptation_is_allowed_and_meta_is_not_with_deepregs_methods(write):
    assert load(write, "adapt.steps", 4, deepreg()).adapt.steps == 4
    with pytest.raises(ConfigError, match="adapt.steps .* got -1"):
        load(write, "adapt.steps", -1, deepreg())
    with pytest.raises(ConfigError, match="train.meta .*no such section.*method ddf"):
        load(write, "train.meta", {"inner_steps": 3}, deepreg())


def test_a_missing_section_of_deepreg_is_no_bare_key_error(write):
    with pytest.raises(ConfigError, match="train.loss .*expected a mapping.*got null"):
        load(write, "train.loss", ..., deepreg())
    with pytest.raises(ConfigError, match="dataset.dir .*expected a folder for train"):
        load(write, "dataset.dir.train", None, deepreg())


def test_deepreg_sees_none_of_our_keys(write):
    config = load(write, "dataset.labels", {"gland": 1})
    seen = config.deepreg_config()
    assert set(seen) == {"dataset", "train"}
    assert set(seen["dataset"]) == set(BASE["dataset"])
    assert not {"seed", "meta"} & set(seen["train"])
    seen["train"]["epochs"] = 99
    assert config.raw["train"]["epochs"] == 3  # a copy


def test_deepreg_brings_its_old_configurations_up_to_date(write):
    base = deepreg()
    base["train"]["optimizer"] = {"name": "adam", "adam": {"learning_rate": 0.5}}
    seen = load(write, base=base).deepreg_config()
    assert seen["train"]["optimizer"] == {"name": "Adam", "learning_rate": 0.5}
    # its default, which method reptile does not inherit
    assert seen["train"]["preprocess"]["data_augmentation"] == {"name": "affine"}


# ---- folders ----


def test_missing_folders_are_named_with_key_and_path(write, tmp_path):
    folders = [str(tmp_path / "one"), str(tmp_path / "two")]
    (tmp_path / "one" / "moving_images").mkdir(parents=True)
    (tmp_path / "one" / "fixed_labels").mkdir()
    config = load(write, "dataset.dir.train", folders)
    with pytest.raises(ConfigError) as caught:
        check_paths(config, "train")
    prefix = "dataset.dir.train in meta.yaml: expected"
    assert caught.value.problems == (
        f"{prefix} fixed_images in the folder {folders[0]}, found none.",
        f"{prefix} moving_labels in the folder {folders[0]}, found none.",
        f"{prefix} an existing folder, got {folders[1]}.",
    )
    check_paths(config, "valid")  # not given


def test_hdf5_files_are_looked_for_in_place_of_folders(write, tmp_path):
    base = with_key("dataset.dir.train", str(tmp_path))
    base["dataset"]["format"] = "h5"
    with pytest.raises(ConfigError, match="expected moving_images.h5 in the folder"):
        check_paths(load(write, base=base), "train")


def test_a_phantom_needs_no_folder(write):
    check_paths(load(write), "train")


def test_an_alignment_that_training_ignores_is_a_warning(write, caplog):
    assert load(write, "align", "center", deepreg()).align.mode == "center"
    assert "align in meta.yaml: has no effect on training with train.method ddf" in (
        caplog.text
    )


def test_sections_are_compared_even_where_another_one_is_wrong(write):
    base = with_key("train.meta.inner_steps", 0)
    base["train"]["preprocess"]["data_augmentation"] = {**SPARSE, "frames": [1, 8]}
    with pytest.raises(ConfigError) as caught:
        load(write, base=base)
    first, second = caught.value.problems
    assert first.startswith("train.meta.inner_steps in meta.yaml")
    assert "more frames than slices: [1, 8]" in second
