"""Save a run so that it can go on with the very same weights, state and draws."""

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from deepreg_meta.checkpoint_path import CHECKPOINT_NAME


def restore_model(model: tf.keras.Model, checkpoint: str, weights_only: bool) -> None:
    """
    Restore a compiled Reptile model, all of it.

    :param model: of the same configuration as the one that was saved.
    :param checkpoint: its path.
    :param weights_only: leave all but the network as it is (prediction needs no more,
        and its optimiser may be another one).
    :raises ValueError: when the checkpoint belongs to another architecture, or, unless
        `weights_only`, to another optimiser, and for one that is damaged.
    """
    try:
        _restore(model, checkpoint, weights_only)
    except (tf.errors.OpError, IndexError) as err:
        reason = str(err).splitlines()[0]
        raise ValueError(
            f"--ckpt_path: expected the files of a checkpoint, whole, got {checkpoint}"
            f".*, which cannot be read: {reason} Take another one of its run."
        ) from err


def _restore(model: tf.keras.Model, checkpoint: str, weights_only: bool) -> None:
    saved = {name: tuple(shape) for name, shape in tf.train.list_variables(checkpoint)}
    problem = _architecture_problem(model, saved)
    if problem:
        raise ValueError(
            f"--ckpt_path: {checkpoint} was saved by another architecture than the "
            f"configuration describes: {problem} Use the config.yaml of its run, or "
            "none at all."
        )
    if weights_only:
        part = tf.train.Checkpoint(network=model.network)
        status = tf.train.Checkpoint(model=part).restore(checkpoint).expect_partial()
        status.assert_existing_objects_matched()
        return
    try:
        tf.train.Checkpoint(model=model).restore(checkpoint).assert_consumed()
    except (AssertionError, ValueError) as err:
        raise ValueError(
            f"--ckpt_path: {checkpoint} cannot be continued with the optimisers of the "
            "configuration, their state is that of others. Use train.optimizer, "
            "adapt.optimizer, adapt.layers and train.precision of the config.yaml of "
            "its run."
        ) from err


def _architecture_problem(model: tf.keras.Model, saved: dict[str, tuple]) -> str:
    """Compare the shapes of the network's weights, as a count of each shape."""
    prefix = "model/network/"
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    shapes = sorted(
        shape
        for name, shape in saved.items()
        if name.startswith(prefix)
        and name.endswith(suffix)
        and ".OPTIMIZER_SLOT" not in name
    )
    expected = sorted(tuple(variable.shape) for variable in model.network.weights)
    # a network may have no weights, but a Reptile model always counts its episodes
    if not shapes and not any(name.startswith("model/episode/") for name in saved):
        return "it holds no network of a Reptile model."
    if shapes == expected:
        return ""
    size = lambda items: sum(int(tf.TensorShape(item).num_elements()) for item in items)  # noqa: E731
    return (
        f"it holds {len(shapes)} arrays with {size(shapes)} weights, the configuration "
        f"has {len(expected)} with {size(expected)}."
    )


def save(model: tf.keras.Model, folder: Path, epoch: int, keep: int | None) -> None:
    """
    Save a compiled model as `ckpt-<epoch>`.

    :param model: all of it is saved.
    :param folder: of checkpoints.
    :param epoch: number of the epochs that it has had; 0 has not been trained.
    :param keep: checkpoints that are kept in the folder; None keeps all.
    """
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(model=model),
        str(folder),
        max_to_keep=keep,
        checkpoint_name=CHECKPOINT_NAME,
    )
    manager.save(checkpoint_number=epoch)


class SaveCheckpoint(tf.keras.callbacks.Callback):
    """
    Save `save/ckpt-<epoch>` every few epochs and at the end, and the best one apart.

    The best is the one whose adapted validation figure is best: Dice where the training
    uses labels, else the loss, so that labels for scoring choose nothing; it lies in
    `best`, beside the figure that chose it.
    """

    def __init__(
        self, log_dir: str | Path, due: Callable[[int], bool], labeled: bool
    ) -> None:
        """
        :param log_dir: folder of the run.
        :param due: whether to save after an epoch, from its number, which starts at 1.
        :param labeled: choose by Dice rather than by loss.
        """
        super().__init__()
        self._dir, self._due = Path(log_dir), due
        self._monitor = "val_dsc_adapted" if labeled else "val_loss_adapted"
        self._sign = 1.0 if labeled else -1.0
        self._last = 0
        self._best = self._read_best()

    def _read_best(self) -> float:
        try:
            return self._sign * float((self._dir / "best" / "score.txt").read_text())
        except (FileNotFoundError, ValueError):
            return -float("inf")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Save when it is time, and when the validation is the best so far."""
        epoch += 1
        if self._due(epoch):
            save(self.model, self._dir / "save", epoch, None)
            self._last = epoch
        value = (logs or {}).get(self._monitor)
        if value is not None and self._sign * value > self._best:
            self._best = self._sign * value
            save(self.model, self._dir / "best", epoch, 1)
            (self._dir / "best" / "score.txt").write_text(f"{value:.6f}\n")

    def on_train_end(self, logs: dict | None = None) -> None:
        """Save the last epoch if its turn had not come."""
        steps = max(self.params.get("steps") or 1, 1)
        epoch = int(self.model.episode.numpy()) // steps
        if epoch > self._last:
            save(self.model, self._dir / "save", epoch, None)
