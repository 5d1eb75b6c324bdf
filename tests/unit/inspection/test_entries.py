"""Tests of deepreg_meta/inspection/entries.py; reference: DeepReg's loaders."""

import shutil
from pathlib import Path

import h5py
import numpy as np

from deepreg_meta.dataset.case_names import unique_names
from deepreg_meta.dataset.tasks import load_case_set
from deepreg_meta.inspection.entries import list_cases
from tests.unit.dataset.pictures import write_pictures
from tests.unit.inspection.examples import texts, titles


def cases_of(config, folder, mode="train"):
    return list_cases(config.dataset, mode, [str(folder / mode)])


def write_h5(folder: Path, kinds, keys=("case1", "case0")) -> None:
    folder.mkdir(parents=True)
    for kind in kinds:
        with h5py.File(folder / f"{kind}.h5", "w") as file:
            for key in keys:
                file[key] = np.ones((2, 3, 4))


def test_the_cases_are_those_of_deepregs_loader_in_its_order(data, configure):
    """Sub-folders, .nii and .nii.gz, and files that are no volumes."""
    from deepreg.dataset.loader.nifti_loader import NiftiFileLoader

    train = data / "train"
    for kind in ("moving_images", "fixed_images", "moving_labels", "fixed_labels"):
        folder = train / kind
        (folder / "b").mkdir()
        shutil.copy(folder / "case0.nii.gz", folder / "b" / "case9.nii")
        shutil.copy(folder / "case0.nii.gz", folder / "B.nii.gz")
        (folder / ".hidden.nii").write_text("")
        (folder / "notes.txt").write_text("")
    cases, found = cases_of(configure(data), data)
    assert found == []
    loader = NiftiFileLoader([str(train)], "moving_images", grouped=False)
    assert list(cases) == [tuple(case) for case in loader.get_data_ids()]
    assert len(cases) == 5
    entry = cases[str(train), "b/case9"]["fixed_labels"]
    assert entry.place == str(train / "fixed_labels" / "b" / "case9.nii")


def test_the_cases_of_pictures_are_those_of_the_loader(tmp_path, configure):
    from deepreg_meta.dataset.picture_loader import PngFileLoader

    folder = write_pictures(tmp_path / "train", names=("b/one", "two"))
    for kind in ("moving_images", "fixed_images", "moving_labels", "fixed_labels"):
        shutil.copy(folder / kind / "two.png", folder / kind / "C.PNG")
        (folder / kind / "two.nii").write_text("")
    shapes = dict.fromkeys(("moving_image_shape", "fixed_image_shape"), [7, 5])
    cases, found = cases_of(configure(tmp_path, format="png", **shapes), tmp_path)
    assert found == []
    loader = PngFileLoader([str(folder)], "moving_images", grouped=False)
    assert list(cases) == [tuple(case) for case in loader.get_data_ids()]
    assert len(cases) == 3


def test_every_file_without_a_partner_is_named(data, configure):
    """All of them, and the case that is whole stays."""
    train = data / "train"
    (train / "moving_images" / "case0.nii.gz").unlink()
    (train / "fixed_labels" / "case1.nii.gz").unlink()
    (train / "moving_labels" / "case1.nii.gz").unlink()
    cases, found = cases_of(configure(data), data)
    first, second = texts(found, "cases without a partner")
    assert titles(found, "problem") == {"cases without a partner"}
    assert first.startswith("train: ") and "in moving_images, found none" in first
    assert str(train / "fixed_images" / "case0.nii.gz") in first
    assert "in moving_labels, fixed_labels, found none" in second
    assert len(cases) == 3


def test_a_case_with_two_files_of_a_kind_is_named(data, configure):
    folder = data / "train" / "moving_images"
    shutil.copy(folder / "case0.nii.gz", folder / "case0.nii")
    _, found = cases_of(configure(data), data)
    [line] = texts(found, "cases with two files")
    assert "case0.nii.gz" in line and "case0.nii " in line


def test_a_kind_without_any_file_is_named(data, configure):
    shutil.rmtree(data / "train" / "fixed_images")
    (data / "train" / "fixed_images").mkdir()
    _, found = cases_of(configure(data), data)
    [line] = texts(found, "files that are missing")
    assert line.startswith("train: expected fixed_images in ")


def test_unlabeled_data_needs_no_labels(data, configure):
    shutil.rmtree(data / "train" / "fixed_labels")
    cases, found = cases_of(configure(data, labeled=False, labels=None), data)
    assert found == [] and all(len(files) == 2 for files in cases.values())


def test_hdf5_cases_are_the_keys_of_its_files(tmp_path, configure):
    config = configure(tmp_path, format="h5")
    kinds = config.dataset.volume_kinds
    write_h5(tmp_path / "train", kinds)
    cases, found = cases_of(config, tmp_path)
    assert found == [] and [name for _, name in cases] == ["case0", "case1"]
    entry = cases[str(tmp_path / "train"), "case1"]["moving_images"]
    assert entry.place == f"{tmp_path}/train/moving_images.h5, key case1"


def test_hdf5_cases_of_several_folders_are_in_the_order_of_the_loader(
    tmp_path, configure
):
    """That of the folders as they were given."""
    folders = [str(tmp_path / name) for name in ("b", "a")]
    config = configure(tmp_path, format="h5", dir={"train": folders})
    for folder in folders:
        write_h5(Path(folder), config.dataset.volume_kinds)
    cases, found = list_cases(config.dataset, "train", folders)
    loader = load_case_set(config, "train")
    assert found == []
    assert [Path(folder).name for folder, _ in cases] == ["b", "b", "a", "a"]
    assert tuple(unique_names(list(cases))) == loader.names
    assert loader.names == ("b_case0", "b_case1", "a_case0", "a_case1")


def test_an_hdf5_file_that_cannot_be_read_is_named(tmp_path, configure):
    config = configure(tmp_path, format="h5")
    write_h5(tmp_path / "train", config.dataset.volume_kinds)
    (tmp_path / "train" / "fixed_labels.h5").write_text("no HDF5")
    _, found = cases_of(config, tmp_path)
    [line] = texts(found, "files that cannot be read")
    assert line.startswith(f"{tmp_path}/train/fixed_labels.h5: cannot be read")


def test_one_unpaired_image_makes_no_pair(tmp_path, configure):
    config = configure(tmp_path, format="h5", type="unpaired", image_shape=[5, 6, 7])
    write_h5(tmp_path / "train", config.dataset.volume_kinds, keys=["only"])
    _, found = cases_of(config, tmp_path)
    [line] = texts(found, "files that are missing")
    assert "2 images or more" in line and "got 1" in line
