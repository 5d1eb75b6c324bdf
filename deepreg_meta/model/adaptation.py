"""Test-time adaptation: fit the weights to one pair, predict, and put them back."""

import contextlib
from collections.abc import Callable, Sequence

import tensorflow as tf

from deepreg_meta import weights
from deepreg_meta.model.adapt_plan import AdaptPlan
from deepreg_meta.model.carried import Carried
from deepreg_meta.model.episode import BatchDrawer
from deepreg_meta.model.field_stage import FieldStage
from deepreg_meta.model.inner_loop import MAX_STEPS, InnerLoop, Record
from deepreg_meta.model.kept import Predicted, keep
from deepreg_meta.model.level import FixedSide
from deepreg_meta.model.registration import Batch, RegistrationLoss
from deepreg_meta.model.score import landmark_points, score_field
from deepreg_meta.model.several import draw_in_turn, predict_each, stack_batches
from deepreg_meta.model.task import Constants, Task

SCALE = "scale"  # a column of histories


def history_names(loss: RegistrationLoss, has_scale: bool = False) -> list[str]:
    """
    Return the columns of the history of an adaptation.

    :param loss: of the updates.
    :param has_scale: the last one says which scale an update was of.
    """
    names = [*loss.names, "total", "num_frames", "dsc", "tre_mm"]
    return [*names, SCALE] if has_scale else names


def first_task(data: dict[str, tf.Tensor]) -> Task:
    """Return the pair in an element of a dataset with a leading axis of one."""
    return Task(**{name: value[0] for name, value in data.items()})


class Adaptation:
    """
    Adapt a network to single pairs, each time from the weights that it has now.

    Example::

        adaptation = Adaptation(InnerLoop(network, loss, optimizer), drawer)
        outputs = adaptation.run(task, AdaptPlan(steps=8, keep="best"))
    """

    def __init__(
        self, loop: InnerLoop, drawer: BatchDrawer, stage: FieldStage | None = None
    ) -> None:
        """
        :param loop: its network is adapted, its optimiser starts anew for each pair.
        :param drawer: draws what adaptation and prediction see.
        :param stage: fits the field itself, after the network; None leaves it as the
            network predicts it.
        """
        self.loop, self.drawer, self._stage = loop, drawer, stage
        self._network, self._loss = loop.network, loop.loss
        self._carried = Carried()
        # traced once, wherever it is called in the graph of an adaptation
        self.look = tf.function(self._predict, autograph=False)

    @property
    def variables(self) -> list[tf.Variable]:
        """What adaptation changes, and puts back."""
        return self._network.weights

    @property
    def history_names(self) -> list[str]:
        """The columns of a history."""
        return history_names(self._loss, self._stage is not None)

    def prepare(self, plan: AdaptPlan) -> None:
        """
        Make room for what a plan needs, before the graph of an adaptation is traced.

        :param plan: of the next pairs.
        """
        if plan.carry:
            self._carried.make_room(self.variables)

    def forget(self) -> None:
        """Let the next pair that carries weights on start from those of the network."""
        self._carried.forget()

    def carried_aside(self) -> contextlib.AbstractContextManager[None]:
        """Put back what a pair carried on, whatever other pairs carry on inside."""
        return self._carried.aside()

    def begin(self) -> None:
        """Prepare the weights for the next pair; here they are what they are."""

    def run(self, task: Task, plan: AdaptPlan) -> dict[str, tf.Tensor]:
        """
        Adapt to one pair and predict; the weights are the same before and after.

        :param task: the pair.
        :param plan: how far.
        :return: `ddf` and `ddf_unadapted` (f1, f2, f3, 3), `matrix` (3, 3) and `offset`
            (3) of the initial alignment, `slices`, the frames seen (num_slices),
            `history` (updates, n) as `history_names` says, `best_step`, the updates
            that led to the weights which predicted, and `losses` (2), the total loss on
            what the prediction sees, unadapted and adapted.
        """
        constants = self.drawer.constants(task)
        final = self._final(task, constants)

        def take(loss: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
            return self._take_steps(task, constants, final, loss, plan)

        def refine(field: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return self._refine_field(task, final, field, plan)

        has_field = self._stage is not None and len(plan.field_steps) > 0
        found = self._fit(final, plan, take, refine if has_field else None)
        fields = {name: found[name][0] for name in ("ddf", "ddf_unadapted")}
        return dict(
            found,
            **fields,
            matrix=final.matrix[0],
            offset=final.offset[0],
            slices=self._slices(constants),
        )

    def run_together(
        self, tasks: Sequence[Task], plan: AdaptPlan
    ) -> dict[str, tf.Tensor]:
        """
        Adapt to several pairs together, as to the neighbouring frames of a sequence.

        Each update sees one pair, in turn; the weights that come out predict all. They
        are the same before and after.

        Source: Zhu et al., ICRA 2021, III-B.

        :param tasks: the pairs, of one grid, one spacing, with masks or all without.
        :param plan: how far.
        :return: `ddf` and `ddf_unadapted` (n, f1, f2, f3, 3), `matrix` (n, 3, 3) and
            `offset` (n, 3), `history`, `best_step` and `losses`, means over the pairs.
        :raises ValueError: for a loss of labels, which sequences do not have, and where
            the field itself is to be fitted, which is one for each pair.
        """
        if plan.field_steps:
            raise ValueError(
                "adapt.field: expected null where pairs are adapted to together, got a "
                "stage that fits the field of each pair."
            )
        if self._loss.uses_label:
            raise ValueError(
                "train.loss.label: expected weight 0 where pairs are adapted to "
                "together, got a loss of labels."
            )
        finals = [self._final(task, self.drawer.constants(task)) for task in tasks]
        final = stack_batches(finals)

        def take(loss: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
            return self._take_common_steps(final, tasks[0].fixed_spacing, plan)

        found = self._fit(final, plan, take)
        return dict(found, matrix=final.matrix, offset=final.offset)

    def _final(self, task: Task, constants: Constants) -> Batch:
        """Return what the prediction sees of a pair."""
        options = self.drawer.options
        num_seen = None if options.frames is None else options.frames[1]
        return self.drawer.adaptation(
            task, constants, options.adapt_labels[0], num_seen
        )

    def _fit(
        self,
        final: Batch,
        plan: AdaptPlan,
        take: Callable[[tf.Tensor | None], tuple[tf.Tensor, tf.Tensor]],
        refine: Callable[[tf.Tensor], tuple[tf.Tensor, ...]] | None = None,
    ) -> dict[str, tf.Tensor]:
        """
        Predict, take the updates, predict again, and put the weights back.

        :param final: what the predictions see.
        :param plan: how far.
        :param take: takes the updates, from the loss of what the weights predict by
            then, None where it is not known; gives their history, and the updates that
            led to the weights.
        :param refine: fits the field itself from what was predicted; gives it, the
            history and the updates that led to it. None leaves it.
        :return: fields of the batch, history, best step and losses.
        """
        self.begin()
        # before anything runs: batch normalisation moves its averages in a mere forward
        # pass when it uses the statistics of the batch at inference too
        start = weights.snapshot(self.variables)
        ddf, loss = self.look(final)
        first = kept = Predicted(ddf, loss, tf.constant(0))
        known: tf.Tensor | None = first.loss  # of the weights that updates start from
        if plan.carry:
            self._carried.resume(start)
            known = None
        history, step = tf.zeros([0, len(self.history_names)]), tf.constant(0)
        if not plan.is_none:
            # A limit of time counts from here. Not after the losses: where nothing
            # reads them, TensorFlow prunes their compiled function and then misses it.
            # The identity stays behind where the function that predicts is inlined.
            with tf.control_dependencies([tf.identity(first.ddf)]):
                history, step = take(known)
        # carried weights predict something else than the first ones without updates too
        if plan.carry or not plan.is_none:
            ddf, loss = self.look(final)
            kept, _ = keep(plan, first, Predicted(ddf, loss, step))
        if refine is not None:
            ddf, more, count = refine(kept.ddf)
            loss = self._loss.parts(ddf, final)["total"]
            kept, _ = keep(plan, kept, Predicted(ddf, loss, kept.step + count))
            history = tf.concat([self._with_scale(history), more], axis=0)
        if plan.carry:
            self._carried.keep()
        weights.restore(self.variables, start)
        return dict(
            ddf=kept.ddf,
            ddf_unadapted=first.ddf,
            history=history,
            best_step=kept.step,
            losses=tf.stack([first.loss, kept.loss]),
        )

    def _with_scale(self, history: tf.Tensor) -> tf.Tensor:
        """Say that updates of the network were of the full grid, where nobody has."""
        missing = len(self.history_names) - history.shape[1]
        return tf.pad(history, [[0, 0], [0, missing]], constant_values=1.0)

    def _refine_field(
        self, task: Task, final: Batch, ddf: tf.Tensor, plan: AdaptPlan
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Fit the field itself to a pair."""
        if self._stage is None:
            raise RuntimeError("there is no stage that fits the field.")
        label = task.fixed_labels[self.drawer.options.adapt_labels[0]][None]
        side = FixedSide(label, task.fixed_spacing)
        return self._stage.refine(final, side, ddf, plan)

    def _slices(self, constants: Constants) -> tf.Tensor:
        """Return the slices that the prediction sees."""
        drawer, axis = self.drawer, self.drawer.options.frame_axis
        if drawer.options.frames is None:
            return tf.ones([drawer.fixed_size[axis]])
        return drawer.seen_slices(constants, drawer.options.frames[1], axis)[0]

    def _predict(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the field of the present weights and its total loss."""
        ddf = predict_each(self._network, batch.moving_input, batch.fixed_input)
        return ddf, self._loss.parts(ddf, batch)["total"]

    def _take_steps(
        self,
        task: Task,
        constants: Constants,
        final: Batch,
        start_loss: tf.Tensor | None,
        plan: AdaptPlan,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """
        Take the updates.

        :param task: the pair.
        :param constants: of the pair.
        :param final: what the prediction sees.
        :param start_loss: of what the weights predict now, where it is known.
        :param plan: how far.
        :return: the history, and how many updates led to the weights.
        """
        drawer, options = self.drawer, self.drawer.options
        labels = tf.constant(options.adapt_labels, tf.int32)
        is_constant = options.frames is None and len(options.adapt_labels) == 1
        points = landmark_points(task)

        def frames_at(step: tf.Tensor) -> tf.Tensor | None:
            if plan.seconds is None or options.frames is None:
                return drawer.frames_at(step, plan.steps)
            return tf.constant(options.frames[1])  # how many updates fit is not known

        def draw(step: tf.Tensor) -> Batch:
            if is_constant:  # every update sees the same
                return final
            label = labels[step % len(options.adapt_labels)]
            return drawer.adaptation(task, constants, label, frames_at(step))

        def record(step: tf.Tensor, batch: Batch, ddf: tf.Tensor) -> tf.Tensor:
            seen = frames_at(step)
            number = tf.cast(0 if seen is None else seen, tf.float32)
            scored = task
            if not any(options.adapt_labels):  # warped for the loss already
                scored = task._replace(moving_labels=batch.moving_label)
            scores = score_field(scored, points, batch, ddf)
            return tf.concat([[number], scores], axis=0)

        is_own_judge = is_constant and self._network.is_same_in_training
        return take_updates(
            self.loop,
            plan.in_turn(len(options.adapt_labels)),
            draw,
            lambda: self.look(final)[1],
            record,
            start_loss,
            is_own_judge,
        )

    def _take_common_steps(
        self, final: Batch, spacing: tf.Tensor, plan: AdaptPlan
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """
        Take the updates for several pairs together.

        :param final: what the prediction sees, of all pairs.
        :param spacing: of the fixed grid, (3,), mm.
        :param plan: how far.
        :return: the history, without frames and scores, and how many updates led to
            the weights.
        """
        del spacing  # no label is filtered
        draw, num_pairs = draw_in_turn(final)

        def record(step: tf.Tensor, batch: Batch, ddf: tf.Tensor) -> tf.Tensor:
            return tf.constant([0.0, float("nan"), float("nan")])

        own = plan.in_turn(num_pairs)
        return take_updates(self.loop, own, draw, lambda: self.look(final)[1], record)


def take_updates(
    loop: InnerLoop,
    plan: AdaptPlan,
    draw: Callable[[tf.Tensor], Batch],
    judge: Callable[[], tf.Tensor],
    record: Record | None = None,
    start_loss: tf.Tensor | None = None,
    is_own_judge: bool = False,
    is_new: bool = True,
) -> tuple[tf.Tensor, tf.Tensor]:
    """
    Take the updates of a plan.

    :param loop: its network adapts.
    :param plan: how far.
    :param draw: as of `InnerLoop.run_for_best`, as are the others.
    :param judge: where the best weights are kept.
    :param record: gives further figures of an update.
    :param start_loss: what `judge` gives before the first update, where it is known.
    :param is_own_judge: every update's own loss is what `judge` would give.
    :param is_new: with a new optimiser; otherwise it goes on from where it is.
    :return: the history, and how many updates led to the weights.
    """
    if is_new:
        loop.reset_optimizer()
    if not plan.keeps_best:
        _, history = loop.run(draw, plan.steps, record, plateau=plan.plateau)
        return history, tf.shape(history)[0]
    return loop.run_for_best(
        draw,
        judge,
        plan.steps if plan.seconds is None else MAX_STEPS,
        plan.seconds,
        record,
        start_loss,
        is_own_judge,
        plan.plateau,
    )
