"""Tests of single images read from a folder, and brought to another shape."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from deepreg_meta.dataset.image_folder import find_images, read_image
from deepreg_meta.geometry.volume_file import save_volume


def save_png(path, pixels):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def one(tmp_path, **kwargs):
    """Read the only image of the folder."""
    (files,) = find_images(tmp_path / "images", tmp_path / "labels")
    return read_image(files, **kwargs)


def test_images_are_listed_by_stem_with_their_labels(tmp_path):
    for name in ("b.nii.gz", "a.v2.nii", "c.png"):
        path = tmp_path / "images" / name
        if name == "c.png":
            save_png(path, np.eye(4))
        else:
            save_volume(path, np.ones((2, 3, 4)), np.eye(4))
    (tmp_path / "images" / "notes.txt").write_text("no image")
    for name in ("a.v2", "b", "c"):
        save_png(tmp_path / "labels" / f"{name}.png", np.eye(4))
    found = find_images(tmp_path / "images", tmp_path / "labels")
    assert [files.name for files in found] == ["a.v2", "b", "c"]
    assert [files.label.name for files in found] == ["a.v2.png", "b.png", "c.png"]
    chosen = find_images(tmp_path / "images", names=["c", "a.v2"])
    assert [(files.name, files.label) for files in chosen] == [
        ("c", None),
        ("a.v2", None),
    ]


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match="images: expected a folder of images, found"):
        find_images(tmp_path / "images")
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match="for at least one image, found none"):
        find_images(tmp_path / "images")
    save_png(tmp_path / "images" / "a.png", np.eye(4))
    with pytest.raises(ValueError, match=r"images: expected a file .* for b, found no"):
        find_images(tmp_path / "images", names=["a", "b"])
    save_png(tmp_path / "labels" / "b.png", np.eye(4))
    with pytest.raises(ValueError, match=r"labels: expected a file .* for a, found no"):
        find_images(tmp_path / "images", tmp_path / "labels")
    save_volume(tmp_path / "images" / "a.nii", np.ones((2, 3, 4)), np.eye(4))
    with pytest.raises(ValueError, match="one file of this stem, got a.nii too"):
        find_images(tmp_path / "images")


def test_a_volume_keeps_its_voxels_and_its_place(rng, tmp_path):
    affine = np.diag([2.0, 1.0, 3.0, 1.0])
    image = rng.integers(-50, 50, (5, 6, 7)).astype(np.int16)
    labels = rng.integers(0, 2, (5, 6, 7, 2)).astype(np.uint8)
    save_volume(tmp_path / "images" / "a.nii.gz", image, affine)
    save_volume(tmp_path / "labels" / "a.nii.gz", labels, affine)
    single = one(tmp_path)
    np.testing.assert_array_equal(single.image, image)
    np.testing.assert_array_equal(single.labels, labels)
    np.testing.assert_allclose(single.grid.affine, affine)
    assert single.image.dtype == np.int16 and not single.is_soft


def test_a_mask_of_a_picture_is_of_zeros_and_ones(rng, tmp_path):
    save_png(tmp_path / "images" / "a.png", rng.integers(0, 255, (4, 6)))
    save_png(tmp_path / "labels" / "a.png", 255 * (np.arange(24).reshape(4, 6) > 9))
    single = one(tmp_path)
    assert single.image.shape == single.labels.shape and single.image.shape[2] == 1
    np.testing.assert_array_equal(np.unique(single.labels), [0, 1])
    assert single.labels.sum() == 14 and not single.is_soft


def test_channels_of_a_plane_are_those_of_a_single_slice(rng, tmp_path):
    labels = rng.integers(0, 2, (5, 6, 3)).astype(np.uint8)
    save_png(tmp_path / "images" / "a.png", np.eye(6, 5))
    save_volume(tmp_path / "labels" / "a.nii.gz", labels, np.eye(4))
    found = one(tmp_path).labels
    assert found.shape == (5, 6, 1, 3)
    np.testing.assert_array_equal(found[:, :, 0], labels)


def test_a_linear_image_made_smaller_is_linear_in_space(tmp_path):
    """Away from its border, where there is nothing to smooth with."""
    affine = np.diag([1.0, 2.0, 1.0, 1.0])
    affine[:3, 3] = [5, -3, 2]
    x = np.arange(32.0)[:, None, None] * np.ones((1, 20, 1))
    labels = (x >= 16).astype(np.uint8) * 3
    save_volume(tmp_path / "images" / "a.nii.gz", 5.0 + x, affine)  # its place in mm
    save_volume(tmp_path / "labels" / "a.nii.gz", labels, affine)
    single = one(tmp_path, shape=(16, 10, 1))
    assert single.image.shape == single.grid.shape == (16, 10, 1)
    places = single.grid.to_world(np.argwhere(np.ones((16, 10, 1))))
    shown = single.image.reshape(-1)
    inner = np.abs(places[:, 0] - 20.5) < 13
    np.testing.assert_allclose(shown[inner], places[inner, 0], atol=1e-3)
    np.testing.assert_allclose(single.grid.spacing_mm, [2, 4, 1])
    np.testing.assert_array_equal(single.labels[:8], 0)
    np.testing.assert_array_equal(single.labels[8:], 3)


def test_index_maps_keep_their_values_and_soft_labels_become_softer(rng, tmp_path):
    index = rng.integers(0, 5, (12, 12, 1)).astype(np.uint8)
    soft = rng.uniform(size=(12, 12, 1, 2)).astype(np.float32)
    save_volume(tmp_path / "images" / "a.nii.gz", index, np.eye(4))
    save_volume(tmp_path / "labels" / "a.nii.gz", index, np.eye(4))
    found = one(tmp_path, shape=(6, 4, 1))
    assert found.labels.dtype == np.uint8 and set(np.unique(found.labels)) <= set(
        range(5)
    )
    save_volume(tmp_path / "labels" / "a.nii.gz", soft, np.eye(4))
    found = one(tmp_path, shape=(6, 4, 1))
    assert found.is_soft and found.labels.shape == (6, 4, 1, 2)
    np.testing.assert_allclose(
        found.labels.mean(axis=(0, 1, 2)), soft.mean((0, 1, 2)), atol=0.05
    )
    assert found.labels.std() < 0.6 * soft.std()


def test_labels_on_another_grid_and_colours_are_refused(tmp_path):
    save_png(tmp_path / "images" / "a.png", np.eye(4))
    save_png(tmp_path / "labels" / "a.png", np.eye(5))
    with pytest.raises(ValueError, match=r"a.png: expected the grid of its image, \(4"):
        one(tmp_path)
    save_png(tmp_path / "images" / "a.png", np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match="a.png: expected "):
        one(tmp_path)
    (tmp_path / "images" / "a.png").unlink()
    nib.save(
        nib.Nifti1Image(np.zeros((4, 4, 4, 2)), np.eye(4)),
        tmp_path / "images" / "a.nii",
    )
    with pytest.raises(ValueError, match=r"one grey value per voxel, got \(4, 4, 4, 2"):
        one(tmp_path)
