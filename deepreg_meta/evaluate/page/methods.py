"""Turn the stages of several runs into the methods that a report compares."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deepreg_meta.evaluate.columns import BASELINE
from deepreg_meta.evaluate.page.measure import STAGE_ORDER
from deepreg_meta.evaluate.page.run_results import RunResults, numbers_of

_CLOSE = 1e-5  # relative: files keep six digits


@dataclass(frozen=True)
class Method:
    """
    One stage of one run, or of all runs where it is the same in all.

    :param name: in tables.
    :param stage: before, centroids, unadapted or adapted.
    :param runs: indices of the runs that have it.
    :param is_shared: whether it stands for all runs.
    """

    name: str
    stage: str
    runs: tuple[int, ...]
    is_shared: bool


def methods_of(runs: Sequence[RunResults]) -> Iterator[Method]:
    """
    List what can be compared.

    :param runs: of one split.
    :return: in the order of the stages, then of the runs. A stage with the same numbers
        in all runs, such as the alignment before registration, is one method.
    """
    stages = [{column.stage for _, column in numbers_of(run.cases)} for run in runs]
    for stage in STAGE_ORDER:
        having = tuple(i for i, known in enumerate(stages) if stage in known)
        if not having:
            continue
        if len(runs) == 1 or _is_same_in_all(runs, stage):
            yield Method(stage, stage, having, True)
            continue
        for index in having:
            yield Method(f"{runs[index].name}: {stage}", stage, (index,), False)


def _is_same_in_all(runs: Sequence[RunResults], stage: str) -> bool:
    """Tell whether a stage has the same numbers on the cases that the runs share."""
    tables = []
    for run in runs:
        names = [n for n, column in numbers_of(run.cases) if column.stage == stage]
        tables.append(run.cases.set_index("case")[names])
    first = tables[0]
    for table in tables[1:]:
        common = first.index.intersection(table.index)
        if set(table.columns) != set(first.columns) or common.empty:
            return False
        ours, theirs = (part.loc[common, first.columns] for part in (first, table))
        if not np.allclose(ours, theirs, rtol=_CLOSE, equal_nan=True):
            return False
    return not first.columns.empty


def choose_baseline(
    methods: Sequence[Method], runs: Sequence[RunResults], wanted: str | None
) -> Method | None:
    """
    Choose what others are compared with.

    :param methods: of `methods_of`.
    :param runs: of one split.
    :param wanted: a method, a stage (of the first run that has it), or a run (its last
        stage); None takes the centroids, else the stage before registration.
    :return: the method; None where nothing is wanted and neither stage is there.
    :raises ValueError: when there is no such method.
    """
    by_stage: dict[str, Method] = {}
    by_name: Mapping[str, Method] = {method.name: method for method in methods}
    by_run: dict[str, Method] = {}
    for method in methods:
        by_stage.setdefault(method.stage, method)
        for index in method.runs:
            by_run[runs[index].name] = method  # the last stage stays
    if wanted is None:
        return by_stage.get(BASELINE) or by_stage.get("before")
    for known in (by_name, by_stage, by_run):
        if wanted in known:
            return known[wanted]
    raise ValueError(
        f"--baseline: expected one of {', '.join(by_name)}, a stage or a run, got "
        f"{wanted!r}."
    )
