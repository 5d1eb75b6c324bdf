"""Tests of deepreg_meta/inspection/scripts.py."""

import configparser
import os
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from deepreg_meta.inspection import scripts
from deepreg_meta.inspection.scripts import (
    COMMANDS,
    find_scripts,
    judge_scripts,
    owner_of,
    script_section,
)
from tests.unit.inspection.examples import texts, titles

ROOT = Path(__file__).resolve().parents[3]
PIP = """#!{python}
import sys
from {module} import main
if __name__ == '__main__':
    sys.argv[0] = sys.argv[0].removesuffix('.exe')
    sys.exit(main())
"""
DEVELOP = """#!{python}
# EASY-INSTALL-ENTRY-SCRIPT: '{package}','console_scripts','x'
__requires__ = '{package}==0.1.2'
from pkg_resources import load_entry_point
"""


def write_script(folder, name, module):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(PIP.format(python="/usr/bin/python3", module=module))
    path.chmod(0o755)
    return path


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """:return: installs packages: name -> {command: module}; the last one owns it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(scripts.sys, "executable", str(folder / "python"))
    monkeypatch.setattr(scripts.sysconfig, "get_path", lambda name: str(folder))
    monkeypatch.setenv("PATH", str(folder))

    def install(packages):
        entries = []
        for package, commands in packages.items():
            dist = SimpleNamespace(metadata={"Name": package})
            for name, module in commands.items():
                write_script(folder, name, module)
                entries.append(
                    SimpleNamespace(name=name, value=f"{module}:main", dist=dist)
                )
        monkeypatch.setattr(metadata, "entry_points", lambda group: entries)
        return folder

    return install


OURS = {name: f"deepreg_meta.{name.removeprefix('deepreg_')}" for name in COMMANDS}
THEIRS = {name: f"deepreg.{name.removeprefix('deepreg_')}"
          for name in ("deepreg_train", "deepreg_predict", "deepreg_warp")}  # fmt: skip


def test_the_commands_are_those_of_the_package():
    """setup.cfg installs them, and no others."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options.entry_points"]["console_scripts"].split("\n")
    names = {line.split("=")[0].strip() for line in lines if line}
    assert names == set(COMMANDS)


@pytest.mark.parametrize(
    ("template", "package", "owner"),
    [
        (PIP, "deepreg", "deepreg"),
        (PIP, "deepreg_meta", "deepreg_meta"),
        (DEVELOP, "deepreg", "deepreg"),
        (DEVELOP, "deepreg-meta", "deepreg_meta"),
    ],
)
def test_a_script_tells_whose_program_it_runs(tmp_path, template, package, owner):
    path = tmp_path / "deepreg_train"
    words = dict(python="python", module=f"{package}.train", package=package)
    path.write_text(template.format(**words))
    assert owner_of(path) == owner


def test_another_script_has_no_owner(tmp_path):
    path = tmp_path / "deepreg_train"
    path.write_bytes(b"\x7fELF\x00\xff")
    assert owner_of(path) is None
    assert owner_of(tmp_path / "none") is None


def test_installed_last_this_package_owns_every_command(environment):
    environment({"deepreg": THEIRS, "deepreg-meta": OURS})
    found = find_scripts()
    assert {script.owner for script in found} == {"deepreg_meta"}
    assert judge_scripts(found) == []
    [train] = [script for script in found if script.name == "deepreg_train"]
    assert train.claims == ("deepreg", "deepreg_meta")
    assert train.module == "deepreg_meta.train"


def test_commands_that_deepreg_owns_are_problems_with_a_cure(environment):
    folder = environment({"deepreg_meta": OURS, "deepreg": THEIRS})
    found = judge_scripts(find_scripts())
    lines = texts(found, "commands that DeepReg owns")
    assert len(found) == len(lines) == 3
    [train] = [line for line in lines if line.startswith("deepreg_train")]
    assert str(folder / "deepreg_train") in train
    assert "pip install --force-reinstall --no-deps deepreg_meta" in train
    assert "python -m deepreg_meta.train" in train


def test_without_this_package_deepregs_commands_are_not_ours(environment):
    """The cure is then that of a clone; no module is promised."""
    environment({"deepreg": THEIRS})
    found = judge_scripts(find_scripts())
    assert titles(found, "problem") == {"commands that DeepReg owns"}
    [line] = texts(found, "commands that are missing")
    assert "not installed in this environment" in line and "--no-deps ." in line


def test_a_command_whose_file_is_gone_is_a_warning(environment):
    folder = environment({"deepreg_meta": OURS})
    (folder / "deepreg_check").unlink()
    [finding] = judge_scripts(find_scripts())
    assert finding.level == "warning"
    assert finding.text.startswith("deepreg_check: expected a file beside")


def test_a_command_of_another_environment_on_the_path_is_a_warning(
    environment, tmp_path, monkeypatch
):
    folder = environment({"deepreg_meta": OURS})
    other = write_script(tmp_path / "other", "deepreg_train", "deepreg.train")
    monkeypatch.setenv("PATH", os.pathsep.join([str(other.parent), str(folder)]))
    [finding] = judge_scripts(find_scripts())
    assert finding.level == "warning"
    assert finding.text.startswith(
        f"deepreg_train: typing it runs {other}, not {folder}"
    )


def test_the_table_names_owners_and_files(environment):
    folder = environment({"deepreg_meta": {"deepreg_train": "deepreg_meta.train"},
                          "deepreg": {"deepreg_warp": "deepreg.warp"}})  # fmt: skip
    rows = {row[0]: row[1:] for row in script_section(find_scripts()).rows}
    path = str(folder / "deepreg_train")
    assert rows["deepreg_train"] == ("deepreg_meta", "deepreg_meta", path)
    assert rows["deepreg_warp"][0] == "deepreg"
    assert rows["deepreg_report"] == ("-", "-", "none")
