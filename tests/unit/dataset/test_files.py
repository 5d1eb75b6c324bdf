"""Tests of reading the files of one side of a pair."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from deepreg_meta.dataset.files import PairFiles, read_files
from deepreg_meta.dataset.volume_check import DataError
from tests.unit.dataset.examples import AFFINE, image, label, oblique, save

SHAPE = (5, 6, 7)


def test_image_labels_and_mask_are_read_with_their_places(tmp_path):
    affine = oblique((3, 4, 5), (1, 2, 3), (4, 5, 6))
    files = PairFiles(
        image=save(tmp_path / "mr.nii.gz", image(SHAPE).astype(np.int16), affine),
        labels=[str(save(tmp_path / "all.nii", label(SHAPE, 2)))],
        mask=save(tmp_path / "mask.nii.gz", label(SHAPE), affine),
    )
    raw, mask = read_files(files)
    assert raw.path == str(tmp_path / "mr.nii.gz") and raw.image.dtype == np.float32
    np.testing.assert_array_equal(raw.image, image(SHAPE).astype(np.int16))
    np.testing.assert_allclose(raw.place.affine, affine, atol=1e-6)
    (one,) = raw.labels
    assert one.voxels.shape == (*SHAPE, 2) and one.name is None
    np.testing.assert_allclose(one.place.affine, AFFINE)
    assert mask.path == str(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(mask.voxels, label(SHAPE))
    assert read_files(PairFiles(files.image))[1] is None


def test_several_label_files_are_named_by_their_stems(tmp_path):
    paths = [save(tmp_path / n, label(SHAPE)) for n in ("gland.nii.gz", "apex.1.nii")]
    raw, _ = read_files(PairFiles(save(tmp_path / "a.nii", image(SHAPE)), paths))
    assert [one.name for one in raw.labels] == ["gland", "apex"]


@pytest.mark.parametrize("name", ["a.mgz", "a.img", "a.nii"])
def test_any_format_of_nibabel_is_read(tmp_path, name):
    kind = {"mgz": nib.MGHImage, "img": nib.Nifti1Pair, "nii": nib.Nifti1Image}
    nib.save(kind[name[2:]](image(SHAPE), AFFINE), tmp_path / name)
    raw, _ = read_files(PairFiles(tmp_path / name))
    np.testing.assert_allclose(raw.image, image(SHAPE))
    np.testing.assert_allclose(raw.place.affine, AFFINE, atol=1e-6)


def test_axes_of_one_are_added_to_flat_images_and_taken_from_single_channels(tmp_path):
    flat = save(tmp_path / "flat.nii", image((5, 6)))
    assert read_files(PairFiles(flat))[0].image.shape == (5, 6, 1)
    single = save(tmp_path / "single.nii", image((*SHAPE, 1)))
    assert read_files(PairFiles(single))[0].image.shape == SHAPE


def test_all_files_that_cannot_be_read_are_named_together(tmp_path):
    torn = save(tmp_path / "torn.nii.gz", image(SHAPE))
    torn.write_bytes(torn.read_bytes()[:60])
    twice = [save(tmp_path / f / "gland.nii", label(SHAPE)) for f in ("a", "b")]
    singular = save(tmp_path / "flat.nii", label(SHAPE), np.diag([1, 0, 1, 1]))
    files = PairFiles(tmp_path / "gone.nii", [torn, *twice], mask=singular)
    with pytest.raises(DataError) as caught:
        read_files(files)
    first, second, third, fourth = caught.value.problems
    assert first == f"{tmp_path / 'gone.nii'}: expected a file, found none."
    assert second.startswith(f"{torn}: cannot be read (")
    assert str(singular) in third and "voxel sides > 0" in third
    assert "expected label files of different names" in fourth
    assert "got gland more than once" in fourth


def test_a_single_label_file_is_a_list_of_one():
    assert PairFiles("a.nii", "gland.nii").labels == ("gland.nii",)
    assert PairFiles("a.nii", Path("gland.nii")).labels == (Path("gland.nii"),)
