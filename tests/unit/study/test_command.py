"""Tests of deepreg_meta/study/command.py: flags, and how a study ends."""

from pathlib import Path

import pytest

from deepreg_meta.results.folder import claimed
from deepreg_meta.study.command import (
    check_source,
    chosen_runs,
    data_with,
    finish,
    gather,
    open_study,
    run_chosen,
    study_parser,
    words,
)
from deepreg_meta.study.run import run_study
from tests.unit.study.trainer import Trainer


@pytest.fixture
def parser():
    """:return: that of a study of two forms."""
    return study_parser("A study.", ["smoke", "full"], "smoke")


def test_flags_have_their_defaults_and_types(parser):
    parsed = parser.parse_args([])
    assert (parsed.form, parsed.gpu, parsed.report) == ("smoke", "", False)
    assert words(parsed.only) is None and words("a,b") == ["a", "b"]
    parsed = parser.parse_args(["--form", "full", "--from", "x", "--jobs", "2"])
    assert (parsed.form, parsed.source, parsed.jobs) == ("full", Path("x"), 2)
    with pytest.raises(SystemExit):
        parser.parse_args(["--form", "huge"])


def test_a_report_of_nothing_is_refused(parser, runs, tmp_path, capsys):
    assert gather(parser, parser.parse_args([]), runs, tmp_path).empty
    with pytest.raises(SystemExit):
        gather(parser, parser.parse_args(["--report"]), runs, tmp_path)
    assert f"expected finished runs in {tmp_path}" in capsys.readouterr().err


def test_a_study_ends_with_its_pack_and_tells_what_failed(
    parser, runs, tmp_path, caplog
):
    trainer, packed = Trainer(), tmp_path / "runs.zip"
    trainer.fail_at = runs[1].name
    failures = run_study(runs, tmp_path / "out", trainer.train, trainer.predict)
    parsed = parser.parse_args(["--pack", str(packed)])
    rows = gather(parser, parsed, runs, tmp_path / "out")
    assert set(rows["method"]) == {runs[0].method}
    assert finish(parsed, runs, tmp_path / "out", failures) == 1
    assert packed.is_file() and f"{runs[1].name} failed: the loss" in caplog.text
    assert finish(parser.parse_args([]), runs, tmp_path / "out", {}) == 0


@pytest.fixture
def opened(parser, tmp_path, write, plan_text):
    """:return: a function of flags: the folders of the study that they open."""
    plan = write(plan_text)
    return lambda *flags: open_study(
        parser, parser.parse_args(flags), tmp_path, (), plan
    )


def test_folders_are_those_of_the_flags_or_beside_the_script(opened, tmp_path):
    output, data = opened("--form", "full")
    assert output == tmp_path / "logs_full"
    assert data == tmp_path / "dataset" / "study_full"
    found = opened("--output", str(tmp_path / "out"), "--data-dir", "in")
    assert found == (tmp_path / "out", Path("in"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--unpack", "none.zip"], "--unpack: none.zip: expected a ZIP file of runs"),
        (
            ["--only", "plane"],
            "methods: expected some of plain, wide, got 'plane'. Did",
        ),
        (["--data", "lungs"], "data: expected some of liver, chest, got 'lungs'."),
        (["--part", "lamda"], "parts: expected some of main, lambda, got 'lamda'."),
        (["--report", "--only", "wide"], "--only: expected none with --report"),
    ],
)
def test_flags_that_cannot_be_are_told_before_anything_is_written(
    opened, tmp_path, capsys, flags, message
):
    with pytest.raises(SystemExit):
        opened(*flags, "--output", str(tmp_path / "out"))
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_anything_else_is_no_folder_for_results(opened, tmp_path, capsys):
    flags = ["--output", str(tmp_path / "out")]
    (tmp_path / "out").mkdir()
    opened(*flags)  # an empty one
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(SystemExit):
        opened(*flags)
    assert "expected a new or empty folder, or that of a study" in (
        err := capsys.readouterr().err
    )
    assert "with thesis.txt" in err
    (tmp_path / "out" / "runs").mkdir()  # that of a study after all
    opened(*flags)


def test_data_are_those_whose_folder_was_prepared(write, plan_text):
    plan = write(plan_text)
    assert data_with(plan, ["liver", "other"]) == ["liver"]
    assert data_with(plan, ["chest", "liver"]) == ["liver", "chest"]


def test_flags_choose_methods_data_and_parts(parser, write, plan_text, capsys):
    plan = write(plan_text)

    def chosen(*flags, **others):
        parsed = parser.parse_args(flags)
        found = chosen_runs(parser, parsed, plan, Path("/d"), **others)
        return {(run.data, run.method, run.sweep) for run in found}

    assert chosen("--data", "chest", "--part", "main") == {("chest", "wide", "")}
    assert {one[1] for one in chosen("--only", "wide", parts=["main"])} == {"wide"}
    assert chosen("--part", "lambda", parts=["main"]) == chosen(parts=["lambda"])
    assert {data for data, *_ in chosen(found=["liver"])} == {"liver"}
    for flags, found, message in (
        (["--data", "chest"], ["liver"], "--data: expected some of liver, got 'chest'"),
        (["--data", "lungs"], None, "data: expected some of liver, chest, got 'lungs'"),
        (["--only", "wider"], None, "methods: expected some of plain, wide"),
    ):
        with pytest.raises(SystemExit):
            chosen(*flags, found=found)
        assert message in capsys.readouterr().err


def test_no_form_that_is_reported_runs_on_made_up_images(parser, tmp_path, capsys):
    def check(*flags):
        check_source(parser, parser.parse_args(flags), tmp_path)

    check()
    check("--form", "full", "--from", "scans")
    with pytest.raises(SystemExit):
        check("--form", "full")
    assert "--from: expected a folder of data with --form full" in (
        capsys.readouterr().err
    )
    (tmp_path / "dataset.json").touch()  # prepared before
    check("--form", "full")


def test_what_a_killed_test_left_is_removed(parser, tmp_path):
    test = tmp_path / "runs" / "a--b--seed0" / "tests" / "valid--none"
    for name in (".test-k7h4vo98", "test"):
        (test / name).mkdir(parents=True)
        (test / name / "metrics.csv").touch()
    assert run_chosen(parser.parse_args([]), [], tmp_path) == {}
    assert [path.name for path in test.iterdir()] == ["test"]


def test_two_studies_do_not_write_into_one_folder(parser, tmp_path, caplog):
    parsed = parser.parse_args([])
    with claimed(tmp_path, "taken"), pytest.raises(SystemExit) as end:
        run_chosen(parsed, [], tmp_path)
    assert end.value.code == 2
    assert f"--output: another study is writing to {tmp_path}" in caplog.text
