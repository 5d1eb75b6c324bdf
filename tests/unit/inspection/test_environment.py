"""Tests of deepreg_meta/inspection/environment.py."""

import configparser
from collections import namedtuple
from pathlib import Path

import pytest

from deepreg_meta import stack
from deepreg_meta.inspection import environment
from deepreg_meta.inspection.environment import (
    MINIMUM,
    Machine,
    check_environment,
    check_folders,
    check_packages,
    machine_section,
)
from deepreg_meta.inspection.scripts import Script
from tests.unit.inspection.examples import texts, titles

ROOT = Path(__file__).resolve().parents[3]
VERSIONS = {"tensorflow": "2.21.0", "tf-keras": "2.21.0", "deepreg": "0.1.2"}


@pytest.fixture
def versions(monkeypatch):
    """:return: what is installed, to be changed."""
    installed = {**VERSIONS, **{name: f"{v}.0" for name, v in MINIMUM.items()}}

    def installed_version(*names):
        return next((installed[name] for name in names if name in installed), None)

    monkeypatch.setattr(stack, "installed_version", installed_version)
    monkeypatch.setattr(stack.sys, "version_info", (3, 11, 2))
    return installed


@pytest.fixture
def no_scripts(monkeypatch):
    monkeypatch.setattr(environment, "find_scripts", lambda: [])


def test_the_minimum_versions_are_those_of_setup_cfg():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options"]["install_requires"].strip().splitlines()
    wanted = dict(line.split(">=") for line in lines)
    special = {"tensorflow", "tf-keras"}  # `stack.py` has their rules
    assert {k: v for k, v in wanted.items() if k not in special} == MINIMUM


def test_versions_that_fit_are_listed_with_what_is_expected(versions, monkeypatch):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    section, found = check_packages()
    assert found == []
    rows = {name: (version, rule) for name, version, rule in section.rows}
    assert rows["tf-keras"] == ("2.21.0", "2.21, as tensorflow")
    assert rows["deepreg"] == ("0.1.2", "0.1.2")
    assert rows["numpy"] == ("1.26.0", "1.26 or newer")
    assert rows["TF_USE_LEGACY_KERAS"][0] == "1"
    assert rows["TF_ENABLE_ONEDNN_OPTS"][0] == "not set"


def test_tf_keras_of_another_minor_version_than_tensorflow_is_a_problem(versions):
    versions["tf-keras"] = "2.20.1"
    [finding] = check_packages()[1]
    assert finding.level == "problem"
    assert "tf-keras: expected 2.21" in finding.text
    assert "pip install tf-keras==2.21.*" in finding.text


def test_packages_that_are_missing_or_old_are_all_named(versions):
    del versions["SimpleITK"], versions["deepreg"]
    versions["numpy"] = "1.9.3"  # older than 1.26, though 9 > 2
    lines = texts(check_packages()[1], "packages that do not fit")
    assert len(lines) == 3
    assert any("DeepReg: expected 0.1.2, found none" in line for line in lines)
    assert any("numpy: expected 1.26 or newer, found 1.9.3" in line for line in lines)
    [itk] = [line for line in lines if line.startswith("SimpleITK")]
    assert "found none" in itk and 'pip install "SimpleITK>=2.3"' in itk


def test_a_stack_that_does_not_fit_is_reported_without_importing_it(
    versions, no_scripts, tmp_path, monkeypatch
):
    def fail(*args):
        raise AssertionError("TensorFlow was asked for")

    monkeypatch.setattr(environment.cli, "prepare_tensorflow", fail)
    del versions["tensorflow"]
    sections, found = check_environment(str(tmp_path))
    assert "packages that do not fit" in titles(found, "problem")
    devices = next(section for section in sections if section.title == "Devices")
    assert ("GPU", "not looked for") in devices.rows


def test_the_whole_environment_is_checked(tmp_path, no_scripts, registered):
    """This one: its packages fit, for the tests need them."""
    sections, found = check_environment(str(tmp_path))
    assert [s.title for s in sections] == ["Packages", "Devices", "Commands", "Folders"]
    assert titles(found, "problem") == set()
    assert not any("not looked for" in row for row in sections[1].rows)


def test_commands_and_folders_are_judged_too(tmp_path, monkeypatch, registered):
    (tmp_path / "file").write_text("")
    theirs = Script(
        "deepreg_train", "/bin/x", "deepreg", (), "deepreg_meta.train", None
    )
    monkeypatch.setattr(environment, "find_scripts", lambda: [theirs])
    sections, found = check_environment(str(tmp_path / "file"))
    assert titles(found, "problem") == {
        "commands that DeepReg owns",
        "folders that cannot be written",
    }
    assert sections[2].rows[0][:2] == ("deepreg_train", "deepreg")


@pytest.mark.parametrize(
    ("gpus", "shown"),
    [(None, ["not looked for"]), ((), ["none: networks run on the CPU"]),
     (("H200", "T4"), ["H200", "T4"])],
)  # fmt: skip
def test_devices_are_listed(gpus, shown):
    rows = machine_section(Machine((2, 4), (25.0, 3.5), gpus, 0)).rows
    assert ("CPU", "2 of 4 cores") in rows
    assert ("memory", "25.0 GB, 3.5 GB free") in rows
    assert [text for name, text in rows if name == "GPU"] == shown


def test_gpus_that_tensorflow_does_not_see_are_a_warning(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    [finding] = environment._judge_machine(Machine((2, 4), None, (), 2))
    assert finding.level == "warning" and "deepreg_meta[gpu]" in finding.text
    assert environment._judge_machine(Machine((2, 4), None, ("H200",), 1)) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert environment._judge_machine(Machine((2, 4), None, (), 2)) == []


def test_a_folder_that_cannot_be_written_is_a_problem(tmp_path):
    (tmp_path / "file").write_text("")
    section, found = check_folders(str(tmp_path / "file" / "logs"))
    [line] = texts(found, "folders that cannot be written")
    assert f"{tmp_path / 'file'} is not writable" in line and "--log_root" in line
    assert section.rows[0][1] == "cannot be written"


def test_a_folder_that_is_not_there_yet_can_be_written(tmp_path):
    section, found = check_folders(str(tmp_path / "new" / "logs"))
    assert found == [] and section.rows[0][1] == "can be written"
    assert not (tmp_path / "new").exists()


def test_a_full_disk_is_a_warning(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**12, 10**12, 5 * 10**8)
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: usage)
    _, found = check_folders(str(tmp_path))
    line = texts(found, "little space on the disk")[0]
    assert "2 GB or more, got 0.50 GB" in line
