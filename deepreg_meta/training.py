"""Meta-train a model from a validated configuration."""

import json
import logging
from importlib import metadata
from pathlib import Path

import tensorflow as tf
from deepreg.registry import REGISTRY

from deepreg_meta import __version__
from deepreg_meta.callback.checkpoint import SaveCheckpoint, restore_model, save
from deepreg_meta.callback.kernel_picture import kernel_pictures
from deepreg_meta.callback.progress import Progress
from deepreg_meta.callback.stop_on_nan import StopOnNan
from deepreg_meta.checkpoint_path import (
    DATA_FILE,
    epoch_of,
    newest_checkpoint,
    run_of,
)
from deepreg_meta.command_line import new_run_folder
from deepreg_meta.config import ConfigError, RunConfig
from deepreg_meta.dataset.describe import describe_cases
from deepreg_meta.dataset.domains import Domains
from deepreg_meta.dataset.pipeline import (
    EpisodeLayout,
    evaluation_dataset,
    training_dataset,
)
from deepreg_meta.dataset.tasks import CaseSet
from deepreg_meta.geometry.whole_file import whole_file
from deepreg_meta.model.build import build_optimizer
from deepreg_meta.model.precision import check_precision
from deepreg_meta.model.replicas import strategy_for
from deepreg_meta.model.reptile import ReptileModel
from deepreg_meta.registered import check_registered
from deepreg_meta.results.folder import claimed
from deepreg_meta.run_data import open_training

logger = logging.getLogger(__name__)
LOG_FILE = "log.csv"  # a row for each epoch, in a run's folder


def episode_layout(config: RunConfig) -> EpisodeLayout:
    """Return what the elements of the training data hold."""
    train = config.reptile_train
    meta, size = train.meta, train.preprocess.batch_size
    if meta.task == "pair":
        return EpisodeLayout(meta.tasks_per_step)
    # the gradient of first-order MAML is taken on a mini-batch of its own
    batches = meta.inner_steps + (meta.update == "fomaml") if meta.resamples else 1
    return EpisodeLayout(meta.tasks_per_step, (batches, size))


def episodes_per_epoch(config: RunConfig, cases: CaseSet | Domains) -> int:
    """Return `train.meta.episodes_per_epoch`; without it every pair comes up once."""
    meta, layout = config.reptile_train.meta, episode_layout(config)
    per_episode = layout.num_tasks * layout.pairs_per_task
    return meta.episodes_per_epoch or max(len(cases) // per_episode, 1)


def check_names(config: RunConfig) -> None:
    """
    Check what a configuration names before any data is read.

    :param config: with method reptile.
    :raises ConfigError: for what is not registered, options that it does not take, or a
        precision that this machine does not have.
    """
    check_registered(config)
    try:
        check_precision(config.reptile_train.precision)
    except ValueError as err:
        raise ConfigError([_located(config, str(err))]) from err


def build_model(
    config: RunConfig,
    num_episodes: int = 1,
    strategy: tf.distribute.Strategy | None = None,
) -> ReptileModel:
    """
    Build and compile the model of a configuration, its weights drawn from its seed.

    :param config: with method reptile.
    :param num_episodes: of the whole run, over which the meta step size decays.
    :param strategy: shares the tasks of an episode; None trains on one device.
    :return: the model.
    :raises ConfigError: for what the model, its backbone or its losses refuse.
    """
    tf.keras.utils.set_random_seed(config.seed)
    dataset, train = config.dataset, config.raw["train"]
    model_config = dict(
        train,
        meta=dict(train.get("meta") or {}, num_episodes=num_episodes),
        align=config.raw["align"],
        adapt=config.raw["adapt"],
    )
    model_section = dict(
        name=config.method,
        moving_image_size=dataset.moving_shape,
        fixed_image_size=dataset.fixed_shape,
        index_size=2 if dataset.type == "paired" else 3,
        labeled=dataset.labeled,
        batch_size=config.reptile_train.preprocess.batch_size,
        config=model_config,
    )
    try:
        model = REGISTRY.build_model(model_section)
        optimizer = build_optimizer(train["optimizer"], config.reptile_train.precision)
        model.compile(optimizer=optimizer, strategy=strategy)
    except Exception as err:  # whatever a backbone makes of its options
        raise ConfigError([_located(config, str(err) or repr(err))]) from err
    return model


def _located(config: RunConfig, text: str) -> str:
    """Say in which file the key stands that an error of the model begins with."""
    text = " ".join(text.split())
    key, colon, rest = text.partition(": ")
    if not colon or key.split(".")[0] not in ("adapt", "align", "dataset", "train"):
        key, rest = "train.backbone", f"the model cannot be built: {text}"
    return f"{key} {config.locate(key)}: {rest}"


def meta_train(
    config: RunConfig,
    ckpt_path: str = "",
    log_dir: str = "",
    log_root: str = "logs",
    fine_tune: bool = False,
) -> Path:
    """
    Meta-train and save checkpoints, logs and the configuration in a run's folder.

    :param config: with method reptile.
    :param ckpt_path: checkpoint or folder of a run to continue from, "" for none.
    :param log_dir: name of the run's folder, "" for the time.
    :param log_root: folder of all runs.
    :param fine_tune: take the weights of `ckpt_path` alone and start a run of its own
        with them: epoch 0, optimisers anew.
    :return: folder of the run.
    :raises ValueError: for data or a checkpoint that does not fit, before training.
    """
    check_names(config)
    checkpoint = newest_checkpoint(ckpt_path) if ckpt_path else ""
    folder = new_run_folder(log_root, log_dir)
    is_new = fine_tune or not checkpoint
    if fine_tune and not checkpoint:
        raise ValueError(
            "--fine-tune: expected --ckpt_path, whose weights it starts from, got none."
        )
    is_other = is_new or folder.resolve() != run_of(checkpoint).resolve()
    _check_folder(folder, "" if is_other else checkpoint)
    cases = open_training(config)
    if cases["train"] is None:
        raise ValueError(
            f"dataset.dir.train {config.locate('dataset.dir.train')}: expected a "
            "folder to train on, got none."
        )
    per_epoch = episodes_per_epoch(config, cases["train"])
    epochs = config.reptile_train.epochs
    strategy = strategy_for(config.reptile_train.meta.tasks_per_step)
    model = build_model(config, epochs * per_epoch, strategy)
    first_epoch = 0
    if fine_tune:
        restore_model(model, checkpoint, weights_only=True)
        logger.info("Starting from the weights of %s.", checkpoint)
    elif checkpoint:
        restore_model(model, checkpoint, weights_only=False)
        first_epoch = epoch_of(checkpoint)
        if first_epoch >= epochs:
            raise ValueError(
                f"--ckpt_path: {checkpoint} has had {first_epoch} epochs already, and "
                f"train.epochs is {epochs}. Raise it, or use --max_epochs."
            )
        # where an epoch has more or fewer episodes than before
        model.episode.assign(first_epoch * per_epoch)
        logger.info(
            "Continuing from %s: episode %d of %d, meta step size %.3g.",
            checkpoint,
            model.episode.numpy(),
            epochs * per_epoch,
            model.meta_step_size().numpy(),
        )
    folder.mkdir(parents=True, exist_ok=True)
    told = f"--log_dir: another training is writing to {folder}. Choose another name."
    with claimed(folder, told):
        _check_folder(folder, "" if is_other else checkpoint)  # written meanwhile?
        logger.info("The run is written to %s.", folder)
        config.dump(folder / "config.yaml", header=_provenance(checkpoint, fine_tune))
        text = json.dumps(describe_cases(cases["train"]), indent=1)
        (folder / DATA_FILE).write_text(f"{text}\n", encoding="utf-8")
        fit(model, config, cases, folder, first_epoch)
    for split in cases.values():
        if split is not None:
            split.close()
    return folder


def _check_folder(folder: Path, checkpoint: str) -> None:
    """
    Refuse a folder whose checkpoints would be mixed with those of this training.

    :param folder: of the run.
    :param checkpoint: that is continued from in this folder; "" for another run.
    :raises ValueError: for a folder with a run, or with checkpoints after that one.
    """
    if not list(folder.glob("save/*.index")):
        return
    if not checkpoint:
        raise ValueError(
            f"--log_dir: {folder} holds a run already. Continue it with --ckpt_path "
            f"{folder}, or choose another name."
        )
    newest = newest_checkpoint(folder)
    if epoch_of(newest) > epoch_of(checkpoint):
        raise ValueError(
            f"--ckpt_path: expected the newest checkpoint of {folder}, {newest}, to "
            f"continue in that folder, got {checkpoint}. Name another --log_dir."
        )


def _provenance(checkpoint: str, fine_tune: bool) -> str:
    """Return comment lines that say what a run was made with."""
    names = ("tensorflow", "tf-keras", "deepreg", "numpy")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    lines = [f"deepreg_meta {__version__}, {versions}"]
    if checkpoint:
        how = "started from the weights of" if fine_tune else "continued from"
        lines.append(f"{how} {checkpoint}")
    return "\n".join(lines)


def _cut_log(path: Path, first_epoch: int) -> None:
    """
    Take the epochs out of a log that are run again.

    An interruption may come some epochs after the last checkpoint.

    :param path: of the log; it need not exist.
    :param first_epoch: the first of them, from 0.
    """
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    numbers = [line.partition(",")[0] for line in lines]
    kept = [
        line
        for line, number in zip(lines, numbers, strict=True)
        if not number.isdigit() or int(number) < first_epoch
    ]
    if kept != lines:
        with whole_file(path) as part:
            part.write_text("".join(kept), encoding="utf-8")


def fit(
    model: ReptileModel,
    config: RunConfig,
    cases: dict[str, CaseSet | Domains | None],
    folder: Path,
    first_epoch: int = 0,
) -> None:
    """
    Run the episodes of a configuration; checkpoints and logs go to a folder.

    :param model: from `build_model`, restored if it is to continue.
    :param config: with method reptile.
    :param cases: train, and valid or None.
    :param folder: of the run; it exists.
    :param first_epoch: epochs that the model has had.
    """
    options, train, valid = config.reptile_train, cases["train"], cases["valid"]
    if train is None:
        raise ValueError("fit: expected cases to train on, got none.")
    if options.epochs == 0:
        save(model, folder / "save", 0, None)
        return
    per_epoch = episodes_per_epoch(config, train)
    start, end = first_epoch * per_epoch, options.epochs * per_epoch
    due = options.saves_after
    if first_epoch == 0 and due(0):
        save(model, folder / "save", 0, None)
    _cut_log(folder / LOG_FILE, first_epoch)
    log = tf.keras.callbacks.CSVLogger(folder / LOG_FILE, append=start > 0)
    # Keras would take the columns from the first epoch, which may have no validation
    log.keys = model.log_names
    progress = Progress(end, start)
    try:
        model.fit(
            training_dataset(
                train, config.seed, episode_layout(config), range(start, end)
            ),
            steps_per_epoch=per_epoch,
            initial_epoch=first_epoch,
            epochs=options.epochs,
            validation_data=None if valid is None else evaluation_dataset(valid),
            validation_freq=[n + 1 for n in range(options.epochs) if due(n + 1)],
            callbacks=[
                tf.keras.callbacks.TensorBoard(str(folder), write_graph=False),
                log,
                StopOnNan(folder),
                SaveCheckpoint(folder, due, model.loss_fn.uses_label),
                *kernel_pictures(model.network, folder, due),
                progress,
            ],
            verbose=0,
        )
    finally:
        progress.on_train_end()  # an interruption must not leave the bar open
