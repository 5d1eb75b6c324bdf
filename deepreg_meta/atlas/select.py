"""Choose the atlases of a target by their similarity."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from deepreg_meta.dataset.image_folder import ImageFiles

DEFAULT_NUMBER = 5


class Ranked(NamedTuple):
    """An atlas and its similarity with a target."""

    files: ImageFiles
    similarity: float


def candidates(
    target: ImageFiles,
    atlases: Sequence[ImageFiles],
    num_atlases: int | None = None,
    allow_self: bool = False,
) -> tuple[list[ImageFiles], int]:
    """
    Say which atlases a target may have, and how many of them it gets.

    :param target: the image to be segmented.
    :param atlases: all there are.
    :param num_atlases: how many are wanted; None for all.
    :param allow_self: let an atlas whose image is the very file of the target take
        part.
    :return: the atlases, and the number wanted.
    :raises ValueError: when there are too few.
    """
    own = target.image.resolve()
    others = [a for a in atlases if allow_self or a.image.resolve() != own]
    wanted = len(atlases) if num_atlases is None else num_atlases
    if wanted < 1:
        raise ValueError(f"--num-atlases: expected an integer >= 1, got {wanted}.")
    if len(others) < wanted:
        rest = "" if len(others) == len(atlases) else " other than the target itself"
        raise ValueError(
            f"--num-atlases: expected at most {len(others)}, the number of atlases "
            f"for {target.image}{rest}, got {wanted}."
        )
    return others, wanted


def rank(
    atlases: Sequence[ImageFiles],
    num_atlases: int,
    measure: Callable[[ImageFiles], float],
) -> list[Ranked]:
    """
    Take the most similar atlases.

    :param atlases: at least one.
    :param num_atlases: how many.
    :param measure: returns the similarity of an atlas with the target; nan is less
        than any number.
    :return: the most similar one first, of equal ones by name.
    """
    found = [Ranked(atlas, measure(atlas)) for atlas in atlases]

    def key(own: Ranked) -> tuple[float, str, str]:
        value = -math.inf if math.isnan(own.similarity) else own.similarity
        return -value, own.files.name, str(own.files.image)

    return sorted(found, key=key)[:num_atlases]
