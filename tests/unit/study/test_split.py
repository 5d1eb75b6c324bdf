"""Tests of deepreg_meta/study/split.py; a study's own numbers are tested with it."""

import pytest

from deepreg_meta.study.split import deal_patients, draw_pairs


def test_patients_are_dealt_once_by_number_and_seed():
    patients = [f"p{number % 9}" for number in range(30)]
    numbers = {"test": 3, "valid": 2}
    splits = deal_patients(patients, numbers, "train", seed=1)
    assert {name: len(own) for name, own in splits.items()} == {
        "test": 3, "valid": 2, "train": 4,
    }  # fmt: skip
    assert sorted(p for own in splits.values() for p in own) == sorted(set(patients))
    assert deal_patients(patients[::-1], numbers, "train", seed=1) == splits
    assert deal_patients(patients, numbers, "train", seed=2) != splits


def test_somebody_is_left_for_the_rest():
    with pytest.raises(ValueError, match="expected more than 3 patients, got 3"):
        deal_patients(["a", "b", "c"], {"test": 3}, "train", seed=0)


def test_all_ordered_pairs_are_drawn_where_so_many_are_wanted():
    pairs = draw_pairs(["a", "b", "c"], ["a", "b", "c"], 6, seed=0)
    assert pairs == [(m, f) for m in "abc" for f in "abc" if m != f]
