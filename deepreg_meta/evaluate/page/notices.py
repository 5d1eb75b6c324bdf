"""Tell a reader what to know before taking results as they are."""

from collections.abc import Mapping, Sequence
from typing import Any

from deepreg_meta.evaluate.page.run_results import RunResults

MIN_CASES = 6  # with fewer pairs no Wilcoxon test falls below 0.05
_NAMES_SHOWN = 5
# settings of `dataset` that decide what a case is
_DATA_KEYS = ("type", "dir", "phantom", "labels", "spacing_mm", "grid", "intensity")


def notices_of(runs: Sequence[RunResults]) -> list[str]:
    """
    List what a reader has to know.

    :param runs: of one split.
    :return: sentences; none where nothing is amiss.
    """
    return [
        *_about_units(runs),
        *_about_cases(runs),
        *_about_data(runs),
        *_about_labels(runs),
        *_about_warnings(runs),
    ]


def notices_between(groups: Sequence[Sequence[RunResults]]) -> list[str]:
    """
    List what a reader has to know of results that stand in one report, not compared.

    :param groups: runs of one split each.
    :return: sentences; none where each split has the same runs, all in one unit.
    """
    notices = []
    names = [{run.name for run in runs} for runs in groups]
    if any(own != names[0] for own in names):
        parts = [
            f"{', '.join(str(run.folder) for run in runs)} "
            f"({f'split {runs[0].split}' if runs[0].split else 'no split'})"
            for runs in groups
        ]
        notices.append(
            f"Not all folders were compared with each other: {'; '.join(parts)}. The "
            "split is taken from the folder's name, train, valid or test, and only "
            "folders of one split are compared. Rename a folder to have it compared."
        )
    folders: dict[str, list[str]] = {}
    for run in (run for runs in groups for run in runs):
        if run.unit:
            folders.setdefault(run.unit, []).append(str(run.folder))
    if len(folders) > 1:
        parts = [f"in {unit} in {', '.join(own)}" for unit, own in folders.items()]
        notices.append(
            f"Lengths are {'; '.join(parts)}. Do not compare a number in mm with one "
            "in voxels."
        )
    return notices


def _about_labels(runs: Sequence[RunResults]) -> list[str]:
    return [
        f"{run.name}: Dice and surface distances of a case are those of its first "
        f"label, {run.first_label}. The other labels ({_some(run.label_names[1:])}) "
        "are in the table of labels."
        for run in runs
        if run.first_label
    ]


def _about_units(runs: Sequence[RunResults]) -> list[str]:
    if any(run.unit == "voxels" for run in runs):
        return [
            "The spacing is nominal: no length here is known in mm. Lengths are in "
            "voxels, of a spacing that the configuration sets or that is taken as 1."
        ]
    overridden = [run.name for run in runs if run.setting("dataset", "spacing_mm")]
    if overridden:
        return [
            "The configuration overrides the spacing of the files "
            f"(dataset.spacing_mm): {', '.join(overridden)}."
        ]
    return []


def _about_cases(runs: Sequence[RunResults]) -> list[str]:
    sets = [set(run.cases["case"]) for run in runs]
    everything, common = set().union(*sets), set.intersection(*sets)
    notices = []
    for run, cases in zip(runs, sets, strict=True):
        missing = sorted(everything - cases)
        if missing:
            notices.append(
                f"{run.name} has no results for {len(missing)} of {len(everything)} "
                f"cases: {_some(missing)}."
            )
    if len(common) < len(everything):
        notices.append(
            "The runs do not have the same cases. Each method is summarised over its "
            f"own; it is compared with the baseline over the cases of both. "
            f"{len(common)} cases are in all runs."
        )
    if len(common) < MIN_CASES:
        notices.append(
            f"With {len(common)} {'case' if len(common) == 1 else 'cases'} in all runs "
            f"no conclusion can be drawn from p values: fewer than {MIN_CASES} pairs "
            "never give a Wilcoxon test below 0.05."
        )
    return notices


def _about_data(runs: Sequence[RunResults]) -> list[str]:
    """Cases of one name in two data sets are no pairs; the folders tell."""
    notices = []
    unknown = [run.name for run in runs if not run.config]
    if unknown:
        notices.append(
            f"No config.yaml lies beside the results of {', '.join(unknown)}: how they "
            "were made is not known."
        )
    known = [run for run in runs if run.config]
    differing = [
        key
        for key in _DATA_KEYS
        if len({repr(_data_setting(run, key)) for run in known}) > 1
    ]
    if differing:
        keys = ", ".join(f"dataset.{key}" for key in differing)
        notices.append(
            f"The runs differ in {keys}: cases of the same name may not be the same "
            "images. Compare with care."
        )
    return notices


def _data_setting(run: RunResults, key: str) -> Any:
    """Return a setting of the data, of folders that of the split alone."""
    value = run.setting("dataset", key)
    if key == "dir" and isinstance(value, Mapping) and run.split:
        return value.get(run.split)
    return value


def _about_warnings(runs: Sequence[RunResults]) -> list[str]:
    notices = []
    for run in runs:
        if "warning" not in run.cases:
            continue
        warned = run.cases[run.cases["warning"].astype(bool)]["case"].tolist()
        if warned:
            notices.append(
                f"{run.name}: the registration warns about {len(warned)} of "
                f"{len(run.cases)} cases: {_some(warned)}."
            )
    return notices


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
