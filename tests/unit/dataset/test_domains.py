"""Tests of deepreg_meta/dataset/domains.py."""

from collections import Counter

import numpy as np
import pytest

from deepreg_meta.dataset.domains import Domains, episode_cases, training_pair


class Cases:
    """Images that are numbers, with what domains ask of a `CaseSet`."""

    is_paired, num_labels_max = False, 0

    def __init__(self, first, count=4, num_labels=0):
        self.first, self.count, self.num_labels_max = first, count, num_labels

    def __len__(self):
        return self.count // 2

    def __iter__(self):
        return iter(range(self.first, self.first + len(self)))

    def draw_pair(self, rng):
        return tuple(map(int, rng.choice(self.count, 2, replace=False)))

    def get_pair(self, moving, fixed):
        return self.first + moving, self.first + fixed

    def facts(self, role):
        return [f"{role} {self.first}"]


def three(**weights):
    """:return: domains whose images are 0 to 3, 100 to 103, 200 to 203."""
    cases = {name: Cases(100 * i) for i, name in enumerate("abc")}
    return Domains(cases, weights)


def test_domains_are_drawn_by_their_weights():
    domains, rng = three(b=2.0, c=5.0), np.random.default_rng(0)
    for count in (1, 2, 3):
        draws = [domains.draw(count, rng) for _ in range(4000)]
        shares = Counter(name for names in draws for name in names)
        found = np.array([shares[n] for n in "abc"]) / (4000 * count)
        np.testing.assert_allclose(found, [1 / 8, 2 / 8, 5 / 8], atol=0.02)
        firsts = Counter(names[0] for names in draws)  # no order among the tasks
        assert firsts["c"] / 4000 == pytest.approx(5 / 8, abs=0.03)


def test_of_equal_weights_none_comes_twice_before_all_have_come():
    domains, rng = three(), np.random.default_rng(1)
    assert all(len(set(domains.draw(2, rng))) == 2 for _ in range(200))
    assert all(sorted(domains.draw(3, rng)) == list("abc") for _ in range(200))
    counts = [sorted(Counter(domains.draw(4, rng)).values()) for _ in range(200)]
    assert all(count == [1, 1, 2] for count in counts)


def test_the_pairs_of_a_task_are_of_one_domain_and_hang_on_the_seed():
    domains = three()
    tasks = episode_cases(domains, 5, 7, 3, 4)
    assert [len(task) for task in tasks] == [4, 4, 4]
    homes = [{image // 100 for pair in task for image in pair} for task in tasks]
    assert sorted(map(list, homes)) == [[0], [1], [2]]
    assert all(moving != fixed for task in tasks for moving, fixed in task)
    assert tasks == episode_cases(domains, 5, 7, 3, 4)
    assert tasks != episode_cases(domains, 6, 7, 3, 4)
    assert tasks != episode_cases(domains, 5, 8, 3, 4)


class PairedCases(Cases):
    """Pairs of a number with itself; of every other index, as a split has them."""

    is_paired = True

    def pairs(self):
        return [(index, index) for index in range(0, 2 * self.count, 2)]

    def draw_pair(self, rng):
        pairs = self.pairs()
        return pairs[int(rng.integers(len(pairs)))]


@pytest.mark.parametrize("kind, number", [(PairedCases, 4), (Cases, 12)])
def test_the_pairs_of_a_mini_batch_are_different_as_far_as_there_are_enough(
    kind, number
):
    """Four pairs, or the twelve of four images; every one comes as often in the end."""
    domains = Domains({"a": kind(0)})
    seen = Counter()
    for episode in range(300):
        (task,) = episode_cases(domains, 0, episode, 1, 3, num_batches=2)
        assert len(task) == 6
        assert len(set(task[:3])) == len(set(task[3:])) == 3
        seen.update(task)
    shares = np.array(list(seen.values())) / 1800
    np.testing.assert_allclose(shares, np.full(number, 1 / number), atol=0.03)
    (task,) = episode_cases(domains, 0, 0, 1, number + 2)
    assert len(task) == number + 2 and len(set(task)) == number


def test_one_set_is_gone_through_as_training_pair_says():
    cases = Cases(0)
    tasks = [
        pair
        for number in range(3)
        for task in episode_cases(cases, 1, number, 2, 3)
        for pair in task
    ]
    assert tasks == [training_pair(cases, 1, i) for i in range(18)]


def test_they_are_evaluated_and_described_together():
    domains = Domains({"a": Cases(0), "b": Cases(50, 6, num_labels=2)})
    assert list(domains) == [0, 1, 50, 51, 52] and len(domains) == 5
    assert domains.num_labels_max == 2
    assert domains.facts("fixed") == ["fixed 0", "fixed 50"]


def test_what_cannot_be_drawn_from_is_refused():
    with pytest.raises(ValueError, match="one domain at least"):
        Domains({})
    with pytest.raises(ValueError, match=r"weights > 0, got \[1.0, 0.0, 1.0\]"):
        three(b=0.0)
