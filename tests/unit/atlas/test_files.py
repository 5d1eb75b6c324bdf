"""Tests of deepreg_meta/atlas/files.py."""

import json

import pytest

from deepreg_meta.atlas.files import find_files, read_pairs, single


@pytest.fixture
def folders(tmp_path):
    """:return: folders of three images and of four labels, one of another suffix."""
    for name in ("images/b.nii.gz", "images/a.nii", "images/c.1.png", "images/note.txt",
                 "images/.hidden.nii", "labels/a.nii.gz", "labels/b.nii.gz",
                 "labels/c.1.png", "labels/more.nii.gz"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path / "images", tmp_path / "labels"


def test_labels_are_found_by_the_names_of_their_images(folders):
    """Suffixes may differ; labels without an image do not count, nor other files."""
    images, labels = folders
    found = find_files([images], [labels])
    assert [own.name for own in found] == ["a", "b", "c.1"]
    assert [own.image.name for own in found] == ["a.nii", "b.nii.gz", "c.1.png"]
    assert [own.label.name for own in found] == ["a.nii.gz", "b.nii.gz", "c.1.png"]
    assert [own.label for own in find_files([images], None)] == [None] * 3


def test_files_and_folders_may_be_mixed(folders):
    images, labels = folders
    found = find_files([images / "c.1.png", images / "a.nii"], [labels])
    assert [own.name for own in found] == ["c.1", "a"]


def test_all_images_without_a_label_are_named(folders):
    images, labels = folders
    for name in ("a.nii.gz", "c.1.png"):
        (labels / name).unlink()
    message = r"--target-labels: .* 3 images of --targets, found none for 2: a, c\.1"
    with pytest.raises(ValueError, match=message):
        find_files([images], [labels], ("--targets", "--target-labels"))


def test_all_missing_files_are_told_by_their_flags(folders):
    images, labels = folders
    with pytest.raises(FileNotFoundError) as error:
        find_files([images, images / "x.nii"], [labels / "none", labels])
    assert str(error.value).splitlines() == [
        f"--atlas-images: expected a file or a folder, found none: {images / 'x.nii'}",
        f"--atlas-labels: expected a file or a folder, found none: {labels / 'none'}",
    ]


def test_two_files_of_one_name_are_refused(folders):
    images, labels = folders
    (images / "a.nii.gz").touch()
    with pytest.raises(ValueError, match=r"--atlas-images: .*a\.nii\.gz and .*a\.nii"):
        find_files([images], [labels])


def test_one_image_and_one_label_named_as_files_belong_together(folders):
    """As the examples of the command have it; from a folder only by its name."""
    images, labels = folders
    [found] = find_files([images / "a.nii"], [labels / "b.nii.gz"])
    assert (found.name, found.label) == ("a", labels / "b.nii.gz")
    [found] = find_files([images / "a.nii"], [labels])
    assert found.label == labels / "a.nii.gz"
    with pytest.raises(ValueError, match="found none for 1: a"):
        two = [labels / "b.nii.gz", labels / "c.1.png"]
        find_files([images / "a.nii"], two)


def test_folders_hold_files_of_all_formats_that_are_read(tmp_path):
    for name in ("a.nrrd", "b.mha", "c.nii", "d.mgz", "e.raw", "f.txt", ".g.nrrd"):
        (tmp_path / name).touch()
    found = find_files([tmp_path], None)
    assert [own.name for own in found] == ["a", "b", "c", "d"]


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--atlas-images: expected at least one image"):
        find_files([tmp_path], [tmp_path])


def test_a_single_image_and_its_label_have_any_names(folders):
    images, labels = folders
    found = single(images / "c.1.png", labels / "a.nii.gz")
    assert found.name == "c.1" and found.label == labels / "a.nii.gz"
    assert single(str(images / "b.nii.gz")).label is None


# ---- pairs ----


def read(folders, data):
    """:return: names of the target and of its atlases, pair by pair."""
    path = folders[0].parent / "pairs.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    every = find_files([folders[0]], [folders[1]])
    pairs = read_pairs(path, every[:2], every)
    return [(target.name, [own.name for own in atlases]) for target, atlases in pairs]


@pytest.mark.parametrize(
    "data",
    [
        {"b": "a", "a": ["b", "c.1"]},
        {"b.nii.gz": "a.nii", "a": ["b", "c.1.png"]},
        [{"test": "b", "atlas": "a", "ncc": 0.9}, {"test": "a", "atlas": ["b", "c.1"]}],
        [{"target": "b", "atlases": ["a"]}, {"target": "a", "atlases": ["b", "c.1"]}],
    ],
)
def test_pairs_have_several_forms_and_keep_their_order(folders, data):
    """A mapping or a list, names with or without suffix."""
    assert read(folders, data) == [("b", ["a"]), ("a", ["b", "c.1"])]


def test_targets_that_are_not_named_are_left_out(folders):
    assert read(folders, {"a": "c.1"}) == [("a", ["c.1"])]


def test_all_unknown_names_are_told(folders):
    """`c.1` is an atlas, but not among the targets."""
    message = r"got 3 others: target c\.1, atlas x, target y"
    with pytest.raises(ValueError, match=message):
        read(folders, {"c.1": "a", "a": ["b", "x"], "y": "a"})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", r"--pairs: .*pairs\.json: expected JSON: Expecting"),
        (3, "a mapping from target to atlas, or a list of objects .*got int"),
        ([["a", "b"]], "a mapping .*got list"),
        ([{"test": "a"}], "got 'a' and None"),
        ({"a": []}, r"got 'a' and \[\]"),
        ({"a": ["b", 3]}, r"got 'a' and \['b', 3\]"),
        ([{"test": "a", "atlas": "b"}] * 2, "each target once, .*got a more than once"),
        ([], "each target once, .*got none"),
        (
            {"a": ["b", "c.1", "b.nii"]},
            "each atlas .* once, .*more than once: b of a",
        ),
    ],
)
def test_other_forms_are_refused(folders, data, message):
    with pytest.raises(ValueError, match=message):
        read(folders, data)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="--pairs: expected a file"):
        read_pairs(tmp_path / "none.json", [], [])
