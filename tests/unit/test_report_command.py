"""Tests of deepreg_meta/report.py, the command."""

import subprocess
import sys

import pytest

from deepreg_meta import report
from tests.report_helpers import case_rows, write_run


def test_the_report_lies_in_the_first_run_unless_told_otherwise(tmp_path, caplog):
    run = write_run(tmp_path / "logs" / "one" / "test", pictures=()).parent
    caplog.set_level("INFO")
    assert report.main([str(run)]) == 0
    page = run / "report" / "report.html"
    assert page.is_file() and caplog.messages[-1] == f"The report is {page}"
    assert "report.html: 0." in caplog.messages[-2]  # its size in MB
    assert report.main([str(run), "--output", str(tmp_path / "a" / "b")]) == 0
    assert (tmp_path / "a" / "b" / "report.html").is_file()
    assert report.main([str(run)]) == 0  # its own folder is no result


def test_names_and_baseline_reach_the_report(tmp_path):
    runs = [
        str(write_run(tmp_path / name / "test", case_rows(gain=gain), pictures=()))
        for name, gain in (("one", 0.0), ("two", 0.01))
    ]
    output = tmp_path / "report"
    flags = ["--names", "k = 1", "k = 9", "--baseline", "k = 1", "-o", str(output)]
    assert report.main([*runs, *flags]) == 0
    text = (output / "report.md").read_text(encoding="utf-8")
    assert "Dice: difference from k = 1: adapted" in text
    assert "k = 9: adapted | 7 | 0 | 0.010 |" in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["none"], "RUN: expected a folder of results, got none"),
        (["one", "--baseline", "best"], "--baseline: expected one of before"),
        (["one", "--names", "a", "b"], "--names: expected 1 distinct names"),
        (["one", "--output", "other"], "--output: expected a new folder"),
        (["one", "--output", "kept"], "which also holds notes.txt"),
    ],
)
def test_what_cannot_be_done_is_told_with_exit_status_2(
    tmp_path, monkeypatch, caplog, flags, message
):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "one", pictures=())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    (tmp_path / "kept").mkdir()
    for name in ("report.html", "notes.txt"):
        (tmp_path / "kept" / name).write_text("")
    assert report.main(flags) == 2
    assert message in caplog.text
    assert not (tmp_path / "one" / "report").exists()
    assert (tmp_path / "kept" / "notes.txt").is_file()


def test_neither_help_nor_a_report_needs_tensorflow(tmp_path):
    write_run(tmp_path / "one", case_rows()[:2], pictures=())
    code = (
        "import sys; from deepreg_meta import report; "
        "status = report.main(sys.argv[1:]); "
        "sys.exit(status or 'tensorflow' in sys.modules)"
    )
    made = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "one")], capture_output=True
    )
    assert made.returncode == 0, made.stderr.decode()
    shown = subprocess.run(
        [sys.executable, "-m", "deepreg_meta.report", "--help"],
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0 and "--baseline" in shown.stdout
