"""After the network: the displacements themselves are fitted to the pair at hand."""

from collections.abc import Sequence

import tensorflow as tf

from deepreg_meta.geometry.scale import Size
from deepreg_meta.layer.rescale import rescale_field
from deepreg_meta.model.adapt_plan import AdaptPlan
from deepreg_meta.model.level import FixedSide, Level, level_batch
from deepreg_meta.model.registration import Batch, RegistrationLoss


class FieldStage:
    """
    Fit a field to one pair, from coarse to fine, without a network.

    Every scale starts from the field so far, brought to its grid, and adds smoothed
    displacements to it (`FreeField`). The losses see the whole field at every scale,
    and images that nothing was moved before.

    Sources: the coarse-to-fine direct optimisation is that of classical registration;
    as a refinement of what a network predicts, Siebert et al., ConvexAdam, IEEE TMI
    2024 (doi:10.1109/TMI.2024.3462248), whose displacements are smoothed too.

    A plain class, because Keras would save the fields with the weights of a model.
    """

    def __init__(
        self, levels: Sequence[Level], loss: RegistrationLoss, full: Size
    ) -> None:
        """
        :param levels: from the coarsest scale to the finest, which is 1; each trains a
            `FreeField`.
        :param loss: of the prediction, which batches on the full grid come prepared
            for.
        :param full: the full grid.
        """
        self.levels, self._loss, self._full = tuple(levels), loss, full

    def refine(
        self,
        final: Batch,
        side: FixedSide,
        ddf: tf.Tensor,
        plan: AdaptPlan,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """
        Fit the field.

        :param final: what the prediction sees of one pair.
        :param side: the fixed side of labels.
        :param ddf: the field to start from, shape = (1, f1, f2, f3, 3).
        :param plan: its `field_steps` are the updates of every scale; where the best
            are kept, each scale keeps its best, those before its first update among
            them. A plateau of the loss ends those of a scale early.
        :return: the field, the history, without Dice and landmark errors, and the
            number of updates that led to it.
        """
        rows, total = [], tf.constant(0)
        for index, level in enumerate(self.levels):
            network = level.loop.network
            network.start(rescale_field(ddf, level.size))
            batch = level_batch(level, final, side, None, self._loss, self._full)
            history, steps = self._fit(level, batch, plan.field_steps[index], plan)
            # what a scale has added, so that nothing of what came before is blurred
            ddf += rescale_field(network.added(), self._full)
            rows.append(self._in_columns(history, level.loop.loss))
            total += steps
        return ddf, tf.concat(rows, axis=0), total

    def _in_columns(self, history: tf.Tensor, loss: RegistrationLoss) -> tf.Tensor:
        """Leave columns empty for the parts of the loss that only networks have."""
        # total, frames, Dice, landmark error and scale follow; no rows have no width
        history = tf.reshape(history, [-1, len(loss.names) + 5])
        missing = len(self._loss.names) - len(loss.names)
        parts, others = tf.split(history, [len(loss.names), -1], axis=1)
        empty = tf.fill([tf.shape(history)[0], missing], float("nan"))
        return tf.concat([parts, empty, others], axis=1)

    def _fit(
        self,
        level: Level,
        batch: Batch,
        num_steps: tf.Tensor | int,
        plan: AdaptPlan,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Take the updates of one scale; return its history and their number."""
        loop, network = level.loop, level.loop.network

        # no scores: on the full grid they would take ten times as long as an update on
        # a coarse one
        figures = tf.constant([0.0, float("nan"), float("nan"), level.scale])

        def record(step: tf.Tensor, seen: Batch, field: tf.Tensor) -> tf.Tensor:
            return figures

        def judge() -> tf.Tensor:
            return loop.loss.parts(network.field(), batch)["total"]

        loop.reset_optimizer()
        if not plan.keeps_best:
            _, history = loop.run(
                lambda _: batch, num_steps, record, plateau=plan.plateau
            )
            return history, tf.shape(history)[0]
        return loop.run_for_best(
            lambda _: batch,
            judge,
            num_steps,
            record=record,
            is_own_judge=True,
            plateau=plan.plateau,
        )
