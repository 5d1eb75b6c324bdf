"""The head of a report: what was run, on what, and the results at a glance."""

from collections.abc import Iterator, Sequence

import pandas as pd

from deepreg_meta.evaluate.page.document import (
    Block,
    Heading,
    Notices,
    Paragraph,
    Table,
)
from deepreg_meta.evaluate.page.measure import measure_of, number
from deepreg_meta.evaluate.page.notices import notices_between
from deepreg_meta.evaluate.page.study import Study
from deepreg_meta.evaluate.statistics import summarize

_CAPTIONS = {
    "labels": "Mean ± SD of each label over cases",
    "landmarks": "Mean ± SD over the landmarks of all cases. Those of one case share "
    "its registration: they are not independent, so none is tested",
}
_OF_NO_STAGE = ("num_updates", "seconds", "cpu_seconds", "seconds_per_update")


def glance(study: Study) -> Iterator[Block]:
    """
    Give mean and SD of every metric in one table.

    :param study: of one split.
    :return: a heading and a table.
    """
    rows = []
    for metric, unit in study.metrics():
        measure = study.measure(metric, unit)
        cells = []
        for method in study.methods:
            found = summarize(study.values(method, metric, unit))
            mean, sd = measure.format(found["mean"]), measure.format(found["sd"])
            cell = mean if "-" in (mean, sd) else f"{mean} ± {sd}"
            is_fewer = 0 < found["n"] < study.num_cases
            cells.append(f"{cell}, n = {found['n']:.0f}" if is_fewer else cell)
        rows.append([measure.title, *cells])
    yield Heading(2, "Results at a glance")
    header = ["measure", *(method.name for method in study.methods)]
    yield Table(_caption(study), header, rows)
    yield from _label_tables(study)
    yield from _run_table(study)


def _caption(study: Study) -> str:
    split = f", split {study.split}" if study.split else ""
    if study.is_of_single_cases:
        count = "1 case" if study.num_cases == 1 else f"{study.num_cases} cases"
        return f"Values of {count}{split}"
    return f"Mean ± SD over cases ({study.num_cases} cases{split})"


def _label_tables(study: Study) -> Iterator[Block]:
    """Describe labels one by one where there are several, and landmarks pooled."""
    for level in _CAPTIONS:
        table = study.summary(level)
        items = dict.fromkeys(table["item"])
        if table.empty or (level == "labels" and len(items) < 2):
            continue
        pairs = list(dict.fromkeys(zip(table["metric"], table["unit"], strict=True)))
        rows = [
            [*([item] if item else []), str(method), *_mean_cells(part, pairs)]
            for item in items
            for method, part in table[table["item"] == item].groupby(
                "method", sort=False
            )
        ]
        names = ["label", "method"] if level == "labels" else ["method"]
        header = [*names, *(measure_of(*pair).title for pair in pairs)]
        yield Table(_CAPTIONS[level], header, rows, len(names))


def _mean_cells(part: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Print mean, SD and n of one method; a metric that it does not have is `-`."""
    for metric, unit in pairs:
        own = part[(part["metric"] == metric) & (part["unit"] == unit)]
        measure = measure_of(metric, unit)
        if own.empty or not own["n"].iloc[0]:
            yield "-"
            continue
        mean, sd, n = own[["mean", "sd", "n"]].iloc[0]
        spread = f" ± {measure.format(sd)}" if n > 1 else ""
        yield f"{measure.format(mean)}{spread}, n = {n:.0f}"


def _run_table(study: Study) -> Iterator[Block]:
    """Summarise what has no stage, such as times."""
    rows = []
    for run in study.runs:
        for name in _OF_NO_STAGE:
            if name in run.cases:
                measure, found = measure_of(name), summarize(run.cases[name])
                shown = [measure.format(found[key]) for key in ("mean", "sd", "median")]
                rows.append([run.name, measure.title, number(found["n"], 0), *shown])
    if rows:
        header = ["run", "measure", "n", "mean", "SD", "median"]
        yield Table("Time and updates of a case", header, rows, 2)


def introduction(studies: Sequence[Study]) -> Iterator[Block]:
    """
    Open the report.

    :param studies: one for each split.
    :return: the title, and what is held against what.
    """
    names = dict.fromkeys(run.name for study in studies for run in study.runs)
    yield Heading(1, f"Registration report: {', '.join(names)}")
    notices = notices_between([study.runs for study in studies])
    if notices:
        yield Notices(notices)
    for study in studies:
        split = f" of the split {study.split}" if study.split else ""
        if study.baseline is None:
            yield Paragraph(
                f"The results{split} have no stage to compare with another."
            )
        else:
            compared = (
                f"The baseline{split} is {study.baseline.name}."
                if study.is_of_single_cases
                else f"All methods{split} are compared with {study.baseline.name}."
            )
            yield Paragraph(
                f"{compared} Stages: "
                "before is the initial alignment alone, centroids the alignment of the "
                "label centroids, unadapted the network alone, adapted the network "
                "after test-time adaptation."
            )
