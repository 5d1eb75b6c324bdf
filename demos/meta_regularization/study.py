"""
The tables and figures of meta-regularised registration.

    python demos/meta_regularization/study.py                       # smoke, no data
    python demos/meta_regularization/study.py --form reduced --from DIR
    python demos/meta_regularization/study.py --form reduced --report \
        --unpack demos/meta_regularization/reference/reduced.zip    # no training

DIR is that of demo_data.py. The study resumes where it stopped; report.md in the folder
of the results has what is there.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from demo_data import HERE, prepare

from deepreg_meta.study.command import (
    check_source,
    chosen_runs,
    data_with,
    finish,
    gather,
    open_study,
    run_chosen,
    study_parser,
)
from deepreg_meta.study.figure import method_boxes, sweep_curves
from deepreg_meta.study.plan import image_side
from deepreg_meta.study.report import loss_parts, opening, sweep_parts, write_page
from deepreg_meta.study.schedule import Run, plan_runs
from deepreg_meta.study.stamp import STAMP, check_data
from deepreg_meta.study.table import (
    compare_couples,
    main_rows,
    markdown,
    method_table,
    sweep_table,
)
from deepreg_meta.study.timing import SECONDS, known_seconds, time_methods

PLAN = HERE / "plan"
FORMS = {"smoke": ["reduced.yml", "smoke.yml"], "reduced": ["reduced.yml"],
         "full": ["reduced.yml", "full.yml"]}  # fmt: skip
ABLATED = "unet_transposed"
PACKED = (STAMP, SECONDS)  # of the study's folder, packed with its runs
# heading -> (column, digits, factor)
COLUMNS = {
    "Dice before (%)": ("dice_before", 2, 100.0),
    "Dice (%)": ("dice", 2, 100.0),
    "det > 0 (%)": ("positive", 2, 1.0),
    "least det": ("jacobian_min", 2, 1.0),
    "EPE before (px)": ("epe_before", 2, 1.0),
    "EPE (px)": ("epe", 2, 1.0),
    "EPE in the liver (px)": ("epe_label", 2, 1.0),
}
TESTED = {"Dice": "dice", "endpoint error, pixels": "epe",
          "endpoint error in the liver, pixels": "epe_label"}  # fmt: skip
# the paper's tables: (training, test)
TABLES = {
    "Table 1": [("liver_10", "liver_10"), ("liver_16", "liver_16")],
    "Table 2": [("liver_10", "liver_16"), ("liver_16", "liver_10")],
    "Table 3": [("cardiac", "cardiac")],
    "Table 4": [("chest", "chest")],
    "Not in the paper": [("brain", "brain")],
}


def plan_of(form: str) -> list[Path]:
    """Return the files of a form's plan."""
    return [PLAN / name for name in FORMS[form]]


def select(rows: pd.DataFrame, data: str, test: str) -> pd.DataFrame:
    """Return the rows of one training and one test set."""
    return rows[(rows["data"] == data) & (rows["test"] == test)]


def test_table(rows: pd.DataFrame, column: str = "dice") -> pd.DataFrame:
    """
    Hold every method with the layer against all without, on every test set.

    :param rows: of the main part.
    :param column: what is compared.
    :return: one line per couple of methods, the ablated one among them, of the seeds
        that both have; `p_holm` is corrected for the forms of the layer that are held
        against one method. Empty where the quantity is not known.
    """
    parts = []
    for (data, test), own in rows.groupby(["data", "test"], sort=False):
        if column not in own or own[column].isna().all():
            continue
        methods = list(dict.fromkeys(own["method"]))
        layers = [name for name in methods if name.startswith("meta_")]
        for other in (name for name in methods if name not in layers):
            couples = [(name, other) for name in layers]
            table = compare_couples(own, couples, column, same_seeds=True)
            table.insert(0, "trained on", data)
            table.insert(1, "tested on", test)
            parts.append(table)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def ablation_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the paper's Table 5: the network without the layer, and with it."""
    lines = []
    for (data, test), own in rows.groupby(["data", "test"], sort=False):
        own = own[(own["method"] == ABLATED) | own["method"].str.startswith("meta_")]
        if data == test and len(own):
            short = {name: COLUMNS[name] for name in ("Dice (%)", "det > 0 (%)")}
            lines.append(method_table(own, short).assign(data=data))
    return pd.concat(lines, ignore_index=True) if lines else pd.DataFrame()


def write_report(
    rows: pd.DataFrame, output: Path, runs: Sequence[Run], seconds: pd.DataFrame
) -> Path:
    """
    Write the tables and draw the figures.

    :param rows: of all finished runs; at least one.
    :param output: folder of the study.
    :param runs: of the plan.
    :param seconds: of `time_methods`.
    :return: the page of Markdown.
    """
    main, parts = main_rows(rows), opening(rows, runs)
    for title, pairs in TABLES.items():
        for data, test in pairs:
            own = select(main, data, test)
            if len(own):
                table = markdown(method_table(own, COLUMNS))
                parts += [f"## {title}: trained on {data}, tested on {test}", table]
    parts += ["## Table 5: without and with the layer", markdown(ablation_table(main))]
    for heading, column in TESTED.items():
        table = test_table(main, column)
        if len(table):
            parts += [f"## Tests of the {heading}", markdown(table)]
    if len(seconds):
        parts += ["## Seconds of a registration, median", markdown(seconds)]
    methods = list(dict.fromkeys(run.method for run in runs))  # of one colour each
    parts += _sweep_parts(rows, output, methods)
    figures = output / "figures"
    for (data, test), own in main.groupby(["data", "test"], sort=False):
        name, title = f"dice_{data}_{test}.png", f"trained on {data}, tested on {test}"
        method_boxes(figures / name, own, "dice", "Dice (%)", title, 100.0, methods)
        parts.append(f"![Dice, {title}](figures/{name})")
    parts += loss_parts(main["data"], runs, output, methods)
    return write_page(parts, output)


def _sweep_parts(rows: pd.DataFrame, output: Path, methods: Sequence[str]) -> list[str]:
    """Return the tables and figures of the sweeps that have rows."""
    figures = {}
    table = sweep_table(rows, "lambda", ("dice", "positive"))
    if len(table):
        own = table[table["test"] == "liver_16"]
        shown = {"Dice (%)": ("dice", 100.0), "det > 0 (%)": ("positive", 1.0)}
        path = output / "figures" / "lambda.png"
        sweep_curves(path, own, shown, "lambda", methods)
        figures["lambda"] = ["![Figs. 3 and 4](figures/lambda.png)"]
    return sweep_parts(rows, ("dice", "positive", "jacobian_min", "epe"), figures)


def main(args: Sequence[str] | None = None) -> int:
    """Run what is missing and write the report."""
    parser = study_parser(__doc__.split("\n\n")[0], list(FORMS), "smoke")
    parsed = parser.parse_args(args)
    plan = plan_of(parsed.form)
    output, data_dir = open_study(parser, parsed, HERE, PACKED, plan)
    failures: dict[str, str] = {}
    names = None
    if not parsed.report:
        check_source(parser, parsed, data_dir)
        found = prepare(parsed.source, data_dir, image_side(plan))
        check_data(data_dir, output)
        names = data_with(plan, found)
        chosen = chosen_runs(parser, parsed, plan, data_dir, names)
        failures = run_chosen(parsed, chosen, output)
        time_methods(chosen, output, gpu=parsed.gpu)
    # what was not chosen may still be there
    runs = plan_runs(plan, data_dir.resolve(), None, names)
    rows = gather(parser, parsed, runs, output)
    if len(rows):
        page = write_report(rows, output, runs, known_seconds(output))
        print(f"The report is in {page}")
    return finish(parsed, runs, output, failures, PACKED)


if __name__ == "__main__":
    sys.exit(main())
