"""
The inner loop: gradient steps on one pair, inside one graph.

Meta-training, test-time adaptation and the interactive session all adapt through it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from deepreg_meta import weights
from deepreg_meta.model.field_network import FieldNetwork
from deepreg_meta.model.partial import ALL, Part, select_part
from deepreg_meta.model.plateau import NEVER, Plateau
from deepreg_meta.model.registration import Batch, RegistrationLoss

MAX_STEPS = 100_000  # of a loop that only time ends

# Gives further figures of a step, shape = (n,), from its index (int32 scalar), its
# mini-batch and the field before it. It is compiled with the losses.
Record = Callable[[tf.Tensor, Batch, tf.Tensor], tf.Tensor]

KERNEL = "kernel"  # the part of the loss that is the network's own penalty
SIDES = "sides"  # the part of the loss that its other fields, coarser ones, have


class Sight(NamedTuple):
    """What the losses make of a field."""

    parts: dict[str, tf.Tensor]  # scalars, by name
    gradients: list[tf.Tensor]  # of the total to the fields, of their shapes
    row: tf.Tensor  # the losses in order, the total, and what was recorded


# Gives that of a field and those of coarser grids, of the mini-batch, the index of the
# step, and the penalty of the network, which is None where it has none.
Look = Callable[[list[tf.Tensor], Batch, tf.Tensor, tf.Tensor | None], Sight]


class Best(NamedTuple):
    """The weights with the least loss so far."""

    loss: tf.Tensor  # scalar
    step: tf.Tensor  # int32, updates that led to them
    weights: list[tf.Tensor]


class InnerLoop:
    """
    Optimise the weights of a field network on mini-batches, step after step.

    A network with a penalty of its own (`FieldNetwork.penalty`) has it added to the
    total of each step, as the part `kernel`; one with coarser fields, which have losses
    too (`FieldNetwork.side_loss`), has these added, as the part `sides`.

    The optimiser is a black box: it is built once, and resetting it assigns the values
    that its variables had when it was new.
    """

    def __init__(
        self,
        network: FieldNetwork,
        loss: RegistrationLoss,
        optimizer: tf.keras.optimizers.Optimizer,
        part: Part | None = None,
    ) -> None:
        """
        :param network: its weights are trained in place.
        :param loss: of a mini-batch.
        :param optimizer: a new one; its state belongs to this loop.
        :param part: of the network, which alone is trained; None is all of it.
        """
        self.network, self.loss, self.optimizer = network, loss, optimizer
        self.part = part or select_part(network, ALL)
        optimizer.build(self.part.variables)
        self._new_state = [_compact(variable) for variable in optimizer.variables]
        self._side_loss = network.side_loss(loss)
        self._look = self._looking(None)

    def reset_optimizer(self) -> None:
        """Forget moments and step count, as before the first step."""
        for variable, value in zip(
            self.optimizer.variables, self._new_state, strict=True
        ):
            variable.assign(tf.cast(tf.fill(variable.shape, value), variable.dtype))

    def step(self, batch: Batch) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """
        Take one gradient step.

        :param batch: the mini-batch.
        :return: the losses of the field before the step, by name, and that field.
        """
        sight, ddf = self._update(batch, tf.constant(0), self._look)
        return sight.parts, ddf

    def _update(
        self,
        batch: Batch,
        index: tf.Tensor,
        look: Look,
    ) -> tuple[Sight, tf.Tensor]:
        """
        Take one gradient step.

        :param batch: the mini-batch.
        :param index: of the step.
        :param look: from `_looking`.
        :return: what the losses make of the field before the step, and that field.
        """
        sight, ddf, gradients = self._differentiate(batch, index, look)
        variables = self.part.variables
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return sight, ddf

    def gradients(self, batch: Batch) -> list[tf.Tensor]:
        """
        Return the gradients of the total loss by the weights that are trained.

        :param batch: the mini-batch.
        :return: in the order of the trained weights, which stay as they are. Where the
            loss is scaled (mixed_float16) and one of them is no finite number, all are
            0: as of the steps that the optimiser leaves out, the scale is halved.
        """
        gradients = self._differentiate(batch, tf.constant(0), self._look)[2]
        variables, optimizer = self.part.variables, self.optimizer
        if not isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
            return gradients
        is_finite = tf.reduce_all(
            [tf.reduce_all(tf.math.is_finite(g)) for g in gradients]
        )

        def leave_out() -> list[tf.Tensor]:
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return [tf.zeros_like(g) for g in gradients]

        return tf.cond(is_finite, lambda: gradients, leave_out)

    def _differentiate(
        self, batch: Batch, index: tf.Tensor, look: Look
    ) -> tuple[Sight, tf.Tensor, list[tf.Tensor]]:
        """Return what the losses make of a field, that field, and the gradients."""
        variables = self.part.variables
        with self.part.held():
            # what nothing watched leads to is not recorded: no gradient passes through
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                fields = self.network.fields(batch.moving_input, batch.fixed_input)
                penalty = self.network.penalty()
            sight = look(fields, batch, index, penalty)
            gradients = self._backpropagate(tape, fields, sight.gradients, penalty)
        return sight, fields[0], gradients

    def _backpropagate(
        self,
        tape: tf.GradientTape,
        fields: list[tf.Tensor],
        upstream: list[tf.Tensor],
        penalty: tf.Tensor | None,
    ) -> list[tf.Tensor]:
        """
        Return the gradients of the weights from those of fields and penalty.

        In float16 small ones would vanish on their way: they take it multiplied by the
        scale that the optimiser keeps.
        """
        variables, optimizer = self.part.variables, self.optimizer
        targets = list(fields)
        if penalty is not None:
            targets.append(penalty)
            upstream = [*upstream, tf.ones_like(penalty)]
        if not isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
            return tape.gradient(targets, variables, output_gradients=upstream)
        scaled = [optimizer.get_scaled_loss(value) for value in upstream]
        gradients = tape.gradient(targets, variables, output_gradients=scaled)
        return optimizer.get_unscaled_gradients(gradients)

    def _looking(self, record: Record | None) -> Look:
        """
        Return what looks at a field.

        Where XLA compiles the losses, it is one kernel: losses and gradient apart would
        be two to compile, which takes twice as long, and hand over all that the first
        one met on its way. The penalty of the network comes in as a number.
        """

        def look(
            fields: list[tf.Tensor],
            batch: Batch,
            index: tf.Tensor,
            penalty: tf.Tensor | None,
        ) -> Sight:
            ddf, *coarser = fields
            with tf.GradientTape() as tape:
                tape.watch(fields)
                parts = self.loss.compute(ddf, batch)
                if self._side_loss is not None:
                    parts[SIDES] = self._side_loss(coarser, batch)
                    parts["total"] += parts[SIDES]
            gradients = tape.gradient(parts["total"], fields)
            if penalty is not None:
                parts[KERNEL] = penalty
                parts["total"] += penalty
            names = [*self.loss.names, "total"]
            # a scale of a network of several has no coarser fields
            row = tf.stack([parts.get(name, tf.constant(0.0)) for name in names])
            if record is not None:
                row = tf.concat([row, record(index, batch, ddf)], axis=0)
            return Sight(parts, gradients, row)

        return self.loss.compiled(look)

    def run(
        self,
        draw: Callable[[tf.Tensor], Batch],
        num_steps: tf.Tensor | int,
        record: Record | None = None,
        average: bool = False,
        plateau: Plateau | None = None,
    ) -> tuple[list[tf.Tensor] | None, tf.Tensor]:
        """
        Take several steps, as a loop of the graph.

        :param draw: gives the mini-batch of a step, from its index (int32 scalar).
        :param num_steps: how many, k.
        :param record: gives further figures of a step.
        :param average: sum the iterates up, for equation 10 of Baum et al. 2022.
        :param plateau: ends the loop early; None takes all steps.
        :return: the mean of the k iterates (None unless `average`), and the losses of
            each step in the order of `loss.names`, then the total, then what was
            recorded, shape = (num_steps, n), or fewer rows after a plateau.
        """
        # an array, so that zero steps give zero rows of the right width
        is_short, end = plateau is not None, plateau or NEVER
        rows = tf.TensorArray(
            tf.float32,
            size=0 if is_short else num_steps,
            dynamic_size=is_short,
            element_shape=[None],
        )
        total = weights.zeros_like(self.network.weights) if average else []
        look = self._look if record is None else self._looking(record)

        # written out, because Keras calls `train_step` without AutoGraph
        def body(
            index: tf.Tensor, rows: tf.TensorArray, total: list, state: tuple
        ) -> tuple:
            sight, _ = self._update(draw(index), index, look)
            if average:
                total = weights.accumulate(total, self.network.weights)
            state = end.after(state, sight.parts["total"])
            return index + 1, rows.write(index, sight.row), total, state

        count, rows, total, _ = tf.while_loop(
            lambda index, rows, total, state: (index < num_steps) & end.goes_on(state),
            body,
            (tf.constant(0), rows, total, end.begin()),
            parallel_iterations=1,
        )
        mean = None
        if average:
            mean = weights.scale(total, 1.0 / tf.cast(tf.maximum(count, 1), tf.float32))
        return mean, rows.stack()

    def run_for_best(
        self,
        draw: Callable[[tf.Tensor], Batch],
        judge: Callable[[], tf.Tensor],
        num_steps: tf.Tensor | int,
        seconds: tf.Tensor | float | None = None,
        record: Record | None = None,
        start_loss: tf.Tensor | None = None,
        is_own_judge: bool = False,
        plateau: Plateau | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """
        Take several steps and leave the network with the best weights met on the way.

        :param draw: gives the mini-batch of a step, from its index (int32 scalar).
        :param judge: gives the loss of the field of the present weights, scalar; the
            least wins, the earlier one of equals, and one that is not a number never
            does. A penalty of the network is no part of it: what predicts is the field.
        :param num_steps: how many at most, >= 1.
        :param seconds: stop before the step that would end later, judged by the mean
            of those taken; the first one is always taken. None sets no limit.
        :param record: as in `run`.
        :param start_loss: what `judge` gives before the first step, where it is known.
        :param is_own_judge: every step's own loss of its field, before the update, is
            what `judge` would give, which then looks at the last weights only.
        :param plateau: as in `run`.
        :return: the rows of `run`, and how many updates led to the weights, int32.
        """
        variables = self.part.weights
        look = self._look if record is None else self._looking(record)
        end = plateau or NEVER
        rows = tf.TensorArray(
            tf.float32, size=0, dynamic_size=True, element_shape=[None]
        )
        best = Best(
            tf.constant(float("inf")), tf.constant(0), weights.snapshot(variables)
        )
        if not is_own_judge:
            loss = judge() if start_loss is None else start_loss
            best = _better(best, loss, best.step, best.weights)

        def may_go_on(
            index: tf.Tensor,
            rows: tf.TensorArray,
            best: Best,
            state: tuple,
            begin: tf.Tensor,
        ) -> tf.Tensor:
            wanted = (index < num_steps) & end.goes_on(state)
            if seconds is None:
                return wanted
            taken = tf.cast(index, tf.float64)
            mean = (tf.timestamp() - begin) / tf.maximum(taken, 1.0)
            fits = (taken + 1.0) * mean <= tf.cast(seconds, tf.float64)
            return wanted & (fits | (index == 0))

        def body(
            index: tf.Tensor,
            rows: tf.TensorArray,
            best: Best,
            state: tuple,
            begin: tf.Tensor,
        ) -> tuple:
            # a clock before the loop would be read when the graph starts, before the
            # loops of earlier scales: nothing says that it comes later
            if seconds is not None:
                begin = tf.where(index == 0, tf.timestamp(), begin)
            before = weights.snapshot(variables) if is_own_judge else []
            sight, _ = self._update(draw(index), index, look)
            if is_own_judge:
                best = _better(best, _field_loss(sight.parts), index, before)
            else:
                best = _better(best, judge(), index + 1, weights.snapshot(variables))
            state = end.after(state, sight.parts["total"])
            return index + 1, rows.write(index, sight.row), best, state, begin

        unread = tf.constant(0.0, tf.float64)
        count, rows, best, *_ = tf.while_loop(
            may_go_on,
            body,
            (tf.constant(0), rows, best, end.begin(), unread),
            parallel_iterations=1,
        )
        if is_own_judge:
            best = _better(best, judge(), count, weights.snapshot(variables))
        weights.restore(variables, best.weights)
        return rows.stack(), best.step


def _field_loss(parts: dict[str, tf.Tensor]) -> tf.Tensor:
    """Return the total without what the network adds to the loss of its field."""
    total = parts["total"]
    for name in (KERNEL, SIDES):
        total = total - parts[name] if name in parts else total
    return total


def _better(
    best: Best, loss: tf.Tensor, step: tf.Tensor, candidate: list[tf.Tensor]
) -> Best:
    """Return the better one of the best weights so far and a candidate."""
    is_better = loss < best.loss  # never true of NaN
    kept = [
        tf.where(is_better, new, old)
        for new, old in zip(candidate, best.weights, strict=True)
    ]
    return Best(
        tf.where(is_better, loss, best.loss),
        tf.where(is_better, step, best.step),
        kept,
    )


def _compact(variable: tf.Variable) -> np.ndarray:
    """
    Return the one value that all elements of a new optimiser variable have.

    :raises ValueError: for an optimiser that starts from an array of its own.
    """
    values = np.unique(variable.numpy())
    if values.size > 1:
        raise ValueError(
            "train.optimizer: expected an optimiser whose state starts from one value "
            f"per variable, got {variable.name} with {values.size} values."
        )
    return values[0] if values.size else np.zeros([], variable.dtype.as_numpy_dtype)
