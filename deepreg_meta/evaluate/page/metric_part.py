"""The part of a report on metrics: box plots, tables, comparisons, adaptation."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import pandas as pd

from deepreg_meta.evaluate.page.document import (
    Beside,
    Block,
    Heading,
    Paragraph,
    Picture,
    Table,
)
from deepreg_meta.evaluate.page.measure import (
    Measure,
    number,
    p_value,
)
from deepreg_meta.evaluate.page.run_results import numbers_of
from deepreg_meta.evaluate.page.study import Study
from deepreg_meta.evaluate.plot import grouped_box_plot, step_curves

PLOTS = "plots"
ADAPTATION = "adaptation"
_SHARED = "all runs"
_NOT_SHOWN = ("loss", "lost")  # not comparable between runs; counts, not measures
_CURVES = ("loss", "dsc", "tre")  # of the adaptation

_P_COLUMNS = ("p_t", "p_t_holm", "p_wilcoxon", "p_wilcoxon_holm")

Draw = Callable[[Path], object]


class Plots:
    """
    Draws plots into a folder and hands them on as pictures.

    :param folder: of the report.
    :param prefix: of the files, for reports of several splits.
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder, self.prefix = folder, prefix

    def picture(self, name: str, alt: str, draw: Draw) -> Picture:
        """
        Draw a plot.

        :param name: of the file, without ending.
        :param alt: what it shows, in words.
        :param draw: draws into the path that it gets.
        """
        file = PurePosixPath(PLOTS, f"{self.prefix}{name}.svg")
        path = self.folder / file
        draw(path)
        return Picture(alt, path.read_bytes(), "image/svg+xml", file)


def describe_metrics(
    study: Study, summary: pd.DataFrame, comparisons: pd.DataFrame, plots: Plots
) -> Iterator[Block]:
    """
    Show every metric: its plot, its table, and its comparison with the baseline.

    :param study: of one split.
    :param summary: of `Study.summary`.
    :param comparisons: of `Study.comparisons`.
    :param plots: makes the plots.
    :return: blocks; none where no run has more than one case.
    """
    if study.is_of_single_cases:
        return
    yield Heading(2, "Metrics")
    for metric, unit in study.metrics():
        measure = study.measure(metric, unit)
        part = summary[(summary["metric"] == metric) & (summary["unit"] == unit)]
        if not part["n"].sum() or metric in _NOT_SHOWN:
            continue
        yield Heading(3, measure.title)
        groups = _groups(study, metric, unit, measure)
        alt = f"Box plots of {measure.title} for {', '.join(groups)}"
        values = {v for series in groups.values() for vs in series.values() for v in vs}
        if len(values) > 1:
            picture = plots.picture(metric, alt, _boxes(groups, measure.title))
            yield Beside(picture, [_summary_table(part, measure)])
        else:  # one value everywhere: there is nothing to see
            yield _summary_table(part, measure)
        yield from _comparison(comparisons, metric, unit, measure)


def describe_adaptation(study: Study, plots: Plots) -> Iterator[Block]:
    """
    Show how loss and metrics change from update to update.

    :param study: of one split.
    :param plots: makes the plots.
    :return: blocks; none without adaptation.
    """
    histories: dict[str, dict[str, list]] = {}
    for run in study.runs:
        for name, column in numbers_of(run.adaptation):
            if column.stage or column.metric not in _CURVES:
                continue
            rows = run.adaptation.sort_values(["case", "step"])
            table = rows.pivot(index="case", columns="step", values=name)
            table = table.reindex(columns=range(int(rows["step"].max()) + 1))
            measure = study.measure(column.metric, column.unit)
            # the plot counts the cases that it gets
            table = table.dropna(how="all")
            if len(table):
                scaled = measure.scale * table.to_numpy(dtype=float)
                histories.setdefault(measure.title, {})[run.name] = list(scaled)
    if not histories:
        return
    if len(study.runs) == 1:
        histories = {title: {"": list(*h.values())} for title, h in histories.items()}
    yield Heading(2, "Metric against adaptation step")
    yield Paragraph(
        "At update i, counted from 0: the value that the update started from, on the "
        "frames seen by then. The thick line is the mean over cases, a thin line is a "
        "case."
    )
    alt = f"{', '.join(histories)} against the number of adaptation updates"
    yield plots.picture(ADAPTATION, alt, lambda path: step_curves(path, histories))


def _boxes(groups: Mapping, title: str) -> Draw:
    return lambda path: grouped_box_plot(path, groups, title)


def _groups(
    study: Study, metric: str, unit: str, measure: Measure
) -> dict[str, dict[str, list[float]]]:
    """Return stage -> run -> printed values."""
    groups: dict[str, dict[str, list[float]]] = {}
    for method in study.methods:
        values = study.values(method, metric, unit).dropna()
        if len(values):
            run = _SHARED if method.is_shared else study.runs[method.runs[0]].name
            groups.setdefault(method.stage, {})[run] = list(measure.scale * values)
    return groups


def _summary_table(part: pd.DataFrame, measure: Measure) -> Table:
    rows = []
    for _, row in part[part["n"] > 0].iterrows():
        cells = [measure.format(row[key]) for key in ("mean", "sd", "median")]
        quartiles = [measure.format(row[key]) for key in ("q1", "q3")]
        rows.append(
            [row["method"], number(row["n"], 0), *cells, " to ".join(quartiles)]
        )
    unit = f" ({measure.unit})" if measure.unit else ""
    header = ["method", "n", *(f"{n}{unit}" for n in ("mean", "SD", "median", "IQR"))]
    return Table(f"{measure.title} by case", header, rows)


def _comparison(
    comparisons: pd.DataFrame, metric: str, unit: str, measure: Measure
) -> Iterator[Table]:
    """Compare with the baseline, if it has the metric."""
    if comparisons.empty:
        return
    part = comparisons[
        (comparisons["metric"] == metric) & (comparisons["unit"] == unit)
    ]
    if part.empty:
        return
    rows = []
    for _, row in part.iterrows():
        ends = [measure.format(row[key]) for key in ("ci_low", "ci_high")]
        rows.append(
            [
                row["method"],
                number(row["n"], 0),
                number(row["num_dropped"], 0),
                measure.format(row["mean_difference"]),
                " to ".join(ends) if ends != ["-", "-"] else "-",
                *(p_value(row[key]) for key in _P_COLUMNS),
                f"{number(row['num_better'], 0)} of {number(row['n'], 0)}",
            ]
        )
    unit = f" ({measure.unit})" if measure.unit else ""
    header = [
        "method",
        "pairs",
        "left out",
        f"mean difference{unit}",
        f"95 % interval{unit}",
        "t-test p",
        "t-test, Holm",
        "Wilcoxon p",
        "Wilcoxon, Holm",
        "better",
    ]
    baseline = part["baseline"].iloc[0]
    way = "higher" if measure.higher_is_better else "lower"
    yield Table(
        f"{measure.label}: difference from {baseline} ({way} is better)", header, rows
    )
