"""Tests of deepreg_meta/check.py: the command `deepreg_check`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tensorflow as tf  # noqa: F401  registers our entries
import yaml

from deepreg_meta import check
from deepreg_meta.inspection import environment
from tests.helpers import run_config, write_yaml
from tests.unit.inspection.examples import FIXED, MOVING, change, write_split

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def sound_environment(monkeypatch, tmp_path):
    """Leave out who owns the commands here, and write nothing but below tmp_path."""
    monkeypatch.setattr(environment, "find_scripts", lambda: [])
    monkeypatch.setattr(environment, "judge_scripts", lambda scripts: [])
    monkeypatch.setenv("DEEPREG_META_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def good_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    write_split(folder / "train", seeds=(0, 1))
    write_split(folder / "test", seeds=(3,))
    return folder


@pytest.fixture
def data(good_data, tmp_path):
    """:return: a copy of the data set, to be spoilt."""
    return shutil.copytree(good_data, tmp_path / "data")


@pytest.fixture
def config(data, tmp_path):
    """:return: path of its configuration."""
    content = run_config()
    content["dataset"].pop("phantom")
    content["dataset"] |= dict(
        dir={mode: str(data / mode) for mode in ("train", "test")},
        moving_image_shape=list(MOVING),
        fixed_image_shape=list(FIXED),
    )
    return write_yaml(tmp_path / "mine.yaml", content)


def test_the_environment_alone_is_checked_without_arguments(capsys, caplog):
    assert check.main([]) == 0
    text = capsys.readouterr().out
    for title in ("Packages", "Devices", "Commands", "Folders"):
        assert f"{title}\n" in text
    assert "Nothing was found that would stop a run." in text


def test_a_problem_of_the_environment_gives_status_1(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert check.main(["--log_root", str(tmp_path / "file")]) == 1
    assert "1 problem\n  folders that cannot be written\n" in capsys.readouterr().out


def test_good_data_gives_status_0_and_the_scores_to_beat(config, capsys):
    assert check.main(["--config", config]) == 0
    text = capsys.readouterr().out
    assert "train: 2 cases in " in text and "test: pairs before any network" in text
    assert "mean of 2" in text
    own = text.replace(str(Path(config).parent), "data")  # of any length
    assert max(map(len, own.splitlines())) <= 100


def test_problems_give_status_1_and_are_all_listed(config, data, capsys):
    (data / "train" / "moving_images" / "case0.nii.gz").unlink()
    change(data / "test" / "fixed_images" / "case0.nii.gz", lambda image: image * 0)
    assert check.main(["--config", config]) == 1
    text = capsys.readouterr().out
    assert "2 problems\n" in text
    assert "case0.nii.gz: expected a partner of the same name in moving_images" in (
        " ".join(text.split())
    )
    assert "expected an image with contrast" in text


def test_the_environment_is_checked_with_the_data(config, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    words = ["--config", config, "--fast", "--log_root", str(tmp_path / "file")]
    assert check.main(words) == 1
    text = capsys.readouterr().out
    assert "folders that cannot be written" in text and "Packages" not in text


def test_a_fast_check_says_what_it_has_not_looked_at(config, capsys, caplog):
    caplog.set_level("INFO")
    assert check.main(["--config", config, "--fast"]) == 0
    told = caplog.text + capsys.readouterr().err
    assert "No problem in the headers; voxels were not looked at, nor the names" in told


def test_problems_of_the_configuration_are_listed_all_the_same(config, capsys):
    content = yaml.safe_load(Path(config).read_text())
    content["train"]["epochs"] = -1
    content["train"]["meta"]["inner_step"] = 3
    write_yaml(Path(config), content)
    assert check.main(["--config", config]) == 1
    text = capsys.readouterr().out
    assert "configuration (2)" in text
    assert "train.epochs in mine.yaml: expected an integer >= 0" in text


def test_one_split_is_checked_alone(config, data, capsys):
    shutil.rmtree(data / "train")
    assert check.main(["--config", config, "--mode", "test"]) == 0
    assert "train: " not in capsys.readouterr().out


def test_a_report_is_written_and_its_folder_named(config, tmp_path, caplog):
    with caplog.at_level("INFO"):
        assert check.main(["--config", config, "--output", str(tmp_path / "out")]) == 0
    assert caplog.messages[-1] == f"No problem; the report is in {tmp_path / 'out'}"
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["cases.csv", "check.md", "files.csv", "overview.png"]
    table = pd.read_csv(tmp_path / "out" / "cases.csv")
    assert list(table["case"]) == ["case0", "case1", "case0"]
    assert (table["dsc_before"] > 0.9).all() and (table["overlap_aligned"] > 0.7).all()
    assert len(pd.read_csv(tmp_path / "out" / "files.csv")) == 12


def test_in_a_hurry_neither_voxels_nor_tensorflow_are_needed(config, data, tmp_path):
    """In a process of its own, where nothing else imports TensorFlow."""
    change(data / "test" / "fixed_images" / "case0.nii.gz", lambda image: image * 0)
    code = (
        "import sys; from deepreg_meta import check\n"
        "found = check.check_config(sys.argv[1], fast=True, log_root=sys.argv[2])\n"
        "titles = {f.title for f in found.findings if 'command' not in f.title}\n"
        "assert not titles, titles\n"
        "assert found.records and not found.tiles\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    words = [sys.executable, "-c", code, config, str(tmp_path / "logs")]
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=own)
    assert done.returncode == 0, done.stderr


def test_a_pair_of_files_is_checked_without_a_configuration(data, capsys, caplog):
    files = {kind: str(data / "test" / kind / "case0.nii.gz")
             for kind in ("fixed_images", "moving_images", "fixed_labels",
                          "moving_labels")}  # fmt: skip
    words = ["--fixed", files["fixed_images"], "--moving", files["moving_images"]]
    labels = ["--fixed-label", files["fixed_labels"]]
    labels += ["--moving-label", files["moving_labels"]]
    assert check.main(words + labels) == 0
    text = capsys.readouterr().out
    assert "Place in space" in text and "Labels by the headers" in text
    change(data / "test" / "moving_images" / "case0.nii.gz", lambda image: image * 0)
    assert check.main(words) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--fixed", "a.nii"],
        ["--moving", "a.nii"],
        ["--fixed", "a.nii", "--moving", "b.nii", "--config", "c.yaml"],
        ["--fixed", "a.nii", "--moving", "b.nii", "--fixed-label", "c.nii"],
        ["--fixed-label", "a.nii", "--moving-label", "b.nii"],
        ["--mode", "training"],
        ["--unknown"],
    ],
)
def test_a_wrong_command_line_gives_status_2(words, capsys):
    with pytest.raises(SystemExit) as caught:
        check.main(words)
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_missing_files_are_all_named_and_give_status_2(caplog, tmp_path):
    assert check.main(["--fixed", "a.nii", "--moving", "b.nii"]) == 2
    message = caplog.messages[-1]
    assert "--fixed: expected a file, found none: a.nii" in message
    assert "--moving: expected a file, found none: b.nii" in message
    assert check.main(["--config", "none.yaml"]) == 2


def test_a_split_without_a_folder_gives_status_2(config, caplog):
    assert check.main(["--config", config, "--mode", "valid"]) == 2
    assert "--mode: expected a split with a folder" in caplog.messages[-1]


def test_a_report_that_cannot_be_written_is_told_before_anything_is_read(
    config, tmp_path, caplog
):
    (tmp_path / "file").write_text("")
    assert check.main(["--config", config, "-o", str(tmp_path / "file" / "out")]) == 2
    assert "is not writable or not a folder" in caplog.messages[-1]
    assert "reading" not in caplog.text


def test_the_command_says_whose_it_is(capsys):
    with pytest.raises(SystemExit):
        check.main(["--version"])
    assert capsys.readouterr().out.startswith("deepreg_check of deepreg_meta")
