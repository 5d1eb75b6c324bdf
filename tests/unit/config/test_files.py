"""Tests of the YAML files: strict reading, merging, and who set a key last."""

import pytest
import yaml

from deepreg_meta.config import ConfigError, load_config
from tests.unit.config.examples import BASE, with_key


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


def test_an_error_names_the_last_file_that_set_the_key(write):
    paths = write(meta=BASE, paper={"train": {"epochs": -1, "save_period": 1}})
    with pytest.raises(ConfigError, match=r"^train.epochs in paper.yaml: .* got -1\.$"):
        load_config(paths)
    with pytest.raises(ConfigError, match="train.save_period by --period: .* got -1"):
        load_config(paths[:1], {"train": {"save_period": -1}}, "by --period")


def test_files_of_one_name_are_told_apart_by_their_folders(write, tmp_path):
    other = tmp_path / "other" / "meta.yaml"
    other.parent.mkdir()
    other.write_text("train: {epochs: -1}")
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
