"""Adapt a model to every pair it predicts, and check that its weights come back."""

import contextlib
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from deepreg_meta import weights
from deepreg_meta.model.reptile import ReptileModel


class FineTune(tf.keras.callbacks.Callback):
    """
    Fine-tune the meta-weights on every pair of `predict`, for that pair alone.

    `ReptileModel.predict_step` adapts and restores; this callback chooses the number of
    steps, times every pair, records its history, and makes sure that the weights are
    the same, bit for bit, before and after.

    Example::

        tuner = FineTune(steps=8)
        with tuner.protect(model):
            model.predict(dataset, callbacks=[tuner])
        tuner.histories[0]  # (8, n) losses and scores of the first pair
    """

    def __init__(
        self,
        steps: int,
        on_pair: Callable[[int, dict[str, np.ndarray], float], None] | None = None,
    ) -> None:
        """
        :param steps: updates for each pair, N >= 0; 0 predicts without adaptation.
        :param on_pair: called with the index of a pair, its outputs and its seconds.
        :raises ValueError: for a negative number of steps.
        """
        super().__init__()
        if steps < 0:
            raise ValueError(f"adapt.steps: expected an integer >= 0, got {steps}.")
        self.steps = steps
        self.histories: list[np.ndarray] = []
        self.seconds: list[float] = []
        self._on_pair = on_pair
        self._start: list[np.ndarray] = []
        self._begin = 0.0

    @contextlib.contextmanager
    def protect(self, model: ReptileModel) -> Iterator[None]:
        """
        Give the model its weights and steps back, whatever happens inside.

        :param model: its meta-weights are kept.
        """
        steps = model.adapt_steps
        start = [variable.numpy() for variable in model.network.weights]
        try:
            yield
        finally:
            model.adapt_steps = steps
            model.predict_function = None  # it was traced for our number of steps
            if not weights.equal(start, model.network.weights):
                weights.restore(model.network.weights, start)

    def on_predict_begin(self, logs: dict | None = None) -> None:
        """Set the steps and remember the weights."""
        if self.model.adapt_steps != self.steps:
            self.model.adapt_steps = self.steps
            self.model.predict_function = None
            self.model.make_predict_function()
        self._start = [variable.numpy() for variable in self.model.network.weights]

    def on_predict_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Start the clock of a pair."""
        self._begin = time.perf_counter()

    def on_predict_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """
        Record a pair and check that the weights came back.

        :raises RuntimeError: when they did not.
        """
        outputs = (logs or {})["outputs"]
        outputs = {name: np.asarray(value)[0] for name, value in outputs.items()}
        self.seconds.append(time.perf_counter() - self._begin)
        self.histories.append(outputs["history"])
        if not weights.equal(self._start, self.model.network.weights):
            raise RuntimeError(
                f"the meta-weights changed while pair {batch} was adapted; something "
                "else assigned to them during `predict`."
            )
        if self._on_pair is not None:
            self._on_pair(len(self.seconds) - 1, outputs, self.seconds[-1])
