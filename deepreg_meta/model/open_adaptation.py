"""Adaptation to one pair whose fixed image is still being acquired."""

import tensorflow as tf

from deepreg_meta import weights
from deepreg_meta.model.adapt_plan import AdaptPlan
from deepreg_meta.model.adaptation import Adaptation, take_updates
from deepreg_meta.model.kept import Predicted, keep
from deepreg_meta.model.registration import Batch
from deepreg_meta.model.task import Constants, Task

# Weights of the network, then the optimiser's state, between two calls.
State = list[tf.Tensor]


class OpenAdaptation:
    """
    Adapt to one pair call by call, each with the frames that have been seen by then.

    A call goes on from the weights and the state of the optimiser that the one before
    led to. Whoever calls keeps them: the network has its own weights before and after
    every call, so that other pairs can be registered in between.

    Source: Baum et al., IEEE TMI 2022, III-E: one frame more at each update.
    """

    def __init__(self, adaptation: Adaptation, plan: AdaptPlan) -> None:
        """
        :param adaptation: of a network as a whole, without a stage that fits the field.
        :param plan: says which weights predict (`keep`) and when a plateau ends the
            updates; its numbers do not count.
        """
        self._adaptation, self._plan = adaptation, plan
        self._constants = tf.function(adaptation.drawer.constants, autograph=False)
        self._compiled = tf.function(self._go_on, autograph=False)
        self._trained: State = []

    @property
    def _variables(self) -> list[tf.Variable]:
        """The weights of the network, then the optimiser's state."""
        loop = self._adaptation.loop
        return [*self._adaptation.variables, *loop.optimizer.variables]

    def begin(self) -> State:
        """Return the state before the first update: trained weights, new optimiser."""
        self._adaptation.loop.reset_optimizer()  # as every adaptation does first
        self._trained = weights.snapshot(self._variables)
        return self._trained

    def constants(self, task: Task) -> Constants:
        """
        Return what does not depend on the frames; the fixed side is not looked at.

        :param task: the pair.
        """
        return self._constants(task)

    def go_on(
        self,
        task: Task,
        constants: Constants,
        slices: tf.Tensor,
        state: State,
        steps: int = 0,
        seconds: float | None = None,
    ) -> tuple[dict[str, tf.Tensor], State]:
        """
        Take some updates with the frames seen so far, and predict.

        :param task: the pair; of the fixed side, what lies off the frames has no say.
        :param constants: of the pair.
        :param slices: 1 for the frames seen, shape = (1, num_slices), float32.
        :param state: of `begin`, or of the last call.
        :param steps: updates, >= 0.
        :param seconds: take as many updates as fit into this time instead.
        :return: `ddf` (f1, f2, f3, 3), `matrix` (3, 3), `offset` (3), `history`
            (updates, losses), `best_step`, and `losses` (2), the total on the frames
            seen, before and after these updates; and the state after them. After an
            error, too, the network has the weights of the last `begin`.
        """
        number = tf.constant(steps, tf.int32) if steps and seconds is None else None
        limit = None if seconds is None else tf.constant(seconds, tf.float64)
        try:
            return self._compiled(task, constants, slices, state, number, limit)
        except BaseException:
            # the graph, which puts the weights back at its end, did not get there: of
            # memory that runs out, or an interruption
            weights.restore(self._variables, self._trained)
            raise

    def _go_on(
        self,
        task: Task,
        constants: Constants,
        slices: tf.Tensor,
        state: State,
        steps: tf.Tensor | None,
        seconds: tf.Tensor | None,
    ) -> tuple[dict[str, tf.Tensor], State]:
        """Do it: both numbers None predict alone."""
        adaptation, variables = self._adaptation, self._variables
        own = adaptation.variables
        start = weights.snapshot(variables)
        weights.restore(variables, state)
        final = adaptation.drawer.shown(task, constants, self._labels[0], slices)
        ddf, loss = adaptation.look(final)
        first = kept = Predicted(ddf, loss, tf.constant(0))
        history = tf.zeros([0, len(adaptation.loop.loss.names) + 1])
        if steps is not None or seconds is not None:
            before = weights.snapshot(own)
            plan = self._plan._replace(
                steps=0 if steps is None else steps, seconds=seconds
            )
            # as in `Adaptation`: a limit of time counts from the prediction
            with tf.control_dependencies([tf.identity(first.ddf)]):
                history, step = self._take(task, constants, slices, final, loss, plan)
            ddf, loss = adaptation.look(final)
            kept, is_after = keep(plan, first, Predicted(ddf, loss, step))
            if plan.keeps_best:
                pairs = zip(own, before, strict=True)
                weights.restore(
                    own, [tf.where(is_after, now, then) for now, then in pairs]
                )
        state = weights.snapshot(variables)
        weights.restore(variables, start)
        found = dict(
            ddf=kept.ddf[0],
            matrix=final.matrix[0],
            offset=final.offset[0],
            history=history,
            best_step=kept.step,
            losses=tf.stack([first.loss, kept.loss]),
        )
        return found, state

    @property
    def _labels(self) -> tuple[int, ...]:
        """Channels that adaptation may see."""
        return self._adaptation.drawer.options.adapt_labels

    def _take(
        self,
        task: Task,
        constants: Constants,
        slices: tf.Tensor,
        final: Batch,
        start_loss: tf.Tensor,
        plan: AdaptPlan,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Take the updates; their history, and how many led to the weights."""
        adaptation, labels = self._adaptation, self._labels
        channels = tf.constant(labels, tf.int32)

        def draw(step: tf.Tensor) -> Batch:
            if len(labels) == 1:  # every update sees the same
                return final
            label = channels[step % len(labels)]
            return adaptation.drawer.shown(task, constants, label, slices)

        return take_updates(
            adaptation.loop,
            plan.in_turn(len(labels)),
            draw,
            lambda: adaptation.look(final)[1],
            start_loss=start_loss,
            is_own_judge=len(labels) == 1
            and adaptation.loop.network.is_same_in_training,
            is_new=False,
        )
