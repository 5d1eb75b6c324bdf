"""Tests of demos/meta_registration/study_data.py: splits, pairs, known truth."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest

SHAPE = (18, 20, 16)


def write(path, voxels):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)


@pytest.fixture
def demo(load_demo):
    """:return: the script."""
    return load_demo("meta_registration", "study_data")


@pytest.fixture
def source(tmp_path):
    """:return: a folder with volumes in the layouts of the real ones."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "from"
    for number in range(11):
        image = rng.uniform(0, 255, SHAPE).astype(np.uint8)
        label = np.zeros((*SHAPE, 2), np.uint8)
        label[4:12, 5:14, 4:12, 0] = 1
        label[0, 0, 0, 1] = 1  # a landmark, which is not the gland
        name = f"case{number:06d}.nii.gz"
        split = folder / "mr_trus" / ("valid" if number > 7 else "train")
        write(split / "fixed_images" / name, image)
        write(split / "fixed_labels" / name, label)
        write(folder / "hippocampus" / "images" / name, image)
        write(folder / "hippocampus" / "labels" / name, label[..., 0])
    held = [{"test": f"case{number:06d}", "atlas": "x"} for number in range(4)]
    (folder / "hippocampus" / "pairs_40.json").write_text(json.dumps(held))
    return folder


def table(path):
    """:return: the rows of a CSV file."""
    with path.open() as file:
        return list(csv.DictReader(file))


def names(folder):
    """:return: the cases of a folder."""
    return {path.name.removesuffix(".nii.gz") for path in folder.iterdir()}


def test_patients_are_in_one_split_and_pairs_are_of_one_split(demo, source, tmp_path):
    data = tmp_path / "data"
    assert demo.prepare(source, data, "smoke") == ["trus", "hippocampus"]
    split_of = {
        (r["data"], r["patient"]): r["split"] for r in table(data / "splits.csv")
    }
    assert len(split_of) == len(table(data / "splits.csv")) == 2 * (4 + 2 + 3)
    for row in table(data / "pairs.csv"):
        assert row["moving"] != row["fixed"]
        for side in ("moving", "fixed"):
            assert split_of[row["data"], row[side]] == row["split"]
    # those of the list are for tests, and for nothing else
    held = {f"case{number:06d}" for number in range(4)}
    for (name, patient), split in split_of.items():
        if name == "hippocampus":
            assert (patient in held) == (split == "test")
    for name in demo.SOURCES:
        own = {s: {p for (d, p), t in split_of.items() if (d, t) == (name, s)}
               for s in ("train", "valid", "test")}  # fmt: skip
        assert names(data / name / "train" / "images") == own["train"]
        assert names(data / name / "valid" / "images") == own["valid"]
        for split in ("valid", "test"):
            pairs = names(data / name / split / "fixed_images")
            assert {p for pair in pairs for p in pair.split("--")} == own[split]
        assert names(data / name / "known" / "truth") == {f"{p}_0" for p in own["test"]}
        assert names(data / name / "example" / "fixed_images") < names(
            data / name / "test" / "fixed_images"
        )


def test_of_the_patients_named_for_the_tests_those_that_are_there_are_taken(
    demo, source, tmp_path
):
    for kind in ("images", "labels"):
        (source / "hippocampus" / kind / "case000002.nii.gz").unlink()
    demo.prepare(source, tmp_path / "data", "smoke")
    rows = table(tmp_path / "data" / "splits.csv")
    tests = {r["patient"] for r in rows
             if (r["data"], r["split"]) == ("hippocampus", "test")}  # fmt: skip
    assert tests == {"case000000", "case000001", "case000003"}


def test_the_gland_alone_is_the_label_of_an_ultrasound_volume(demo, source, tmp_path):
    demo.prepare(source, tmp_path / "data", "smoke")
    path = next((tmp_path / "data" / "trus" / "test" / "fixed_labels").iterdir())
    label = np.asarray(nib.load(path).dataobj)
    assert label.shape == SHAPE and label.sum() == 8 * 9 * 8 and label[0, 0, 0] == 0


def test_data_are_kept_until_the_arguments_change(demo, source, tmp_path, monkeypatch):
    data = tmp_path / "data"
    demo.prepare(source, data, "smoke")
    before = (data / "dataset.json").read_text()
    monkeypatch.setattr(demo, "_prepare_set", None)  # would fail if it were called
    assert demo.prepare(source, data, "smoke") == ["trus", "hippocampus"]
    assert (data / "dataset.json").read_text() == before
    monkeypatch.undo()
    monkeypatch.setattr(demo, "SEED", 1)
    demo.prepare(source, data, "smoke")
    assert json.loads((data / "dataset.json").read_text())["seed"] == 1


def test_folders_of_other_content_and_without_data_are_refused(demo, source, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(ValueError, match="mine: expected a new or empty folder"):
        demo.prepare(source, tmp_path / "mine", "smoke")
    with pytest.raises(ValueError, match="--from: expected a folder with mr_trus"):
        demo.prepare(tmp_path / "mine", tmp_path / "new", "smoke")
    next((source / "hippocampus" / "labels").iterdir()).unlink()
    with pytest.raises(ValueError, match="expected images with their labels, got no /"):
        demo.prepare(source, tmp_path / "new", "smoke")
    assert not (tmp_path / "new").exists()
