"""A progress bar with the time that is left, and the figures that matter."""

import tensorflow as tf
from tqdm import tqdm


class Progress(tf.keras.callbacks.Callback):
    """Show the episodes of a training run in one bar."""

    def __init__(self, num_episodes: int, first_episode: int = 0) -> None:
        """
        :param num_episodes: of the whole run.
        :param first_episode: where this run starts.
        """
        super().__init__()
        self._total, self._first = num_episodes, first_episode
        self._bar: tqdm | None = None
        self._valid: dict[str, str] = {}

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Open the bar."""
        self._bar = tqdm(
            total=self._total,
            initial=self._first,
            unit="episode",
            desc="meta-training",
            dynamic_ncols=True,
            mininterval=1.0,
        )

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Advance by one episode."""
        if self._bar is None:
            return
        logs = logs or {}
        shown = {"loss": f"{float(logs.get('loss', float('nan'))):.3f}", **self._valid}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(1)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Keep the latest validation figures in sight."""
        for name in ("dsc_unadapted", "dsc_adapted", "loss_adapted"):
            value = (logs or {}).get(f"val_{name}")
            if value is not None and value == value:
                self._valid[name] = f"{value:.3f}"

    def on_train_end(self, logs: dict | None = None) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
