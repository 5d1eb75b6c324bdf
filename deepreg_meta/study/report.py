"""The parts that the reports of studies have in common, and the page they make."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from deepreg_meta.study.figure import loss_curves
from deepreg_meta.study.schedule import Run
from deepreg_meta.study.table import (
    best_setting,
    markdown,
    sweep_table,
    with_adaptations,
)

PAGE = "report.md"
VALID = "valid"  # name of the pairs that choices are made on


def opening(rows: pd.DataFrame, runs: Sequence[Run]) -> list[str]:
    """
    Say which part of a plan a report is of.

    :param rows: of all finished runs.
    :param runs: of the plan.
    """
    keys = ["method", "data", "seed", "sweep", "setting"]
    number = len(rows.drop_duplicates(keys))
    return ["# Results of the study", f"{number} of {len(runs)} runs are in it."]


def loss_parts(
    data: Sequence[str],
    runs: Sequence[Run],
    output: Path,
    methods: Sequence[str] = (),
) -> list[str]:
    """
    Draw how the loss fell in the trainings of the main part.

    :param data: names of training data.
    :param runs: of the plan.
    :param output: folder of the study.
    :param methods: as of `figure.loss_curves`.
    """
    parts = []
    for name in dict.fromkeys(data):
        trained = [run for run in runs if run.data == name and not run.sweep]
        figure = output / "figures" / f"loss_{name}.png"
        if loss_curves(figure, output, trained, methods):
            parts.append(f"![losses, {name}](figures/{figure.name})")
    return parts


def sweep_parts(
    rows: pd.DataFrame,
    columns: Sequence[str],
    more: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """
    Describe the sweeps that have rows, and what is best on validation pairs.

    :param rows: of a study; methods are told apart by their adaptations.
    :param columns: what is averaged. By the first one settings are chosen; more of it
        is better.
    :param more: parts that follow the table of a sweep, by its name.
    """
    named, parts = with_adaptations(rows), []
    for sweep in dict.fromkeys(rows["sweep"].fillna("")):
        if not sweep:
            continue
        table = sweep_table(named, sweep, columns)
        is_choice = set(table["test"]) == {VALID}
        title = f"Sweep: {sweep}"
        if is_choice:
            title = f"Choice: {sweep}, on validation pairs"
        parts += [f"## {title}", markdown(table, 4), *(more or {}).get(sweep, ())]
        if is_choice:
            parts += [
                f"Best on validation pairs, {data}, {method}: "
                f"{best_setting(own, columns[0], str(method))}."
                for (data, method), own in table.groupby(["data", "method"], sort=False)
            ]
    return parts


def write_page(parts: Sequence[str], output: Path) -> Path:
    """
    Write the report of a study.

    :param parts: Markdown, a paragraph, a table or a heading each.
    :param output: folder of the study.
    :return: the page.
    """
    page = output / PAGE
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return page
