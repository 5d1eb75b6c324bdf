"""Tests of pairs with known truth."""

import json

import nibabel as nib
import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.dataset import known_truth
from deepreg_meta.dataset.gaussian_field import FieldOptions, draw_field
from deepreg_meta.dataset.known_truth import make_pair, write_known_truth
from deepreg_meta.evaluate.metric import dsc, endpoint_statistics, fold_statistics
from deepreg_meta.geometry.nifti_field import read_field
from deepreg_meta.geometry.resample import resample
from deepreg_meta.geometry.volume_file import read_volume, save_volume
from deepreg_meta.layer.warp import warp
from tests.unit.geometry.places import affine as oblique

OPTIONS = FieldOptions(sigma=1.0, num_centers=4, width=(4.0, 7.0), reference=None)
SIZES = [(18, 15, 1), (12, 14, 10)]
AFFINE = oblique((20, -35, 50), (0.8, 1.3, 2.5), (-12, 30, 7))
KINDS = ["fixed_images", "fixed_labels", "moving_images", "moving_labels", "truth"]


def smooth_image(size, rng):
    """Return an image of waves that are longer than a few voxels."""
    grid = np.meshgrid(*map(np.arange, size), indexing="ij")
    return 2.0 + sum(np.sin(0.4 * x + rng.uniform(0, 6)) for x in grid)


def index_map(size):
    """Return two structures and the background."""
    labels = np.zeros(size, np.uint8)
    labels[4:11, 3:9], labels[6:14, 9:12] = 1, 3
    return labels


def nearest(ddf, place):
    """Return what a field is at the voxel next to a place, (3,)."""
    return ddf[tuple(np.round(place).astype(int))]


@pytest.mark.parametrize("size", SIZES)
def test_the_networks_warp_of_the_moving_image_is_the_fixed_one(rng, size):
    image = smooth_image(size, rng).astype(np.float32)
    ddf = draw_field(rng, size, OPTIONS)
    pair = make_pair(image, ddf, AFFINE, index_map(size))
    moved = warp(image[None], tf.constant(ddf[None], tf.float32))[0].numpy()
    np.testing.assert_allclose(moved, pair.fixed_image, atol=2e-3)
    assert np.abs(pair.fixed_image - image).max() > 0.5
    assert pair.moving_image is image and pair.fixed_image.dtype == np.float32
    labels = pair.moving_labels[None].astype(np.float32)
    moved = warp(labels, tf.constant(ddf[None], tf.float32), "nearest")[0].numpy()
    assert (moved != pair.fixed_labels).mean() < 1e-3  # ties are rounded either way
    assert pair.fixed_labels.dtype == np.uint8
    assert (pair.fixed_labels != pair.moving_labels).any()


def test_a_shift_of_whole_voxels_takes_every_value_from_there(rng):
    """Output voxel x takes the image at x + u, zero beyond it."""
    image = rng.uniform(1, 2, (6, 7, 5)).astype(np.float32)
    ddf = np.broadcast_to([2.0, -1.0, 0.0], (6, 7, 5, 3))
    pair = make_pair(image, ddf, AFFINE)
    expected = np.zeros_like(image)
    expected[:4, 1:] = image[2:, :-1]
    np.testing.assert_allclose(pair.fixed_image, expected, atol=1e-4)
    assert pair.moving_labels is None and pair.fixed_labels is None
    # in space, along the grid's own axes
    np.testing.assert_allclose(
        pair.truth.vectors[3, 3, 3], AFFINE[:3, :3] @ [2, -1, 0], rtol=1e-6
    )


def test_soft_labels_and_channels_are_warped_as_asked(rng):
    size = SIZES[1]
    labels = rng.uniform(size=(*size, 2)).astype(np.float32)
    ddf = draw_field(rng, size, OPTIONS)
    linear = make_pair(labels[..., 0], ddf, AFFINE, labels, "linear")
    assert linear.fixed_labels.shape == (*size, 2)
    # the first channel is the image, which is interpolated linearly
    np.testing.assert_allclose(linear.fixed_labels[..., 0], linear.fixed_image)
    own = make_pair(labels[..., 0], ddf, AFFINE, labels)
    inside = own.fixed_labels[own.fixed_labels > 0]
    assert np.isin(inside, labels).all()
    assert np.abs(own.fixed_labels - linear.fixed_labels).max() > 0.1


def test_a_structure_goes_where_the_field_says(rng):
    """The voxel x of its new centre takes the old one: x + u(x) = p."""
    size = (40, 44, 1)
    labels = np.zeros(size, np.float32)
    labels[18:23, 20:25] = 1.0
    options = FieldOptions(sigma=3.0, num_centers=4, width=(16, 20), reference=None)
    ddf = draw_field(rng, size, options)
    pair = make_pair(labels, ddf, AFFINE, labels, "linear")
    weight = pair.fixed_labels.ravel()
    new = np.argwhere(np.ones(size)).T @ weight / weight.sum()
    assert np.linalg.norm(new - [20, 22, 0]) > 1.0
    np.testing.assert_allclose(new + nearest(ddf, new), [20, 22, 0], atol=0.5)


# ---- data sets ----


@pytest.fixture
def source(tmp_path, rng):
    """A folder of three images with labels, oblique in space."""
    for name in ("one", "two", "three"):
        image = (100 * smooth_image(SIZES[0], rng)).astype(np.int16)
        save_volume(tmp_path / "images" / f"{name}.nii.gz", image, AFFINE)
        labels = index_map(SIZES[0])
        save_volume(tmp_path / "labels" / f"{name}.nii.gz", labels, AFFINE)
    return tmp_path


def write(source, name="out", **kwargs):
    kwargs = dict(label_dir=source / "labels", options=OPTIONS, seed=3) | kwargs
    return write_known_truth(source / "images", source / name, **kwargs)


def files_of(folder):
    """Return the bytes of every file by its path within a folder."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_the_layout_is_deepregs_with_the_truth_beside_it(source):
    out = write(source, fields_per_image=2)
    assert out == source / "out"
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == KINDS
    cases = [f"{name}_{i}.nii.gz" for name in ("one", "three", "two") for i in (0, 1)]
    for kind in KINDS:
        assert sorted(path.name for path in (out / kind).iterdir()) == cases
        for path in (out / kind).iterdir():
            np.testing.assert_allclose(nib.load(path).affine, AFFINE, atol=1e-5)
    original = nib.load(source / "images" / "two.nii.gz")
    copy = nib.load(out / "moving_images" / "two_1.nii.gz")
    np.testing.assert_array_equal(copy.dataobj, original.dataobj)
    assert copy.get_data_dtype() == np.int16


def test_warping_by_the_truth_of_the_file_gives_the_fixed_image_again(source):
    """With the labels; this is what `deepreg_warp` does."""
    out = write(source)
    for name in ("one_0", "two_0", "three_0"):
        header = nib.load(out / "truth" / f"{name}.nii.gz").header
        assert int(header["intent_code"]) == 1007
        truth = read_field(out / "truth" / f"{name}.nii.gz")
        volumes = {
            kind: read_volume(out / kind / f"{name}.nii.gz") for kind in KINDS[:4]
        }
        grid = volumes["fixed_images"].grid
        for what, interpolation in (("images", "linear"), ("labels", "nearest")):
            moving = volumes[f"moving_{what}"].voxels
            moved = resample(moving, grid, grid, truth, interpolation)
            fixed = volumes[f"fixed_{what}"].voxels
            assert np.abs(moved - fixed).max() <= 1e-3 * moving.max()
            assert np.abs(fixed - moving).max() > 0.1


def test_the_endpoint_error_of_the_truth_is_zero_and_that_of_nothing_is_its_length(
    source,
):
    out = write(source)
    field = read_field(out / "truth" / "one_0.nii.gz").parts[0]
    ddf = field.vectors @ np.linalg.inv(AFFINE[:3, :3]).T
    stamp = json.loads((out / "known_truth.json").read_text())["cases"]["one_0"]
    assert endpoint_statistics(ddf, ddf)["p95"] == 0.0
    nothing = endpoint_statistics(np.zeros_like(ddf), ddf)
    assert nothing["mean"] == pytest.approx(np.linalg.norm(ddf, axis=-1).mean())
    # two components of root mean square 1
    assert np.sqrt((ddf[..., :2] ** 2).mean()) == pytest.approx(1.0, rel=1e-5)
    assert np.abs(ddf[..., 2]).max() < 1e-5  # a singleton axis
    assert stamp["sigma"] == pytest.approx(1.0)
    folds = fold_statistics(ddf)
    assert stamp["min_determinant"] == pytest.approx(folds["min"], abs=1e-4)
    assert stamp["share_nonpositive"] == pytest.approx(folds["share_nonpositive"])
    longest = np.linalg.norm(ddf, axis=-1).max()
    assert stamp["longest_vox"] == pytest.approx(longest, rel=1e-4)


def test_one_seed_one_data_set_and_another_seed_another(source, tmp_path):
    first, again, other = (
        files_of(write(source, name, seed=seed))
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert first == again and first.keys() == other.keys()
    assert all(first[p] != other[p] for p in first if p.startswith(("fixed", "truth")))
    assert all(first[p] == other[p] for p in first if p.startswith("moving"))


def test_a_case_does_not_depend_on_what_else_is_written(source):
    whole = files_of(write(source, "a", fields_per_image=2))
    some = files_of(write(source, "b", names=["three"]))
    assert {path for path in some if path.endswith("gz")} == {
        f"{kind}/three_0.nii.gz" for kind in KINDS
    }
    for path in some:
        assert whole[path] == some[path] or path == "known_truth.json"
    truths = {data for path, data in whole.items() if path.startswith("truth")}
    assert len(truths) == 6  # fields of one image differ as well


@pytest.mark.parametrize("shape", [(9, 10, 1), (9, 10)])
def test_images_are_brought_to_a_shape_first(source, shape):
    out = write(source, shape=shape, options=FieldOptions(reference=128.0))
    shapes = {nib.load(path).shape[:3] for path in out.rglob("*.nii.gz")}
    assert shapes == {(9, 10, 1)}
    grid = read_volume(out / "fixed_images" / "one_0.nii.gz").grid
    np.testing.assert_allclose(grid.spacing_mm, [1.6, 1.95, 2.5], rtol=1e-5)


@pytest.mark.parametrize("shape", [(9,), (9, 0), (9, 10, 1, 1)])
def test_another_shape_is_refused(source, shape):
    with pytest.raises(ValueError, match="shape: expected two or three integers >= 1"):
        write(source, shape=shape)


def test_without_labels_none_are_written(source):
    out = write(source, label_dir=None)
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == [
        "fixed_images",
        "moving_images",
        "truth",
    ]


def test_a_complete_set_is_reused_and_other_content_is_left_alone(source, monkeypatch):
    out = write(source)

    def refuse(*args):
        raise AssertionError("a field was drawn again")

    monkeypatch.setattr(known_truth, "draw_field", refuse)
    assert write(source) == out
    with pytest.raises(ValueError, match="out_dir: expected a new or empty folder"):
        write(source, seed=4)
    (out / "truth" / "one_0.nii.gz").unlink()
    with pytest.raises(ValueError, match="out with other content"):
        write(source)


def test_an_interrupted_writing_leaves_nothing(source, monkeypatch):
    drawn = []

    def interrupt_second(*args):
        if drawn:
            raise KeyboardInterrupt
        drawn.append(args)
        return draw_field(*args)

    monkeypatch.setattr(known_truth, "draw_field", interrupt_second)
    before = sorted(source.iterdir())
    with pytest.raises(KeyboardInterrupt):
        write(source)
    assert sorted(source.iterdir()) == before


def test_numbers_out_of_range_are_refused(source):
    with pytest.raises(ValueError, match="seed >= 0 and fields_per_image >= 1, got -1"):
        write(source, seed=-1)
    with pytest.raises(ValueError, match="fields_per_image >= 1, got 3 and 0"):
        write(source, fields_per_image=0)


def test_structures_overlap_as_far_as_the_field_leaves_them(rng):
    """The Dice before registration falls with the energy."""
    labels, found = index_map(SIZES[0]), []
    for sigma in (0.0, 1.0, 3.0):
        options = FieldOptions(**{**OPTIONS.__dict__, "sigma": sigma})
        ddf = draw_field(np.random.default_rng(1), SIZES[0], options)
        pair = make_pair(labels, ddf, AFFINE, labels)
        found.append(dsc(pair.fixed_labels == 1, pair.moving_labels == 1))
    assert found[0] == 1.0 and found[0] > found[1] > found[2] > 0.0
