"""Choose the atlases of a target, and templates between, by their similarity."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from deepreg_meta.dataset.image_folder import ImageFiles

DEFAULT_NUMBER, DEFAULT_TEMPLATES = 5, 4


class Numbers(NamedTuple):
    """How many atlases a target has, and templates between it and them."""

    atlases: int
    templates: int

    @property
    def registrations(self) -> int:
        """Of atlases and templates to the target, and of atlases to templates."""
        return self.atlases + self.templates * (1 + self.atlases)


class Ranked(NamedTuple):
    """An atlas, or a template, and its similarity with a target."""

    files: ImageFiles
    similarity: float


def candidates(
    target: ImageFiles,
    atlases: Sequence[ImageFiles],
    num_atlases: int | None = None,
    allow_self: bool = False,
    default: int | None = None,
) -> tuple[list[ImageFiles], int]:
    """
    Say which atlases a target may have, and how many of them it gets.

    :param target: the image to be segmented.
    :param atlases: all there are.
    :param num_atlases: how many are wanted; None for all.
    :param allow_self: let an atlas whose image is the very file of the target take
        part.
    :param default: how many at most without `num_atlases`; None for all.
    :return: the atlases, and the number wanted.
    :raises ValueError: when there are too few.
    """
    own = target.image.resolve()
    others = [a for a in atlases if allow_self or a.image.resolve() != own]
    wanted = len(atlases) if num_atlases is None else num_atlases
    if num_atlases is None and default is not None:
        wanted = max(1, min(default, len(others)))
    if wanted < 1:
        raise ValueError(f"--num-atlases: expected an integer >= 1, got {wanted}.")
    if not others and atlases:
        raise ValueError(
            f"--atlas-images: expected an atlas other than the target itself, got none "
            f"for {target.image}. With --allow-self it may be its own atlas."
        )
    if len(others) < wanted:
        rest = "" if len(others) == len(atlases) else " other than the target itself"
        raise ValueError(
            f"--num-atlases: expected at most {len(others)}, the number of atlases "
            f"for {target.image}{rest}, got {wanted}."
        )
    return others, wanted


def template_candidates(
    target: ImageFiles,
    atlases: Sequence[ImageFiles],
    templates: Sequence[ImageFiles],
    num_templates: int | None = None,
) -> tuple[list[ImageFiles], int]:
    """
    Say which templates a target may have, and how many of them it gets.

    :param target: the image to be segmented.
    :param atlases: all that it may have; a template that is the file of one of them, or
        of the target, is left out.
    :param templates: images without labels.
    :param num_templates: how many are wanted; None for the default.
    :return: the templates, and the number wanted.
    :raises ValueError: when there are too few.
    """
    if not templates:
        return [], 0
    used = {own.image.resolve() for own in (target, *atlases)}
    others = [own for own in templates if own.image.resolve() not in used]
    if not others:
        raise ValueError(
            f"--template-images: expected an image that is neither {target.image} nor "
            f"one of its atlases, got none among {len(templates)}."
        )
    if num_templates is None:
        return others, min(DEFAULT_TEMPLATES, len(others))
    if not 1 <= num_templates <= len(others):
        raise ValueError(
            f"--num-templates: expected 1 to {len(others)}, the number of images that "
            f"are neither {target.image} nor one of its atlases, got {num_templates}."
        )
    return others, num_templates


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
