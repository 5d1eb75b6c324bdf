"""Tests of demos/multi_domain/demo_data.py: domains, pairs, splits, landmarks."""

import csv
import json
from collections import defaultdict

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from deepreg_meta.study.made_up import write_synthetic


@pytest.fixture
def demo(load_demo):
    """:return: the script."""
    return load_demo("multi_domain", "demo_data")


@pytest.fixture
def prepared(demo, tmp_path):
    """:return: the folder of the domains made up, of 16 x 16."""
    found = demo.prepare(None, tmp_path / "data", 16)
    assert found == ["brain", "chest", "echo", "abdomen"]
    return tmp_path / "data"


def names_in(folder):
    """:return: the names of the files, without their endings."""
    return {path.name.split(".")[0] for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("domain", "name", "patient"),
    [
        ("brain", "OAS1_0003_MR1", "OAS1_0003"),
        ("chest", "MCUCXR_0012_0", "MCUCXR_0012"),
        ("echo", "patient0004_2CH_ED", "patient0004"),
        ("retina", "Image_03L", "Image_03"),  # both eyes are of one patient
        ("retina", "Image_03R", "Image_03"),
        ("abdomen", "subject10007_532_rater1", "subject10007"),
        ("ms_flair", "patient07_z031", "patient07"),
    ],
)
def test_patients_are_known_by_the_names_of_their_files(demo, domain, name, patient):
    assert demo.patient_of(demo.DOMAINS[domain], name) == patient


def test_neighbours_are_slices_of_one_patient_with_none_between(demo):
    names = ["a_z002", "a_z001", "a_z004", "b_z005"]
    pairs = demo.neighbours(names, demo.DOMAINS["ms_flair"])
    assert pairs == [("a_z001", "a_z002"), ("a_z002", "a_z001")]
    with pytest.raises(ValueError, match="s1_10: expected a slice's number after _z"):
        demo.neighbours(["s1_10"], demo.DOMAINS["ms_flair"])


def test_bifurcations_are_where_three_lines_meet(demo):
    vessels = np.zeros((41, 41), np.uint8)
    vessels[20, 2:39] = 255  # one along, another down from its middle
    vessels[20:39, 20] = 255
    rows, columns = np.nonzero(demo.bifurcations(vessels))
    assert len(rows) and np.abs(rows - 20).max() <= 2
    assert np.abs(columns - 20).max() <= 2
    vessels[21:] = 0  # a line alone has none
    assert not demo.bifurcations(vessels).any()


@pytest.mark.parametrize("slope", [0.3, 0.5, 1.0, 1.7])
def test_an_oblique_vessel_has_no_bifurcation_and_a_fork_of_two_has_one(demo, slope):
    y, x = np.indices((60, 60)) - 30
    vessel = np.abs(y - slope * x) < 1.8 * np.hypot(1, slope)
    assert not demo.bifurcations(vessel).any()
    other = (np.abs(x + slope * y) < 1.8 * np.hypot(1, slope)) & (y < slope * x)
    rows, columns = np.nonzero(demo.bifurcations(vessel | other))
    assert 1 <= len(rows) <= 3
    assert np.hypot(rows - 30, columns - 30).max() < 4


def test_no_patient_is_in_two_splits(prepared):
    splits = defaultdict(set)
    with (prepared / "splits.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            splits[row["domain"], row["patient"]].add(row["split"])
    assert len(splits) == 4 * 9
    assert all(len(found) == 1 for found in splits.values())


def test_what_is_fine_tuned_on_is_of_the_training_and_what_is_seen_has_no_label(
    prepared,
):
    for domain in ("brain", "chest", "echo", "abdomen"):
        few, test, seen, train, example = (
            names_in(prepared / domain / split / "moving_images")
            for split in ("few", "test", "seen", "train", "example")
        )
        assert few <= train and 0 < len(few) <= 20
        assert seen == few | test and not few & test
        assert len(example) == 1 and example <= test
        kinds = {path.name for path in (prepared / domain / "seen").iterdir()}
        assert kinds == {"moving_images", "fixed_images"}
        assert (prepared / domain / "test" / "fixed_labels").is_dir()


def test_the_echo_goes_from_diastole_to_systole(prepared):
    folder, pictures = prepared / "echo" / "test", prepared / "echo" / "png" / "images"
    for index, phase in enumerate(("ED", "ES")):
        kind = ("moving_images", "fixed_images")[index]
        for path in sorted((folder / kind).iterdir()):
            source = path.stem.split("--")[index]
            assert source.endswith(f"_{phase}")
            np.testing.assert_array_equal(
                np.asarray(Image.open(path)),
                np.asarray(Image.open(pictures / f"{source}.png")),
            )


def test_the_retina_is_deformed_with_its_bifurcations(demo, tmp_path):
    source = write_synthetic(tmp_path / "source")
    rng = np.random.default_rng(0)
    folder = source / "chase_retina"
    for kind in ("images", "vessels_1stHO"):
        (folder / kind).mkdir(parents=True)
    for patient in range(6):
        for eye in "LR":
            vessels = np.zeros((64, 64), np.uint8)
            vessels[30:33, 4:60] = 255
            vessels[30:60, 30:33] = 255
            image = (vessels // 2 + rng.integers(0, 60, (64, 64))).astype(np.uint8)
            name = f"Image_{patient:02d}{eye}.png"
            Image.fromarray(image).save(folder / "images" / name)
            Image.fromarray(vessels).save(folder / "vessels_1stHO" / name)
    found = demo.prepare(source, tmp_path / "data", 32)
    assert "retina" in found
    test = tmp_path / "data" / "retina" / "test"
    names = names_in(test / "fixed_images")
    assert names == names_in(test / "truth") == names_in(test / "fixed_labels")
    for name in names:
        label = nib.load(next((test / "moving_labels").glob(f"{name}.*"))).get_fdata()
        assert label.any()
        field = nib.load(test / "truth" / f"{name}.nii.gz").get_fdata()
        assert np.abs(field).max() > 0.5  # moved by pixels


def test_prepared_domains_are_kept_and_other_ones_replace_them(demo, prepared):
    stamp = json.loads((prepared / "dataset.json").read_text())
    picture = next((prepared / "brain" / "png" / "images").iterdir())
    before = picture.stat().st_mtime_ns
    demo.prepare(None, prepared, 16)
    assert picture.stat().st_mtime_ns == before
    demo.prepare(None, prepared, 16, seed=1)
    other = json.loads((prepared / "dataset.json").read_text())
    assert other["digest"] != stamp["digest"]


def test_folders_that_are_not_ours_and_too_few_domains_are_refused(demo, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(ValueError, match="expected a new or empty folder"):
        demo.prepare(None, tmp_path / "mine", 16)
    assert (tmp_path / "mine" / "thesis.txt").is_file()
    (tmp_path / "source" / "oasis2d").mkdir(parents=True)
    with pytest.raises(ValueError, match="with two or more of brats_slices"):
        demo.prepare(tmp_path / "source", tmp_path / "data", 16)
