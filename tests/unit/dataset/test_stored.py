"""Tests of what files know of a volume beside its voxels."""

import h5py
import nibabel as nib
import numpy as np
import pytest

from deepreg_meta.dataset.stored import (
    place_of,
    read_place,
    stored_place,
    stored_shape,
)
from deepreg_meta.stack import require_stack
from tests.unit.dataset.examples import AFFINE, image, oblique, save
from tests.unit.dataset.pictures import picture, save_png

require_stack()
OTHER = oblique((3, 4, 5), (1, 2, 3), (4, 5, 6))


def nifti(sform=None, qform=None):
    picture = nib.Nifti1Image(image((5, 6, 7)), np.eye(4))
    picture.set_sform(sform, code=0 if sform is None else 2)
    picture.set_qform(qform, code=0 if qform is None else 1)
    return picture


@pytest.mark.parametrize(
    ("sform", "qform", "best"),
    [(OTHER, None, OTHER), (None, OTHER, OTHER), (AFFINE, OTHER, AFFINE)],
)
def test_a_nifti_header_states_up_to_two_forms_and_the_sform_counts(sform, qform, best):
    place = place_of(nifti(sform, qform), "a.nii")
    np.testing.assert_allclose(place.affine, best, atol=1e-5)
    stated = [form for form in (sform, qform) if form is not None]
    assert len(place.forms) == len(stated)
    np.testing.assert_allclose(place.forms, stated, atol=1e-5)
    assert place.has_affine and place.has_orientation and not place.problem


def test_a_header_with_both_codes_zero_states_no_orientation():
    place = place_of(nifti(), "a.nii")
    assert place.has_affine and not place.has_orientation and place.forms == ()


def test_another_format_states_its_affine(tmp_path):
    nib.save(
        nib.MGHImage(image((5, 6, 7)), OTHER.astype(np.float32)), tmp_path / "a.mgz"
    )
    place = place_of(nib.load(tmp_path / "a.mgz"), "a.mgz")
    np.testing.assert_allclose(place.forms[0], OTHER, atol=1e-4)


def test_metres_are_no_millimetres():
    picture = nifti(AFFINE)
    picture.header.set_xyzt_units("meter")
    problem = place_of(picture, "a.nii").problem
    assert problem.startswith("a.nii: expected lengths in mm, got a header in meter")


def loaders(tmp_path):
    import deepreg.dataset.load  # noqa: F401
    from deepreg.registry import FILE_LOADER_CLASS, REGISTRY

    for key in ("nifti", "h5"):
        yield REGISTRY.get(category=FILE_LOADER_CLASS, key=key)(
            dir_paths=[str(tmp_path)], name="images", grouped=False
        )


def test_both_loaders_give_place_and_shape(tmp_path):
    save(tmp_path / "images" / "one.nii.gz", image((5, 6, 7)), OTHER)
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["bare"], file["full"] = image((5, 6, 7)), image((6, 7, 8))
        file["full"].attrs["affine"] = OTHER
    from_nifti, from_h5 = loaders(tmp_path)
    np.testing.assert_allclose(stored_place(from_nifti, 0).affine, OTHER, atol=1e-6)
    assert stored_shape(from_nifti, 0) == (5, 6, 7)
    bare, full = stored_place(from_h5, 0), stored_place(from_h5, 1)
    np.testing.assert_array_equal(bare.affine, np.eye(4))
    assert not bare.has_affine and not bare.has_orientation
    np.testing.assert_array_equal(full.affine, OTHER)
    assert full.has_affine and full.has_orientation
    assert stored_shape(from_h5, 1) == (6, 7, 8)
    from_h5.close()


def test_files_of_two_axes_are_planes_and_png_files_pictures(tmp_path):
    save(tmp_path / "a.nii", image((5, 6)), AFFINE)
    save(tmp_path / "b.nii", image((5, 6, 1)), AFFINE)
    save_png(tmp_path / "c.png", picture())
    found = [read_place(str(tmp_path / name)) for name in ("a.nii", "b.nii", "c.png")]
    assert [place.layout for place in found] == ["plane", "volume", "picture"]
    assert [place.has_affine for place in found] == [True, True, False]
    assert not found[2].has_orientation and not found[2].problem
    np.testing.assert_array_equal(found[2].affine, np.diag([-1, -1, 1, 1]))
