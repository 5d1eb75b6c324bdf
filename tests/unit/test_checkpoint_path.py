"""Tests of how a path names a checkpoint."""

import json

import pytest

from deepreg_meta.checkpoint_path import (
    epoch_of,
    newest_checkpoint,
    run_of,
    training_data,
)


@pytest.fixture
def run_folder(tmp_path):
    """Return a run's folder with checkpoints of epochs 2, 9 and 10."""
    (tmp_path / "save").mkdir()
    for epoch in (2, 9, 10):
        (tmp_path / "save" / f"ckpt-{epoch}.index").touch()
    (tmp_path / "save" / "ckpt-best.index").touch()
    (tmp_path / "save" / "other-99.index").touch()
    return tmp_path


@pytest.mark.parametrize("inner", ["", "save"])
def test_a_folder_means_its_newest_checkpoint_by_number(run_folder, inner):
    # as text, ckpt-9 would come after ckpt-10
    path = newest_checkpoint(run_folder / inner)
    assert path == str(run_folder / "save" / "ckpt-10")


@pytest.mark.parametrize("suffix", ["", ".index"])
def test_a_checkpoint_means_itself_even_if_newer_ones_exist(run_folder, suffix):
    path = run_folder / "save" / "ckpt-2"
    assert newest_checkpoint(f"{path}{suffix}") == str(path)


def test_the_home_folder_is_expanded(run_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(run_folder))
    assert newest_checkpoint("~/save").endswith("save/ckpt-10")
    assert "~" not in newest_checkpoint("~")


def test_a_checkpoint_that_does_not_exist_is_named(run_folder):
    with pytest.raises(FileNotFoundError, match="ckpt-3, which does not exist"):
        newest_checkpoint(run_folder / "save" / "ckpt-3")


def test_a_folder_without_checkpoints_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="which has none"):
        newest_checkpoint(tmp_path)


def test_the_epoch_is_the_number_at_the_end():
    assert epoch_of("logs/run-7/save/ckpt-120") == 120


def test_a_name_without_an_epoch_is_refused():
    with pytest.raises(ValueError, match="ends in ckpt-<epoch>, got save/best"):
        epoch_of("save/best")


def test_what_the_training_images_looked_like_is_read(run_folder, monkeypatch):
    checkpoint = newest_checkpoint(run_folder)
    assert training_data(checkpoint) is None  # of an older version
    described = {"fixed": {"orientations": ["L"]}}
    (run_folder / "data.json").write_text(json.dumps(described))
    assert training_data(checkpoint) == described
    monkeypatch.chdir(run_folder)
    assert training_data("") is None  # no checkpoint, no run


@pytest.mark.parametrize(("inside", "path"), [("", "."), ("save", "ckpt-2")])
def test_the_run_is_found_from_within_it(run_folder, monkeypatch, inside, path):
    monkeypatch.chdir(run_folder / inside)
    assert run_of(newest_checkpoint(path)) == run_folder
