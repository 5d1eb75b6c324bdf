"""Patients dealt to the splits of a study, and pairs of different patients."""

from collections.abc import Mapping, Sequence

import numpy as np


def deal_patients(
    patients: Sequence[str], numbers: Mapping[str, int], rest: str, seed: int
) -> dict[str, list[str]]:
    """
    Deal patients to the splits; each is in one of them.

    :param patients: names, each once or often, in any order.
    :param numbers: of patients by split, which are dealt in this order.
    :param rest: name of the split that gets all others.
    :param seed: same seed, same splits.
    :return: sorted names by split.
    :raises ValueError: where nobody is left for the rest.
    """
    known = sorted(set(patients))
    if sum(numbers.values()) >= len(known):
        raise ValueError(
            f"splits: expected more than {sum(numbers.values())} patients, got "
            f"{len(known)}."
        )
    order = [known[i] for i in np.random.default_rng(seed).permutation(len(known))]
    parts, first = {}, 0
    for split, number in numbers.items():
        parts[split] = sorted(order[first : first + number])
        first += number
    return {**parts, rest: sorted(order[first:])}


def draw_pairs(
    names: Sequence[str], patients: Sequence[str], number: int, seed: int
) -> list[tuple[str, str]]:
    """
    Draw ordered pairs of images of different patients, no pair twice.

    :param names: of the images.
    :param patients: of each image.
    :param number: of pairs wanted; all there are, if fewer.
    :param seed: same seed, same pairs.
    :return: (moving, fixed), sorted.
    """
    pairs = [
        (a, b)
        for a, patient in zip(names, patients, strict=True)
        for b, other in zip(names, patients, strict=True)
        if patient != other
    ]
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:number]
    return sorted(pairs[i] for i in chosen)
