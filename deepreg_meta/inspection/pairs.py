"""Score the pairs of a data set before any network, where their files are good."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from deepreg_meta.config import ConfigError, RunConfig
from deepreg_meta.dataset.case import Case
from deepreg_meta.dataset.tasks import CaseSet, load_case_set
from deepreg_meta.dataset.volume_check import DataError
from deepreg_meta.evaluate.columns import rename_unit
from deepreg_meta.inspection.baseline import Aligner, Baseline, measure
from deepreg_meta.inspection.data import DataReport, Split, config_parts, relate
from deepreg_meta.inspection.finding import Finding, problems, warnings
from deepreg_meta.inspection.overview import Tile, make_tile
from deepreg_meta.training import build_model, check_names

MAX_TILES = 12
# share of the intensities' range that all but 2 % of the voxels should take
_MIN_SPREAD = 0.05
_MIN_OVERLAP = 0.5  # of the fixed grid, below which a user is warned
_UNSCORED = "pairs that are not scored"


class _Job(NamedTuple):
    """A pair to be scored."""

    split: Split
    cases: CaseSet
    number: int  # of the pair in the set


def score_pairs(report: DataReport, config: RunConfig) -> None:
    """
    Score the pairs of the splits that are complete; TensorFlow is ready.

    :param report: of `check_data`; rows, findings and tiles are added to it.
    :param config: the configuration.
    """
    if config.is_reptile:
        try:
            check_names(config)
            build_model(config)
        except ConfigError as err:
            report.findings += problems("configuration", err.problems)
    parts = config_parts(config)
    if config.dataset.type == "grouped":
        text = "Grouped data is checked file by file; its pairs are not scored."
        report.findings += warnings(_UNSCORED, [text])
        return
    jobs = list(_open(report, parts))
    chosen = np.linspace(0, len(jobs) - 1, min(len(jobs), MAX_TILES)).round()
    aligners = {
        domain: Aligner(parts[domain]) for domain in {job.split.domain for job in jobs}
    }
    with tqdm(jobs, desc="scoring", unit="pair", leave=False) as bar:
        for number, job in enumerate(bar):
            domain = job.split.domain
            _score(report, parts[domain], job, aligners[domain], number in chosen)
    for cases in {id(job.cases): job.cases for job in jobs}.values():
        cases.close()


def _open(report: DataReport, parts: Mapping[str, RunConfig]) -> Iterator[_Job]:
    for split in report.splits:
        if not split.is_complete:
            text = f"{split.name}: no pair is scored until its files are complete."
            report.findings += warnings(_UNSCORED, [text])
            continue
        try:
            cases = load_case_set(parts[split.domain], split.mode, split.folders)
        except ValueError as err:
            report.findings += problems("data that training refuses", [str(err)])
            continue
        for index in range(0 if cases is None else len(cases)):
            if cases is not None:
                yield _Job(split, cases, index)


def _score(
    report: DataReport, config: RunConfig, job: _Job, aligner: Aligner, draw: bool
) -> None:
    """Score one pair; one with a problem in its files is passed over."""
    split, ids = job.split, list(job.split.cases)
    moving, fixed = (split.records[ids[i]] for i in job.cases.pairs()[job.number])
    row = _row(report, config, job)
    if any(record.has_problem for record in (*moving, *fixed)):
        return
    try:
        case = job.cases[job.number]
        baseline = measure(aligner.align(case))
    except DataError as err:
        report.findings += problems("data that training refuses", err.problems)
        return
    split.unit = "voxels" if case.spacing_is_nominal else "mm"
    scores = {
        rename_unit(name, split.unit): value for name, value in baseline.scores.items()
    }
    row |= {"overlap_aligned": baseline.overlap, **scores}
    report.findings += _judge(case, baseline, split.name)
    if draw:
        report.tiles.append(_tile(f"{split.name} {case.name}", case, baseline))


def _row(report: DataReport, config: RunConfig, job: _Job) -> dict[str, Any]:
    """Return the row of a pair; that of unpaired images is made here."""
    split = job.split
    if job.cases.is_paired:
        return split.rows[job.number]
    ids = list(split.cases)
    moving, fixed = (split.records[ids[i]] for i in job.cases.pairs()[job.number])
    by_header, found = relate(moving, fixed, config)
    report.findings += found
    row = {"split": split.name, "case": job.cases.names[job.number], **by_header}
    row["num_problems"] = sum(r.has_problem for r in (*moving, *fixed))
    split.rows.append(row)
    return row


def _tile(title: str, case: Case, baseline: Baseline) -> Tile:
    dsc = baseline.scores.get("dsc_before")
    return make_tile(
        title,
        (baseline.fixed_image, baseline.moving_image),
        (baseline.fixed_label, baseline.moving_label),
        baseline.spacing_mm,
        case.display,
        "" if dsc is None else f"Dice {dsc:.3f}",
    )


def _judge(case: Case, baseline: Baseline, split: str) -> list[Finding]:
    """Find pairs that hardly meet, and images that hardly show anything."""
    name = f"{split} {case.name}"
    found: list[Finding] = []
    title = "pairs that do not meet after the initial alignment"
    if baseline.overlap < _MIN_OVERLAP:
        text = (
            f"{name}: {baseline.overlap:.0%} of the fixed grid lie in the moving one. "
            "Check the spacings and `align`."
        )
        make = problems if baseline.overlap == 0 else warnings
        found += make(title, [text])
    if baseline.scores.get("dsc_before") == 0:
        text = f"{name}: the first labels do not touch. Check `align` and the labels."
        found += warnings(title, [text])
    for role in ("moving", "fixed"):
        spread = _spread(getattr(case, f"{role}_image"))
        if spread < _MIN_SPREAD:
            text = (
                f"{name}: 98 % of the {role} image's voxels take {spread:.1%} of its "
                "range of intensities, which the network will hardly see. Clip them by "
                "`dataset.intensity`."
            )
            found += warnings("images that a few voxels darken", [text])
    return found


def _spread(image: NDArray) -> float:
    """Return the share of the range that lies between the percentiles 1 and 99."""
    low, high = np.percentile(image, (1, 99))
    return float(high - low) / (float(np.ptp(image)) or 1.0)
