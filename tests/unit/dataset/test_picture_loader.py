"""Tests of DeepReg's file loader of PNG files; reference: its NIfTI loader."""

import nibabel as nib
import numpy as np
import pytest

from deepreg_meta.stack import require_stack
from tests.unit.dataset.pictures import label_map, picture, save_png

require_stack()


def loader_of(key, folders, name="images", grouped=False):
    import deepreg.dataset.load  # noqa: F401
    from deepreg.registry import FILE_LOADER_CLASS, REGISTRY

    import deepreg_meta.dataset.picture_loader  # noqa: F401

    loader = REGISTRY.get(category=FILE_LOADER_CLASS, key=key)
    return loader(dir_paths=list(map(str, folders)), name=name, grouped=grouped)


@pytest.fixture
def folders(tmp_path):
    """:return: two folders with the same images as PNG and as NIfTI, in sub-folders."""
    for number, name in enumerate(("a/b/two", "a/b/one", "a/c/three", "d/e/four")):
        first, _, rest = name.partition("/")
        path = tmp_path / first / "images" / rest
        save_png(path.with_suffix(".png"), picture(number))
        image = nib.Nifti1Image(picture(number)[..., None], np.eye(4))
        nib.save(image, path.with_suffix(".nii"))
    return [tmp_path / "d", tmp_path / "a"]


@pytest.mark.parametrize("grouped", [False, True])
def test_cases_groups_and_voxels_are_those_of_the_nifti_loader(folders, grouped):
    ours, theirs = (
        loader_of(key, folders, grouped=grouped) for key in ("png", "nifti")
    )
    assert ours.get_data_ids() == theirs.get_data_ids()
    assert ours.get_num_images() == 4 and ours.group_struct == theirs.group_struct
    indices = [(0, 1), (1, 0), (2, 0)] if grouped else range(4)
    for index in indices:
        image = ours.get_data(index)
        assert image.dtype == np.float32
        np.testing.assert_array_equal(image, theirs.get_data(index))
    ours.close()


def test_capital_letters_are_a_suffix_too(tmp_path):
    save_png(tmp_path / "images" / "a.PNG", picture())
    (tmp_path / "images" / "notes.txt").write_text("")
    loader = loader_of("png", [tmp_path])
    np.testing.assert_array_equal(loader.get_data(0)[..., 0], picture())
    assert loader.get_data_ids() == [(str(tmp_path), "a")]


def test_labels_are_as_stored(tmp_path):
    save_png(tmp_path / "labels" / "a.png", label_map(255))
    assert loader_of("png", [tmp_path], "labels").get_data(0).max() == 255


def test_folders_without_pictures_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"images: expected a folder of PNG files"):
        loader_of("png", [tmp_path])
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match=r"expected PNG files in .*, found none"):
        loader_of("png", [tmp_path])
