"""Tests of packed runs: what goes in comes out, and goes on elsewhere."""

import zipfile
from dataclasses import replace

import pandas as pd
import pytest
import yaml

from deepreg_meta.study.archive import pack_runs, unpack_runs
from deepreg_meta.study.folder import (
    gather_rows,
    is_finished,
    merged_config,
    run_folder,
)
from deepreg_meta.study.run import run_study
from tests.unit.study.trainer import Trainer


@pytest.fixture
def packed(runs, tmp_path):
    """:return: a file with the first of two runs, which was finished in `here`."""
    run_study(runs[:1], tmp_path / "here", Trainer().train, Trainer().predict)
    (tmp_path / "here" / "seconds.csv").write_text("method,seconds\nplain,0.5\n")
    (run_folder(runs[0], tmp_path / "here") / "log.csv").write_text("epoch\n0\n")
    path = tmp_path / "kept" / "runs.zip"
    assert pack_runs(runs, tmp_path / "here", path, ["seconds.csv", "none"]) == 1
    return path


def test_unpacked_runs_are_finished_and_only_the_others_are_trained(
    packed,
    runs,
    tmp_path,
):
    there, trainer = tmp_path / "there", Trainer()
    assert unpack_runs(packed, there, ["seconds.csv"]) == 1
    assert (there / "seconds.csv").read_text() == "method,seconds\nplain,0.5\n"
    assert [is_finished(run, there) for run in runs] == [True, False]
    run_study(runs, there, trainer.train, trainer.predict)
    assert [name for name, _ in trainer.trained] == [runs[1].name]
    here = gather_rows(runs, tmp_path / "here")
    rows = gather_rows(runs, there)
    pd.testing.assert_frame_equal(rows[rows["method"] == "plain"], here)


def test_the_configuration_of_an_unpacked_run_is_one(packed, runs, tmp_path):
    """It lacks the folders of the data alone, and can be run with others."""
    unpack_runs(packed, tmp_path, ["seconds.csv"])
    saved = yaml.safe_load((run_folder(runs[0], tmp_path) / "run.yaml").read_text())
    expected = merged_config(runs[0])
    expected["dataset"].pop("dir", None)
    assert saved == expected


def test_unpacked_rows_of_other_tests_are_refused(packed, runs, tmp_path):
    unpack_runs(packed, tmp_path / "there", ["seconds.csv"])
    other = replace(runs[0], test_config={"dataset": {"labeled": False}})
    with pytest.raises(ValueError, match="one that differs in test_a.yaml"):
        is_finished(other, tmp_path / "there")


def test_rows_of_another_network_are_not_mixed_with_those_of_a_new_one(
    packed, runs, tmp_path
):
    """The weights stayed behind: what is missing takes a new training."""
    there, trainer = tmp_path / "there", Trainer()
    unpack_runs(packed, there, ["seconds.csv"])
    more = replace(runs[0], adaptations={"": {}, "ten": {"steps": 10}})
    run_study([more], there, trainer.train, trainer.predict)
    assert [name for name, _ in trainer.trained] == [more.name]
    tested = [name for _, name, _ in trainer.tested]
    assert tested == ["a", "a--ten", "b", "b--ten"]
    assert len(gather_rows([more], there)) == 4


def test_weights_stay_and_the_same_runs_are_the_same_bytes(packed, runs, tmp_path):
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
    folder = f"runs/{runs[0].name}"
    own = ("run.yaml", "log.csv", "rows.csv", "test_a.yaml", "test_b.yaml")
    kept = [f"{folder}/{name}" for name in own]
    assert names == ["seconds.csv", *kept]
    again = tmp_path / "again.zip"
    pack_runs(runs, tmp_path / "here", again, ["seconds.csv"])
    assert again.read_bytes() == packed.read_bytes()


def test_where_the_data_lay_is_left_out(runs, tmp_path):
    runs[0].overrides["dataset"] = {"dir": {"train": "/home/me/data"}}
    run_study(runs[:1], tmp_path / "here", Trainer().train, Trainer().predict)
    assert (
        "/home/me" in (run_folder(runs[0], tmp_path / "here") / "run.yaml").read_text()
    )
    pack_runs(runs, tmp_path / "here", tmp_path / "runs.zip")
    assert unpack_runs(tmp_path / "runs.zip", tmp_path / "there") == 1
    path = run_folder(runs[0], tmp_path / "there") / "run.yaml"
    assert "/home/me" not in path.read_text()
    assert is_finished(runs[0], tmp_path / "there")


def test_what_is_there_is_not_replaced(packed, runs, tmp_path):
    rows = run_folder(runs[0], tmp_path / "here") / "rows.csv"
    text = rows.read_text().replace("0.75", "0.11")
    rows.write_text(text)
    assert unpack_runs(packed, tmp_path / "here", ["seconds.csv"]) == 0
    assert rows.read_text() == text


def test_another_configuration_of_a_packed_run_is_told(packed, runs, tmp_path):
    unpack_runs(packed, tmp_path / "there", ["seconds.csv"])
    other = replace(runs[0], overrides={"train": {"seed": 1, "epochs": 9}})
    with pytest.raises(ValueError, match="plain--seed1: expected no run, or one of"):
        is_finished(other, tmp_path / "there")


def test_a_study_without_a_finished_run_is_not_packed(runs, tmp_path):
    with pytest.raises(ValueError, match="with a finished run, got none"):
        pack_runs(runs, tmp_path, tmp_path / "runs.zip")
    assert not list(tmp_path.glob("*.zip"))


@pytest.mark.parametrize(
    "name", ["runs/../rows.csv", "../rows.csv", "runs/a/b/rows.csv", "runs/a/save.h5"]
)
def test_files_that_are_not_of_runs_are_refused_before_any_is_written(name, tmp_path):
    path = tmp_path / "runs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("runs/a/rows.csv", "x")
        archive.writestr(name, "x")
    with pytest.raises(ValueError, match=r"expected runs/<run>/ with run.yaml"):
        unpack_runs(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_archive_is_named(tmp_path):
    (tmp_path / "runs.zip").write_text("text")
    with pytest.raises(ValueError, match=r"runs.zip: expected a ZIP file of runs"):
        unpack_runs(tmp_path / "runs.zip", tmp_path / "out")
