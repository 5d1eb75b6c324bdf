"""Tests of the cases: reading, names, pairs, memory, and every bad file."""

import os

import h5py
import nibabel as nib
import numpy as np
import pytest

from deepreg_meta.config import ConfigError, load_config
from deepreg_meta.dataset.tasks import load_case_set
from deepreg_meta.dataset.volume_check import DataError
from deepreg_meta.stack import require_stack

require_stack()  # before a test imports DeepReg

MOVING, FIXED = (6, 7, 8), (5, 6, 7)
AFFINE = np.array(
    [[0.0, -0.5, 0.0, 3.0], [2.0, 0.0, 0.0, -1.0], [0.0, 0.0, 1.5, 7.0], [0, 0, 0, 1]]
)


def image(shape, seed=0):
    return np.random.default_rng(seed).uniform(3, 90, shape).astype(np.float32)


def label(shape, num=1):
    """One block per channel; a 3-D mask where there is one channel only."""
    array = np.zeros((*shape, num), np.uint8)
    for channel in range(num):
        array[1:4, 1:3, channel : channel + 3, channel] = 1
    return array[..., 0] if num == 1 else array


class Folder:
    """A split on disk; `put` replaces one file."""

    def __init__(self, path, kinds, names):
        self.path = path
        for kind in kinds:
            for number, name in enumerate(names):
                shape = MOVING if "moving" in kind else FIXED
                make = label(shape) if "label" in kind else image(shape, number)
                self.put(kind, name, make)

    def file(self, kind, name):
        return self.path / kind / f"{name}.nii.gz"

    def put(self, kind, name, array, affine=AFFINE):
        path = self.file(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        nifti = nib.Nifti1Image(array, affine)
        nifti.header.set_sform(affine, code=1)
        nib.save(nifti, path)


KINDS = ("moving_images", "fixed_images", "moving_labels", "fixed_labels")


@pytest.fixture
def paired(tmp_path):
    return Folder(tmp_path / "train", KINDS, ("case1", "case2", "case3"))


@pytest.fixture
def unpaired(tmp_path):
    names = tuple(f"case{i}" for i in range(5))
    return Folder(tmp_path / "train", ("images", "labels"), names)


def config_of(tmp_path, folder, **dataset):
    path = tmp_path / "meta.yaml"
    path.write_text(
        """
        train:
          method: reptile
          backbone: {name: local}
          loss: {image: {name: ssd}}
          optimizer: {name: Adam, learning_rate: 1.0e-3}
          epochs: 1
        """
    )
    defaults = {
        "type": "paired",
        "format": "nifti",
        "dir": {"train": str(folder.path if isinstance(folder, Folder) else folder)},
        "labeled": True,
        "moving_image_shape": list(MOVING),
        "fixed_image_shape": list(FIXED),
    }
    top = {key: dataset.pop(key) for key in ("adapt", "align") if key in dataset}
    return load_config(path, {"dataset": {**defaults, **dataset}, **top})


def open_set(tmp_path, folder, mode="train", **dataset):
    return load_case_set(config_of(tmp_path, folder, **dataset), mode)


def open_unpaired(tmp_path, folder, **dataset):
    return open_set(
        tmp_path, folder, type="unpaired", image_shape=list(FIXED), **dataset
    )


def problems_of(cases):
    with pytest.raises(DataError) as caught:
        cases.validate()
    return caught.value.problems


@pytest.fixture
def reads(monkeypatch):
    """The files that DeepReg's loader reads, in order."""
    from deepreg.dataset.loader import nifti_loader

    paths, read = [], nifti_loader.load_nifti_file

    def count(file_path):
        paths.append(os.path.relpath(file_path))
        return read(file_path)

    monkeypatch.setattr(nifti_loader, "load_nifti_file", count)
    return paths


# ---- what a case holds ----


def test_a_case_holds_normalised_images_labels_and_geometry(tmp_path, paired):
    paired.put("moving_labels", "case2", label(MOVING, 2))
    paired.put("fixed_labels", "case2", label(FIXED, 2))
    cases = open_set(tmp_path, paired)
    cases.validate()
    assert cases.names == ("case1", "case2", "case3") and len(cases) == 3
    assert cases.num_labels_max == 2
    case = cases[1]
    assert case.name == "case2" and case.indices == (1,)
    assert case.moving_image.shape == MOVING and case.fixed_image.shape == FIXED
    assert case.fixed_image.dtype == case.fixed_labels.dtype == np.float32
    raw = image(FIXED, 1)
    expected = (raw - raw.min()) / (raw.max() - raw.min())
    np.testing.assert_allclose(case.fixed_image, expected, atol=1e-6)
    assert case.moving_labels.shape == (2, *MOVING)
    np.testing.assert_array_equal(case.moving_labels[1], label(MOVING, 2)[..., 1])
    moving_labels, fixed_labels = case.labels
    assert moving_labels is case.moving_labels and fixed_labels is case.fixed_labels
    assert case.label_names == ("label_0", "label_1")
    np.testing.assert_allclose(case.fixed_affine, AFFINE)
    # the columns of AFFINE have lengths 2, 0.5 and 1.5
    np.testing.assert_allclose(case.fixed_spacing_mm, [2.0, 0.5, 1.5])
    assert not case.spacing_is_nominal


def test_cases_equal_those_of_deepregs_own_loader(tmp_path, paired):
    from deepreg.dataset.load import get_data_loader

    config = config_of(tmp_path, paired, fixed_image_shape=[9, 6, 4])
    cases = load_case_set(config, "train")
    dataset = config.deepreg_config()["dataset"]
    dataset["dir"]["test"] = dataset["dir"]["train"]  # in file order, all labels
    loader = get_data_loader(dataset, "test")
    samples = loader.get_dataset_and_preprocess(
        training=False, batch_size=1, repeat=False, shuffle_buffer_num_batch=0
    )
    by_index = {int(s["indices"][0, 0]): s for s in samples}
    assert len(by_index) == len(cases) == 3
    for case in cases:
        sample = by_index[case.indices[0]]
        for ours, theirs in [
            (case.moving_image, "moving_image"),
            (case.fixed_image, "fixed_image"),
            (case.moving_labels[0], "moving_label"),
            (case.fixed_labels[0], "fixed_label"),
        ]:
            np.testing.assert_allclose(ours, sample[theirs][0], atol=1e-6)


def test_an_index_map_is_split_into_named_channels(tmp_path, paired):
    for kind, shape in (("moving_labels", MOVING), ("fixed_labels", FIXED)):
        for name in ("case1", "case2", "case3"):
            index_map = np.zeros(shape, np.int16)
            index_map[1:3, 2, 3] = 7
            index_map[4, 1:5, 2] = 2
            paired.put(kind, name, index_map)
    cases = open_set(tmp_path, paired, labels={"zone": 7, "gland": 2})
    cases.validate()
    assert cases.num_labels_max == 2
    assert cases[0].label_names == ("zone", "gland")
    # zone has 2 voxels, gland 4, in every file
    assert cases[0].fixed_labels.sum(axis=(1, 2, 3)).tolist() == [2, 4]
    assert cases[0].moving_labels[1, 4, 3, 2] == 1


def test_resizing_adapts_affine_and_spacing(tmp_path, paired):
    case = open_set(tmp_path, paired, fixed_image_shape=[10, 3, 7])[0]
    assert case.fixed_image.shape == (10, 3, 7)
    assert case.fixed_labels.shape == (1, 10, 3, 7)
    np.testing.assert_allclose(case.fixed_spacing_mm, [2.0 * 5 / 10, 0.5 * 6 / 3, 1.5])
    # voxel (0, 0, 0) now has its centre at old (-0.25, 0.5, 0):
    # AFFINE @ (-0.25, 0.5, 0, 1) = (-0.25 + 3, -0.5 - 1, 7)
    origin = case.fixed_affine @ [0, 0, 0, 1]
    np.testing.assert_allclose(origin, [2.75, -1.5, 7.0, 1.0])
    np.testing.assert_allclose(case.moving_affine, AFFINE)


def test_an_override_of_the_spacing_is_nominal_and_leaves_the_affine(tmp_path, paired):
    case = open_set(tmp_path, paired, spacing_mm={"fixed": [1, 1, 4]})[0]
    np.testing.assert_allclose(case.fixed_spacing_mm, [1, 1, 4])
    np.testing.assert_allclose(case.moving_spacing_mm, [2.0, 0.5, 1.5])
    np.testing.assert_allclose(case.fixed_affine, AFFINE)
    assert case.spacing_is_nominal
    half = open_set(
        tmp_path, paired, spacing_mm=[1, 1, 4], fixed_image_shape=[10, 6, 7]
    )
    np.testing.assert_allclose(half[0].fixed_spacing_mm, [0.5, 1, 4])


def test_hdf5_reads_the_affine_attribute_and_else_has_a_nominal_unit(tmp_path):
    for kind in KINDS:
        shape = MOVING if "moving" in kind else FIXED
        make = label if "label" in kind else image
        with h5py.File(tmp_path / f"{kind}.h5", "w") as file:
            file["one"], file["two"] = make(shape), make(shape)
            file["two"].attrs["affine"] = AFFINE
    cases = open_set(tmp_path, tmp_path, format="h5")
    cases.validate()
    assert cases.names == ("one", "two")
    np.testing.assert_array_equal(cases[0].fixed_affine, np.eye(4))
    np.testing.assert_array_equal(cases[0].fixed_spacing_mm, [1, 1, 1])
    np.testing.assert_array_equal(cases[1].fixed_affine, AFFINE)
    assert cases[0].spacing_is_nominal and not cases[1].spacing_is_nominal
    assert cases.num_labels_max == 1
    cases.close()


def test_unlabeled_cases_have_no_labels(tmp_path, paired):
    cases = open_set(tmp_path, paired, labeled=False)
    cases.validate()
    assert cases[0].moving_labels is None and cases[0].label_names == ()
    assert cases.num_labels_max == 0
    with pytest.raises(RuntimeError, match="The case case1 has no labels"):
        _ = cases[0].labels


def test_the_arrays_of_a_case_cannot_be_written_to(tmp_path, paired):
    case = open_set(tmp_path, paired)[0]
    for array in (case.fixed_image, case.moving_image, case.fixed_labels):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_two_folders_with_the_same_stems_give_different_names(tmp_path, paired):
    other = Folder(tmp_path / "more", KINDS, ("case3", "case4"))
    folders = [str(paired.path), str(other.path)]
    cases = open_set(tmp_path, paired, dir={"train": folders})
    expected = {"case1", "case2", "train_case3", "more_case3", "case4"}
    assert set(cases.names) == expected


def test_a_split_without_folder_is_none_and_given_folders_come_first(tmp_path, paired):
    config = config_of(tmp_path, paired)
    assert load_case_set(config, "valid") is None
    other = Folder(tmp_path / "more", KINDS, ("case9",))
    assert load_case_set(config, "valid", str(other.path)).names == ("case9",)
    assert load_case_set(config, "train", [other.path]).names == ("case9",)


# ---- pairs ----


def test_unpaired_evaluation_pairs_are_those_of_deepreg(tmp_path, unpaired):
    from deepreg.dataset.load import get_data_loader

    config = config_of(
        tmp_path, unpaired, type="unpaired", image_shape=list(FIXED), labeled=True
    )
    cases = load_case_set(config, "train")
    dataset = config.deepreg_config()["dataset"]
    dataset["dir"]["test"] = dataset["dir"]["train"]  # mode test has seed 0
    loader = get_data_loader(dataset, "test")
    expected = [(m, f) for m, f, _ in loader.sample_index_generator()]
    assert [case.indices for case in cases] == expected == cases.pairs(seed=0)
    assert len(cases) == 2 and cases.num_images == 5  # the odd one is left out
    moving, fixed = expected[0]
    assert cases.names[0] == f"case{moving}_to_case{fixed}"
    np.testing.assert_array_equal(
        cases[0].moving_image, cases.get_pair(moving, fixed).moving_image
    )


def test_drawn_unpaired_pairs_differ_and_are_equally_likely(tmp_path, unpaired):
    cases = open_unpaired(tmp_path, unpaired)
    rng = np.random.default_rng(1)
    counts = np.zeros((5, 5))
    for _ in range(4000):
        counts[cases.draw_pair(rng)] += 1
    assert (np.diag(counts) == 0).all()
    off = counts[~np.eye(5, dtype=bool)]
    # 20 pairs, 200 draws each: 5 standard deviations are about 69
    assert abs(off - 200).max() < 69


def test_one_seed_gives_one_order_of_pairs(tmp_path, unpaired):
    cases = open_unpaired(tmp_path, unpaired)
    assert cases.pairs(seed=3) == cases.pairs(seed=3)
    assert len({tuple(cases.pairs(seed=s)) for s in range(8)}) > 1
    assert len({index for pair in cases.pairs(None) for index in pair}) == 4


def test_drawn_paired_cases_keep_their_partner(tmp_path, paired):
    cases = open_set(tmp_path, paired)
    drawn = [cases.draw_pair(np.random.default_rng(s)) for s in range(30)]
    assert set(drawn) == {(0, 0), (1, 1), (2, 2)} == set(cases.pairs(None))
    with pytest.raises(ValueError, match="same index twice .* got 0 and 1"):
        cases.get_pair(0, 1)


# ---- memory ----


def test_validation_reads_every_file_once_and_later_reads_come_from_memory(
    tmp_path, paired, reads
):
    cases = open_set(tmp_path, paired)
    assert reads == []  # nothing is read before it is asked for
    steps = []
    cases.validate(progress=lambda done, total: steps.append((done, total)))
    assert len(reads) == len(set(reads)) == 12
    assert steps == [(i, 6) for i in range(1, 7)]
    list(cases)
    list(cases)
    assert len(reads) == 12


def test_the_cache_keeps_what_was_used_last_within_its_limit(tmp_path, unpaired, reads):
    # a volume takes 2 * 5 * 6 * 7 * 4 bytes = 1680; the limit has room for two
    cases = open_unpaired(tmp_path, unpaired, cache_gb=2 * 1680e-9)
    cases.get_pair(0, 1)
    assert len(reads) == 4  # two images, two labels
    cases.get_pair(1, 0)
    assert len(reads) == 4
    cases.get_pair(0, 2)  # 1 was used longest ago and goes
    assert len(reads) == 6
    cases.get_pair(2, 0)
    assert len(reads) == 6
    cases.get_pair(2, 1)
    assert len(reads) == 8


def test_without_room_every_access_reads(tmp_path, paired, reads):
    cases = open_set(tmp_path, paired, cache_gb=0)
    first, again = cases[0], cases[0]
    assert len(reads) == 8
    np.testing.assert_array_equal(first.fixed_image, again.fixed_image)


# ---- bad files ----


def test_missing_folders_name_the_key(tmp_path, paired):
    with pytest.raises(ConfigError, match="dataset.dir.train .* existing folder, got"):
        open_set(tmp_path, tmp_path / "gone")
    for file in (paired.path / "fixed_images").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="fixed_images in .*no readable file .*No data"):
        open_set(tmp_path, paired)


def test_files_without_partner_are_named_all_at_once(tmp_path, paired):
    paired.file("fixed_images", "case1").unlink()
    paired.file("moving_labels", "case1").unlink()
    paired.put("fixed_labels", "case7", label(FIXED))
    with pytest.raises(DataError) as caught:
        open_set(tmp_path, paired)
    assert str(caught.value).startswith("dataset.dir.train in the overrides")
    assert caught.value.problems == (
        f"{paired.file('moving_images', 'case1')}: expected a partner of the same name "
        "in fixed_images, moving_labels, found none.",
        f"{paired.file('fixed_labels', 'case7')}: expected a partner of the same name "
        "in moving_images, fixed_images, moving_labels, found none.",
    )


def test_the_same_case_in_two_formats_is_refused(tmp_path, paired):
    path = paired.file("fixed_images", "case1")
    nib.save(nib.load(path), path.with_name("case1.nii"))
    with pytest.raises(DataError, match="fixed_images: expected one .*case1 .*found 2"):
        open_set(tmp_path, paired)


def test_one_unpaired_image_is_too_few(tmp_path):
    folder = Folder(tmp_path / "train", ("images", "labels"), ("case1",))
    with pytest.raises(DataError, match="expected at least 2 images.* got 1"):
        open_unpaired(tmp_path, folder)


def test_grouped_data_is_left_to_deepreg(tmp_path, paired):
    config = config_of(tmp_path, paired)
    grouped = config.dataset.model_copy(update={"type": "grouped"})
    object.__setattr__(config, "dataset", grouped)
    with pytest.raises(ValueError, match="expected paired or unpaired .*got 'grouped'"):
        load_case_set(config, "train")


def with_value(array, value):
    array = array.astype(np.float32)
    array[2, 2, 2] = value
    return array


@pytest.mark.parametrize(
    ("kind", "array", "message"),
    [
        ("fixed_images", image((5, 6)), "a 3-D image, got 2-D of shape .* last side"),
        (
            "fixed_images",
            image((*FIXED, 2)),
            "a 3-D image, got 4-D of shape .* Save on",
        ),
        ("fixed_images", with_value(image(FIXED), np.nan), "finite .* got 1 voxels"),
        ("moving_images", with_value(image(MOVING), np.inf), "finite .* got 1 voxels"),
        ("fixed_images", np.full(FIXED, 5, np.uint8), "contrast, got the constant 5"),
        ("fixed_labels", 3 * label(FIXED), r"values in \[0, 1\], got 0, 3.*Declare"),
        ("fixed_labels", with_value(label(FIXED), -0.5), r"got -0.5, 0, 1\."),
        ("fixed_labels", with_value(label(FIXED), np.nan), "label values, got NaN"),
        ("fixed_labels", label(FIXED)[0], r"3-D label .* got shape \(6, 7\)"),
        ("fixed_labels", label(MOVING), r"grid of its image, \(5, 6, 7\), got \(6, 7"),
        ("fixed_labels", 0 * label(FIXED), r"got none in channel 0 \(label_0\)"),
        ("fixed_labels", label(FIXED, 2), r"as many label channels as .* \(2\), got 1"),
    ],
)
def test_a_bad_file_is_named_with_rule_and_value(
    tmp_path, paired, kind, array, message
):
    paired.put(kind, "case2", array)
    problems = problems_of(open_set(tmp_path, paired))
    assert len(problems) == 1
    assert "case2.nii.gz: expected" in problems[0]
    with pytest.raises(DataError, match=message) as caught:
        raise DataError("all", problems)
    assert kind in str(caught.value) or "label channels as" in message


def test_an_empty_channel_among_others_is_named(tmp_path, paired):
    empty = label(FIXED, 3)
    empty[..., 1] = 0
    paired.put("moving_labels", "case3", label(MOVING, 3))
    paired.put("fixed_labels", "case3", empty)
    (problem,) = problems_of(open_set(tmp_path, paired))
    assert str(paired.file("fixed_labels", "case3")) in problem
    assert "got none in channel 1 (label_1)" in problem


def test_values_that_are_no_declared_index_are_refused(tmp_path, paired):
    paired.put("fixed_labels", "case1", 4 * label(FIXED) + np.eye(6, 7, dtype=np.uint8))
    problems = problems_of(open_set(tmp_path, paired, labels={"gland": 1}))
    assert len(problems) == 1
    assert (
        "expected 0 or an integer of dataset.labels {'gland': 1}, got 4, 5"
        in (problems[0])
    )
    paired.put("fixed_labels", "case1", label(FIXED, 2))
    (problem,) = problems_of(open_set(tmp_path, paired, labels={"gland": 1}))
    assert "expected a 3-D index map, because dataset.labels is given" in problem


def test_soft_labels_are_accepted_as_they_are(tmp_path, paired):
    paired.put("fixed_labels", "case1", 0.25 * label(FIXED).astype(np.float32))
    cases = open_set(tmp_path, paired)
    cases.validate()
    assert np.unique(cases[0].fixed_labels).tolist() == [0, 0.25]


def test_an_affine_without_inverse_is_refused(tmp_path, paired):
    flat = AFFINE.copy()
    flat[:3, 1] = flat[:3, 0]  # two axes along one line
    paired.put("moving_images", "case2", image(MOVING), flat)
    (problem,) = problems_of(open_set(tmp_path, paired))
    assert "case2.nii.gz: expected an invertible affine of shape (4, 4), got [[" in (
        problem
    )


def test_an_unreadable_file_is_named(tmp_path, paired):
    path = paired.file("fixed_images", "case2")
    path.write_bytes(path.read_bytes()[:60])
    (problem,) = problems_of(open_set(tmp_path, paired))
    assert problem.startswith(f"{path}: cannot be read (")


def test_a_structure_lost_in_resizing_is_named(tmp_path, paired):
    speck = np.zeros(FIXED, np.uint8)
    speck[2, 0, 0] = 1
    paired.put("fixed_labels", "case1", speck)
    cases = open_set(tmp_path, paired, fixed_image_shape=[5, 2, 7])
    (problem,) = problems_of(cases)
    assert "got none in channel 0 (label_0) on the grid (5, 2, 7)" in problem


def test_a_channel_that_adaptation_needs_must_be_there(tmp_path, paired):
    cases = open_set(tmp_path, paired, adapt={"labels": [0, 2]})
    problems = problems_of(cases)
    assert len(problems) == 3
    assert "expected a channel for adapt.labels 2, got 1 label channels" in problems[0]
    aligned = open_set(tmp_path, paired, align={"mode": "centroid", "label": 1})
    assert "for align.label, got 1 label" in problems_of(aligned)[0]


def test_unpaired_images_need_equal_numbers_of_labels(tmp_path, unpaired):
    unpaired.put("labels", "case0", image(FIXED) * 0)  # the first cannot be compared
    unpaired.put("labels", "case3", label(FIXED, 2))
    problems = problems_of(open_unpaired(tmp_path, unpaired))
    assert len(problems) == 2
    assert "case3.nii.gz: expected as many label channels as" in problems[1]
    assert "case1.nii.gz (1), got 2" in problems[1]


def test_many_problems_are_shown_up_to_twenty(tmp_path):
    names = [f"case{i:02}" for i in range(23)]
    folder = Folder(tmp_path / "train", KINDS[:2], names)
    for name in names:
        folder.put("fixed_images", name, np.ones(FIXED, np.uint8))
    with pytest.raises(DataError) as caught:
        open_set(tmp_path, folder, labeled=False).validate()
    lines = str(caught.value).splitlines()
    assert lines[0] == ("dataset.dir.train in the overrides: 23 problems in the files:")
    assert len(lines) == 22
    assert lines[-1] == "... and 3 more problems."


def test_a_bad_file_is_refused_without_validation_too(tmp_path, paired):
    paired.put("fixed_images", "case2", np.ones(FIXED, np.uint8))
    cases = open_set(tmp_path, paired)
    assert cases[0].name == "case1"
    with pytest.raises(DataError, match="case2.nii.gz: expected an image with contr"):
        cases[1]
