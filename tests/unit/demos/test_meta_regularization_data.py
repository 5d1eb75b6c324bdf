"""Tests of demos/meta_regularization/demo_data.py: splits, pairs, pictures."""

import csv
import json
from collections import defaultdict

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def demo(load_demo):
    """:return: the script."""
    return load_demo("meta_regularization", "demo_data")


@pytest.fixture
def prepared(demo, tmp_path):
    """:return: the folder of data sets made up, of 16 x 16."""
    assert demo.prepare(None, tmp_path / "data", 16) == list(demo.KINDS)
    return tmp_path / "data"


def test_every_patient_is_in_one_split_and_the_seed_says_in_which(demo):
    patients = [f"p{number % 20}" for number in range(60)]
    splits = demo.split_patients(patients, seed=3)
    dealt = [patient for part in splits.values() for patient in part]
    assert sorted(dealt) == sorted(set(patients))
    # a quarter and 15 % of 20 patients
    assert {name: len(part) for name, part in splits.items()} == {
        "train": 12, "valid": 3, "test": 5,
    }  # fmt: skip
    assert demo.split_patients(patients[::-1], seed=3) == splits
    assert demo.split_patients(patients, seed=4) != splits


def test_too_few_patients_are_refused(demo):
    with pytest.raises(ValueError, match="at least 6 patients, got 5"):
        demo.split_patients(list("abcde"), seed=0)


def test_pairs_are_of_different_patients_and_none_comes_twice(demo):
    names, patients = ["a1", "a2", "b1", "c1"], ["a", "a", "b", "c"]
    pairs = demo.draw_pairs(names, patients, 100, seed=0)
    # of 12 ordered pairs a1-a2 and a2-a1 are of one patient
    assert len(set(pairs)) == len(pairs) == 10
    assert all(moving[0] != fixed[0] for moving, fixed in pairs)
    few = demo.draw_pairs(names, patients, 4, seed=0)
    assert len(few) == 4
    assert few == demo.draw_pairs(names, patients, 4, seed=0)


def test_pictures_are_padded_to_a_square_and_keep_their_values(demo, tmp_path):
    label = np.zeros((8, 4), np.uint8)
    label[2:6] = 7
    Image.fromarray(label).save(tmp_path / "in.png")
    small = demo.shrink(tmp_path / "in.png", tmp_path / "out.png", 4, is_label=True)
    expected = np.zeros((4, 4), np.uint8)
    expected[1:3, 1:3] = 7  # of 8 columns after padding the middle four
    np.testing.assert_array_equal(small, expected)
    image = demo.shrink(tmp_path / "in.png", tmp_path / "im.png", 4, is_label=False)
    assert image.sum() * 4 == pytest.approx(label.astype(int).sum(), abs=8)


def test_no_file_of_a_patient_lies_in_two_splits(demo, prepared):
    with (prepared / "splits.csv").open() as file:
        rows = list(csv.DictReader(file))
    dealt = {(row["data"], row["patient"]): row["split"] for row in rows}
    assert len(dealt) == len(rows)
    found = defaultdict(set)
    for name, kind in demo.KINDS.items():
        for path in (prepared / name).glob("*/*_images/*"):
            split = path.parts[-3].split("_")[0]
            for part in path.name.split(".")[0].split("--"):
                found[name, demo.patient_of(kind, part)].add(split)
    assert found == {key: {split} for key, split in dealt.items()}


def test_the_slices_of_the_training_are_not_deformed_and_those_of_the_test_are(
    prepared,
):
    stamp = json.loads((prepared / "liver/train/known_truth.json").read_text())
    assert {case["longest_vox"] for case in stamp["cases"].values()} == {0.0}
    for sigma in (10, 16):
        text = (prepared / f"liver/test_{sigma}/known_truth.json").read_text()
        cases = json.loads(text)["cases"]
        assert len(cases) == 12  # 2 patients, 2 slices, 3 fields
        for case in cases.values():
            assert case["sigma"] == pytest.approx(sigma)
    assert not (prepared / "liver/train/fixed_labels").exists()


def test_data_are_kept_until_the_arguments_change(demo, prepared):
    stamp = prepared / "dataset.json"
    before = stamp.stat().st_mtime_ns
    demo.prepare(None, prepared, 16)
    assert stamp.stat().st_mtime_ns == before
    demo.prepare(None, prepared, 16, seed=1)
    assert json.loads(stamp.read_text())["seed"] == 1


def test_a_folder_of_other_content_and_one_without_data_are_refused(demo, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(ValueError, match="mine: expected a new or empty folder"):
        demo.prepare(None, tmp_path / "mine", 16)
    with pytest.raises(ValueError, match=r"--from: expected a folder with curvas"):
        demo.prepare(tmp_path / "mine", tmp_path / "new", 16)
