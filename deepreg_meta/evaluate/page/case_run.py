"""Judge the cases of a run: which went worst, and what is amiss with them."""

from collections.abc import Iterator
from math import isnan, nan

import pandas as pd

from deepreg_meta.evaluate.page.measure import (
    STAGE_ORDER,
    Column,
    Measure,
    case_measure,
    join_column,
)
from deepreg_meta.evaluate.page.run_results import RunResults, numbers_of
from deepreg_meta.evaluate.page.study import Study

# what a case is judged by: the first one that the run has
_JUDGED_BY = ("dsc", "tre", "hd95", "ncc", "mse")
_MUST_EXIST = ("dsc", "tre", "hd95")
_MUST_IMPROVE = ("dsc", "tre")


class CaseRun:
    """
    The cases of a run, and the stages that they are judged by.

    :param study: of one split.
    :param index: of the run in it.
    """

    def __init__(self, study: Study, index: int) -> None:
        self.results: RunResults = study.runs[index]
        self.label = study.first_label
        self.table: pd.DataFrame = self.results.cases.set_index("case")
        self.anchor = f"case-{study.split or 'all'}-{index}"
        present = {column.stage for _, column in numbers_of(self.table)}
        self.stages = [stage for stage in STAGE_ORDER if stage in present]
        # the last stage is the result; the baseline's is what it should surpass
        self.stage = self.stages[-1] if self.stages else ""
        baseline = study.baseline.stage if study.baseline else ""
        before = [stage for stage in self.stages if stage != self.stage]
        self.reference = baseline if baseline in before else ""

    def values(self, metric: str, stage: str) -> pd.Series | None:
        """Return a metric at a stage, in whatever unit; None if there is none."""
        for unit in ("", self.results.unit):
            name = join_column(Column(metric, stage, unit))
            if name in self.table:
                return self.table[name]
        return None

    def value(self, metric: str, stage: str, case: str) -> float:
        """Return a metric of a case, nan if there is none."""
        values = self.values(metric, stage)
        return nan if values is None else float(values[case])

    def has(self, metric: str, stage: str) -> bool:
        """Tell whether any case has a metric at a stage."""
        values = self.values(metric, stage)
        return values is not None and bool(values.notna().any())

    def measure(self, metric: str) -> Measure:
        """Say how a metric is printed in this run."""
        is_length = join_column(Column(metric, self.stage, "")) not in self.table
        unit = self.results.unit if is_length else ""
        return case_measure(metric, unit, self.label)

    @property
    def judged_by(self) -> str | None:
        """The metric that tells how well a case went, None without any."""
        return next((m for m in _JUDGED_BY if self.has(m, self.stage)), None)

    def worst_first(self) -> list[str]:
        """Order cases by the metric that judges them; those without a value lead."""
        judge = self.judged_by
        values = None if judge is None else self.values(judge, self.stage)
        if judge is None or values is None:
            return list(self.table.index)
        ordered = values.sort_values(
            ascending=bool(self.measure(judge).higher_is_better),
            na_position="first",
            kind="stable",
        )
        return list(ordered.index)

    def flags(self, case: str) -> list[str]:
        """
        Say what is amiss with a case.

        :param case: of the run.
        :return: failures, folds, lost landmarks, what is worse than the baseline, and
            the warning of the registration; empty where all is well.
        """
        flags = [*self._failures(case), *self._folds(case)]
        lost = self.value("lost", self.stage, case)
        if lost > 0:
            flags.append(f"{lost:g} landmark blobs lost")
        for metric in _MUST_IMPROVE if self.reference else ():
            measure = self.measure(metric)
            gain = self.value(metric, self.stage, case)
            gain -= self.value(metric, self.reference, case)
            if (gain if measure.higher_is_better else -gain) < 0:
                flags.append(f"{measure.label} worse than {self.reference}")
        warning = str(self.table["warning"][case]) if "warning" in self.table else ""
        return [*flags, warning] if warning else flags

    def _failures(self, case: str) -> Iterator[str]:
        """Find what has no value in the end, though it had one to begin with."""
        for metric in _MUST_EXIST:
            values = self.values(metric, self.stage)
            if values is None or not isnan(values[case]):
                continue
            # a case without landmarks has no error at any stage, and did not fail
            starts = [self.value(metric, stage, case) for stage in self.stages[:-1]]
            if metric == self.judged_by or not all(isnan(start) for start in starts):
                yield f"failed: {self.measure(metric).label} has no value"

    def _folds(self, case: str) -> Iterator[str]:
        shares = self.values("folds", self.stage)
        least = self.values("jacobian_min", self.stage)
        if shares is not None and not shares[case] <= 0:
            shown = self.measure("folds").format(shares[case])
            yield f"folds: {shown} % of the voxels"
        elif least is not None and not least[case] > 0:
            yield "folds: the determinant is not positive everywhere"
