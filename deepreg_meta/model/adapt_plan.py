"""How far adaptation goes."""

from typing import Any, Literal, NamedTuple

import tensorflow as tf

from deepreg_meta.model.plateau import Plateau


class AdaptPlan(NamedTuple):
    """
    How far adaptation goes.

    `steps` is the number of updates N, at every scale where there are several, or one
    number for each; with `seconds` as many are taken as fit into that time, and `steps`
    does not count. `keep` says which weights predict: the last ones, or the best by the
    loss on what the prediction sees, those of no update among them. Under a limit of
    time the best are kept in any case. A `plateau` of the loss ends the updates early.
    With `carry` a pair starts from the adapted weights of the last one that had it.
    `field_steps` are the updates of the field itself, after those of the network, one
    number for each scale of `adapt.field`; none leaves the field as predicted.
    """

    steps: int | tuple[int, ...] | tf.Tensor = 0
    seconds: float | tf.Tensor | None = None
    keep: Literal["last", "best"] = "last"
    plateau: Plateau | None = None
    carry: bool = False
    field_steps: tuple[int | tf.Tensor, ...] = ()

    @property
    def is_none(self) -> bool:
        """Whether no network adapts; a tensor of steps may be any number."""
        return self.seconds is None and not tf.is_tensor(self.steps) and not self.most

    @property
    def most(self) -> int:
        """The number of updates, at the scale that has the most; not of a tensor."""
        return max(self.steps) if isinstance(self.steps, tuple) else int(self.steps)

    @property
    def kind(self) -> tuple:
        """What the graph of an adaptation depends on."""
        is_many = isinstance(self.steps, tuple)
        limits = self.seconds is None, self.plateau, self.keep, self.carry
        return self.is_none, is_many, *limits, len(self.field_steps)

    @property
    def keeps_best(self) -> bool:
        """Whether the best weights predict."""
        return self.keep == "best" or self.seconds is not None

    def at(self, index: int, count: int, share: float) -> "AdaptPlan":
        """
        Return the plan of one of several scales.

        :param index: of the scale.
        :param count: number of scales.
        :param share: of the time, in (0, 1].
        :raises ValueError: for numbers of updates that are not one for each scale.
        """
        steps: Any = self.steps
        if isinstance(steps, tuple) or (tf.is_tensor(steps) and steps.shape.rank == 1):
            given = len(steps) if isinstance(steps, tuple) else steps.shape[0]
            if given != count:
                raise ValueError(
                    f"adapt.steps: expected one number or {count}, one for each of "
                    f"adapt.scales, got {given}."
                )
            steps = steps[index]
        seconds = None if self.seconds is None else self.seconds * share
        return self._replace(steps=steps, seconds=seconds)

    def in_turn(self, count: int) -> "AdaptPlan":
        """
        Return the plan of updates that see several pairs or labels in turn.

        :param count: of pairs or labels.
        """
        if self.plateau is None:
            return self
        return self._replace(plateau=self.plateau._replace(turns=count))

    def fewest(self) -> "AdaptPlan":
        """Return a plan of the same kind that takes a single update at every scale."""
        fewest = self._replace(field_steps=tuple(min(n, 1) for n in self.field_steps))
        if self.seconds is not None:
            return fewest._replace(seconds=1e-9)  # one update is always taken
        if isinstance(self.steps, tuple):
            return fewest._replace(steps=tuple(min(n, 1) for n in self.steps))
        return fewest._replace(steps=min(self.most, 1))


class PlanValues:
    """
    The numbers of a plan as variables, so that another number needs no new trace.

    A plain class, because Keras would save variables of its own with the weights.
    """

    def __init__(self) -> None:
        """Start with no updates."""
        any_shape = tf.TensorShape(None)  # a number, or one for each scale
        self._steps = tf.Variable(0, False, dtype=tf.int32, shape=any_shape)
        self._seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self._field_steps = tf.Variable([0], False, dtype=tf.int32, shape=any_shape)

    def assign(self, plan: AdaptPlan) -> None:
        """Take the numbers of a plan."""
        self._steps.assign(plan.steps)
        self._seconds.assign(0.0 if plan.seconds is None else plan.seconds)
        self._field_steps.assign(list(plan.field_steps) or [0])

    def of(self, plan: AdaptPlan) -> AdaptPlan:
        """Return a plan of the same kind with the numbers assigned last."""
        if count := len(plan.field_steps):
            numbers = tf.ensure_shape(self._field_steps.value(), [count])
            plan = plan._replace(field_steps=tuple(tf.unstack(numbers)))
        if plan.is_none:
            return plan
        seconds = None if plan.seconds is None else self._seconds.value()
        shape = [len(plan.steps)] if isinstance(plan.steps, tuple) else []
        steps = tf.ensure_shape(self._steps.value(), shape)
        return plan._replace(steps=steps, seconds=seconds)
