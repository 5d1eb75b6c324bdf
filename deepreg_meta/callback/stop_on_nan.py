"""End a training whose loss is no number any more."""

import math
from pathlib import Path

import tensorflow as tf


class StopOnNan(tf.keras.callbacks.Callback):
    """
    Stop after the first epoch whose mean loss is not a number or infinite.

    Its weights are lost; they are not saved, so that the run can be continued from the
    checkpoint before.
    """

    def __init__(self, log_dir: str | Path) -> None:
        """:param log_dir: folder of the run, for the message."""
        super().__init__()
        self._dir = Path(log_dir)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """
        :param epoch: from 0.
        :param logs: with `loss`.
        :raises ValueError: when it is no number.
        """
        loss = float((logs or {}).get("loss", 0.0))
        if math.isfinite(loss):
            return
        raise ValueError(
            f"train: expected a finite loss, got {loss} in epoch {epoch + 1}. A "
            "smaller train.optimizer.learning_rate, or train.optimizer.clipnorm, may "
            f"help; checkpoints before it, if any, are in {self._dir / 'save'}."
        )
