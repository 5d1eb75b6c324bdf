"""
Run a command of deepreg_meta and note when it has got where.

    python bench/marked.py train BEGIN MARKS [arguments of deepreg_train]

BEGIN is the time at which it was launched, in seconds of the epoch. MARKS is written
with how many seconds later each function of interest came back for the first time.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

IMPORTED = "imports"
# what a stage ends with: the first return of a function, as module:name
STAGES = {
    "train": {
        "deepreg_meta.run_data:phantom_folder": "phantom found or written",
        "deepreg_meta.training:open_training": "data checked",
        "deepreg_meta.training:build_model": "model built",
        "deepreg_meta.callback.progress:Progress.on_train_batch_end": "first episode",
    },
    "register": {
        "deepreg_meta.registration:read_pair": "pair read",
        "deepreg_meta.registration:load_model": "model built and restored",
        "deepreg_meta.callback.fine_tune:FineTune.warm_up": "traced and compiled",
        "deepreg_meta.registration:register_case": "adapted and predicted",
        "deepreg_meta.results.pair:RegisteredPair.save": "scored and saved",
    },
}
COMMANDS = {"train": "deepreg_meta.train", "register": "deepreg_meta.register_pair"}


def watch(place: str, mark: Callable[[], None]) -> None:
    """Have a function, or a method, call `mark` each time before it returns."""
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    original = getattr(owner, name)

    def marked(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        mark()
        return result

    setattr(owner, name, marked)


def main(command: str, begin: float, output: Path, arguments: list[str]) -> int:
    """
    Run a command and write its marks.

    :param command: a key of `COMMANDS`.
    :param begin: when it was launched, s of the epoch.
    :param output: JSON file, seconds since `begin` by name of the stage that ended.
    :param arguments: of the command.
    :return: its exit status.
    """
    marks: dict[str, float] = {}

    def mark(stage: str) -> None:
        marks.setdefault(stage, time.time() - begin)

    importlib.import_module("deepreg_meta.command_line").prepare_tensorflow(None, False)
    for place, stage in STAGES[command].items():
        watch(place, partial(mark, stage))
    mark(IMPORTED)
    status = importlib.import_module(COMMANDS[command]).main(arguments)
    output.write_text(json.dumps(marks))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]))
