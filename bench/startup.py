"""From the command to the first step, and to the first registered pair."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from child import ROOT, ChildError, environment
from marked import IMPORTED, STAGES
from timing import Table, spread, track

COLUMNS = {"command": "", "until": "", "stage": "s", "since the command": "s"}
NOTE = (
    "config/meta_trus.yaml on the smallest phantom, with one inner step per episode; "
    "the pair is registered with its labels and 8 updates. Each run is a new process; "
    "the phantom was written by an earlier one. Median (10th to 90th percentile)."
)
EXIT = "exit"
MARKED = Path(__file__).with_name("marked.py")


def overlay(quick: bool) -> dict[str, Any]:
    """Return what is merged after config/meta_trus.yaml."""
    dataset: dict[str, Any] = dict(
        phantom=dict(seed=0, num_train=2, num_valid=0, num_test=1)
    )
    train: dict[str, Any] = dict(
        meta=dict(inner_steps=1, episodes_per_epoch=2), epochs=1, save_period=1
    )
    if quick:
        dataset |= dict(moving_image_shape=[16, 18, 14], fixed_image_shape=[14, 16, 12])
        train["backbone"] = dict(num_channel_initial=1, extract_levels=[0, 1])
    return dict(dataset=dataset, train=train)


def launch(command: str, arguments: list[str], folder: Path) -> dict[str, float]:
    """
    Run a command in a new process.

    :param command: train or register.
    :param arguments: of the command.
    :param folder: for the phantom and the marks.
    :return: seconds since the launch at the end of each stage, and at the exit.
    :raises ChildError: when it failed, with the end of what it said.
    """
    output = folder / "marks.json"
    begin = time.time()
    done = subprocess.run(
        [sys.executable, MARKED, command, repr(begin), output, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=dict(environment(), DEEPREG_META_CACHE=str(folder / "cache")),
    )
    end = time.time() - begin
    if done.returncode != 0:
        said = "\n".join(done.stderr.splitlines()[-20:])
        raise ChildError(f"deepreg_{command}: exit status {done.returncode}.\n{said}")
    return {**json.loads(output.read_text()), EXIT: end}


def pair_arguments(folder: Path) -> list[str]:
    """Return the arguments of deepreg_register for the pair of the phantom's test."""
    (image,) = (folder / "cache").glob("*/test/fixed_images/*.nii.gz")
    split = image.parents[1]
    arguments = ["--ckpt_path", str(folder / "logs" / "run0"), "--adapt-steps", "8"]
    for side in ("fixed", "moving"):
        arguments += [f"--{side}", str(split / f"{side}_images" / image.name)]
        arguments += [f"--{side}-label", str(split / f"{side}_labels" / image.name)]
    return arguments


def run(quick: bool) -> Table:
    """Return the stages of both commands."""
    table = Table("Start-up", COLUMNS, NOTE)
    repeats = 1 if quick else 3
    found: dict[str, list[dict[str, float]]] = {"train": [], "register": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = folder / "overlay.yaml"
        own.write_text(yaml.safe_dump(overlay(quick)))
        train = ["--config", str(ROOT / "config" / "meta_trus.yaml"), str(own)]
        train += ["--log_root", str(folder / "logs")]
        # the first one writes the phantom and is not counted
        for index in track(range(repeats + (not quick)), "start-up, train"):
            marks = launch("train", [*train, "--log_dir", f"run{index}"], folder)
            found["train"].append(marks)
        found["train"] = found["train"][-repeats:]
        register = pair_arguments(folder)
        for index in track(range(repeats), "start-up, register"):
            output = ["--output", str(folder / f"pair{index}")]
            found["register"].append(launch("register", [*register, *output], folder))
    for command, runs in found.items():
        add_rows(table, command, runs)
    return table


def add_rows(table: Table, command: str, runs: list[dict[str, float]]) -> None:
    """Append the stages of a command in the order in which they ended."""
    stages = [IMPORTED, *STAGES[command].values(), EXIT]
    stages.sort(key=lambda stage: float(np.median([marks[stage] for marks in runs])))
    before = np.zeros(len(runs))
    for stage in stages:
        since = np.array([marks[stage] for marks in runs])
        table.add(f"deepreg_{command}", stage, spread(since - before), spread(since))
        before = since
