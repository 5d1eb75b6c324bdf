"""
Where adaptation starts, how far it goes, and what it is worth beside classical methods.

    python demos/test_time_training/study.py --from DIR            # pairs for choices
    python demos/test_time_training/study.py --form test --from DIR  # and the 40 tests

DIR is that of demo_data.py. The study resumes where it stopped; report.md in the folder
of the results has what is there. With --syn, and the package antspyx, SyN is run too,
for half a minute a pair.
"""

import importlib.util
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from classical import DEMONS, METHODS, SYN, classical_rows
from demo_data import HERE, prepare

from deepreg_meta.study.archive import unpack_runs
from deepreg_meta.study.command import finish, gather, run_chosen, study_parser, words
from deepreg_meta.study.figure import time_curves
from deepreg_meta.study.run import write_whole
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
    "Dice, nearest voxel (%)": ("dice_nearest", 2, 100.0),
    "det > 0 (%)": ("positive", 2, 1.0),
    "least det": ("jacobian_min", 2, 1.0),
    "EPE before (voxels)": ("epe_before", 2, 1.0),
    "EPE (voxels)": ("epe", 2, 1.0),
    "EPE in the labels (voxels)": ("epe_label", 2, 1.0),
    "CPU s": ("cpu_seconds", 2, 1.0),
}
CLASSICAL = "classical.csv"  # classical methods of this program, case by case
GIVEN = "(given)"  # ends the names of those measured elsewhere
PACKED = (CLASSICAL,)


def peer_rows(source: Path) -> pd.DataFrame:
    """
    Read what classical methods reached on the 40 tests, measured elsewhere.

    :param source: folder `hippocampus`, with peers_40.json or without.
    :return: rows as of a study's methods; their seconds are another machine's, and
        their labels are taken for those of the nearest voxel.
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
                    "method": f"{method} {GIVEN}",
                    "case": case["test"],
                    "dice_nearest": sum(both) / 2,
                    "positive": 100.0 - case["nonpositive_jacobian_percent"],
                    "cpu_seconds": case["cpu_s"],
                }
            )
    return pd.DataFrame(rows).assign(test="test", adaptation="", seed=0)


def rival_rows(
    data: Path, output: Path, tests: Sequence[str], methods: Sequence[str]
) -> pd.DataFrame:
    """
    Run classical methods on the test sets that they have not been run on.

    :param data: folder `hippocampus` that demo_data.py wrote.
    :param output: of the study.
    :param tests: names of test sets.
    :param methods: names.
    :return: rows of these and of others that were run before.
    """
    path = output / CLASSICAL
    table = pd.read_csv(path, dtype={"case": str}) if path.is_file() else pd.DataFrame()
    for method in methods:
        for test in tests:
            if (
                len(table)
                and ((table["method"] == method) & (table["test"] == test)).any()
            ):
                continue
            rows = classical_rows(method, data / FOLDERS[test]).assign(test=test)
            table = pd.concat([table, rows], ignore_index=True)
            write_whole(path, table.to_csv(index=False))
    return table.assign(adaptation="")


def before_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of no registration, from those of any method."""
    one = rows[(rows["method"] == rows["method"].iloc[0])]
    one = one[one["adaptation"] == one["adaptation"].iloc[0]]
    one = one[one["seed"] == one["seed"].iloc[0]]
    return one[["case", "test"]].assign(
        method="none", adaptation="", seed=0, dice=one["dice_before"],
        dice_nearest=one.get("dice_nearest_before"),
    )  # fmt: skip


def test_table(rows: pd.DataFrame) -> pd.DataFrame:
    """
    Hold every network against every classical method, labels warped alike.

    :param rows: of one test set.
    :return: one line per comparison, pair by pair; against what was measured elsewhere
        it is of labels of the nearest voxel.
    """
    names = list(dict.fromkeys(rows["method"]))
    rivals = [n for n in names if n in METHODS or n.endswith(GIVEN)]
    ours = [n for n in names if n not in rivals and n != "none"]
    lines = []
    for other in rivals:
        column = "dice_nearest" if other.endswith(GIVEN) else "dice"
        for own in ours:
            if column in rows and rows.loc[rows["method"] == own, column].notna().any():
                line = compare_methods(rows, own, other, column)
                labels = "nearest" if column == "dice_nearest" else "linear"
                lines.append({**line, "labels": labels})
    kept = ["ours", "other", "labels", "n", "mean_difference", "ci_low", "ci_high",
            "p_paired"]  # fmt: skip
    return pd.DataFrame(lines)[kept] if lines else pd.DataFrame()


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
        time_curves(output / "figures" / name, shown, title=test)
        parts.append(f"![Dice against CPU seconds, {test}](figures/{name})")
    page = output / "report.md"
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return page


def main(args: Sequence[str] | None = None) -> int:
    """Run what is missing and write the report."""
    parser = study_parser(__doc__.split("\n\n")[0], list(FORMS), "choices")
    parser.add_argument("--syn", action="store_true", help="run ANTs SyN too")
    parser.set_defaults(output=HERE / "logs", data_dir=HERE / "dataset")
    parsed = parser.parse_args(args)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    data = parsed.data_dir / "hippocampus"
    if parsed.syn and importlib.util.find_spec("ants") is None:
        parser.error("--syn: expected the package antspyx, which is not installed.")
    if not parsed.source:
        parser.error("--from: expected a folder with hippocampus/, got none.")
    if not (data / "splits.json").is_file():
        prepare(parsed.source / "hippocampus", data)
    plan = [PLAN / name for name in FORMS[parsed.form]]
    output = parsed.output
    output.mkdir(parents=True, exist_ok=True)
    if parsed.unpack:
        unpack_runs(parsed.unpack, output, PACKED)
    runs = plan_runs(plan, parsed.data_dir.resolve())
    failures: dict[str, str] = {}
    if not parsed.report:
        chosen = plan_runs(
            plan,
            parsed.data_dir.resolve(),
            words(parsed.only),
            parts=words(parsed.part),
        )
        failures = run_chosen(parsed, chosen, output)
    rows = gather(parser, parsed, runs, output)
    if len(rows):
        methods = [DEMONS, *([SYN] if parsed.syn else [])]
        tests = list(dict.fromkeys(rows["test"]))
        classical = rival_rows(data, output, tests, methods)
        peers = peer_rows(parsed.source / "hippocampus")
        page = write_report(rows, pd.concat([classical, peers]), output)
        print(f"The report is in {page}")
    return finish(parsed, runs, output, failures, PACKED)


if __name__ == "__main__":
    sys.exit(main())
