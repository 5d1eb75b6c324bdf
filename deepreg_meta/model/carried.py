"""Adapted weights that are carried from one pair to the next."""

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from deepreg_meta import weights


class Carried:
    """
    The adapted weights of one pair, for the next one to start from.

    A plain class, as `PlanValues`.
    """

    def __init__(self) -> None:
        """Start without room for any."""
        self._variables: list[tf.Variable] = []
        self._values: list[tf.Variable] = []
        self._is_there: Any = None  # a variable, once there is room

    def make_room(self, variables: list[tf.Variable]) -> None:
        """
        Create what values are kept in, where there is nothing yet.

        :param variables: those of the networks that adapt.
        """
        if self._is_there is None:
            self._variables = variables
            self._is_there = tf.Variable(False, trainable=False)
            self._values = [
                tf.Variable(variable, trainable=False) for variable in self._variables
            ]

    def forget(self) -> None:
        """Let the next pair start from the weights that the network has then."""
        if self._is_there is not None:
            self._is_there.assign(False)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Put back what is kept now, whatever is kept inside."""
        kept = None
        if self._is_there is not None:
            kept = [v.numpy() for v in (self._is_there, *self._values)]
        try:
            yield
        finally:
            if kept is not None:
                for variable, value in zip(
                    (self._is_there, *self._values), kept, strict=True
                ):
                    variable.assign(value)
            else:
                self.forget()

    def resume(self, start: list[tf.Tensor]) -> None:
        """Give the network the weights that were kept; `start` where none were."""
        chosen = [
            tf.where(self._is_there, value, tf.cast(own, value.dtype))
            for value, own in zip(self._values, start, strict=True)
        ]
        weights.restore(self._variables, chosen)

    def keep(self) -> None:
        """Keep the weights that the network has now."""
        weights.restore(self._values, weights.snapshot(self._variables))
        self._is_there.assign(True)
