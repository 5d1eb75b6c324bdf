"""
Where adaptation starts, how far it goes, and what it is worth beside classical methods.

    python demos/test_time_training/study.py --from DIR            # pairs for choices
    python demos/test_time_training/study.py --form test --from DIR  # and the 40 tests

DIR is that of demo_data.py. The study resumes where it stopped; report.md in the folder
of the results has what is there.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from demo_data import HERE, prepare
from demons import NAME as DEMONS
from demons import demons_rows
from matplotlib.figure import Figure

from deepreg_meta.evaluate.picture import save_figure
from deepreg_meta.evaluate.plot import COLOURS
from deepreg_meta.study.archive import pack_runs, unpack_runs
from deepreg_meta.study.run import gather_rows, run_study, write_whole
from deepreg_meta.study.schedule import plan_runs
from deepreg_meta.study.table import (
    compare_methods,
    markdown,
    method_table,
    with_adaptations,
)

logger = logging.getLogger(__name__)

PLAN = HERE / "plan"
FORMS = {"smoke": ["choices.yml", "smoke.yml"], "choices": ["choices.yml"],
         "test": ["choices.yml", "test.yml"]}  # fmt: skip
# of the pairs, by test set
FOLDERS = {
    "choices": "valid",
    "test": "test",
    "known": "known",
}
COLUMNS = {
    "anterior": ("dice_anterior", 2, 100.0),
    "posterior": ("dice_posterior", 2, 100.0),
    "Dice (%)": ("dice", 2, 100.0),
    "det > 0 (%)": ("positive", 2, 1.0),
    "least det": ("jacobian_min", 2, 1.0),
    "EPE before (voxels)": ("epe_before", 2, 1.0),
    "EPE (voxels)": ("epe", 2, 1.0),
    "EPE in the labels (voxels)": ("epe_label", 2, 1.0),
    "CPU s": ("cpu_seconds", 2, 1.0),
}
_MARKS = "osD^vP*X<"  # beside colours, of which there are fewer than methods
CLASSICAL = "classical.csv"  # demons, case by case
PACKED = (CLASSICAL,)


def peer_rows(source: Path) -> pd.DataFrame:
    """
    Read what classical methods reached on the 40 tests, measured elsewhere.

    :param source: folder `hippocampus`, with peers_40.json or without.
    :return: rows as of a study's methods; their seconds are another machine's.
    """
    path = source / "peers_40.json"
    if not path.is_file():
        return pd.DataFrame()
    rows = []
    for method, cases in json.loads(path.read_text())["methods"].items():
        for case in cases:
            both = case["dice1"], case["dice2"]
            rows.append(
                {
                    "method": f"{method} (given)",
                    "case": case["test"],
                    "dice_anterior": both[0],
                    "dice_posterior": both[1],
                    "dice": sum(both) / 2,
                    "positive": 100.0 - case["nonpositive_jacobian_percent"],
                    "cpu_seconds": case["cpu_s"],
                }
            )
    return pd.DataFrame(rows).assign(test="test", adaptation="", seed=0)


def classical_rows(data: Path, output: Path, tests: Sequence[str]) -> pd.DataFrame:
    """
    Run demons on the test sets that it has not been run on.

    :param data: folder `hippocampus` that demo_data.py wrote.
    :param output: of the study.
    :param tests: names of test sets.
    """
    path = output / CLASSICAL
    known = pd.read_csv(path, dtype={"case": str}) if path.is_file() else pd.DataFrame()
    tables = [known] if len(known) else []
    for test in tests:
        if not len(known) or test not in set(known["test"]):
            tables.append(demons_rows(data / FOLDERS[test]).assign(test=test))
    table = pd.concat(tables, ignore_index=True)
    write_whole(path, table.to_csv(index=False))
    return table.assign(adaptation="")


def before_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of no registration, from those of any method."""
    one = rows[(rows["method"] == rows["method"].iloc[0])]
    one = one[one["adaptation"] == one["adaptation"].iloc[0]]
    one = one[one["seed"] == one["seed"].iloc[0]]
    return one[["case", "test"]].assign(
        method="none", dice=one["dice_before"], adaptation="", seed=0
    )


def test_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Hold every network against every classical method, pair by pair."""
    names = list(dict.fromkeys(rows["method"]))
    rivals = [n for n in names if n == DEMONS or n.endswith("(given)")]
    ours = [n for n in names if n not in rivals and n != "none"]
    lines = [compare_methods(rows, own, other) for own in ours for other in rivals]
    kept = ["ours", "other", "n", "mean_difference", "ci_low", "ci_high", "p_paired"]
    return pd.DataFrame(lines)[kept] if lines else pd.DataFrame()


def draw_curves(path: Path, rows: pd.DataFrame, title: str) -> Path:
    """
    Draw the mean Dice against CPU seconds: a curve per starting point.

    :param path: PNG to write.
    :param rows: of one test set.
    :param title: of the plot.
    """
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for number, (method, own) in enumerate(rows.groupby("method", sort=False)):
        colour = COLOURS[number % len(COLOURS)]
        means = own.groupby("adaptation", sort=False)[["cpu_seconds", "dice"]].mean()
        x, y = means["cpu_seconds"], 100 * means["dice"]
        mark = _MARKS[number % len(_MARKS)]
        axes.scatter(x, y, color=colour, marker=mark, label=str(method), zorder=3)
        for name in means.index:
            axes.annotate(
                str(name), (x[name], y[name]), fontsize=6, color=colour,
                xytext=(4, 3), textcoords="offset points",
            )  # fmt: skip
    axes.set_xlabel("CPU seconds a pair")
    axes.set_xscale("symlog", linthresh=1.0)
    axes.set_ylabel("Dice (%)")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    return save_figure(figure, path)


def write_report(rows: pd.DataFrame, others: pd.DataFrame, output: Path) -> Path:
    """
    Write the tables and draw the figures.

    :param rows: of the networks.
    :param others: of the classical methods.
    :param output: of the study.
    """
    parts = ["# Results of the study"]
    for test in dict.fromkeys(rows["test"]):
        own = rows[rows["test"] == test]
        tables = [before_rows(own), others[others["test"] == test], own]
        every = with_adaptations(pd.concat(tables, ignore_index=True))
        parts += [f"## Table I: {test}", markdown(method_table(every, COLUMNS))]
        parts += ["## Differences in Dice", markdown(test_table(every))]
        shown = pd.concat(tables[1:], ignore_index=True)
        name = f"dice_{test}.png"
        draw_curves(output / "figures" / name, shown, test)
        parts.append(f"![Dice against CPU seconds, {test}](figures/{name})")
    page = output / "report.md"
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return page


def main(args: Sequence[str] | None = None) -> int:
    """Run what is missing and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--form", choices=FORMS, default="choices")
    parser.add_argument("--from", dest="source", type=Path, required=True,
                        help="folder with hippocampus/")  # fmt: skip
    parser.add_argument("--only", help="methods, separated by commas")
    parser.add_argument("--jobs", type=int, help="runs at a time; default: one for "
                        "each core of the CPU, one on a GPU")  # fmt: skip
    parser.add_argument("--output", type=Path, default=HERE / "logs")
    parser.add_argument("--data-dir", type=Path, default=HERE / "dataset")
    parser.add_argument("--gpu", default="", help='such as "0"; "" is the CPU')
    parser.add_argument("--unpack", type=Path, help="take in finished runs first")
    parser.add_argument("--pack", type=Path, help="write finished runs to this ZIP "
                        "file at the end, without weights")  # fmt: skip
    parsed = parser.parse_args(args)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    data = parsed.data_dir / "hippocampus"
    if not (data / "splits.json").is_file():
        prepare(parsed.source / "hippocampus", data)
    plan = [PLAN / name for name in FORMS[parsed.form]]
    output = parsed.output
    output.mkdir(parents=True, exist_ok=True)
    if parsed.unpack:
        unpack_runs(parsed.unpack, output, PACKED)
    runs = plan_runs(plan, parsed.data_dir.resolve())
    chosen = parsed.only.split(",") if parsed.only else [run.method for run in runs]
    jobs = parsed.jobs or (1 if parsed.gpu else os.cpu_count() or 1)
    own = [run for run in runs if run.method in chosen]
    failures = run_study(own, output, gpu=parsed.gpu, jobs=jobs)
    rows = gather_rows(runs, output)
    if len(rows):
        classical = classical_rows(data, output, list(dict.fromkeys(rows["test"])))
        peers = peer_rows(parsed.source / "hippocampus")
        page = write_report(rows, pd.concat([classical, peers]), output)
        print(f"The report is in {page}")
    if parsed.pack and len(rows):
        print(f"{pack_runs(runs, output, parsed.pack, PACKED)} runs are packed.")
    for name, reason in failures.items():
        print(f"{name} failed: {reason}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
