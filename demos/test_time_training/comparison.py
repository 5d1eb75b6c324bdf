"""What the studies of test-time training have in common: rivals, tables, reports."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from classical import METHODS, Source, classical_rows

from deepreg_meta.study.figure import time_curves
from deepreg_meta.study.folder import write_whole
from deepreg_meta.study.report import opening, sweep_parts, write_page
from deepreg_meta.study.schedule import Run
from deepreg_meta.study.table import (
    compare_quantities,
    main_rows,
    markdown,
    method_table,
    with_adaptations,
)

CLASSICAL = "classical.csv"  # classical methods of this program, case by case
GIVEN = "(given)"  # ends the names of those measured elsewhere
# heading -> (column, digits, factor); those of the structures come before
COLUMNS = {
    "Dice (%)": ("dice", 2, 100.0),
    "Dice, nearest voxel (%)": ("dice_nearest", 2, 100.0),
    "NCC": ("ncc", 3, 1.0),
    "det > 0 (%)": ("positive", 2, 1.0),
    "least det": ("jacobian_min", 2, 1.0),
    "EPE before (voxels)": ("epe_before", 2, 1.0),
    "EPE (voxels)": ("epe", 2, 1.0),
    "EPE in the labels (voxels)": ("epe_label", 2, 1.0),
    "CPU s": ("cpu_seconds", 2, 1.0),
}


def rival_rows(
    tests: Mapping[str, Path], source: Source, output: Path, methods: Sequence[str]
) -> pd.DataFrame:
    """
    Run classical methods on the test sets that they have not been run on.

    :param tests: folders of test sets by name.
    :param source: how their files are read.
    :param output: of the study.
    :param methods: names.
    :return: rows of these and of others that were run before.
    """
    path = output / CLASSICAL
    table = pd.read_csv(path, dtype={"case": str}) if path.is_file() else pd.DataFrame()
    for method in methods:
        for test, folder in tests.items():
            known = len(table) and (table["method"] == method) & (table["test"] == test)
            if len(table) and known.any():
                continue
            rows = classical_rows(method, folder, source).assign(test=test)
            table = pd.concat([table, rows], ignore_index=True)
            write_whole(path, table.to_csv(index=False))
    if not len(table):
        table = pd.DataFrame(columns=["method", "test", "case", "seed"])
    return table.assign(adaptation="")


def before_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of no registration, from those of any method."""
    keys = ["method", "adaptation", "seed"]
    one = rows[(rows[keys] == rows[keys].iloc[0]).all(axis=1)]
    measured = {
        column.removesuffix("_before"): one[column]
        for column in one
        if column.endswith("_before") and not column.startswith("epe")
    }
    head = {"method": "none", "adaptation": "", "seed": 0}
    return one[["case", "test"]].assign(**head, **measured)


def test_table(rows: pd.DataFrame) -> pd.DataFrame:
    """
    Hold every network against every classical method, labels warped alike.

    :param rows: of one test set.
    :return: one line per comparison, pair by pair; against what was measured elsewhere
        it is of labels of the nearest voxel. Where the truth is known also of the
        endpoint error within the labels.
    """
    names = list(dict.fromkeys(rows["method"]))
    rivals = [n for n in names if n in METHODS or n.endswith(GIVEN)]
    ours = [n for n in names if n not in rivals and n != "none"]
    parts = []
    for other in rivals:
        nearest = other.endswith(GIVEN)
        columns = {"Dice, nearest" if nearest else "Dice":
                   "dice_nearest" if nearest else "dice",
                   "EPE in the labels": "epe_label"}  # fmt: skip
        couples = [(own, other) for own in ours]
        parts.append(compare_quantities(rows, couples, columns))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def write_report(
    rows: pd.DataFrame,
    others: pd.DataFrame,
    output: Path,
    runs: Sequence[Run],
    labels: Sequence[str] = (),
) -> Path:
    """
    Write the tables and draw the figures.

    :param rows: of the networks.
    :param others: of the classical methods.
    :param output: of the study.
    :param runs: of the plan.
    :param labels: structures that have columns of their own.
    """
    columns = {name: (f"dice_{name}", 2, 100.0) for name in labels} | COLUMNS
    parts, main = opening(rows, runs), main_rows(rows)
    for test in dict.fromkeys(main["test"]):
        own = main[main["test"] == test]
        tables = [before_rows(own), others[others["test"] == test], own]
        every = with_adaptations(pd.concat(tables, ignore_index=True))
        parts += [f"## Results: {test}", markdown(method_table(every, columns))]
        tests = test_table(every)
        if len(tests):
            parts += ["## Differences, pair by pair", markdown(tests)]
        shown = pd.concat(tables[1:], ignore_index=True)
        # of the nearest voxel's value, which others have been scored by elsewhere
        shown = shown[shown["dice_nearest"].notna() & (shown["cpu_seconds"] > 0)]
        name = f"dice_{test}.png"
        ylabel = "Dice, nearest voxel (%)"
        path = output / "figures" / name
        time_curves(path, shown, "dice_nearest", ylabel, title=test)
        parts.append(f"![Dice against CPU seconds, {test}](figures/{name})")
    parts += sweep_parts(rows, ("dice", "asd", "positive", "epe_label"))
    return write_page(parts, output)
