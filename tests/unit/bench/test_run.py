"""Tests of bench/run.py, with parts that do nothing."""

import argparse
import sys
from types import SimpleNamespace

import pytest


@pytest.fixture
def run(load):
    """:return: the module."""
    return load("run")


@pytest.fixture
def parts(load, monkeypatch):
    """:return: the parts that ran, in turn; `failing` holds what they raise."""
    timing, ran = load("timing"), []
    log = SimpleNamespace(ran=ran, failing={})

    def part(name: str) -> SimpleNamespace:
        def measure(quick: bool):
            ran.append((name, quick))
            if name in log.failing:
                raise log.failing[name]
            table = timing.Table(f"Table of {name}", {"run": ""})
            table.add(len(ran))
            return table

        return SimpleNamespace(run=measure)

    for name in load("run").PARTS:
        monkeypatch.setitem(sys.modules, name, part(name))
    return log


def test_finished_parts_are_skipped_and_fresh_ones_are_not(
    run, parts, tmp_path, capsys
):
    command = ["--out", str(tmp_path), "--only"]
    assert run.main([*command, "parts"]) == 0
    assert run.main([*command, "parts,steps"]) == 0
    assert "Measured before and kept: parts." in capsys.readouterr().err
    assert parts.ran == [("parts", False), ("steps", False)]
    assert run.main([*command, "parts", "--fresh"]) == 0
    assert parts.ran[2:] == [("parts", False)]
    assert (tmp_path / "parts.csv").read_text() == "run\n3\n"
    assert (tmp_path / "steps.csv").read_text() == "run\n2\n"


def test_the_report_has_machine_command_and_all_tables_in_one_order(
    run, parts, tmp_path, capsys
):
    for name in ("startup", "steps"):
        run.main(["--out", str(tmp_path), "--only", name])
    report = (tmp_path / run.REPORT).read_text()
    texts = "`make bench`", "- processor: ", "- parts: steps, startup"
    texts += "Table of steps", "Table of startup"
    places = [report.index(text) for text in texts]
    assert places == sorted(places)
    assert str(tmp_path) not in report
    assert report in capsys.readouterr().out


def test_a_part_that_fails_leaves_the_others_alone(run, parts, tmp_path, capsys):
    parts.failing["steps"] = ValueError("no such network")
    status = run.main(["--out", str(tmp_path), "--only", "steps,memory"])
    assert status == 1
    assert not (tmp_path / "steps.md").exists()
    assert (tmp_path / "memory.md").exists()
    said = capsys.readouterr().err
    assert "no such network" in said and "Failed: steps." in said


def test_an_interrupted_run_keeps_what_is_done_and_goes_on(run, parts, tmp_path):
    parts.failing["episodes"] = KeyboardInterrupt()
    command = ["--out", str(tmp_path), "--only", "adaptation,episodes,memory"]
    assert run.main(command) == 130
    assert (tmp_path / "adaptation.csv").exists()
    parts.failing.clear()
    assert run.main(command) == 0
    names = [name for name, _ in parts.ran]
    assert names == ["adaptation", "episodes", "episodes", "memory"]


def test_an_interruption_before_the_first_table_says_so(run, parts, tmp_path, capsys):
    parts.failing["steps"] = KeyboardInterrupt()
    assert run.main(["--out", str(tmp_path / "new"), "--only", "steps"]) == 130
    assert "no part was finished" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["", "file", "file/below"])
def test_tables_go_to_a_folder(run, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        run.main(["--out", name])
    assert f"--out: expected a folder, got '{name}'" in capsys.readouterr().err


def test_quick_tables_are_shown_and_leave_the_results_alone(
    run, parts, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results")
    assert run.main(["--quick", "--only", "steps"]) == 0
    assert parts.ran == [("steps", True)]
    assert "Table of steps" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()


def test_parts_run_in_the_order_of_the_report(run):
    assert run.read_parts("memory, steps") == ["steps", "memory"]
    with pytest.raises(argparse.ArgumentTypeError, match="of steps, parts.*'speed'"):
        run.read_parts("steps,speed")


def test_quick_tables_and_full_ones_are_never_mixed(run, parts, tmp_path, capsys):
    command = ["--only", "parts"]
    for first, second in (([], ["--quick"]), (["--quick"], [])):
        own = ["--out", str(tmp_path / "".join(first or ["full"])), *command]
        assert run.main([*own, *first]) == 0
        for fresh in ([], ["--fresh"]):
            assert run.main([*own, *second, *fresh]) == 2
            assert "expected a folder without results of a" in capsys.readouterr().err
        assert run.main([*own, *first]) == 0


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_measured(
    run, parts, capsys
):
    assert run.main(["--out", "/proc/none", "--only", "steps"]) == 2
    captured = capsys.readouterr()
    assert "--out: expected a folder to write to, got" in captured.err
    assert parts.ran == [] and "The tables are in" not in captured.out
