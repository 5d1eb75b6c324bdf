"""
2-D images from PNG files to results that other programs open, by the commands.

TensorFlow has no name of its own here, see tests/unit/test_registration.py.
"""

import json
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from PIL import Image

from deepreg_meta import check, predict, register_pair, report, train, warp
from deepreg_meta.geometry.picture_file import read_picture
from tests.helpers import ball, eager, write_yaml

COLUMNS, ROWS = 24, 20
LABELS = {"disc": 1, "core": 2}
SPLITS = {"train": 4, "valid": 1, "test": 2}


@pytest.fixture(scope="module", autouse=True)
def as_it_stands():
    """Trace nothing: two steps and a few pairs are not worth it."""
    with pytest.MonkeyPatch.context() as patch, eager():
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield


def write_case(folder: Path, name: str, seed: int) -> None:
    """Write discs with a core: the moving ones further off, larger and darker."""
    rng = np.random.default_rng(seed)
    centre = np.array([11.5, 9.5, 0]) + rng.uniform(-1, 1, 3) * (1, 1, 0)
    shift = rng.uniform(1, 2, 3) * (1, -1, 0)
    for role, where, radius, bright in (
        ("fixed", centre, 5.5, 180),
        ("moving", centre + shift, 6.2, 150),
    ):
        shape = (COLUMNS, ROWS, 1)
        disc, core = (ball(shape, where, r)[..., 0] for r in (radius, radius / 2.5))
        image = 30 * rng.random(shape[:2]) + bright * disc + 40 * core
        label = (disc >= 0.5).astype(np.uint8) + (core >= 0.5)
        for kind, pixels in ((f"{role}_images", image), (f"{role}_labels", label)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            path = folder / kind / f"{name}.png"
            Image.fromarray(pixels.T.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """:return: folder of seven pairs of pictures with index maps, in three splits."""
    root = tmp_path_factory.mktemp("images")
    for number, (split, count) in enumerate(SPLITS.items()):
        for index in range(count):
            write_case(root / split, f"case{index}", 10 * number + index)
    return root


@pytest.fixture(scope="module")
def config(data, tmp_path_factory):
    """:return: the YAML file of a run on them, as a user would write it."""
    content = dict(
        dataset=dict(
            type="paired",
            format="png",
            dir={split: str(data / split) for split in SPLITS},
            labeled=True,
            labels=LABELS,
            moving_image_shape=[COLUMNS, ROWS],
            fixed_image_shape=[COLUMNS, ROWS],
        ),
        train=dict(
            method="reptile",
            meta=dict(inner_steps=2, episodes_per_epoch=2),
            backbone=dict(
                name="local_norm",
                num_channel_initial=2,
                extract_levels=[0, 1],
                initial_kernel_size=3,
            ),
            loss=dict(
                image=dict(name="ssd"),
                label=dict(name="multi_scale_dice", sigmas_mm=[0, 2]),
                regularization=dict(name="bending_energy", weight=1.0),
            ),
            optimizer=dict(name="Adam", learning_rate=0.005),
            preprocess=dict(data_augmentation=dict(name="affine", scale=0.1)),
            epochs=2,
        ),
    )
    folder = tmp_path_factory.mktemp("yaml")
    return write_yaml(folder / "images.yaml", content)


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """:return: folder of a run of two epochs."""
    logs = tmp_path_factory.mktemp("logs")
    words = ["--config", config, "--log_root", str(logs), "--log_dir", "flat"]
    assert train.main(words) == 0
    return logs / "flat"


@pytest.fixture(scope="module")
def results(run):
    """:return: results on the test split with two updates."""
    words = ["--ckpt_path", str(run), "--mode", "test", "--adapt-steps", "2"]
    words += ["--transform-format", "h5", "nifti", "deepreg", "--inverse"]
    assert predict.main([*words, "--log_root", str(run.parent), "-l", "out"]) == 0
    return run.parent / "out" / "test"


def images_of(data: Path, name: str) -> tuple[Path, Path]:
    """:return: the pictures of a test case, fixed and moving."""
    fixed, moving = (data / "test" / f"{role}_images" for role in ("fixed", "moving"))
    return fixed / f"{name}.png", moving / f"{name}.png"


def itk_transform(path: Path) -> sitk.Transform:
    """:return: the transform that SimpleITK finds in a file."""
    if path.suffix == ".h5":
        return sitk.ReadTransform(str(path))
    field = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
    return sitk.DisplacementFieldTransform(field)


def itk_warp(fixed: Path, moving: Path, transform: Path) -> np.ndarray:
    """:return: (columns, rows), what SimpleITK makes of the moving picture."""
    reference = sitk.ReadImage(str(fixed))
    image = sitk.ReadImage(str(moving), sitk.sitkFloat32)
    warped = sitk.Resample(image, reference, itk_transform(transform))
    return sitk.GetArrayFromImage(warped).T


def check_warped(folder: Path, fixed: Path, moving: Path) -> None:
    """Fail unless SimpleITK warps the moving picture to our warped image."""
    image = nib.load(folder / "warped_image.nii.gz").get_fdata()
    assert image.shape == (COLUMNS, ROWS)
    before = read_picture(moving)[..., 0]
    assert np.abs(image - before).mean() > 2  # of 255: something moved
    for name in ("transform.h5", "ddf.nii.gz"):
        itk = itk_warp(fixed, moving, folder / name)
        apart = np.abs(image - itk)[2:-2, 2:-2] / np.ptp(before)
        assert apart.max() < 1e-3, name
    picture = read_picture(folder / "warped_image.png")[..., 0]
    np.testing.assert_array_equal(picture, np.rint(image))


def test_the_run_remembers_that_its_images_state_no_place(run):
    found = json.loads((run / "data.json").read_text())
    for side in ("moving", "fixed"):
        assert found[side]["orientations"] == [None]
        assert found[side]["grid_spacing_mm"] == [1, 1, 1]
    log = pd.read_csv(run / "log.csv")
    assert len(log) == 2 and np.isfinite(log["loss"]).all()
    assert np.isfinite(log["val_dsc_adapted"]).all()


def test_simpleitk_warps_the_moving_picture_to_our_image(results, data):
    """In two dimensions, by the transform and by the field; the picture agrees."""
    for name in ("case0", "case1"):
        check_warped(results / name, *images_of(data, name))
        warped = sitk.ReadImage(str(results / name / "warped_image.nii.gz"))
        assert warped.GetSize() == (COLUMNS, ROWS) and warped.GetOrigin() == (0, 0)
        there = itk_transform(results / name / "transform.h5").TransformPoint((9, 8))
        back = itk_transform(results / name / "transform_inverse.h5")
        assert back.TransformPoint(there) == pytest.approx((9, 8), abs=0.3)


def test_nothing_moves_across_the_image(results):
    """The field in voxels has a third component, which is zero, and two that move."""
    ddf = nib.load(results / "case0" / "ddf_deepreg.nii.gz").get_fdata()
    assert ddf.shape == (COLUMNS, ROWS, 1, 3)
    assert not ddf[..., 2].any() and np.abs(ddf[..., :2]).max() > 0.1
    field = nib.load(results / "case0" / "ddf.nii.gz")
    assert field.shape == (COLUMNS, ROWS, 1, 1, 2)
    assert int(field.header["intent_code"]) == 1007
    np.testing.assert_allclose(
        field.get_fdata()[:, :, 0, 0], ddf[:, :, 0, :2], atol=1e-4
    )


def test_the_tables_count_in_pixels(results):
    """Finite scores of both labels; the core is a landmark too."""
    rows = pd.read_csv(results / "metrics.csv", comment="#")
    assert list(rows["case"]) == ["case0", "case1"]
    for stage in ("before", "unadapted", "adapted"):
        assert rows[f"dsc_{stage}"].between(0.3, 1).all()
        assert np.isfinite(rows[f"tre_{stage}_vox"]).all()
        assert np.isfinite(rows[f"mse_{stage}"]).all()
    assert (rows["folds_adapted"] < 0.05).all()
    assert (rows["jacobian_min_adapted"] < 1).all()  # of two dimensions
    labels = pd.read_csv(results / "labels.csv", comment="#")
    assert set(labels["label"]) == set(LABELS)
    assert np.isfinite(labels["hd95_adapted_vox"]).all()


def test_the_figure_has_one_row_of_panels_and_the_report_takes_it(results, tmp_path):
    with Image.open(results / "case0" / "figure.png") as figure:
        width, height = figure.size
    assert width > 4 * height
    assert report.main([str(results), "--output", str(tmp_path / "report")]) == 0
    assert "case0" in (tmp_path / "report" / "report.html").read_text()


def test_a_single_pair_of_files_is_registered(run, data, tmp_path, caplog):
    """Without a word on headers, which pictures have not."""
    folder, sides = data / "test", images_of(data, "case1")
    words = ["--ckpt_path", str(run), "--output", str(tmp_path / "out"), "--gpu", ""]
    for role, path in zip(("fixed", "moving"), sides, strict=True):
        label = folder / f"{role}_labels" / "case1.png"
        words += [f"--{role}", str(path), f"--{role}-label", str(label)]
        words += [f"--{role}-landmarks", str(label)]
    words += ["--adapt-steps", "2", "--transform-format", "h5", "nifti"]
    with caplog.at_level(logging.WARNING):
        assert register_pair.main(words) == 0
    assert not [m for m in caplog.messages if "header" in m or "mm" in m]
    check_warped(tmp_path / "out", *sides)
    row = pd.read_csv(tmp_path / "out" / "metrics.csv", comment="#").iloc[0]
    assert row["case"] == "case1_to_case1" and row["num_landmarks"] == 3
    # again, by the command that applies transforms
    line = ["-i", str(sides[1]), "-t", str(tmp_path / "out" / "transform.h5")]
    again = tmp_path / "again.png"
    assert warp.main([*line, "--reference", str(sides[0]), "-o", str(again)]) == 0
    np.testing.assert_array_equal(
        read_picture(again), read_picture(tmp_path / "out" / "warped_image.png")
    )


def test_data_and_pairs_are_checked(config, data, tmp_path, capsys):
    output = tmp_path / "check"
    words = ["--config", config, "--output", str(output), "--mode", "train"]
    check.main([*words, "--log_root", str(tmp_path)])  # 1 where commands are missing
    rows = pd.read_csv(output / "cases.csv")
    assert rows["dsc_before"].between(0.3, 1).all() and len(rows) == 4
    assert not rows["num_problems"].any()
    assert "24 x 20" in capsys.readouterr().out
    fixed, moving = map(str, images_of(data, "case0"))
    assert check.main(["--fixed", fixed, "--moving", moving]) == 0
    assert "0.0 pixels" in capsys.readouterr().out
