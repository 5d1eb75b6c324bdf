"""Tests of the tables of a study, by figures in closed form."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from deepreg_meta.study.table import (
    best_setting,
    case_means,
    compare_couples,
    compare_methods,
    compare_quantities,
    main_rows,
    markdown,
    mean_sd,
    method_table,
    sweep_table,
)

OURS = {"a": (0.9, 0.7), "b": (0.6, 0.6), "c": (0.5, 0.9)}  # by case, over two seeds
OTHER = {"a": (0.7, 0.7), "b": (0.6, 0.4), "c": (0.5, 0.7)}


def table_of(method: str, values: dict, **columns) -> pd.DataFrame:
    """:return: rows of a method."""
    return pd.DataFrame(
        dict(method=method, data="d", test="t", seed=seed, sweep="", setting="",
             case=case, dice=value, **columns)
        for case, numbers in values.items()
        for seed, value in enumerate(numbers)
    )  # fmt: skip


@pytest.fixture
def rows():
    """:return: rows of two methods."""
    return pd.concat([table_of("ours", OURS), table_of("other", OTHER)])


def test_a_case_counts_once_with_its_mean_over_the_seeds(rows):
    means = case_means(rows[rows["method"] == "ours"], "dice")
    assert means.to_dict() == pytest.approx({"a": 0.8, "b": 0.6, "c": 0.7})
    line = method_table(rows, {"Dice (%)": ("dice", 1, 100.0)}).iloc[0]
    # mean of 80, 60 and 70, whose standard deviation is 10
    assert line.to_dict() == {
        "method": "ours", "Dice (%)": "70.0 ± 10.0", "seeds": "2", "cases": "3",
    }  # fmt: skip


def test_one_case_has_no_deviation_and_none_has_no_mean():
    assert mean_sd(pd.Series([0.5]), 1, 100.0) == "50.0"
    assert mean_sd(pd.Series([], dtype=float)) == "–"


def test_a_column_without_values_is_left_out(rows):
    table = method_table(rows.assign(epe=np.nan), {"EPE": ("epe", 1, 1.0)})
    assert list(table.columns) == ["method", "seeds", "cases"]


def test_methods_are_compared_unpaired_and_paired(rows):
    result = compare_methods(rows, "ours", "other")
    a, b = [0.8, 0.6, 0.7], [0.7, 0.5, 0.6]
    assert result["n"] == 3
    assert result["mean_difference"] == pytest.approx(0.1)
    # standard error of the difference: sqrt(0.1^2 / 3 + 0.1^2 / 3), t = 1.2247, 4 d.f.
    t = 0.1 / np.sqrt(0.02 / 3)
    assert result["p_unpaired"] == pytest.approx(2 * stats.t.sf(t, 4))
    assert result["ci_low"] == pytest.approx(0.1) == result["ci_high"]
    # all cases differ alike: there is no spread that a paired test could go by
    assert np.isnan(result["p_paired"])
    other = table_of("other", {**OTHER, "b": (0.6, 0.38)})
    uneven = pd.concat([table_of("ours", OURS), other])
    result = compare_methods(uneven, "ours", "other")
    # differences 0.1, 0.11 and 0.1: mean 0.31 / 3, its standard error 0.01 / 3
    assert result["p_paired"] == pytest.approx(2 * stats.t.sf(31.0, 2))
    assert result["p_paired"] < 0.01 < stats.ttest_ind(a, b).pvalue


def test_the_unpaired_test_does_not_take_the_variances_for_equal():
    steady = dict.fromkeys(OURS, (0.5, 0.5))
    rows = pd.concat([table_of("ours", OURS), table_of("steady", steady)])
    # all of the variance is ours, 0.1^2 / 3, and so are the degrees of freedom: 2
    t = 0.2 / np.sqrt(0.01 / 3)
    result = compare_methods(rows, "ours", "steady")
    assert result["p_unpaired"] == pytest.approx(2 * stats.t.sf(t, 2))


def test_cases_that_one_method_misses_are_left_out_of_the_pairs(rows):
    few = rows[(rows["method"] == "ours") | (rows["case"] != "b")]
    few = pd.concat([few, table_of("other", {"z": (0.0, 0.0)})])
    result = compare_methods(few, "ours", "other")
    assert result["n"] == 2
    assert result["mean_difference"] == pytest.approx(0.1)


def test_couples_are_corrected_for_their_number(rows):
    third = table_of("third", {"a": (0.6, 0.6), "b": (0.5, 0.5), "c": (0.8, 0.7)})
    couples = [("ours", "third"), ("other", "third")]
    table = compare_couples(pd.concat([rows, third]), couples)
    single = [compare_methods(pd.concat([rows, third]), *one) for one in couples]
    assert table["ours"].tolist() == ["ours", "other"]
    p = [line["p_paired"] for line in single]
    assert table["p_paired"].tolist() == p and table["p_holm"].min() == 2 * min(p)
    assert compare_couples(rows, []).empty


def test_couples_are_compared_by_what_both_were_measured_by(rows):
    third = table_of("third", {"a": (0.6, 0.6), "b": (0.5, 0.5), "c": (0.8, 0.7)})
    rows = pd.concat([rows.assign(error=1 - rows["dice"]), third.assign(error=np.nan)])
    couples = [("ours", "other"), ("ours", "third"), ("ours", "absent")]
    quantities = {"Dice": "dice", "Error": "error", "Folds": "folds"}
    table = compare_quantities(rows, couples, quantities)
    assert list(zip(table["of"], table["other"], strict=True)) == [
        ("Dice", "other"), ("Dice", "third"), ("Error", "other"),
    ]  # fmt: skip
    # thirds of 0.3 - 0.0, of 0.2 + 0.1 - 0.05, and of -0.3
    expected = [0.1, 0.25 / 3, -0.1]
    assert table["mean_difference"].tolist() == pytest.approx(expected)
    both = compare_couples(rows, couples[:2])
    assert table["p_holm"][:2].tolist() == pytest.approx(both["p_holm"], nan_ok=True)
    assert "p_unpaired" not in table
    assert compare_quantities(rows, couples[2:], quantities).empty


def test_a_seed_that_one_method_alone_has_can_be_left_out(rows):
    lucky = table_of("ours", dict.fromkeys("abc", (0.99, 0.99))).assign(seed=7)
    couples = [("ours", "other")]
    every = pd.concat([rows, lucky])
    [same] = compare_couples(every, couples, same_seeds=True)["mean_difference"]
    [all_of_them] = compare_couples(every, couples)["mean_difference"]
    assert same == pytest.approx(0.1) and all_of_them > 0.15
    apart = every[(every["method"] == "other") | (every["seed"] == 7)]
    none = compare_couples(apart, couples, same_seeds=True)
    assert none["n"].tolist() == [0] and none["p_holm"].isna().all()


def test_sweeps_are_averaged_by_setting_and_kept_out_of_the_main_part(rows):
    swept = [
        table_of("ours", {"a": (x, x), "b": (y, y)}).assign(sweep="s", setting=f"w={w}")
        for w, x, y in ((4, 0.5, 0.7), (1, 0.9, 0.5), (2, 0.6, 0.6))
    ]
    both = pd.concat([rows, *swept])
    assert len(main_rows(both)) == len(rows)
    table = sweep_table(both, "s", ["dice", "absent"])
    assert table["setting"].tolist() == ["w=4", "w=1", "w=2"]
    assert table["dice"].tolist() == pytest.approx([0.6, 0.7, 0.6])
    assert best_setting(table, "dice", "ours") == "w=1"


def test_markdown_has_a_line_for_each_row():
    table = pd.DataFrame({"name": ["a", "b"], "p": [0.01234, np.nan], "n": [3, 40]})
    assert markdown(table).splitlines() == [
        "| name | p | n |",
        "|---|---|---|",
        "| a | 0.0123 | 3 |",
        "| b | – | 40 |",
    ]
