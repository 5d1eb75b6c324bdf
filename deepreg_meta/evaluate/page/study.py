"""Put the results of several runs side by side, and hold them against a baseline."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pandas as pd

from deepreg_meta.evaluate.comparison import COLUMNS, compare
from deepreg_meta.evaluate.page.measure import (
    Column,
    Measure,
    case_measure,
    measure_of,
    sort_key,
)
from deepreg_meta.evaluate.page.methods import (
    Method,
    choose_baseline,
    methods_of,
)
from deepreg_meta.evaluate.page.notices import notices_of
from deepreg_meta.evaluate.page.run_results import RunResults, numbers_of
from deepreg_meta.evaluate.statistics import summarize

# tables of a run, and the column beside `case` that names what a row is about
LEVELS = {"cases": "", "labels": "label", "landmarks": "landmark"}


@dataclass(frozen=True)
class Study:
    """
    Runs on one set of cases, their stages as methods.

    :param runs: of one split.
    :param methods: in the order of the stages, then of the runs.
    :param baseline: the method that others are compared with; None where there is
        nothing to compare.
    :param notices: what a reader has to know before comparing.
    """

    runs: tuple[RunResults, ...]
    methods: tuple[Method, ...]
    baseline: Method | None
    notices: tuple[str, ...] = field(default=())

    @property
    def split(self) -> str:
        """train, valid, test or ""."""
        return self.runs[0].split

    @property
    def unit(self) -> str:
        """Unit of all lengths, "" without any."""
        return next((run.unit for run in self.runs if run.unit), "")

    @property
    def num_cases(self) -> int:
        """Number of cases that any run has."""
        return len({case for run in self.runs for case in run.cases["case"]})

    @property
    def first_label(self) -> str:
        """The label that Dice of a case is of, "" where there is one label alone."""
        names = {run.first_label for run in self.runs} - {""}
        return next(iter(names)) if len(names) == 1 else "first label" if names else ""

    def measure(self, metric: str, unit: str = "") -> Measure:
        """Say how a metric of a case is printed, as `measure_of` does."""
        return case_measure(metric, unit, self.first_label)

    @property
    def is_of_single_cases(self) -> bool:
        """Whether no run has more than one case, so that nothing can be summarised."""
        return all(len(run.cases) == 1 for run in self.runs)

    def metrics(self, level: str = "cases") -> list[tuple[str, str]]:
        """
        List what was measured at a stage.

        :param level: key of LEVELS.
        :return: (metric, unit), in the order of a report.
        """
        found = {
            (column.metric, column.unit)
            for run in self.runs
            for _, column in numbers_of(getattr(run, level))
            if column.stage
        }
        return sorted(found, key=lambda pair: sort_key(pair[0]))

    def values(
        self, method: Method, metric: str, unit: str, level: str = "cases"
    ) -> pd.Series:
        """
        Return the values of a method.

        :param method: of `methods`.
        :param metric: as `metrics` lists it.
        :param unit: of the metric.
        :param level: key of LEVELS.
        :return: by case, or by case and label or landmark; missing ones are nan. Empty
            where the method has none.
        """
        keys = ["case", LEVELS[level]] if LEVELS[level] else ["case"]
        found = pd.Series(dtype=float)
        for index in method.runs:
            table = getattr(self.runs[index], level)
            name = _name_of(table, Column(metric, method.stage, unit))
            if name is not None:
                own = table.set_index(keys)[name].astype(float)
                # where a stage is the same in all runs, each may have other cases
                new = own[~own.index.isin(found.index)]
                found = pd.concat([found, new]) if len(found) else own
        return found

    def long_table(self) -> pd.DataFrame:
        """
        Return every number of every run in a line of its own.

        :return: run, split, level, case, item (label or landmark), stage, metric,
            unit, value.
        """
        parts = [
            pd.DataFrame(
                {
                    "run": run.name,
                    "split": run.split,
                    "level": item or "case",
                    "case": table["case"],
                    "item": table[item] if item else "",
                    "stage": column.stage,
                    "metric": column.metric,
                    "unit": column.unit,
                    "value": table[name],
                }
            )
            for run in self.runs
            for level, item in LEVELS.items()
            for table in (getattr(run, level),)
            for name, column in numbers_of(table)
        ]
        return pd.concat(parts, ignore_index=True)

    def summary(self, level: str = "cases") -> pd.DataFrame:
        """
        Describe every method by every metric.

        :param level: key of LEVELS; labels are described one by one, landmarks pooled.
        :return: level, item, metric, unit, method, n, mean, sd, median, q1, q3.
        """
        rows = []
        for metric, unit in self.metrics(level):
            for method in self.methods:
                values = self.values(method, metric, unit, level)
                for item, sample in _by_item(values, level):
                    rows.append(
                        {
                            "level": LEVELS[level] or "case",
                            "item": item,
                            "metric": metric,
                            "unit": unit,
                            "method": method.name,
                            **summarize(sample),
                        }
                    )
        columns = ["level", "item", "metric", "unit", "method"]
        columns += ["n", "mean", "sd", "median", "q1", "q3"]
        return pd.DataFrame(rows, columns=columns)

    def comparisons(self) -> pd.DataFrame:
        """
        Compare every method with the baseline, case by case.

        :return: metric, unit, baseline, method, and the columns of
            `comparison.compare`, for every metric that the baseline has and of which
            one way is better.
        """
        tables = []
        for metric, unit in self.metrics():
            measure = measure_of(metric, unit)
            if self.baseline is None or measure.higher_is_better is None:
                continue
            samples = {m.name: self.values(m, metric, unit) for m in self.methods}
            found = {
                name: {str(case): float(value) for case, value in values.items()}
                for name, values in samples.items()
                if values.notna().any()
            }
            if len(found) < 2 or self.baseline.name not in found:
                continue
            table = compare(found, self.baseline.name, measure.higher_is_better)
            table = table.rename_axis("method").reset_index()
            for place, (name, value) in enumerate(
                (("metric", metric), ("unit", unit), ("baseline", self.baseline.name))
            ):
                table.insert(place, name, value)
            tables.append(table)
        if not tables:
            return pd.DataFrame(
                columns=["metric", "unit", "baseline", "method", *COLUMNS]
            )
        return pd.concat(tables, ignore_index=True)


def make_study(runs: Sequence[RunResults], baseline: str | None = None) -> Study:
    """
    Put runs of one split side by side.

    :param runs: with distinct names.
    :param baseline: a stage, a method as tables name it, or a run (its last stage);
        None takes the centroids, else the stage before registration.
    :return: the study.
    :raises ValueError: for lengths in different units, or an unknown baseline.
    """
    units = {run.unit: run for run in runs if run.unit}
    if len(units) > 1:
        shown = ", ".join(f"{unit} in {run.folder}" for unit, run in units.items())
        raise ValueError(
            f"RUN: expected lengths in one unit, got {shown}. Set dataset.spacing_mm "
            "in both or in none of them, or make a report for each."
        )
    methods = tuple(methods_of(runs))
    chosen = choose_baseline(methods, runs, baseline)
    notices = notices_of(runs)
    if chosen is not None and not chosen.is_shared:
        notices.append(
            f"The runs differ in the stage {chosen.stage}: all methods are compared "
            f"with that of {chosen.name}."
        )
    return Study(tuple(runs), methods, chosen, tuple(notices))


def _name_of(table: pd.DataFrame, wanted: Column) -> str | None:
    return next((n for n, column in numbers_of(table) if column == wanted), None)


def _by_item(values: pd.Series, level: str) -> Iterator[tuple[str, pd.Series]]:
    if level != "labels":
        yield "", values
        return
    if values.empty:
        return
    for item, part in values.groupby(level=1, sort=False):
        yield str(item), part
