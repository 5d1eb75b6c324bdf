"""Check the data of a configuration: every file, the files together, and the pairs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from deepreg_meta.config import ConfigError, RunConfig, check_paths
from deepreg_meta.dataset.case_names import CaseId, unique_names
from deepreg_meta.inspection.across import (
    check_pair,
    find_duplicates,
    find_outliers,
    find_unstated,
)
from deepreg_meta.inspection.cases import num_problems
from deepreg_meta.inspection.entries import Cases, list_cases
from deepreg_meta.inspection.files import FileRecord, check_case
from deepreg_meta.inspection.finding import Finding, problems
from deepreg_meta.inspection.overview import Tile
from deepreg_meta.run_data import phantom_folder


@dataclass(eq=False)
class Split:
    """
    A split and what was found in it.

    :param mode: train, valid or test.
    :param folders: of its files.
    :param cases: files of each case, in DeepReg's order.
    :param is_complete: whether every case has a file of each kind.
    :param records: of the files of each case.
    :param rows: of cases.csv.
    :param domain: whose split it is; "" without domains.
    :param unit: of the lengths that were scored: mm, or voxels.
    """

    mode: str
    folders: tuple[str, ...]
    cases: Cases
    is_complete: bool
    records: dict[CaseId, list[FileRecord]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    domain: str = ""
    unit: str = "mm"

    @property
    def name(self) -> str:
        """What messages and tables call it."""
        return split_name(self.domain, self.mode)

    @property
    def files(self) -> list[FileRecord]:
        """The records of all cases."""
        return [record for records in self.records.values() for record in records]


@dataclass(eq=False)
class DataReport:
    """
    What is known of the data of a configuration.

    :param splits: those with folders.
    :param findings: what is wrong.
    :param tiles: pictures of some pairs.
    """

    splits: list[Split] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    tiles: list[Tile] = field(default_factory=list)

    @property
    def files(self) -> list[FileRecord]:
        """The records of all splits."""
        return [record for split in self.splits for record in split.files]


def check_data(config: RunConfig, modes: Sequence[str], fast: bool) -> DataReport:
    """
    Check the splits of a configuration.

    :param config: the configuration.
    :param modes: of train, valid, test.
    :param fast: read headers alone.
    :return: what was found in the files; `pairs.py` scores pairs.
    :raises ValueError: when none of the splits has a folder.
    """
    report = DataReport()
    if (
        not config.is_reptile
        and "train" in modes
        and not config.dataset.folders("train")
    ):
        key = "dataset.dir.train"
        text = (
            f"{key} {config.locate(key)}: expected a folder with train.method "
            f"{config.method}, which DeepReg trains, got none."
        )
        report.findings += problems("data that training refuses", [text])
    root = phantom_folder(config) if config.uses_phantom else None
    parts = config_parts(config)
    for domain, part in parts.items():
        for mode in modes:
            folders = part.dataset.folders(mode)
            if root is not None and getattr(config.phantom, f"num_{mode}"):
                folders = (f"{root}/{mode}",)
            if folders:
                _open(report, part, mode, folders, domain)
    if not report.splits and not report.findings:
        raise ValueError(
            "--mode: expected a split with a folder in dataset.dir, got "
            f"{', '.join(modes)}, without any."
        )
    total = sum(len(case) for split in report.splits for case in split.cases.values())
    with tqdm(total=total, desc="reading", unit="file", leave=False) as bar:
        for split in report.splits:
            for record in _read(split, parts[split.domain], fast):
                report.findings += record.findings
                bar.update()
    for domain in parts:
        own = [split for split in report.splits if split.domain == domain]
        files = [record for split in own for record in split.files]
        for find in (find_outliers, find_unstated):
            report.findings += find(files)
    report.findings += find_duplicates(report.files)  # of all domains
    for split in report.splits:
        report.findings += _relate(split, parts[split.domain])
    return report


def config_parts(config: RunConfig) -> dict[str, RunConfig]:
    """
    Return what each part of the data is configured by.

    :param config: the whole configuration.
    :return: under "" what is in no domain, itself; then the domains by name.
    """
    return {"": config, **{name: config.domain(name) for name in config.domains}}


def split_name(domain: str, mode: str) -> str:
    """Return what messages and tables call the split of a domain ("" without)."""
    return f"{domain}, {mode}" if domain else mode


def _open(
    report: DataReport,
    config: RunConfig,
    mode: str,
    folders: tuple[str, ...],
    domain: str,
) -> None:
    """List the files of a split; without its folders it is left out."""
    try:
        check_paths(config, mode, folders)
    except ConfigError as err:
        report.findings += problems("folders that are missing", err.problems)
        return
    cases, found = list_cases(config.dataset, split_name(domain, mode), folders)
    report.findings += found
    report.splits.append(Split(mode, folders, cases, not found, domain=domain))


def _names(split: Split) -> dict[CaseId, str]:
    """Name the cases of a split as results do."""
    cases = list(split.cases)
    return dict(zip(cases, unique_names(cases), strict=True))


def _read(split: Split, config: RunConfig, fast: bool) -> Iterator[FileRecord]:
    names, dataset = _names(split), config.dataset
    shapes = {"moving_images": dataset.moving_shape}
    shapes |= dict.fromkeys(("fixed_images", "images"), dataset.fixed_shape)
    for case, entries in split.cases.items():
        records = split.records.setdefault(case, [])
        files = entries.values()
        for record in check_case(
            split.name, names[case], files, dataset.labels, fast, shapes=shapes
        ):
            records.append(record)
            yield record


def _relate(split: Split, config: RunConfig) -> list[Finding]:
    """Make the rows of paired data, and compare the places of each pair."""
    if config.dataset.type != "paired":
        return []
    found: list[Finding] = []
    names = _names(split)
    for case, records in split.records.items():
        row: dict[str, Any] = {"split": split.name, "case": names[case]}
        row["num_problems"] = num_problems(records)
        by_header, wrong = relate(records, records, config)
        split.rows.append(row | by_header)
        found += wrong
    return found


def relate(
    moving: Sequence[FileRecord], fixed: Sequence[FileRecord], config: RunConfig
) -> tuple[dict[str, Any], list[Finding]]:
    """
    Compare the places of two images by their headers.

    :param moving: the files of the moving side.
    :param fixed: the files of the fixed side; of paired data they are the same ones.
    :param config: tells whether the headers align the pair.
    :return: cells of cases.csv; what is wrong.
    """
    first = _of_kind(moving, ("moving_images", "images"))
    second = _of_kind(fixed, ("fixed_images", "images"))
    if first is None or second is None:
        return {}, []
    row = {"fixed_file": second.entry.place, "moving_file": first.entry.place}
    pair, found = check_pair(first, second, config.align.mode == "affine")
    return row | pair, found


def _of_kind(
    records: Sequence[FileRecord], kinds: tuple[str, ...]
) -> FileRecord | None:
    return next((r for r in records if r.entry.kind in kinds), None)
