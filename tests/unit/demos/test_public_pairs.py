"""Tests of the demo's download: what is taken out of the archive, and what is not."""

import gzip
import hashlib
import zipfile
from pathlib import PurePosixPath

import pytest

KINDS = ("moving_images", "fixed_images", "moving_labels", "fixed_labels")
VOXELS = gzip.compress(b"voxels")
FOLDER = "DeepReg-0.1.2/data/test/nifti/paired"


@pytest.fixture
def pairs(load_demo, monkeypatch):
    """Return the module, told that the archive holds three pairs and one."""
    module = load_demo("meta_trus", "public_pairs")
    monkeypatch.setattr(module, "NUM_PAIRS", {"train": 3, "test": 1})
    return module


def archive_files(**changes):
    """Name the files of a small archive of DeepReg's form, with changes to it."""
    files = {
        f"{FOLDER}/{split}/{kind}/case{i:06d}.nii.gz": VOXELS
        for split, count in (("train", 3), ("test", 1))
        for kind in KINDS
        for i in range(count)
    }
    files["DeepReg-0.1.2/LICENSE"] = b"Apache"
    files["DeepReg-0.1.2/deepreg/LICENSE"] = b"another"
    files["DeepReg-0.1.2/data/test/nifti/unpaired/train/images/case000000.nii.gz"] = b""
    files |= changes
    return {name: content for name, content in files.items() if content is not None}


@pytest.fixture
def write_archive(tmp_path):
    """Return a function that writes such an archive."""

    def write(files):
        path = tmp_path / "archive.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path

    return write


def test_pairs_and_licence_are_taken_and_nothing_else(pairs, write_archive, tmp_path):
    folder = tmp_path / "data" / "mr_trus"
    pairs.extract_pairs(write_archive(archive_files()), folder)
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    # (3 + 1) pairs of four files, and the licence of the whole
    assert len(found) == 4 * 4 + 1
    assert "train/moving_labels/case000002.nii.gz" in found
    assert "test/fixed_images/case000000.nii.gz" in found
    assert (folder / "LICENSE").read_bytes() == b"Apache"
    assert [p.name for p in folder.parent.iterdir()] == ["mr_trus"]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (
            "D-1/data/test/nifti/paired/test/a/c.nii.gz",
            PurePosixPath("test/a/c.nii.gz"),
        ),
        ("D-1/LICENSE", PurePosixPath("LICENSE")),
        ("D-1/data/test/nifti/paired/../../../../c.nii.gz", None),
        ("D-1/data/test/nifti/paired/README.md", None),
        ("D-1/other/data/test/nifti/paired/test/a/c.nii.gz", None),
    ],
)
def test_only_files_below_the_folder_of_pairs_are_wanted(pairs, name, wanted):
    assert pairs.wanted_path(name) == wanted


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        (["train/fixed_images/case000001"], r"case000001.nii.gz without partner"),
        (
            [f"train/{kind}/case000001" for kind in KINDS],
            r"expected 3 pairs .* found 2",
        ),
        ([f"test/{kind}/case000000" for kind in KINDS], r"no file at all"),
    ],
)
def test_a_missing_file_is_named_and_nothing_is_left(
    pairs, write_archive, tmp_path, lost, message
):
    files = archive_files(**{f"{FOLDER}/{name}.nii.gz": None for name in lost})
    with pytest.raises(ValueError, match=message):
        pairs.extract_pairs(write_archive(files), tmp_path / "data" / "mr_trus")
    assert not list((tmp_path / "data").iterdir())


def test_a_pointer_in_place_of_an_image_is_refused(pairs, write_archive, tmp_path):
    name = f"{FOLDER}/test/fixed_images/case000000.nii.gz"
    archive = write_archive(archive_files(**{name: b"version https://git-lfs"}))
    with pytest.raises(ValueError, match=r"case000000.nii.gz is no gzip"):
        pairs.extract_pairs(archive, tmp_path / "data" / "mr_trus")


def test_what_is_no_archive_is_refused(pairs, tmp_path):
    page = tmp_path / "archive.zip"
    page.write_text("<html>not found</html>")
    with pytest.raises(ValueError, match="expected a zip archive"):
        pairs.extract_pairs(page, tmp_path / "mr_trus")


def test_a_second_call_downloads_nothing(pairs, write_archive, tmp_path):
    archive = write_archive(archive_files())
    folder = tmp_path / "data" / "mr_trus"
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    pairs.fetch_public_pairs(folder, archive.as_uri(), digest.upper())
    archive.unlink()
    assert pairs.fetch_public_pairs(folder, archive.as_uri()) == folder
    assert pairs.count_pairs(folder / "train") == 3


def test_another_digest_is_refused(pairs, write_archive, tmp_path):
    archive = write_archive(archive_files())
    with pytest.raises(ValueError, match=r"expected SHA-256 00, got [0-9a-f]{64}"):
        pairs.download(archive.as_uri(), tmp_path / "copy.zip", "00")


def test_an_endless_download_is_cut_off(pairs, write_archive, tmp_path, monkeypatch):
    monkeypatch.setattr(pairs, "MAX_BYTES", 100)
    archive = write_archive(archive_files())
    with pytest.raises(ValueError, match="expected at most 100 bytes"):
        pairs.download(archive.as_uri(), tmp_path / "copy.zip")


def test_without_a_connection_the_message_says_what_to_do(pairs, tmp_path):
    url = (tmp_path / "missing.zip").as_uri()
    with pytest.raises(FileNotFoundError, match=r"--source real --from DIR"):
        pairs.download(url, tmp_path / "copy.zip")
