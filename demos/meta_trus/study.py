"""
Three folds over all MR-TRUS pairs: what adaptation adds to aligning the glands.

    python demos/meta_trus/study.py --from DIR --output OUT

DIR holds train/ and valid/ in DeepReg's paired layout. Every case is tested once, by a
network that was trained on the other two folds. The study resumes where it stopped.
"""

import argparse
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

import deepreg_meta
from deepreg_meta.config import RunConfig, load_config

logger = logging.getLogger(__name__)
HERE = Path(__file__).parent
CONFIGS = (HERE.parents[1] / "config" / "meta_trus.yaml", HERE / "meta_trus_real.yaml")
NUM_FOLDS = 3
FOLD_SEED = 2022  # drawn once, before any result was seen
# best of 5e-4, 1e-3, 2e-3 and 4e-3 for random weights, on pairs held out of train
RANDOM_RATE = 2e-3
REFERENCE, OURS = "centroids, 10 frames", "adapted, 10 frames"


def study_config(folders: list[str], seed: int, extra: list[str]) -> RunConfig:
    """Return the configuration of one seed; `extra` YAML files are merged last."""
    overrides = {
        "dataset": {"dir": {"train": folders, "valid": None, "test": None}},
        "train": {"seed": seed},
    }
    return load_config([*map(str, CONFIGS), *extra], overrides)


def fold_indices(num_cases: int) -> list[np.ndarray]:
    """Split the cases into folds; the same at every call."""
    order = np.random.default_rng(FOLD_SEED).permutation(num_cases)
    return [np.sort(fold) for fold in np.array_split(order, NUM_FOLDS)]


def train_fold(config: RunConfig, cases: object, folder: Path) -> object:
    """Train on the cases of a fold, or go on where the folder says it stopped."""
    from deepreg_meta.callback.checkpoint import restore_model
    from deepreg_meta.checkpoint_path import epoch_of, newest_checkpoint
    from deepreg_meta.training import build_model, episodes_per_epoch, fit

    epochs = config.train.epochs
    model = build_model(config, epochs * episodes_per_epoch(config, cases))
    first = 0
    if list(folder.glob("save/*.index")):
        checkpoint = newest_checkpoint(folder)
        restore_model(model, checkpoint, weights_only=False)
        first = epoch_of(checkpoint)
    if first < epochs:
        folder.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        fit(model, config, {"train": cases, "valid": None}, folder, first)
        (folder / "seconds.txt").write_text(f"{time.perf_counter() - start:.0f}\n")
    return model


def rows_of(result: object, stage: str, method: str) -> list[dict]:
    """Return one row for the gland and one for each landmark of a result."""
    row = result.case_row
    base = {"method": method, "case": row["case"]}
    gland = dict(base, kind="gland", dsc=row[f"dsc_{stage}"], seconds=row["seconds"])
    gland["dsc_off_frames"] = row.get(f"dsc_off_frames_{stage}", np.nan)
    gland["folds"] = row.get(f"folds_{stage}", 0.0)
    landmarks = [
        dict(base, kind="landmark", landmark=r["landmark"], tre=r[f"tre_{stage}_mm"])
        for r in result.landmark_rows
    ]
    return [gland, *landmarks]


def alignment_rows(model: object, cases: object) -> list[dict]:
    """Score the alignments that need no network."""
    import tensorflow as tf

    from deepreg_meta.dataset.pipeline import task_arrays
    from deepreg_meta.model.episode import BatchDrawer
    from deepreg_meta.model.task import Task
    from deepreg_meta.results.case import CaseResult
    from deepreg_meta.results.scene import Scene
    from deepreg_meta.results.score import score

    ours = model.adapt_drawer
    methods = {
        "centres": ("center", None),
        "centroids, full label": ("centroid", None),
        REFERENCE: ("centroid", ours.options.frames),
        "sections, 10 frames": ("sections", ours.options.frames),
    }
    rows = []
    for method, (align, frames) in methods.items():
        options = replace(ours.options, align=align, frames=frames)
        drawer = BatchDrawer(options, ours.loss, ours.moving_size, ours.fixed_size)
        for case in cases:
            arrays = task_arrays(case, cases.num_labels_max)
            task = Task(**{name: tf.constant(v) for name, v in arrays.items()})
            constants = drawer.constants(task)
            seen = None if frames is None else frames[1]
            batch = drawer.adaptation(task, constants, 0, seen)
            # the frames of the sweep, so that all methods are scored off the same ones
            slices = ours.seen_slices(
                constants, ours.options.frames[1], ours.options.frame_axis
            )
            zero = np.zeros([*ours.fixed_size, 3], np.float32)
            outputs = dict(
                ddf=zero,
                ddf_unadapted=zero,
                matrix=batch.matrix.numpy()[0],
                offset=batch.offset.numpy()[0],
                slices=slices.numpy()[0],
                history=np.zeros([0, 0], np.float32),
                losses=np.full(2, np.nan, np.float32),
            )
            axis = ours.options.frame_axis
            result = CaseResult(case, outputs, 0.0, axis, is_sparse=True)
            score(Scene(result))
            rows += rows_of(result, "before", method)
    return rows


def network_rows(
    model: object, cases: object, steps: int, folder: Path, methods: dict[str, str]
) -> list[dict]:
    """Adapt to every case and score; `methods` names what each stage is called."""
    from deepreg_meta.callback.fine_tune import FineTune
    from deepreg_meta.prediction import predict_cases
    from deepreg_meta.results.outputs import Outputs

    outputs = Outputs(volumes=False, formats=(), figure=bool(methods.get("png")))
    results = predict_cases(model, cases, FineTune(steps), folder, outputs)
    return [
        row
        for result in results
        for stage, method in methods.items()
        if stage != "png"
        for row in rows_of(result, stage, method)
    ]


def with_frames(model: object, num_frames: int) -> None:
    """Let the sweeps of a model end after some frames."""
    from deepreg_meta.model.episode import BatchDrawer

    drawer = model.adapt_drawer
    low = min(drawer.options.frames[0], num_frames)
    options = replace(drawer.options, frames=(low, num_frames))
    model.adapt_drawer = BatchDrawer(
        options, drawer.loss, drawer.moving_size, drawer.fixed_size
    )


def random_rows(config: RunConfig, cases: object, folder: Path) -> list[dict]:
    """Adapt from random weights: with our learning rate, and with the best for it."""
    from deepreg_meta.training import build_model

    rows = []
    for rate in (config.adapt_optimizer["learning_rate"], RANDOM_RATE):
        optimizer = dict(config.adapt_optimizer, learning_rate=rate)
        adapt = dict(config.raw["adapt"], optimizer=optimizer)
        model = build_model(replace(config, raw=dict(config.raw, adapt=adapt)))
        methods = dict(adapted=f"adapted from random weights, rate {rate:g}")
        rows += network_rows(model, cases, config.adapt.steps, folder, methods)
    return rows


def run_fold(
    config: RunConfig, cases: object, fold: int, test: np.ndarray, output: Path
) -> pd.DataFrame:
    """Train and test one fold of one seed."""
    name = f"seed{config.seed}_fold{fold}"
    done = output / f"{name}.csv"
    if done.exists():
        return pd.read_csv(done)
    train = [index for index in range(len(cases)) if index not in set(test.tolist())]
    model = train_fold(config, cases.subset(train), output / name)
    tested, steps = cases.subset(test.tolist()), config.adapt.steps
    rows = alignment_rows(model, tested)
    pictures = output / f"{name}_figures"
    rows += network_rows(
        model, tested, steps, pictures, dict(unadapted="unadapted, 10 frames",
                                             adapted=OURS, png="yes"),
    )  # fmt: skip
    for number in (3, 5):
        with_frames(model, number)
        methods = dict(
            before=f"sections, {number} frames", adapted=f"adapted, {number} frames"
        )
        rows += network_rows(model, tested, steps, pictures, methods)
    rows += random_rows(config, tested, pictures)
    table = pd.DataFrame(rows).assign(seed=config.seed, fold=fold)
    table.to_csv(done.with_suffix(".tmp"), index=False)
    done.with_suffix(".tmp").replace(done)
    return table


def check_same(config: RunConfig, names: Sequence[str], path: Path) -> None:
    """
    Keep folds of other settings or data out of a study.

    :param config: of a seed.
    :param names: of its cases.
    :param path: of the configuration of the folds that are there; written where there
        is none, with the names beside it.
    :raises SystemExit: where they are of others.
    """
    cases = path.with_suffix(".json")
    if path.is_file():
        saved = yaml.safe_load(path.read_text(encoding="utf-8"))
        known = json.loads(cases.read_text()) if cases.is_file() else list(names)
        if saved != yaml.safe_load(yaml.safe_dump(config.raw)) or known != list(names):
            raise SystemExit(
                f"--output: {path.parent} holds folds of another configuration, or of "
                "other data. Choose another folder."
            )
    config.dump(path, f"deepreg_meta {deepreg_meta.__version__}")
    cases.write_text(json.dumps(list(names)) + "\n")


def summarise(table: pd.DataFrame) -> tuple[pd.DataFrame, dict]:
    """Pool the folds; a case counts once, with the mean over the seeds."""
    from deepreg_meta.evaluate.statistics import bootstrap_difference_ci, paired_tests

    gland = table[table.kind == "gland"]
    landmarks = table[table.kind == "landmark"]
    lines = []
    for method, rows in gland.groupby("method", sort=False):
        cases = rows.groupby("case")[["dsc", "dsc_off_frames", "folds"]].mean()
        seeds = rows.groupby("seed").dsc.mean()
        points = landmarks[landmarks.method == method]
        tre = points.groupby(["case", "landmark"]).tre.mean()
        lines.append(
            {
                "method": method,
                "Dice": cases.dsc.mean(),
                "SD": cases.dsc.std(),
                "off the frames": cases.dsc_off_frames.mean(),
                "Dice by seed": " / ".join(f"{value:.3f}" for value in seeds),
                "landmarks, mean": tre.mean(),
                "median": tre.median(),
                "folds %": 100 * cases.folds.mean(),
                "s per case": rows.seconds.median(),
            }
        )
    ours, reference = (
        gland[gland.method == name].groupby("case").dsc.mean()
        for name in (OURS, REFERENCE)
    )
    point = landmarks.groupby(["method", "case", "landmark"]).tre.mean()
    groups = point[OURS].index.get_level_values("case").to_numpy()
    tests = {
        "dice": paired_tests(ours.to_numpy(), reference.to_numpy()),
        "dice_ci": bootstrap_difference_ci(ours.to_numpy(), reference.to_numpy()),
        "landmarks": paired_tests(point[OURS].to_numpy(), point[REFERENCE].to_numpy()),
        "landmarks_ci": bootstrap_difference_ci(
            point[OURS].to_numpy(), point[REFERENCE].to_numpy(), groups=groups
        ),
    }
    return pd.DataFrame(lines), tests


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--from", dest="source", required=True, help="folder of data")
    parser.add_argument("--output", default=str(HERE / "logs_study"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--config", nargs="*", default=[], help="further YAML files")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from deepreg_meta.command_line import prepare_tensorflow

    prepare_tensorflow(None, False)
    from deepreg_meta.dataset.tasks import load_case_set

    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    folders = [str(Path(args.source) / split) for split in ("train", "valid")]
    tables = []
    for seed in args.seeds:
        config = study_config(folders, seed, args.config)
        cases = load_case_set(config, "train")
        check_same(config, cases.names, output / f"seed{seed}.yaml")
        for fold, test in enumerate(fold_indices(len(cases))):
            logger.info("seed %d, fold %d: testing %s", seed, fold,
                        ", ".join(cases.names[i] for i in test))  # fmt: skip
            tables.append(run_fold(config, cases, fold, test, output))
    table, tests = summarise(pd.concat(tables))
    table.to_csv(output / "summary.csv", index=False)
    (output / "tests.json").write_text(json.dumps(tests, indent=2, default=float))
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    print(json.dumps(tests, indent=2, default=float))


if __name__ == "__main__":
    main()
