"""Tests of ITK transforms; reference: what SimpleITK does with points."""

import h5py
import numpy as np
import pytest
import SimpleITK as sitk

from deepreg_meta.geometry.affine import FLIP, GeometryError
from deepreg_meta.geometry.itk_file import read_itk, write_itk
from deepreg_meta.geometry.transform import Affine, Field
from tests.unit.geometry.places import (
    PAIRS,
    PLANES,
    affine,
    map_by_itk,
    rough_field,
)

FIXED, MOVING = PAIRS["oblique"]
CENTRE, SHIFT = (1.0, -2.0, 3.0), (4.0, 5.0, -6.0)


def centred(transform):
    transform.SetCenter(CENTRE)
    transform.SetTranslation(SHIFT)
    return transform


def euler():
    transform = centred(sitk.Euler3DTransform())
    transform.SetRotation(0.3, -0.2, 0.5)
    return transform


def rigid():
    transform = centred(sitk.VersorRigid3DTransform())
    transform.SetRotation((0.1, 0.2, 0.9), 0.7)
    return transform


def similarity():
    transform = centred(sitk.Similarity3DTransform())
    transform.SetRotation((0.1, 0.2, 0.9), 0.7)
    transform.SetScale(1.4)
    return transform


def general():
    transform = centred(sitk.AffineTransform(3))
    transform.SetMatrix((1, 0.2, 0.3, -0.1, 0.9, 0.1, 0, 0.4, 1.2))
    return transform


def scale():
    transform = sitk.ScaleTransform(3, (1.1, 0.9, 2.0))
    transform.SetCenter(CENTRE)
    return transform


def skew():
    transform = sitk.ScaleSkewVersor3DTransform()
    transform.SetScale((1.1, 0.9, 2.0))
    transform.SetSkew((0.1, 0.2, 0.3, 0.0, 0.1, 0.2))
    return centred(transform)


LINEAR = {
    "Euler": euler,
    "rigid": rigid,
    "similarity": similarity,
    "affine": general,
    "scale": scale,
    "skew": skew,
    "translation": lambda: sitk.TranslationTransform(3, SHIFT),
    "identity": lambda: sitk.Transform(3, sitk.sitkIdentity),
}


@pytest.mark.parametrize("suffix", [".h5", ".tfm", ".txt", ".mat"])
@pytest.mark.parametrize("kind", list(LINEAR))
def test_every_linear_kind_does_what_it_does_in_itk(kind, suffix, rng, tmp_path):
    itk, path = LINEAR[kind](), tmp_path / f"t{suffix}"
    sitk.WriteTransform(itk, str(path))
    transform = read_itk(path)
    assert len(transform.parts) == 1 and isinstance(transform.parts[0], Affine)
    points = rng.normal(0, 100, (7, 3))
    # ITK writes text with six digits or more
    expected = map_by_itk(sitk.ReadTransform(str(path)), points)
    np.testing.assert_allclose(transform.map_points(points), expected, atol=1e-9)


def itk_field(grid, rng):
    """:return: a field that SimpleITK made, without our code."""
    vectors = rng.normal(0, 1, (*grid.shape[::-1], 3))
    image = sitk.GetImageFromArray(vectors, isVector=True)
    flip = np.diag([-1.0, -1.0, 1.0])
    image.SetOrigin((flip @ grid.affine[:3, 3]).tolist())
    image.SetSpacing(grid.spacing_mm.tolist())
    direction = flip @ grid.affine[:3, :3] / grid.spacing_mm
    image.SetDirection(direction.ravel().tolist())
    return sitk.DisplacementFieldTransform(image)


def test_a_composite_is_read_in_the_order_in_which_itk_applies_it(rng, tmp_path):
    """The one added last is applied first."""
    parts = [euler(), similarity(), itk_field(FIXED, rng)]
    whole = sitk.CompositeTransform(parts)
    sitk.WriteTransform(whole, str(tmp_path / "t.h5"))
    transform = read_itk(tmp_path / "t.h5")
    assert [type(part) for part in transform.parts] == [Field, Affine, Affine]
    points = FIXED.to_world(rng.uniform(0, 4, (20, 3)))
    mapped = transform.map_points(points)
    np.testing.assert_allclose(mapped, map_by_itk(whole, points), atol=1e-9)
    # a field reaches half a voxel beyond its outer centres, and no further
    beyond = FIXED.to_world([[-0.4, 0, 0], [-0.6, 0, 0], [4.4, 5.4, 6.4], [0, 0, 7]])
    mapped = transform.map_points(beyond)
    np.testing.assert_allclose(mapped, map_by_itk(whole, beyond), atol=1e-9)


def test_fields_in_double_precision_lose_nothing(rng, tmp_path):
    itk = itk_field(FIXED, rng)
    sitk.WriteTransform(itk, str(tmp_path / "t.h5"))
    field = read_itk(tmp_path / "t.h5").parts[0]
    assert field.vectors.dtype == np.float64
    values = sitk.GetArrayFromImage(itk.GetDisplacementField())
    np.testing.assert_array_equal(field.vectors[1, 2, 3], values[3, 2, 1] * [-1, -1, 1])
    write_itk(tmp_path / "small.h5", (rough_field(FIXED, rng),))
    small = read_itk(tmp_path / "small.h5").parts[0]
    assert small.vectors.dtype == np.float32


def test_splines_are_sampled_on_the_fixed_grid(rng, tmp_path):
    spline = sitk.BSplineTransform(3, 3)
    spline.SetTransformDomainOrigin((-100.0, -100.0, -100.0))
    spline.SetTransformDomainPhysicalDimensions((200.0, 200.0, 200.0))
    spline.SetTransformDomainMeshSize((5, 5, 5))
    count = len(spline.GetParameters())
    spline.SetParameters(rng.normal(0, 5, count).tolist())
    path = tmp_path / "spline.tfm"
    # in a composite, where sampling it alone on the fixed grid would be wrong
    whole = sitk.CompositeTransform([spline, euler()])
    sitk.WriteTransform(whole, str(path))
    with pytest.raises(GeometryError, match=r"spline.tfm: .* name that image, and"):
        read_itk(path)
    transform = read_itk(path, FIXED)
    points = FIXED.to_world([[0, 0, 0], [1, 2, 3], [4, 5, 6]])
    expected = map_by_itk(whole, points)
    assert np.linalg.norm(expected - points, axis=-1).min() > 1
    np.testing.assert_allclose(transform.map_points(points), expected, atol=1e-5)


def test_the_file_is_compressed_and_in_double_precision(rng, tmp_path):
    """SimpleITK alone would write 24 bytes for every voxel."""
    grid = FIXED.resized((20, 30, 25))
    vectors = np.zeros((20, 30, 25, 3), np.float32)
    vectors[5:15] = rng.normal(size=(10, 30, 25, 3))
    path = tmp_path / "t.h5"
    write_itk(path, (Field(grid, vectors), Affine(affine((1, 2, 3), (1, 1, 1), SHIFT))))
    assert path.stat().st_size < 24 * 20 * 30 * 25 * 0.4
    with h5py.File(path) as file:
        data = file["TransformGroup/2/TransformParameters"]
        assert data.dtype == np.float64 and data.compression == "gzip"
        assert file["TransformGroup/0/TransformType"][0].startswith(b"Composite")
    itk = sitk.ReadTransform(str(path))
    field = itk.GetNthTransform(1).Downcast().GetDisplacementField()
    found = sitk.GetArrayFromImage(field).transpose(2, 1, 0, 3) * [-1, -1, 1]
    np.testing.assert_array_equal(found, vectors)
    assert [file.name for file in tmp_path.iterdir()] == ["t.h5"]


def test_a_file_that_is_no_transform_is_named(tmp_path, capfd):
    for name in ("t.h5", "t.tfm"):
        (tmp_path / name).write_text("nothing of use")
        with pytest.raises(ValueError, match=rf"{name}: expected an"):
            read_itk(tmp_path / name)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["image"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"other.h5: expected an ITK transform, but"):
        read_itk(tmp_path / "other.h5")
    assert "HDF5-DIAG" not in capfd.readouterr().err


def test_transforms_that_cannot_be_are_named(tmp_path, rng):
    flat = tmp_path / "flat.tfm"
    text = "#Insight Transform File V1.0\n#Transform 0\n"
    text += "Transform: AffineTransform_double_3_3\n"
    text += "Parameters: 1 0 0 0 0 0 0 0 1 0 0 0\nFixedParameters: 0 0 0\n"
    flat.write_text(text)
    with pytest.raises(GeometryError, match=r"flat.tfm: affine: expected voxel sides"):
        read_itk(flat)
    image = itk_field(FIXED, rng).GetDisplacementField()
    image[1, 2, 3] = (np.inf, 0.0, 0.0)
    bad = tmp_path / "bad.h5"
    sitk.WriteTransform(sitk.DisplacementFieldTransform(image), str(bad))
    with pytest.raises(GeometryError, match=r"bad.h5: expected a finite .* got 1 "):
        read_itk(bad)


def test_a_transform_of_two_dimensions_leaves_z_alone(tmp_path, rng):
    path = tmp_path / "plane.tfm"
    itk = sitk.Euler2DTransform((3.0, -1.0), 0.4, (2.0, 5.0))
    sitk.WriteTransform(itk, str(path))
    points = rng.normal(0, 30, (9, 3))
    found = read_itk(path).map_points(points)
    expected = [itk.TransformPoint((FLIP * p)[:2].tolist()) for p in points]
    np.testing.assert_allclose(found[:, :2], np.array(expected) * FLIP[:2], rtol=1e-9)
    np.testing.assert_array_equal(found[:, 2], points[:, 2])


def test_other_kinds_of_two_dimensions_are_sampled_on_pictures(tmp_path, rng):
    fixed = PLANES["pictures"][0]
    blank = sitk.Image(fixed.shape[:2], sitk.sitkFloat32)
    spline = sitk.BSplineTransformInitializer(blank, [3, 3])
    spline.SetParameters(rng.uniform(-1, 1, len(spline.GetParameters())).tolist())
    path = tmp_path / "spline.tfm"
    sitk.WriteTransform(spline, str(path))
    points = fixed.to_world([[2, 3, 0], [7, 1, 0]])
    found = read_itk(path, fixed).map_points(points)
    expected = [spline.TransformPoint((FLIP * p)[:2].tolist()) for p in points]
    np.testing.assert_allclose(found[:, :2], np.array(expected) * FLIP[:2], atol=1e-5)
    assert np.abs(found - points).max() > 0.1
    with pytest.raises(GeometryError, match="2 dimensions can be sampled on an image"):
        read_itk(path, FIXED)
