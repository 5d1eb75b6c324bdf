"""Tests of the cases: reading, names, pairs, memory, and every bad file."""

import gzip
import os

import h5py
import nibabel as nib
import numpy as np
import pytest

from deepreg_meta.config import ConfigError
from deepreg_meta.dataset.tasks import load_case_set
from deepreg_meta.dataset.volume_check import DataError
from deepreg_meta.stack import require_stack
from tests.unit.dataset.examples import (
    AFFINE,
    FIXED,
    KINDS,
    MOVING,
    Folder,
    config_of,
    image,
    label,
)

require_stack()  # before a test imports DeepReg


@pytest.fixture
def paired(tmp_path):
    return Folder(tmp_path / "train", KINDS, ("case1", "case2", "case3"))


@pytest.fixture
def unpaired(tmp_path):
    names = tuple(f"case{i}" for i in range(5))
    return Folder(tmp_path / "train", ("images", "labels"), names)


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


def test_a_case_can_read_its_files_again_as_they_are_stored(tmp_path, paired):
    paired.put("fixed_labels", "case2", label(FIXED, 2))
    paired.put("moving_labels", "case2", label(MOVING, 2))
    case = open_set(tmp_path, paired, fixed_image_shape=[10, 3, 7], cache_gb=0)[1]
    source = case.fixed_source
    assert source.path == str(paired.file("fixed_images", "case2"))
    assert source.label_paths == (str(paired.file("fixed_labels", "case2")),)
    assert source.grid.shape == FIXED
    np.testing.assert_allclose(source.grid.affine, AFFINE)
    voxels, labels = source.read()
    np.testing.assert_array_equal(voxels, image(FIXED, 1))  # original intensities
    np.testing.assert_array_equal(labels, np.moveaxis(label(FIXED, 2), 3, 0))
    assert voxels.dtype == labels.dtype == np.float32
    assert case.moving_source.read()[0].shape == MOVING
    paired.file("fixed_images", "case2").unlink()
    with pytest.raises(DataError, match="case2.nii.gz: cannot be read"):
        source.read()


def test_a_moving_image_is_matched_to_the_fixed_one_of_its_pair(tmp_path, paired):
    from deepreg_meta.dataset.intensity import match, scale_to_unit

    for number, name in enumerate(("case1", "case2", "case3")):
        paired.put("fixed_images", name, (number + 1) * image(FIXED, number) ** 2)
    steps = {
        "moving": [{"name": "match", "reference": "fixed"}],
        "fixed": [{"name": "clip", "percentiles": [5, 95]}],
    }
    cases = open_set(tmp_path, paired, intensity=steps)
    cases.validate()
    fixed = 2 * image(FIXED, 1) ** 2
    fixed = np.clip(fixed, *np.percentile(fixed, [5, 95]).astype(np.float32))
    expected = scale_to_unit(match(image(MOVING, 1), fixed))
    np.testing.assert_allclose(cases[1].moving_image, expected, atol=1e-6)
    # a bad fixed image is named once, although both sides need it
    paired.put("fixed_images", "case2", np.ones(FIXED, np.uint8))
    assert len(problems_of(open_set(tmp_path, paired, intensity=steps))) == 1


@pytest.mark.parametrize("kind", ["paired", "unpaired"])
def test_grid_and_intensity_keys_reach_every_image(tmp_path, request, kind):
    folder = request.getfixturevalue(kind)
    keys = dict(
        grid={"orientation": "RAS", "spacing_mm": 1, "fit": "pad"},
        intensity=[{"name": "z_score"}],
    )
    shapes = dict(moving_image_shape=[4, 9, 12], fixed_image_shape=[3, 9, 11])
    if kind == "unpaired":
        cases = open_unpaired(tmp_path, folder, **keys)
    else:
        cases = open_set(tmp_path, folder, **keys, **shapes)
    cases.validate()
    case = cases[0]
    for grid, picture in (
        (case.moving_grid, case.moving_image),
        (case.fixed_grid, case.fixed_image),
    ):
        assert grid.orientation == "RAS"
        np.testing.assert_allclose(grid.spacing_mm, [1, 1, 1])
        assert picture.min() < -1
    np.testing.assert_allclose(case.fixed_spacing_mm, [1, 1, 1])


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
        ("fixed_labels", with_value(label(FIXED), -0.5), r"got -0.5, 1\. Clip"),
        ("fixed_labels", with_value(label(FIXED), np.nan), "label values, got NaN"),
        ("fixed_labels", label(FIXED)[0], r"grid of its image, \(5, 6, 7\), .*7, 1\)"),
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
    assert "case2.nii.gz: expected an invertible affine, got a singular" in problem


@pytest.mark.parametrize("kind", ["moving_images", "fixed_labels"])
def test_a_header_in_metres_is_refused(tmp_path, paired, kind):
    path = paired.file(kind, "case2")
    nifti = nib.load(path)
    nifti.header.set_xyzt_units("meter")
    # as its image, whose corners would be looked for elsewhere
    nib.save(nib.Nifti1Image(nifti.get_fdata(), AFFINE, nifti.header), path)
    problems = problems_of(open_set(tmp_path, paired))
    assert problems == (problems[0],)
    assert f"{path}: expected lengths in mm, got a header in meter" in problems[0]


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.diag([1, 1, 0, 1.0]), r"voxel sides > 0, got a spacing of \[1.0, 1.0, 0.0"),
        (np.diag([1, np.nan, 1, 1.0]), "a finite affine of shape"),
    ],
)
def test_a_place_that_cannot_be_is_refused(tmp_path, paired, affine, message):
    # nibabel refuses to write such an affine: its place in the header is bytes 280 on
    path = paired.file("moving_images", "case2")
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[280:328] = affine[:3].astype("<f4").tobytes()
    path.write_bytes(gzip.compress(content))
    (problem,) = problems_of(open_set(tmp_path, paired))
    with pytest.raises(ValueError, match=f"case2.nii.gz: expected {message}"):
        raise ValueError(problem)


def test_a_label_beside_its_image_is_refused(tmp_path, paired):
    shifted = AFFINE.copy()
    shifted[2, 3] += 3
    paired.put("fixed_labels", "case3", label(FIXED), shifted)
    paired.put("fixed_labels", "case1", label(FIXED), np.eye(4))  # says nothing
    (problem,) = problems_of(open_set(tmp_path, paired))
    path = paired.file("fixed_images", "case3")
    assert f"fixed_labels/case3.nii.gz: expected the place of its image {path}" in (
        problem
    )
    assert "up to 3 mm apart" in problem


def test_pairs_that_share_no_space_are_refused_with_affine_alignment(tmp_path, paired):
    far = AFFINE.copy()
    far[0, 3] += 400
    paired.put("moving_images", "case2", image(MOVING), far)
    paired.put("moving_labels", "case2", label(MOVING), far)
    open_set(tmp_path, paired).validate()
    (problem,) = problems_of(open_set(tmp_path, paired, align="affine"))
    for kind in ("moving_images", "fixed_images"):
        assert str(paired.file(kind, "case2")) in problem
    assert "mm apart" in problem


def test_any_two_unpaired_images_must_share_space_with_affine_alignment(
    tmp_path, unpaired
):
    # 0, 300 and 600 mm away: case0 with case1 and case2, and these with each other
    for number, name in enumerate(("case0", "case1", "case2")):
        far = AFFINE.copy()
        far[1, 3] += 300 * number
        for kind, make in (("images", image), ("labels", label)):
            unpaired.put(kind, name, make(FIXED), far)
    for name in ("case3", "case4"):
        for kind in ("images", "labels"):
            unpaired.file(kind, name).unlink()
    problems = problems_of(open_unpaired(tmp_path, unpaired, align="affine"))
    assert len(problems) == 3
    assert "case2" in problems[2] and "case1" in problems[2]
    assert "centres are 300 mm apart" in problems[2]


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
