"""Laws, values and errors of deepreg_meta.evaluate.page.study and its methods."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from deepreg_meta.evaluate.page.run_results import read_results
from deepreg_meta.evaluate.page.study import make_study
from tests.report_helpers import ADAPTED, BEFORE, case_rows, write_run


def runs_of(tmp_path, **tables):
    """One run for each keyword: its name and its rows."""
    return [
        read_results(write_run(tmp_path / name / "test", rows), name)
        for name, rows in tables.items()
    ]


def names(study):
    return [method.name for method in study.methods]


def test_the_stages_of_one_run_are_its_methods(tmp_path):
    study = make_study(runs_of(tmp_path, one=case_rows()))
    assert names(study) == ["before", "centroids", "unadapted", "adapted"]
    assert study.baseline.name == "centroids" and study.split == "test"
    assert study.metrics() == [
        ("dsc", ""), ("tre", "mm"), ("folds", ""), ("jacobian_min", ""),
    ]  # fmt: skip
    assert study.metrics("landmarks") == [("tre", "mm")]


def test_stages_that_are_the_same_in_all_runs_are_one_method(tmp_path):
    study = make_study(runs_of(tmp_path, one=case_rows(), two=case_rows(gain=0.01)))
    assert names(study) == [
        "before", "centroids", "unadapted", "one: adapted", "two: adapted",
    ]  # fmt: skip
    values = [study.values(m, "dsc", "")["case0"] for m in study.methods[-2:]]
    np.testing.assert_allclose(values, [0.90, 0.91])


def test_a_shared_stage_has_the_cases_of_all_runs_and_each_run_its_own(tmp_path):
    """Cases 0 to 4 and 2 to 6: their `before` is the same where both have it."""
    first, second = case_rows()[:5], case_rows(gain=0.01)[2:]
    study = make_study(runs_of(tmp_path, one=first, two=second))
    by_name = {method.name: method for method in study.methods}
    before = study.values(by_name["before"], "dsc", "")
    np.testing.assert_allclose(before.sort_index(), BEFORE)
    own = study.values(by_name["two: adapted"], "dsc", "")
    assert list(own.index) == [f"case{i}" for i in range(2, 7)]
    assert any("no results for 2 of 7 cases" in notice for notice in study.notices)


def test_a_stage_that_differs_in_one_case_is_a_method_of_each_run(tmp_path):
    changed = case_rows()
    changed[5]["dsc_before"] += 0.001
    study = make_study(runs_of(tmp_path, one=case_rows(), two=changed))
    assert names(study)[:3] == ["one: before", "two: before", "centroids"]
    study = make_study(runs_of(tmp_path / "b", one=case_rows(), two=changed), "before")
    assert study.baseline.name == "one: before"
    assert "compared with that of one: before" in study.notices[-1]


def test_the_summary_is_that_of_the_rows(tmp_path):
    study = make_study(runs_of(tmp_path, one=case_rows()))
    table = study.summary().set_index(["metric", "method"])
    row = table.loc[("dsc", "adapted")]
    assert row["n"] == 7
    np.testing.assert_allclose(row["mean"], sum(ADAPTED) / 7)
    np.testing.assert_allclose(row["sd"], np.std(ADAPTED, ddof=1))
    np.testing.assert_allclose(row["median"], 0.88)
    # seven sorted values: the quartiles lie half way between the 2nd and 3rd, 5th and
    # 6th of 0.57, 0.80, 0.85, 0.88, 0.90, 0.91, 0.95
    np.testing.assert_allclose([row["q1"], row["q3"]], [0.825, 0.905])
    assert table.loc[("tre", "before"), "n"] == 6  # case 2 has no landmarks
    assert table.loc[("folds", "before"), "n"] == 0
    landmarks = study.summary("landmarks").set_index("method")
    assert landmarks.loc["adapted", "n"] == 12  # two of each, pooled
    assert study.summary("labels").empty


def test_labels_are_summarised_one_by_one(tmp_path):
    folder = write_run(tmp_path / "one" / "test")
    lines = [f"case{i},{label},{value}" for i in range(2)
             for label, value in (("gland", 0.9 - 0.2 * i), ("cyst", 0.3))]  # fmt: skip
    text = "case,label,dsc_adapted\n" + "\n".join(lines) + "\n"
    (folder / "labels.csv").write_text(text)
    table = make_study([read_results(folder, "one")]).summary("labels")
    assert list(table["method"]) == ["adapted", "adapted"]
    assert dict(zip(table["item"], table["mean"], strict=True)) == pytest.approx(
        {"gland": 0.8, "cyst": 0.3}
    )


def test_comparisons_are_paired_tests_against_the_baseline(tmp_path):
    study = make_study(runs_of(tmp_path, one=case_rows()), "before")
    table = study.comparisons().set_index(["metric", "method"])
    row = table.loc[("dsc", "adapted")]
    difference = np.subtract(ADAPTED, BEFORE)
    assert row["baseline"] == "before" and row["n"] == 7
    np.testing.assert_allclose(row["mean_difference"], difference.mean())
    np.testing.assert_allclose(row["p_t"], stats.ttest_rel(ADAPTED, BEFORE).pvalue)
    wilcoxon = stats.wilcoxon(difference).pvalue
    np.testing.assert_allclose(row["p_wilcoxon"], wilcoxon)
    assert row["num_better"] == 6  # 0.57 is below 0.58
    # three methods are compared: Holm triples the smallest p, of centroids here
    smallest = table.loc["dsc"]["p_wilcoxon"].min()
    assert table.loc["dsc"]["p_wilcoxon_holm"].min() == pytest.approx(3 * smallest)
    # lower is better, and case 2 has no value
    error = table.loc[("tre", "adapted")]
    assert (error["num_better"], error["n"]) == (6, 6)
    # the baseline has no field, so folds are not compared
    assert "folds" not in table.index


def test_a_run_can_be_compared_with_another_run(tmp_path):
    runs = runs_of(tmp_path, one=case_rows(), two=case_rows(gain=0.01))
    for name in ("one", "one: adapted"):
        study = make_study(runs, name)
        table = study.comparisons().set_index(["metric", "method"])
        row = table.loc[("dsc", "two: adapted")]
        assert study.baseline.name == "one: adapted"
        np.testing.assert_allclose(row["mean_difference"], 0.01)
        assert row["num_better"] == 7
        assert ("folds", "two: adapted") in table.index


def test_without_a_stage_that_could_be_a_baseline_nothing_is_compared(tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "metrics.csv").write_text("case,dsc_registered\na,0.5\nb,0.6\n")
    study = make_study([read_results(folder, "one")])
    assert study.baseline is None and names(study) == ["registered"]
    assert study.comparisons().empty


def test_the_long_table_has_every_number_once(tmp_path):
    runs = runs_of(tmp_path, one=case_rows(), two=case_rows(gain=0.01))
    table = make_study(runs).long_table()
    # 13 columns of numbers for 7 cases, 2 for 14 landmarks, in two runs
    assert len(table) == 2 * (13 * 7 + 2 * 14)
    row = table[
        (table["run"] == "two")
        & (table["case"] == "case4")
        & (table["metric"] == "dsc")
        & (table["stage"] == "adapted")
    ]
    assert row["value"].tolist() == [0.58] and row["level"].tolist() == ["case"]
    points = table[table["level"] == "landmark"]
    assert set(points["item"]) == {"1", "2"} and set(points["unit"]) == {"mm"}
    assert set(table.loc[table["level"] == "case", "item"]) == {""}
    assert pd.isna(table["value"]).sum() == 2 * (4 + 2 * 2)  # case 2, no landmarks


def test_lengths_of_two_units_and_unknown_baselines_are_refused(tmp_path):
    folders = [
        write_run(tmp_path / name / "test", unit=unit)
        for name, unit in (("one", "mm"), ("two", "vox"))
    ]
    runs = [read_results(folder, folder.parent.name) for folder in folders]
    with pytest.raises(ValueError, match=r"one unit, got mm in .*one.*voxels in .*two"):
        make_study(runs)
    with pytest.raises(ValueError, match="expected one of before, centroids.*'best'"):
        make_study(runs[:1], "best")
