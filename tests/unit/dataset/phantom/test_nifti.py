"""Tests of phantom cases as files."""

import nibabel as nib
import numpy as np
import pytest

from deepreg_meta.dataset.phantom.case import PhantomCase
from deepreg_meta.dataset.phantom.nifti import save_pair, save_single

NAME = "case000000.nii.gz"


@pytest.fixture
def case(rng):
    """A pair of unequal sides with three labels."""
    return PhantomCase(
        moving_image=rng.random((5, 6, 7), np.float32),
        fixed_image=rng.random((4, 5, 3), np.float32),
        moving_labels=rng.integers(0, 2, (3, 5, 6, 7), np.uint8),
        fixed_labels=rng.integers(0, 2, (3, 4, 5, 3), np.uint8),
        spacing_mm=(1.5, 2.0, 3.0),
        displacement=np.zeros((4, 5, 3, 3), np.float32),
    )


def test_pair_is_saved_with_channels_last(case, tmp_path):
    save_pair(tmp_path, NAME, case)
    for kind in ("moving", "fixed"):
        image = nib.load(tmp_path / f"{kind}_images" / NAME)
        label = nib.load(tmp_path / f"{kind}_labels" / NAME)
        assert label.get_data_dtype() == np.uint8
        np.testing.assert_allclose(label.affine, image.affine)
        np.testing.assert_array_equal(
            np.asarray(image.dataobj), getattr(case, f"{kind}_image")
        )
        channels = np.moveaxis(np.asarray(label.dataobj), -1, 0)
        np.testing.assert_array_equal(channels, getattr(case, f"{kind}_labels"))


def test_single_is_the_fixed_image_and_the_gland(case, tmp_path):
    save_single(tmp_path, NAME, case)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "labels"]
    image, label = (nib.load(tmp_path / k / NAME) for k in ("images", "labels"))
    np.testing.assert_array_equal(np.asarray(image.dataobj), case.fixed_image)
    np.testing.assert_array_equal(np.asarray(label.dataobj), case.fixed_labels[0])


def test_affine_names_the_axes_and_centres_the_grid(case, tmp_path):
    save_single(tmp_path, NAME, case)
    image = nib.load(tmp_path / "images" / NAME)
    assert nib.aff2axcodes(image.affine) == ("P", "R", "S")
    np.testing.assert_allclose(image.header.get_zooms(), (1.5, 2.0, 3.0))
    assert image.header.get_xyzt_units()[0] == "mm"
    # voxel (0, 0, 0) is (1.5, 2, 1) voxels from the centre, towards A, L and I
    np.testing.assert_allclose(image.affine @ [0, 0, 0, 1], [-4, 2.25, -3, 1])
