"""Adapt a model to every pair it predicts, and check that its weights come back."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from deepreg_meta import weights
from deepreg_meta.checkpoint_path import name_checkpoint
from deepreg_meta.config import RunConfig
from deepreg_meta.config.adapt_schema import SECONDS_REMARK, AdaptConfig
from deepreg_meta.model.adapt_plan import AdaptPlan
from deepreg_meta.model.plateau import Plateau
from deepreg_meta.model.reptile import ReptileModel


def _whole(steps: Any) -> int | tuple[int, ...]:
    """Return numbers of updates as integers, NumPy's among them."""
    is_list = isinstance(steps, Iterable) and not isinstance(steps, str)
    numbers = tuple(steps) if is_list else (steps,)
    good = [isinstance(n, Integral) and not isinstance(n, bool) for n in numbers]
    if not numbers or not all(good) or min(numbers) < 0:
        rule = "integers >= 0" if is_list else "an integer >= 0"
        raise ValueError(f"adapt.steps: expected {rule}, got {steps!r}.")
    whole = tuple(int(number) for number in numbers)
    return whole if is_list else whole[0]


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
        steps: int | Sequence[int] = 0,
        seconds: float | None = None,
        keep: Literal["last", "best"] = "last",
        on_pair: Callable[[int, dict[str, np.ndarray], float], None] | None = None,
        plateau: Plateau | None = None,
        carry: bool = False,
        field_steps: Sequence[int] = (),
    ) -> None:
        """
        :param steps: updates for each pair, N >= 0; 0 predicts without adaptation. Of
            several scales a number for all, or one for each.
        :param seconds: take as many updates as fit into this time instead.
        :param keep: predict with the last weights, or with the best by their loss.
        :param on_pair: called with the index of a pair, its outputs and its seconds.
        :param plateau: ends the updates of a pair early; None takes all of them.
        :param carry: a pair starts from the adapted weights of the one before.
        :param field_steps: updates of the field itself, one number for each scale of
            `adapt.field`; none leaves the field as the network predicts it.
        :raises ValueError: for a negative number of steps, a time that is not > 0, or
            another choice of weights.
        """
        super().__init__()
        wanted = _whole(steps)
        if seconds is not None and not 0 < seconds < float("inf"):
            raise ValueError(f"adapt seconds: expected a number > 0, got {seconds}.")
        if keep not in ("last", "best"):
            raise ValueError(f"adapt.keep: expected last or best, got {keep!r}.")
        self.plan = AdaptPlan(wanted, seconds, keep, plateau, carry, tuple(field_steps))
        self.histories: list[np.ndarray] = []
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []  # of all cores together
        self._on_pair = on_pair
        self._start: list[np.ndarray] = []
        self._begin = self._cpu_begin = 0.0

    @classmethod
    def of(
        cls,
        adapt: AdaptConfig,
        steps: int | Sequence[int] | None = None,
        seconds: float | None = None,
        keep: Literal["last", "best"] | None = None,
        carry: bool = False,
    ) -> "FineTune":
        """
        Adapt as a configuration says, but for what is given.

        :param adapt: the section.
        :param steps: as above; None are those of the section, and 0 is a prediction
            that adapts nothing, the field neither.
        :param seconds: as above.
        :param keep: as above; None is that of the section.
        :param carry: as above.
        :raises ValueError: as above; for a time where the last weights are to be
            kept, or where the field itself is fitted too, whose updates no time limits.
        """
        plateau = adapt.plateau
        if seconds is not None and keep == "last":
            raise ValueError(
                "--keep: expected best with a time for updates (--adapt-seconds), as "
                "the best weights on the way are kept, got 'last'."
            )
        if seconds is not None and any(adapt.field_steps):
            raise ValueError(
                "adapt seconds: expected none with adapt.field, whose updates are "
                f"counted, got {seconds}. Give adapt.field.steps, or adapt.field: null."
            )
        return cls(
            adapt.steps if steps is None else steps,
            seconds,
            keep or adapt.keep,
            plateau=None if plateau is None else Plateau(**plateau.model_dump()),
            carry=carry,
            field_steps=() if steps == 0 else adapt.field_steps,
        )

    def used_config(self, config: RunConfig) -> RunConfig:
        """
        Return a configuration that says of adaptation what is done, whatever it said.

        :param config: of the run; it may have been overridden by arguments.
        """
        plan = self.plan
        changes: dict[str, Any] = {"keep": "best" if plan.keeps_best else "last"}
        if plan.seconds is None:
            changes["steps"] = plan.steps
        if not plan.field_steps:
            changes["field"] = None
        adapt = config.adapt.model_copy(update=changes)
        written = adapt.model_dump(mode="json", include=set(changes))
        raw = {**config.raw, "adapt": {**config.raw.get("adapt", {}), **written}}
        return replace(config, raw=raw, adapt=adapt)

    def dump_config(self, config: RunConfig, checkpoint: str, path: Path) -> None:
        """
        Write what `used_config` gives, headed by the checkpoint and the remarks.

        :param config: of the run.
        :param checkpoint: its path; "" without a network.
        :param path: of the file.
        """
        header = "\n".join([name_checkpoint(checkpoint), *self.remarks])
        self.used_config(config).dump(path, header=header)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What no key of a configuration says, a line each: a limit of time."""
        seconds = self.plan.seconds
        return () if seconds is None else (f"{SECONDS_REMARK} {seconds:g}",)

    @contextlib.contextmanager
    def protect(self, model: ReptileModel) -> Iterator[None]:
        """
        Give the model its weights and steps back, whatever happens inside.

        :param model: its meta-weights are kept.
        """
        plan = model.adapt_plan
        start = [variable.numpy() for variable in model.network.weights]
        try:
            yield
        finally:
            model.adapt_plan = plan
            if not weights.equal(start, model.network.weights):
                weights.restore(model.network.weights, start)

    def warm_up(self, model: ReptileModel, inputs: tf.data.Dataset) -> float:
        """
        Compile what adapts and predicts, by one update of a pair whose result is lost.

        Times measured afterwards are those of the work itself.

        :param model: its weights are the same afterwards.
        :param inputs: of the pair, in the form that `predict` will be given others in:
            of another form it would be traced anew.
        :return: seconds that it took.
        """
        begin = time.perf_counter()
        model.adapt_plan = self.plan.fewest()
        with model.carried_aside():  # what it carries on is of no pair
            model.predict(inputs, verbose=0)
        return time.perf_counter() - begin

    def on_predict_begin(self, logs: dict | None = None) -> None:
        """Set the plan and remember the weights."""
        self.model.adapt_plan = self.plan
        self.model.make_predict_function()
        self._start = [variable.numpy() for variable in self.model.network.weights]

    def on_predict_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Start the clock of a pair."""
        self._begin, self._cpu_begin = time.perf_counter(), time.process_time()

    def on_predict_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """
        Record a pair and check that the weights came back.

        :raises RuntimeError: when they did not.
        """
        outputs = (logs or {})["outputs"]
        outputs = {name: np.asarray(value)[0] for name, value in outputs.items()}
        self.seconds.append(time.perf_counter() - self._begin)
        self.cpu_seconds.append(time.process_time() - self._cpu_begin)
        self.histories.append(outputs["history"])
        if not weights.equal(self._start, self.model.network.weights):
            raise RuntimeError(
                f"the meta-weights changed while pair {batch} was adapted; something "
                "else assigned to them during `predict`."
            )
        if self._on_pair is not None:
            self._on_pair(len(self.seconds) - 1, outputs, self.seconds[-1])
