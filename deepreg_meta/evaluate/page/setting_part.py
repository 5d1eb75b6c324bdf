"""The part of a report on what was run: data, network, training and adaptation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deepreg_meta.config.adapt_schema import SECONDS_REMARK
from deepreg_meta.evaluate.page.document import Block, Notices, Table
from deepreg_meta.evaluate.page.run_results import RunResults
from deepreg_meta.evaluate.page.study import Study

_SEEN = "labels that adaptation saw"
_UPDATES = "adaptation updates"
# what the table of runs lists: words, and where the configuration has them
_SETTINGS = (
    ("method", ("train", "method")),
    ("network", ("train", "meta", "base")),
    ("inner steps in training", ("train", "meta", "inner_steps")),
    ("backbone", ("train", "backbone")),
    ("image loss", ("train", "loss", "image")),
    ("label loss", ("train", "loss", "label")),
    ("regularisation", ("train", "loss", "regularization")),
    ("optimiser", ("train", "optimizer")),
    ("seed", ("train", "seed")),
    ("initial alignment", ("align",)),
    (_UPDATES, ("adapt", "steps")),
    ("optimiser of adaptation", ("adapt", "optimizer")),
    (_SEEN, ("adapt", "labels")),
    ("frames", ("adapt", "frames")),
    ("order of frames", ("adapt", "schedule")),
    ("weights kept", ("adapt", "keep")),
    ("augmentation", ("train", "preprocess", "data_augmentation")),
    ("spacing set by hand", ("dataset", "spacing_mm")),
)


def describe_runs(study: Study) -> Iterator[Block]:
    """
    Say what was run.

    :param study: of one split.
    :return: notices, and a table of the runs' settings.
    """
    if study.notices:
        yield Notices(study.notices)
    settings = [_settings(run) for run in study.runs]
    names = dict.fromkeys(name for found in settings for name in found)
    rows = [[name, *(found.get(name, "-") for found in settings)] for name in names]
    header = ["setting", *(run.name for run in study.runs)]
    yield Table(
        "Settings of the runs, from their config.yaml", header, rows, len(header)
    )


def _settings(run: RunResults) -> dict[str, str]:
    found = {
        "results": str(run.folder),
        "cases": str(len(run.cases)),
        "split": run.split or "-",
    }
    for remark in run.remarks:
        name, _, value = remark.partition(" ")
        if value:
            found[name] = value
    folders = run.setting("dataset", "dir")
    if isinstance(folders, Mapping):
        name = "data" if run.split else "data of the run"
        used = folders.get(run.split) if run.split else folders
        found[name] = (_words(used) if used else "") or "generated phantom"
    for name, keys in _SETTINGS:
        value = run.setting(*keys)
        if name == _UPDATES and SECONDS_REMARK in found:
            continue  # as many as fitted into that time
        if value is not None:
            is_seen = name == _SEEN and isinstance(value, list)
            found[name] = _words(_label_names(run, value) if is_seen else value)
    return found


def _label_names(run: RunResults, channels: Sequence[Any]) -> list[str]:
    """Name label channels, as far as the configuration does."""
    names = list(run.setting("dataset", "labels") or [])
    return [
        f"channel {c} ({names[c]})" if isinstance(c, int) and c < len(names)
        else f"channel {c}"
        for c in channels
    ]  # fmt: skip


def _words(value: Any) -> str:
    """Write a setting in one line: names first, then what belongs to them."""
    if isinstance(value, Mapping):
        parts = {
            key: _words(inner) for key, inner in value.items() if inner is not None
        }
        name = parts.pop("name", "")
        rest = ", ".join(f"{key} {inner}" for key, inner in parts.items())
        return f"{name} ({rest})" if name and rest else name or rest
    if isinstance(value, (list, tuple)):
        return ", ".join(_words(inner) for inner in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
