"""Adapt a model to every pair of a split, and write what comes out."""

import contextlib
import math
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from deepreg_meta.callback.checkpoint import restore_model
from deepreg_meta.callback.fine_tune import FineTune
from deepreg_meta.config import RunConfig
from deepreg_meta.dataset.case import Case
from deepreg_meta.dataset.pipeline import single_dataset, task_arrays
from deepreg_meta.dataset.tasks import CaseSet
from deepreg_meta.model.reptile import ReptileModel
from deepreg_meta.model.task import Task
from deepreg_meta.model_file import load_model
from deepreg_meta.results.case import CaseResult
from deepreg_meta.results.files import Outputs, write_case
from deepreg_meta.results.folder import check_replaceable, whole_folder
from deepreg_meta.results.summary import write_summary
from deepreg_meta.run_data import open_cases


def adapt_and_predict(
    config: RunConfig,
    checkpoint: str,
    mode: str,
    folder: Path,
    outputs: Outputs | None = None,
    adapt_seconds: float | None = None,
) -> Path:
    """
    Register every pair of a split and write images, transforms, tables and figures.

    :param config: of the run that saved the checkpoint.
    :param checkpoint: its path.
    :param mode: train, valid or test.
    :param folder: of the results; replaced if it exists.
    :param outputs: which files are written of a pair; None is the default.
    :param adapt_seconds: take as many updates as fit into this time, instead of
        `adapt.steps`.
    :return: the folder.
    :raises ValueError: for data or a checkpoint that cannot be used.
    """
    several = adapt_and_predict_each(
        config, {checkpoint: folder}, mode, outputs, adapt_seconds
    )
    with contextlib.closing(several):
        return next(several)


def adapt_and_predict_each(
    config: RunConfig,
    folders: Mapping[str, Path],
    mode: str,
    outputs: Outputs | None = None,
    adapt_seconds: float | None = None,
) -> Generator[Path, None, None]:
    """
    Do it with several checkpoints of one run, reading data and model once.

    :param config: of the run that saved the checkpoints.
    :param folders: of the results, by path of the checkpoint.
    :param mode: as of `adapt_and_predict`.
    :param outputs: as of `adapt_and_predict`.
    :param adapt_seconds: as of `adapt_and_predict`.
    :return: the folders, each when its checkpoint is done.
    :raises ValueError: as `adapt_and_predict` does.
    """
    for folder in folders.values():
        check_replaceable(folder, "--log_dir")
    cases = open_cases(config, (mode,))[mode]
    if cases is None:
        raise ValueError(
            f"dataset.dir.{mode} {config.locate(f'dataset.dir.{mode}')}: expected a "
            f"folder for --mode {mode}, got none."
        )
    model = None
    tuner = FineTune.of(config.adapt, seconds=adapt_seconds)
    try:
        for checkpoint, folder in folders.items():
            if model is None or not config.is_reptile:
                model = load_model(config, checkpoint)
            else:
                restore_model(model, checkpoint, weights_only=True)
            with whole_folder(folder) as working:
                found = predict_cases(
                    model, cases, tuner, working, outputs or Outputs()
                )
                text = write_summary(working, found, model.history_names, title=mode)
                tuner.dump_config(config, checkpoint, working / "config.yaml")
            tqdm.write(text)
            yield folder
    finally:
        cases.close()


def predict_cases(
    model: ReptileModel,
    cases: CaseSet,
    tuner: FineTune,
    folder: Path,
    outputs: Outputs,
) -> list[CaseResult]:
    """
    Adapt to every case, predict and write its files.

    :param model: its weights are the same afterwards.
    :param cases: of a split.
    :param tuner: says how far adaptation goes.
    :param folder: of the results.
    :param outputs: which files are written of a pair.
    :return: one result per case.
    """
    results = []
    with tuner.protect(model), tqdm(cases, unit="pair", desc="registering") as bar:
        num_labels_max = cases.num_labels_max  # asks the header of every file
        inputs = network_inputs(cases[0], num_labels_max)
        bar.set_postfix_str(
            f"compiled in {tuner.warm_up(model, single_dataset(inputs)):.0f} s"
        )
        for case in bar:
            result = register_case(model, case, tuner, num_labels_max)
            results.append(write_case(folder, result, outputs))
    return results


def network_inputs(case: Case, num_labels_max: int) -> dict[str, np.ndarray]:
    """
    Return a pair as the model's `predict` takes it.

    :param case: the pair.
    :param num_labels_max: label channels after padding.
    :return: the fields of `Task`, with a leading axis of one.
    """
    arrays = task_arrays(case, num_labels_max)
    return {name: np.asarray(value)[None] for name, value in arrays.items()}


def register_case(
    model: ReptileModel,
    case: Case,
    tuner: FineTune,
    num_labels_max: int,
    network_case: Case | None = None,
) -> CaseResult:
    """
    Adapt to one pair and predict.

    :param model: its weights are the same afterwards.
    :param case: the pair.
    :param tuner: says how far adaptation goes; its `protect` holds the model.
    :param num_labels_max: label channels after padding.
    :param network_case: what the model is shown, where that is not the case itself.
    :return: what the model put out, not scored yet.
    """
    inputs = network_inputs(network_case or case, num_labels_max)
    outputs = model.predict(single_dataset(inputs), callbacks=[tuner], verbose=0)
    own = {name: value[0] for name, value in outputs.items()}
    return case_result(model, case, own, tuner.seconds[-1], tuner.cpu_seconds[-1])


def case_result(
    model: ReptileModel,
    case: Case,
    outputs: dict[str, np.ndarray],
    seconds: float,
    cpu_seconds: float = math.nan,
) -> CaseResult:
    """
    Put together what came out for a pair.

    :param model: that registered it.
    :param case: the pair.
    :param outputs: as of `Adaptation.run`.
    :param seconds: that it took.
    :param cpu_seconds: that it took, all cores together.
    """
    drawing = model.adapt_drawer.options
    return CaseResult(
        case=case,
        outputs=outputs,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        frame_axis=drawing.frame_axis,
        is_sparse=drawing.frames is not None,
        scores_images=model.loss_fn.uses_image,
    )


def register_cases_together(
    model: ReptileModel, inputs: Sequence[dict[str, np.ndarray]], tuner: FineTune
) -> tuple[list[dict[str, np.ndarray]], float]:
    """
    Adapt to several pairs together and predict all.

    :param model: its weights are the same afterwards.
    :param inputs: of each pair, from `network_inputs`.
    :param tuner: says how far adaptation goes.
    :return: what came out for each pair, as of `Adaptation.run`; and the seconds that
        all took.
    :raises ValueError: as `Adaptation.run_together` does.
    """
    tasks = [
        Task(**{name: tf.constant(value[0]) for name, value in own.items()})
        for own in inputs
    ]
    with tuner.protect(model):
        found, seconds = model.adapt_together(tasks, tuner.plan)
    each = ("ddf", "ddf_unadapted", "matrix", "offset")
    drawer = model.adapt_drawer
    slices = np.ones(drawer.fixed_size[drawer.options.frame_axis], np.float32)
    shared = {name: found[name] for name in ("history", "best_step", "losses")}
    return [
        {**{name: found[name][i] for name in each}, "slices": slices, **shared}
        for i in range(len(tasks))
    ], seconds
