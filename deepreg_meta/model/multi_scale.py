"""
Multi-scale test-time training: adapt from coarse to fine, each scale to what is left.

Source: Zhu et al., ICRA 2021, sections II-C to II-E (SSMSR; with one scale, SSR).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

from deepreg_meta import weights
from deepreg_meta.layer.rescale import rescale
from deepreg_meta.model.adapt_plan import AdaptPlan
from deepreg_meta.model.adaptation import (
    Adaptation,
    history_names,
    take_updates,
)
from deepreg_meta.model.episode import BatchDrawer
from deepreg_meta.model.field_network import FieldNetwork
from deepreg_meta.model.field_stage import FieldStage
from deepreg_meta.model.inner_loop import InnerLoop
from deepreg_meta.model.level import FixedSide, Level, level_batch, moved_volume
from deepreg_meta.model.pyramid import refine
from deepreg_meta.model.registration import Batch, RegistrationLoss
from deepreg_meta.model.score import landmark_points, score_field
from deepreg_meta.model.several import draw_in_turn, predict_each
from deepreg_meta.model.task import Constants, Task

# Gives Dice and landmark error, shape = (2,), of a field of the full grid.
Scores = Callable[[Batch, tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class ScaleOptions:
    """
    What one scale has of its own.

    :param scale: of the full grid's sides, in (0, 1].
    :param learning_rate: of its updates; None is that of the others.
    :param loss: of its updates; None is that of the others.
    """

    scale: float
    learning_rate: float | None = None
    loss: RegistrationLoss | None = None


@dataclass(frozen=True, eq=False)
class Scales:
    """
    How the networks of several scales come to be; a plain class, as `Part` is.

    :param options: of the scales, from the coarsest to the finest: 1, or where the
        field is to end.
    :param networks: one for each scale.
    :param start: weights that every scale starts from; None leaves each its own.
    :param consecutive: a scale starts from the adapted weights of the coarser one.
    """

    options: tuple[ScaleOptions, ...]
    networks: tuple[FieldNetwork, ...]
    start: tuple[tf.Variable, ...] | None = None
    consecutive: bool = True

    def build(
        self,
        optimizer: tf.keras.optimizers.Optimizer,
        drawer: BatchDrawer,
        loss: RegistrationLoss,
        stage: FieldStage | None = None,
    ) -> "MultiScaleAdaptation":
        """
        Build what adapts them.

        :param optimizer: of the updates; every scale has a new one like it.
        :param drawer: draws the pair on the full grid.
        :param loss: of the scales that have none of their own, and of the whole field.
        :param stage: fits the field itself, after the networks.
        """
        levels = []
        for own, network in zip(self.options, self.networks, strict=True):
            copy = type(optimizer).from_config(optimizer.get_config())
            if own.learning_rate is not None:
                copy.learning_rate = own.learning_rate
            levels.append(Level(own.scale, InnerLoop(network, own.loss or loss, copy)))
        return MultiScaleAdaptation(
            levels, drawer, loss, self.start, self.consecutive, stage
        )


class MultiScaleAdaptation(Adaptation):
    """
    Adapt networks of several scales to one pair, one after the other.

    At scale s the network sees the moving image, warped by the field so far, and the
    fixed one, both on the grid of s. Its loss compares the two there, under the
    residual field that it predicts. Then the residual is composed with the field so
    far (`refine`).
    """

    def __init__(
        self,
        levels: Sequence[Level],
        drawer: BatchDrawer,
        loss: RegistrationLoss,
        start: Sequence[tf.Variable] | None = None,
        consecutive: bool = True,
        stage: FieldStage | None = None,
    ) -> None:
        """
        :param levels: from the coarsest scale to the finest; one below 1 ends there,
            and its field is brought to the full grid.
        :param drawer: draws the pair on the full grid; sees all frames.
        :param loss: judges the field of all scales together.
        :param start: weights that every level has before it adapts; None leaves each
            its own.
        :param consecutive: a level starts from the adapted weights of the coarser one.
        :param stage: as of `Adaptation`.
        """
        super().__init__(levels[-1].loop, drawer, stage)
        self.levels, self._loss = tuple(levels), loss
        self._start, self._consecutive = start, consecutive

    @property
    def variables(self) -> list[tf.Variable]:
        """The weights of all levels."""
        return [v for level in self.levels for v in level.loop.network.weights]

    @property
    def history_names(self) -> list[str]:
        """The columns of a history: the last one says which scale an update was of."""
        return history_names(self._loss, True)

    def begin(self) -> None:
        """Give every level the weights that it starts from."""
        if self._start is None:
            return
        for level in self.levels:
            own = level.loop.network.weights
            if own[0] is not self._start[0]:
                weights.restore(own, weights.snapshot(self._start))

    def _predict(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the field of all levels, and its total loss on the full grid."""
        ddf = None
        for level in self.levels:
            ddf = self._refined(level, batch, ddf)
        return ddf, self._loss.parts(ddf, batch)["total"]

    def _refined(self, level: Level, batch: Batch, ddf: tf.Tensor | None) -> tf.Tensor:
        """Return the field with what the present weights of a level add to it."""
        moved = batch.moving_input
        if ddf is not None:
            moved = moved_volume(batch.moving_image, batch, ddf)
        images = rescale(moved, level.size), rescale(batch.fixed_input, level.size)
        residual = predict_each(level.loop.network, *images)
        return refine(ddf, residual, self.drawer.fixed_size)

    def _take_steps(
        self,
        task: Task,
        constants: Constants,
        final: Batch,
        start_loss: tf.Tensor | None,
        plan: AdaptPlan,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Take the updates of all levels, as `Adaptation` does those of its network."""
        points = landmark_points(task)

        def scores(seen: Batch, field: tf.Tensor) -> tf.Tensor:
            return score_field(task, points, final, field)

        label = task.fixed_labels[self.drawer.options.adapt_labels[0]][None]
        return self._climb(final, FixedSide(label, task.fixed_spacing), plan, scores)

    def _take_common_steps(
        self, final: Batch, spacing: tf.Tensor, plan: AdaptPlan
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Take the updates of all levels for several pairs together."""
        return self._climb(final, FixedSide(None, spacing), plan, None)

    def _climb(
        self, final: Batch, side: FixedSide, plan: AdaptPlan, scores: Scores | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """
        Adapt level after level.

        :param final: what the prediction sees, on the full grid; one pair or several.
        :param side: the fixed side of labels.
        :param plan: how far.
        :param scores: of a field of the full grid; None scores nothing.
        :return: the history, and the number of updates.
        """
        ddf, rows, total = None, [], tf.constant(0)
        whole = sum(level.scale for level in self.levels)
        before = None
        for index, level in enumerate(self.levels):
            own = level.loop.network.weights
            if before is not None and self._consecutive:
                weights.restore(own, weights.snapshot(before))
            batch = self._level_batch(level, final, side, ddf)
            # fine scales cost more: the time is dealt out as the sides of the grids are
            own_plan = plan.at(index, len(self.levels), level.scale / whole)
            history, steps = self._adapt_level(level, batch, ddf, own_plan, scores)
            rows.append(tf.reshape(history, [-1, len(self.history_names)]))
            total += steps
            before = own
            if level is not self.levels[-1]:
                ddf = self._refined(level, final, ddf)
        return tf.concat(rows, axis=0), total

    def _adapt_level(
        self,
        level: Level,
        batch: Batch,
        ddf: tf.Tensor | None,
        plan: AdaptPlan,
        scores: Scores | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Take the updates of one level; return its history and their number."""
        network = level.loop.network

        def record(step: tf.Tensor, seen: Batch, residual: tf.Tensor) -> tf.Tensor:
            found = tf.constant([float("nan")] * 2)
            if scores is not None:
                found = scores(seen, refine(ddf, residual, self.drawer.fixed_size))
            return tf.concat([[0.0], found, [level.scale]], axis=0)

        def judge() -> tf.Tensor:
            field = predict_each(network, batch.moving_input, batch.fixed_input)
            return level.loop.loss.parts(field, batch)["total"]

        draw, num_pairs = draw_in_turn(batch)
        is_own_judge = num_pairs == 1 and network.is_same_in_training
        own = plan.in_turn(num_pairs)
        return take_updates(
            level.loop, own, draw, judge, record, is_own_judge=is_own_judge
        )

    def _level_batch(
        self, level: Level, final: Batch, side: FixedSide, ddf: tf.Tensor | None
    ) -> Batch:
        """Draw what one level sees, the moving image moved by the field so far."""
        return level_batch(level, final, side, ddf, self._loss, self.drawer.fixed_size)
