"""Tests of deepreg_meta/study/report.py."""

import pandas as pd

from deepreg_meta.study import report
from deepreg_meta.study.folder import RUNS

_CASES = ("a", 0.1), ("b", -0.1)


def rows_of(sweep="", setting="", test="valid", dice=0.5, adaptation="", **more):
    """:return: rows of two cases."""
    words = dict(method="meta", data="liver", seed=0, sweep=sweep, setting=setting)
    words |= dict(test=test, adaptation=adaptation, folds=3.0)
    cases = [words | more | dict(case=c, dice=dice + d) for c, d in _CASES]
    return pd.DataFrame(cases)


def test_a_report_says_how_many_runs_it_has():
    """Cases and adaptations are no further runs."""
    rows = pd.concat([rows_of(), rows_of(adaptation="ten"), rows_of("rate", "r=1")])
    assert report.opening(rows, [None] * 5) == [
        "# Results of the study", "2 of 5 runs are in it."
    ]  # fmt: skip


def test_the_best_on_validation_pairs_is_told_for_every_adaptation():
    rows = pd.concat(
        [
            rows_of(None, None, test="liver"),
            rows_of("rate", "r=1", dice=0.5, adaptation="none"),
            rows_of("rate", "r=2", dice=0.7, adaptation="none"),
            rows_of("rate", "r=1", dice=0.9, adaptation="ten"),
            rows_of("rate", "r=2", dice=0.8, adaptation="ten"),
        ]
    )
    heading, table, *best = report.sweep_parts(rows, ("dice", "folds", "absent"))
    assert heading == "## Choice: rate, on validation pairs"
    lines = [[c.strip() for c in x.strip("|").split("|")] for x in table.splitlines()]
    assert lines[0] == ["method", "data", "test", "setting", "dice", "folds"]
    assert lines[2] == ["meta, none", "liver", "valid", "r=1", "0.5", "3"]
    assert best == [
        "Best on validation pairs, liver, meta, none: r=2.",
        "Best on validation pairs, liver, meta, ten: r=1.",
    ]


def test_of_tests_nothing_is_called_best():
    rows = rows_of("lambda", "l=1", test="liver_16")
    more = {"lambda": ["a figure"], "other": ["never"]}
    heading, _, *others = report.sweep_parts(rows, ("dice",), more)
    assert heading == "## Sweep: lambda" and others == ["a figure"]


def test_losses_are_drawn_for_what_has_a_log(runs, tmp_path):
    folder = tmp_path / RUNS / runs[0].name
    folder.mkdir(parents=True)
    (folder / "log.csv").write_text("epoch,loss\n0,1.0\n1,0.5\n")
    data = runs[0].data
    parts = report.loss_parts([data, "without", data], runs, tmp_path)
    assert parts == [f"![losses, {data}](figures/loss_{data}.png)"]
    assert (tmp_path / "figures" / f"loss_{data}.png").is_file()


def test_parts_are_paragraphs(tmp_path):
    page = report.write_page(["# One", "| two |"], tmp_path)
    assert page == tmp_path / "report.md" and page.read_text() == "# One\n\n| two |\n"
