"""Several sets of cases to train on, and which of them the tasks of an episode are."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from deepreg_meta.dataset.case import Case
from deepreg_meta.dataset.tasks import CaseSet
from deepreg_meta.dataset.volume import Facts

_MAX_TRIES = 100  # to draw a pair that has not come yet


class Domains:
    """
    Several sets of cases, such as those of `dataset.domains`.

        domains = Domains({"brain": brain, "chest": chest}, {"chest": 2.0})
        names = domains.draw(3, np.random.default_rng(0))

    :param cases: of one split, by the name of the domain.
    :param weights: how often a domain is drawn, relative to the others; 1 where none
        is given.
    :raises ValueError: without any set, or for a weight that is not positive.
    """

    def __init__(
        self, cases: Mapping[str, CaseSet], weights: Mapping[str, float] | None = None
    ) -> None:
        if not cases:
            raise ValueError("Domains: expected one domain at least, got none.")
        self.cases = dict(cases)
        given = weights or {}
        shares = np.array([given.get(name, 1.0) for name in self.cases], float)
        if not (shares > 0).all():
            raise ValueError(f"Domains: expected weights > 0, got {shares.tolist()}.")
        self.shares = shares / shares.sum()

    @property
    def num_labels_max(self) -> int:
        """The largest number of label channels of any case; 0 without labels."""
        return max(cases.num_labels_max for cases in self.cases.values())

    @property
    def ignores_padding(self) -> bool:
        """Whether there may be voxels that losses leave out."""
        return any(cases.ignores_padding for cases in self.cases.values())

    def __len__(self) -> int:
        return sum(len(cases) for cases in self.cases.values())

    def __iter__(self) -> Iterator[Case]:
        return (case for cases in self.cases.values() for case in cases)

    def draw(self, count: int, rng: np.random.Generator) -> list[str]:
        """
        Draw the domains of some tasks.

        Each comes up in proportion to its weight, and as evenly among the tasks of one
        draw as that allows: of equal weights, none twice before all have come once.
        That is systematic sampling of the domains in a random order.

        :param count: of tasks.
        :param rng: source of randomness.
        :return: names, in a random order.
        """
        names = list(self.cases)
        order = rng.permutation(len(names))
        ends = np.cumsum(self.shares[order])
        marks = (rng.random() + np.arange(count)) / count
        chosen = np.minimum(np.searchsorted(ends, marks, "right"), len(names) - 1)
        return [names[order[index]] for index in rng.permutation(chosen)]

    def facts(self, role: str) -> list[Facts]:
        """
        Tell what is worth remembering of the volumes of all domains.

        :param role: as of `CaseSet.facts`.
        :return: an element for each volume.
        """
        return [one for cases in self.cases.values() for one in cases.facts(role)]

    def close(self) -> None:
        """Close the files that stayed open (HDF5)."""
        for cases in self.cases.values():
            cases.close()


def training_pair(cases: CaseSet, seed: int, index: int) -> tuple[int, int]:
    """
    Say which pair the task number `index` of a run is.

    Paired data is gone through in a new order each time; of unpaired images any two may
    meet. Either way the answer depends on the arguments alone, so a run that continues
    from a checkpoint meets the pairs that it would have met.

    :param cases: the training split.
    :param seed: of the run.
    :param index: counts tasks from 0.
    :return: (moving, fixed) indices.
    """
    if not cases.is_paired:
        return cases.draw_pair(np.random.default_rng([seed, index]))
    cycle, position = divmod(index, len(cases))
    order = np.random.default_rng([seed, cycle]).permutation(len(cases))
    return cases.pairs()[order[position]]


def episode_cases(
    cases: CaseSet | Domains,
    seed: int,
    number: int,
    num_tasks: int,
    num_pairs: int,
    num_batches: int = 1,
) -> Sequence[Sequence[Case]]:
    """
    Read the pairs of an episode; they depend on the arguments alone.

    :param cases: one set, whose pairs come up as `training_pair` says, or domains.
    :param seed: of the run.
    :param number: of the episode.
    :param num_tasks: m.
    :param num_pairs: of every mini-batch; all of them are of the task's domain, and
        different as far as it has as many.
    :param num_batches: of every task.
    :return: for every task the pairs of its mini-batches, one after the other.
    """
    per_task = num_pairs * num_batches
    if not isinstance(cases, Domains):
        first = number * num_tasks * per_task
        indices = range(first, first + num_tasks * per_task)
        found = [cases.get_pair(*training_pair(cases, seed, i)) for i in indices]
        return [found[i : i + per_task] for i in range(0, len(found), per_task)]
    # beside the draws of `training_pair`, whose second number counts tasks
    rng = np.random.default_rng([seed, number, num_tasks])
    return [
        [
            own.get_pair(*pair)
            for _ in range(num_batches)
            for pair in _draw_pairs(own, num_pairs, rng)
        ]
        for own in (cases.cases[name] for name in cases.draw(num_tasks, rng))
    ]


def _draw_pairs(
    cases: CaseSet, count: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """
    Draw the pairs of a mini-batch.

    Paired data repeats none before all have come. Unpaired images are drawn again where
    a pair has come already, a bounded number of times.
    """
    drawn: list[tuple[int, int]] = []
    if cases.is_paired:
        pairs = cases.pairs()
        while len(drawn) < count:
            drawn += [pairs[index] for index in rng.permutation(len(pairs))]
        return drawn[:count]
    for _ in range(count):
        for _ in range(_MAX_TRIES):
            pair = cases.draw_pair(rng)
            if pair not in drawn:
                break
        drawn.append(pair)
    return drawn
