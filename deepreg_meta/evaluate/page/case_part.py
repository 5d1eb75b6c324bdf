"""The part of a report on single cases: the worst first, flags, pictures."""

from collections.abc import Iterator
from pathlib import Path

from deepreg_meta.evaluate.page.case_run import CaseRun
from deepreg_meta.evaluate.page.document import (
    Block,
    Cell,
    Details,
    Heading,
    Link,
    Paragraph,
    Picture,
    Table,
)
from deepreg_meta.evaluate.page.measure import (
    Column,
    case_measure,
    join_column,
    measure_of,
    sort_key,
)
from deepreg_meta.evaluate.page.run_results import numbers_of
from deepreg_meta.evaluate.page.study import Study
from deepreg_meta.evaluate.picture import load_picture

_SHOWN = (("dsc", "tre", "hd95"), ("ncc", "mse"))  # in the table; the first that exist
_PANELS = (
    "fixed, moving and warped image, contours, checkerboard, displacement, deformed "
    "grid and Jacobian determinant"
)
_HOW_TO_READ = (
    "Planes through the centroid of the fixed label. Axial, coronal and sagittal "
    "planes are shown as radiologists do, the patient's right at the left of the "
    "picture; where the orientation is not known, array axes are named. Contours: "
    "fixed label green and solid, warped moving label red and dashed, moving label "
    "before registration yellow and dotted. The deformed grid shows where each point "
    "of the fixed image is taken from, after the initial alignment. Where the Jacobian "
    "determinant is above 1, the moving tissue is larger than the fixed one that it is "
    "laid on; black marks folds."
)


def describe_cases(study: Study) -> Iterator[Block]:
    """
    List the cases of every run, the worst first, with their pictures.

    :param study: of one split.
    :return: blocks.
    :raises ValueError: when a picture cannot be read.
    """
    runs = [CaseRun(study, index) for index in range(len(study.runs))]
    yield Heading(2, "Cases, the worst first")
    for run in runs:
        yield _case_table(run)
    yield Heading(2, "Pictures of the cases")
    yield Paragraph(_HOW_TO_READ)
    for run in runs:
        if len(runs) > 1:
            yield Heading(3, f"Pictures of {run.results.name}")
        for position, case in enumerate(run.worst_first()):
            yield _case_details(run, case, position)


def _case_table(run: CaseRun) -> Table:
    group = next(
        (group for group in _SHOWN if any(run.has(m, run.stage) for m in group)), ()
    )
    columns = [
        (metric, stage)
        for metric in (*group, "folds")
        for stage in (run.reference, run.stage)
        if stage and run.has(metric, stage)
    ]
    rows: list[list[Cell]] = []
    num_flagged = 0
    for position, case in enumerate(run.worst_first()):
        flags = run.flags(case)
        num_flagged += bool(flags)
        cells: list[Cell] = [Link(case, f"{run.anchor}-{position}")]
        cells.append("; ".join(flags) or "-")
        for metric, stage in columns:
            cells.append(run.measure(metric).format(run.value(metric, stage, case)))
        if "seconds" in run.table:
            cells.append(measure_of("seconds").format(run.table["seconds"][case]))
        rows.append(cells)
    header = ["case", "what is amiss"]
    header += [f"{run.measure(metric).title}, {stage}" for metric, stage in columns]
    header += ["Time (s)"] if "seconds" in run.table else []
    judge = run.judged_by
    judged = "" if judge is None else f", by {run.measure(judge).label}"
    count = "1 case" if len(rows) == 1 else f"{len(rows)} cases"
    caption = f"{run.results.name}: {count}{judged}; {num_flagged} flagged"
    return Table(caption, header, rows, 2)


def _case_details(run: CaseRun, case: str, position: int) -> Details:
    blocks: list[Block] = []
    flags = run.flags(case)
    if flags:
        blocks.append(Paragraph(f"What is amiss: {'; '.join(flags)}."))
    path = run.results.figure(case)
    if path is None:
        blocks.append(
            Paragraph(
                "There is no picture of this case: run the registration again without "
                "--no_png."
            )
        )
    else:
        data, mime = _load_picture(path, case)
        blocks.append(Picture(f"{case} of {run.results.name}: {_PANELS}", data, mime))
    blocks.append(_numbers(run, case))
    return Details(case, blocks, f"{run.anchor}-{position}")


def _load_picture(path: Path, case: str) -> tuple[bytes, str]:
    try:
        return load_picture(path)
    except ValueError as err:
        # Pillow's reason names its buffer, not the file
        raise ValueError(
            f"{path}: expected a picture of the case {case}, got a file that cannot be "
            "read as one. Delete it, or run the registration again."
        ) from err


def _numbers(run: CaseRun, case: str) -> Table:
    """Every number of a case that has stages: a line per metric."""
    metrics = sorted(
        {
            (column.metric, column.unit)
            for _, column in numbers_of(run.table)
            if column.stage
        },
        key=lambda pair: sort_key(pair[0]),
    )
    rows: list[list[Cell]] = []
    for metric, unit in metrics:
        measure = case_measure(metric, unit, run.label)
        cells: list[Cell] = [measure.title]
        for stage in run.stages:
            name = join_column(Column(metric, stage, unit))
            found = float(run.table[name][case]) if name in run.table else None
            cells.append(measure.format(found))
        rows.append(cells)
    return Table(f"All numbers of {case}", ["measure", *run.stages], rows)
