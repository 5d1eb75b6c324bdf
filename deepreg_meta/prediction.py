"""Adapt a model to every pair of a split, and write what comes out."""

import logging
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from deepreg.model.backbone.interface import Backbone
from deepreg.registry import REGISTRY
from tqdm import tqdm

from deepreg_meta import compat
from deepreg_meta.callback.checkpoint import restore_model
from deepreg_meta.callback.fine_tune import FineTune
from deepreg_meta.config import RunConfig
from deepreg_meta.dataset.pipeline import task_arrays
from deepreg_meta.dataset.tasks import Case, CaseSet
from deepreg_meta.model.build import build_optimizer, build_reptile
from deepreg_meta.model.reptile import ReptileModel
from deepreg_meta.results import CaseResult, write_case, write_summary
from deepreg_meta.run_data import open_cases
from deepreg_meta.training import build_model

logger = logging.getLogger(__name__)


def load_model(config: RunConfig, checkpoint: str) -> ReptileModel:
    """
    Build the model of a configuration and restore its weights.

    :param config: of the run that saved the checkpoint.
    :param checkpoint: its path. For DeepReg's own methods DeepReg wrote it: its
        weights are read, its optimiser's state is not.
    :return: a model that adapts.
    :raises ValueError: for a checkpoint of another architecture.
    """
    if config.is_reptile:
        model = build_model(config)
        restore_model(model, checkpoint, weights_only=True)
        return model
    return _load_deepreg_model(config, checkpoint)


def _load_deepreg_model(config: RunConfig, checkpoint: str) -> ReptileModel:
    """Let a model that DeepReg trained adapt, with its losses and its conventions."""
    dataset, train = config.dataset, config.deepreg_config()["train"]
    adapt = dict(config.raw.get("adapt") or {})
    shapes = dict(
        moving_image_size=dataset.moving_shape,
        fixed_image_size=dataset.fixed_shape,
        index_size=2,
        labeled=dataset.labeled,
        batch_size=1,
    )
    model = build_reptile(
        **shapes,
        config=dict(
            train,
            meta=dict(base=config.method),
            align=dict(mode="corner"),
            adapt=adapt,
            stretch=True,
        ),
    )
    model.compile(optimizer=build_optimizer(train["optimizer"]))
    with compat.quiet_losses():
        original = REGISTRY.build_model(
            dict(name=config.method, **shapes, config=dict(train, loss={}))
        )
    try:
        status = tf.train.Checkpoint(model=original).restore(checkpoint)
        status.expect_partial()
        status.assert_existing_objects_matched()
    except (AssertionError, ValueError) as err:
        raise ValueError(
            f"--ckpt_path: {checkpoint} does not fit the backbone and the method "
            f"{config.method} of the configuration ({str(err).splitlines()[0]})."
        ) from err
    layers = [layer for layer in original._model.layers if isinstance(layer, Backbone)]
    model.network.backbone.set_weights(layers[0].get_weights())
    return model


def adapt_and_predict(
    config: RunConfig,
    checkpoint: str,
    mode: str,
    folder: Path,
    save_nifti: bool = True,
    save_png: bool = True,
) -> Path:
    """
    Register every pair of a split and write images, fields, tables and figures.

    Results are gathered in a folder beside `folder` and moved there when all are
    complete, so that nothing half-written is left.

    :param config: of the run that saved the checkpoint.
    :param checkpoint: its path.
    :param mode: train, valid or test.
    :param folder: of the results; replaced if it exists.
    :param save_nifti: write images, labels and fields.
    :param save_png: draw figures.
    :return: the folder.
    :raises ValueError: for data or a checkpoint that cannot be used.
    """
    if folder.exists() and not (folder / "metrics.csv").exists():
        raise ValueError(
            f"--log_dir: {folder} exists and holds no results that could be replaced, "
            "such as TensorBoard's files of a training. Choose another name."
        )
    cases = open_cases(config, (mode,))[mode]
    if cases is None:
        raise ValueError(
            f"dataset.dir.{mode} {config.locate(f'dataset.dir.{mode}')}: expected a "
            f"folder for --mode {mode}, got none."
        )
    model = load_model(config, checkpoint)
    folder.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        results = predict_cases(
            model, cases, config.adapt.steps, working, save_nifti, save_png
        )
        text = write_summary(working, results, model.history_names, title=mode)
        config.dump(working / "config.yaml", header=f"checkpoint {checkpoint}")
        shutil.rmtree(folder, ignore_errors=True)
        working.chmod(0o755)
        working.rename(folder)
    except BaseException:
        shutil.rmtree(working, ignore_errors=True)
        raise
    finally:
        cases.close()
    tqdm.write(text)
    return folder


def predict_cases(
    model: ReptileModel,
    cases: CaseSet,
    steps: int,
    folder: Path,
    save_nifti: bool,
    save_png: bool,
) -> list[CaseResult]:
    """
    Adapt to every case, predict and write its files.

    :param model: its weights are the same afterwards.
    :param cases: of a split.
    :param steps: updates for each pair.
    :param folder: of the results.
    :param save_nifti: write images, labels and fields.
    :param save_png: draw figures.
    :return: one result per case.
    """
    results, tuner = [], FineTune(steps)

    def register(case: Case) -> dict[str, np.ndarray]:
        arrays = task_arrays(case, cases.num_labels_max)
        inputs = {name: np.asarray(value)[None] for name, value in arrays.items()}
        outputs = model.predict(inputs, batch_size=1, callbacks=[tuner], verbose=0)
        return {name: value[0] for name, value in outputs.items()}

    with tuner.protect(model), tqdm(cases, unit="pair", desc="registering") as bar:
        # the first call compiles; the pair is registered again, so that its time is
        # that of a registration too
        start = time.perf_counter()
        register(cases[0])
        bar.set_postfix_str(f"compiled in {time.perf_counter() - start:.0f} s")
        for case in bar:
            outputs = register(case)
            result = CaseResult(
                case=case,
                outputs=outputs,
                seconds=tuner.seconds[-1],
                steps=steps,
                frame_axis=model.adapt_drawer.options.frame_axis,
                is_sparse=model.adapt_drawer.options.frames is not None,
                scores_images=model.loss_fn.uses_image,
            )
            results.append(write_case(folder, result, save_nifti, save_png))
    return results
