"""
Training and prediction from YAML to files, as the two commands run them.

`trained`, `predicted` and the run that goes on are graphs, as users have them, and one
run has all of XLA's kernels. The others compute as functions stand, without a trace.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import tensorflow as tf
import yaml

from deepreg_meta import __version__, predict, train
from deepreg_meta.config import load_config
from deepreg_meta.dataset.files import PairFiles
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.transform_file import load_transform
from deepreg_meta.registration import Registrar
from deepreg_meta.results.outputs import TRANSFORM_FORMATS
from tests.helpers import (
    PHANTOM_FIXED_SHAPE,
    eager,
    run_config,
    without_xla,
    write_yaml,
)

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("before", "unadapted", "adapted")


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """Keep the phantom below a folder of the test; :return: an empty home folder."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(folder))
        patch.setenv("DEEPREG_META_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield folder


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """:return: two YAML files; the second one overrides the first."""
    folder = tmp_path_factory.mktemp("yaml")
    first, second = run_config(), dict(train=dict(epochs=2))
    first["train"]["epochs"] = 7
    return [
        write_yaml(folder / "first.yaml", first),
        write_yaml(folder / "second.yaml", second),
    ]


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """:return: folder of all runs."""
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def trained(files, logs):
    """:return: folder of a run of two epochs."""
    root = ["--log_root", str(logs), "--log_dir", "first"]
    with without_xla():
        assert train.main(["--config", *files, *root]) == 0
    return logs / "first"


@pytest.fixture(scope="module")
def predicted(trained, logs):
    """:return: results on the test split with three updates."""
    arguments = ["--ckpt_path", str(trained), "--mode", "test", "--adapt-steps", "3"]
    with without_xla():
        status = predict.main([*arguments, "--log_root", str(logs), "-l", "adapted"])
    assert status == 0
    return logs / "adapted" / "test"


def checkpoint_values(path: Path) -> dict[str, np.ndarray]:
    """:return: all arrays of a checkpoint, without its count of saves."""
    names = [name for name, _ in tf.train.list_variables(str(path))]
    names = [
        name for name in names if "save_counter" not in name and "_CHECK" not in name
    ]
    return {name: tf.train.load_variable(str(path), name) for name in names}


def phantom_file(kind: str, name: str) -> Path:
    """:return: a file of the generated test split."""
    cache = Path(os.environ["DEEPREG_META_CACHE"])
    [path] = cache.glob(f"phantom_*/test/{kind}/{name}.nii.gz")
    return path


# ---- training ----


def test_a_run_leaves_its_configuration_log_and_checkpoints(trained, files):
    """The second file won: two epochs; the defaults are written out."""
    raw = yaml.safe_load((trained / "config.yaml").read_text())
    assert raw["train"]["epochs"] == 2
    assert raw["train"]["seed"] == 0
    assert raw["train"]["meta"]["inner_optimizer_state"] == "reset"
    assert raw["align"] == {"mode": "centroid", "label": 0}
    again = load_config(trained / "config.yaml")
    assert again.raw == raw and again == load_config(files)
    log = pd.read_csv(trained / "log.csv")
    assert list(log["epoch"]) == [0, 1]
    wanted = {"loss", "label", "regularization", "meta_step_size"}
    wanted |= {f"val_{k}_{s}" for k in ("loss", "dsc") for s in STAGES[1:]}
    assert wanted <= set(log.columns)
    assert np.isfinite(log[list(wanted)].to_numpy()).all()
    # episodes 0 to 3 of 4, two per epoch: 0.5 - 0.5 (0.5 - 1e-5) / 3 and so on
    np.testing.assert_allclose(log["meta_step_size"], [0.416668, 0.083342], rtol=1e-4)
    names = sorted(path.name for path in (trained / "save").glob("*.index"))
    assert names == ["ckpt-1.index", "ckpt-2.index"]
    assert list((trained / "best").glob("ckpt-*.index"))
    assert list(trained.rglob("events.out.tfevents.*"))  # TensorBoard


def test_a_run_remembers_what_its_images_looked_like(trained):
    """Of both sides: their axes and voxels, by which single pairs are prepared."""
    found = json.loads((trained / "data.json").read_text())
    for side in ("moving", "fixed"):
        cache = Path(os.environ["DEEPREG_META_CACHE"])
        paths = cache.glob(f"phantom_*/train/{side}_images/*.nii.gz")
        images = [nib.load(path) for path in paths]
        own = found[side]
        assert own["num_images"] == len(images) == 3
        [codes] = {"".join(nib.aff2axcodes(image.affine)) for image in images}
        assert own["orientations"] == [codes]
        voxels = [image.header.get_zooms() for image in images]
        for name in ("file_spacing_mm", "grid_spacing_mm"):  # of one shape
            np.testing.assert_allclose(own[name], np.median(voxels, axis=0), rtol=1e-4)
        values = np.stack([image.get_fdata() for image in images])
        np.testing.assert_allclose(
            own["intensity_range"], [values.min(), values.max()], rtol=1e-5
        )


def test_nothing_is_written_to_the_home_folder(trained, predicted, home):
    """DEEPREG_META_CACHE holds the phantom."""
    assert not list(home.iterdir())
    assert list(Path(os.environ["DEEPREG_META_CACHE"]).glob("phantom_*/train"))


def test_the_other_name_of_config_and_max_epochs(files, logs):
    """`--config_path` is `--config`; the one run here with all of XLA's kernels."""
    root = ["--log_root", str(logs), "--log_dir", "short"]
    assert train.main(["--config_path", files[0], "--max_epochs", "1", *root]) == 0
    raw = yaml.safe_load((logs / "short" / "config.yaml").read_text())
    assert raw["train"]["epochs"] == 1
    assert [p.name for p in (logs / "short" / "save").glob("*.index")] == [
        "ckpt-1.index"
    ]
    log = pd.read_csv(logs / "short" / "log.csv")
    assert len(log) == 1 and np.isfinite(log["loss"]).all()


def test_a_run_goes_on_from_its_folder_as_if_it_had_never_stopped(trained, logs):
    """From the first of two checkpoints to the very same second one."""
    checkpoint = trained / "save" / "ckpt-1"
    arguments = ["-c", str(trained / "config.yaml"), "-k", str(checkpoint)]
    (logs / "resumed").mkdir()  # as an interruption leaves it, after the second epoch
    shutil.copy(trained / "log.csv", logs / "resumed")
    with without_xla():
        status = train.main([*arguments, "--log_root", str(logs), "-l", "resumed"])
    assert status == 0
    found = checkpoint_values(logs / "resumed" / "save" / "ckpt-2")
    expected = checkpoint_values(trained / "save" / "ckpt-2")
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    log = pd.read_csv(logs / "resumed" / "log.csv")
    assert list(log["epoch"]) == [0, 1]
    head = (logs / "resumed" / "config.yaml").read_text().splitlines()[:2]
    assert __version__ in head[0] and "tensorflow" in head[0]
    assert head[1] == f"# continued from {checkpoint}"


def test_a_run_is_not_continued_into_the_folder_of_another(trained, logs, caplog):
    """Their checkpoints and logs would be mixed."""
    (logs / "taken" / "save").mkdir(parents=True)
    (logs / "taken" / "save" / "ckpt-100.index").touch()
    checkpoint = trained / "save" / "ckpt-1"
    words = ["-c", str(trained / "config.yaml"), "-k", str(checkpoint)]
    assert train.main([*words, "--log_root", str(logs), "-l", "taken"]) == 2
    assert "taken holds a run already" in caplog.text
    assert [path.name for path in (logs / "taken").iterdir()] == ["save"]


def test_a_run_that_goes_on_with_fewer_episodes_keeps_its_schedule(trained, logs):
    """The outer step falls from where the epoch is, not from the episodes it had."""
    few = dict(train=dict(meta=dict(episodes_per_epoch=1), epochs=4))
    words = [
        "-c",
        str(trained / "config.yaml"),
        str(write_yaml(logs / "few.yaml", few)),
    ]
    words += ["-k", str(trained / "save" / "ckpt-1"), "--log_root", str(logs)]
    with eager():
        assert train.main([*words, "-l", "fewer"]) == 0
    log = pd.read_csv(logs / "fewer" / "log.csv")
    assert list(log["epoch"]) == [1, 2, 3]
    # episodes 1 to 3 of 4, where two had been taken
    sizes = log["meta_step_size"]
    np.testing.assert_allclose(sizes, [0.333337, 0.166673, 1e-5], atol=1e-6)
    names = sorted(p.name for p in (logs / "fewer" / "save").glob("*.index"))
    assert names[-1] == "ckpt-4.index"


def test_a_finished_run_cannot_be_continued(trained, logs, caplog):
    """The folder of the run stands for its newest checkpoint; nothing is written."""
    arguments = ["-c", str(trained / "config.yaml"), "-k", str(trained)]
    assert train.main([*arguments, "--log_root", str(logs), "-l", "none"]) == 2
    assert "has had 2 epochs already, and train.epochs is 2" in caplog.text
    assert not (logs / "none").exists()


def test_a_folder_that_holds_a_run_is_not_trained_into(trained, files, logs, caplog):
    """Its checkpoints and its best score belong to another training."""
    before = sorted(path.name for path in trained.rglob("*"))
    words = ["--config", *files, "--log_root", str(logs), "--log_dir", trained.name]
    assert train.main(words) == 2
    assert "holds a run already" in caplog.text and "--ckpt_path" in caplog.text
    assert sorted(path.name for path in trained.rglob("*")) == before


# ---- prediction ----


def test_the_tables_hold_scores_of_every_case_before_and_after(predicted):
    """Documented columns; the frames asked for; adaptation lowered the loss."""
    rows = pd.read_csv(predicted / "metrics.csv", comment="#")
    assert list(rows["case"]) == ["case000000", "case000001"]
    assert list(rows["num_updates"]) == [3, 3]
    assert list(rows["num_frames"]) == [5, 5]
    documented = (predicted / "columns.md").read_text()
    for name in rows.columns:
        assert f"`{name}`" in documented, name
    for stage in STAGES:
        assert rows[f"dsc_{stage}"].between(0.3, 1).all()
    steps = pd.read_csv(predicted / "adaptation.csv", comment="#")
    assert len(steps) == 6
    # 2 + floor(step (5 - 2) / 3)
    assert list(steps["num_frames"]) == [2, 3, 4] * 2
    assert (predicted / "landmarks.csv").is_file()
    assert (predicted / "summary.csv").is_file()
    labels = pd.read_csv(predicted / "labels.csv", comment="#")
    gland = labels[labels["label"] == "label_0"]
    np.testing.assert_array_equal(gland["dsc_adapted"], rows["dsc_adapted"])
    assert len(labels) > 2


def test_the_volumes_lie_in_the_space_of_the_fixed_image(predicted):
    """The same affine and shape as the fixed file, its voxels; 8-bit labels."""
    for name in ("case000000", "case000001"):
        fixed = nib.load(phantom_file("fixed_images", name))
        assert abs(fixed.affine[1, 0]) > 1.5  # not the identity
        for file in ("fixed_image", "warped_image", "warped_label_label_0"):
            image = nib.load(predicted / name / f"{file}.nii.gz")
            np.testing.assert_allclose(image.affine, fixed.affine, atol=1e-5)
            assert image.shape == PHANTOM_FIXED_SHAPE
        assert image.get_data_dtype() == np.uint8
        assert list(np.unique(image.get_fdata())) == [0, 1]
        copy = nib.load(predicted / name / "fixed_image.nii.gz").get_fdata()
        np.testing.assert_allclose(copy, fixed.get_fdata(), rtol=1e-6)
        assert copy.max() < 0.95  # original intensities; the network's reach 1
        figure = tf.io.decode_png((predicted / name / "figure.png").read_bytes())
        assert min(figure.shape[:2]) > 200 and np.std(figure) > 10


def test_the_transform_makes_the_warped_image_of_the_original_file(predicted):
    """In SimpleITK, on the original grid of the fixed image."""
    for name in ("case000000", "case000001"):
        fixed, moving = (
            sitk.ReadImage(str(phantom_file(f"{side}_images", name)), sitk.sitkFloat32)
            for side in ("fixed", "moving")
        )
        transform = sitk.ReadTransform(str(predicted / name / "transform.h5"))
        itk = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform))
        ours = nib.load(predicted / name / "warped_image.nii.gz").get_fdata()
        apart = np.abs(ours - itk.transpose(2, 1, 0)) / np.ptp(itk)
        assert apart.mean() < 1e-4 and apart.max() < 1e-2 and np.mean(itk > 0) > 0.3


def test_the_warped_label_file_scores_as_the_table_says(predicted):
    """Dice of the file against the fixed label file."""
    rows = pd.read_csv(predicted / "metrics.csv", comment="#").set_index("case")
    for name, row in rows.iterrows():
        labels = nib.load(phantom_file("fixed_labels", name)).get_fdata()
        fixed = labels[..., 0] >= 0.5
        path = predicted / name / "warped_label_label_0.nii.gz"
        warped = nib.load(path).get_fdata() == 1
        dsc = 2 * (fixed & warped).sum() / (fixed.sum() + warped.sum())
        assert dsc == pytest.approx(row["dsc_adapted"], abs=1e-6)


def test_a_single_pair_is_registered_as_in_its_split(trained, predicted):
    """The same scores and the same transform, from the pair's files alone."""
    name = "case000001"
    sides = [
        PairFiles(
            phantom_file(f"{side}_images", name),
            (phantom_file(f"{side}_labels", name),),
        )
        for side in ("fixed", "moving")
    ]
    with eager():
        pair = Registrar(str(trained)).register(*sides, adapt_steps=3, keep="last")
    table = pd.read_csv(predicted / "metrics.csv", comment="#").set_index("case")
    row = table.loc[name].drop(["seconds", "cpu_seconds", "seconds_per_update"])
    found = pd.Series(pair.scores)[row.index].astype(float)
    np.testing.assert_allclose(found, row.astype(float), rtol=1e-4, atol=1e-5)
    grid = Grid(PHANTOM_FIXED_SHAPE, nib.load(sides[0].image).affine)
    points = grid.to_world(np.argwhere(np.ones(grid.shape))[::50])
    of_file = load_transform(predicted / name / "transform.h5")
    ends = pair.transform.map_points(points), of_file.map_points(points)
    np.testing.assert_allclose(*ends, atol=1e-3)


def test_seconds_are_an_alternative_to_steps(trained, logs):
    """As many updates as fit, the best weights kept; no more files than tables."""
    words = ["-k", str(trained), "-m", "test", "--adapt-seconds", "0.2", "--no_nifti"]
    with eager():
        root = ["--no_png", "--log_root", str(logs), "-l", "seconds"]
        assert predict.main([*words, *root]) == 0
    folder = logs / "seconds" / "test"
    rows = pd.read_csv(folder / "metrics.csv", comment="#")
    assert (rows["num_updates"] >= 1).all() and (rows["seconds"] < 10).all()
    assert (rows["loss_adapted"] <= rows["loss_unadapted"]).all()
    assert not [path for path in folder.iterdir() if path.is_dir()]


def test_no_step_leaves_the_unadapted_prediction(trained, predicted, logs):
    """Without files; another YAML than the saved one; DeepReg's names of flags."""
    config = str(trained / "config.yaml")
    arguments = ["-k", str(trained / "save" / "ckpt-2"), "-m", "test", "-c", config]
    arguments += ["--adapt_steps", "0", "--no_nifti", "--no_png", "-g", "", "-b", "2"]
    with eager():
        status = predict.main([*arguments, "--log_root", str(logs), "-l", "plain"])
    assert status == 0
    found = pd.read_csv(logs / "plain" / "test" / "metrics.csv", comment="#")
    expected = pd.read_csv(predicted / "metrics.csv", comment="#")
    for score in ("dsc", "folds"):
        np.testing.assert_array_equal(
            found[f"{score}_adapted"], found[f"{score}_unadapted"]
        )
    np.testing.assert_allclose(found["dsc_unadapted"], expected["dsc_unadapted"], 1e-5)
    assert not list((logs / "plain").rglob("*.nii.gz"))
    assert not list((logs / "plain").rglob("figure.png"))


def test_files_that_are_no_results_are_not_replaced(trained, logs, caplog):
    """`logs/first/train` holds TensorBoard's files of the training."""
    before = sorted((trained / "train").iterdir())
    words = ["-k", str(trained), "-m", "train", "--log_root", str(logs)]
    assert predict.main([*words, "-l", trained.name]) == 2
    assert "holds something else than results" in caplog.text
    assert sorted((trained / "train").iterdir()) == before and before


def test_results_are_replaced_as_a_whole(trained, logs):
    """A stale table of an earlier call does not survive, and no working folder."""
    kept = logs / "again" / "test"
    kept.mkdir(parents=True)
    for name in ("labels.csv", "adaptation.png", "metrics.csv"):
        (kept / name).write_text("old")
    arguments = ["-k", str(trained), "-m", "test", "--no_nifti", "--no_png"]
    arguments += ["--log_root", str(logs), "-l", "again", "--adapt-steps", "0"]
    with eager():
        assert predict.main(arguments) == 0
    assert not (kept / "adaptation.png").exists()
    assert (kept / "metrics.csv").read_text() != "old"
    assert [path.name for path in kept.parent.iterdir()] == ["test"]
    # what is none of ours is never deleted
    (kept / "notes.txt").write_text("precious")
    assert predict.main(arguments) == 2
    assert (kept / "notes.txt").read_text() == "precious"


# ---- system B: unpaired volumes without labels ----


def unlabeled_config() -> dict:
    """:return: the plain form of unsupervised registration of single images."""
    config = run_config()
    dataset, settings = config["dataset"], config["train"]
    for name in ("moving_image_shape", "fixed_image_shape"):
        dataset.pop(name)
    dataset |= dict(type="unpaired", labeled=False)
    dataset |= dict(image_shape=list(PHANTOM_FIXED_SHAPE))
    dataset["phantom"] = dict(num_train=3, num_valid=2, num_test=2)
    config["align"] = "center"
    settings["loss"] = dict(
        image=dict(name="ssd", weight=1.0),
        regularization=dict(name="bending_energy", weight=0.1),
    )
    settings["preprocess"]["data_augmentation"] = [dict(name="affine", scale=0.1)]
    settings["epochs"] = 1
    return config


def test_unpaired_volumes_without_labels_train_and_adapt(tmp_path):
    """The loss falls in adaptation; there is no Dice to report."""
    path = write_yaml(tmp_path / "plain.yaml", unlabeled_config())
    root = ["--log_root", str(tmp_path), "-l"]
    with eager():
        assert train.main(["--config", path, *root, "run"]) == 0
        arguments = ["-k", str(tmp_path / "run"), "-m", "test", "--adapt-steps", "4"]
        arguments += ["--inverse", "--transform-format", *TRANSFORM_FORMATS]
        assert predict.main([*arguments, *root, "results"]) == 0
    folder = tmp_path / "results" / "test"
    rows = pd.read_csv(folder / "metrics.csv", comment="#")
    assert len(rows) == 1 and "_to_" in rows["case"][0]
    assert not [name for name in rows.columns if name.startswith("dsc")]
    steps = pd.read_csv(folder / "adaptation.csv", comment="#")
    assert steps["loss"].iloc[-1] < steps["loss"].iloc[0]
    case = folder / rows["case"][0]
    moving, fixed = case.name.split("_to_")
    assert {path.name for path in (folder / "learn2reg").iterdir()} == {
        f"disp_{fixed}_{moving}.nii.gz"
    }
    assert {path.name for path in case.iterdir()} == {
        "figure.png", "fixed_image.nii.gz", "warped_image.nii.gz", "transform.h5",
        "ddf.nii.gz", "ddf_deepreg.nii.gz",
        "transform_inverse.h5", "ddf_inverse.nii.gz",
    }  # fmt: skip
    field = nib.load(case / "ddf.nii.gz")
    assert field.shape == (*PHANTOM_FIXED_SHAPE, 1, 3)
    assert int(field.header["intent_code"]) == 1007
    assert np.abs(field.get_fdata()).max() > 0.1
    assert rows["inverse_residual_mean_mm"][0] < rows["inverse_residual_max_mm"][0]
    assert not (folder / "labels.csv").exists()


# ---- the commands themselves ----


@pytest.mark.parametrize("module", ["train", "predict", "register_pair"])
def test_help_comes_at_once_because_tensorflow_is_not_imported(module):
    """Within two seconds of processor time, and -X importtime shows no TensorFlow."""
    command = [sys.executable, "-X", "importtime", "-m", f"deepreg_meta.{module}"]
    before = os.times()
    began = time.perf_counter()
    done = subprocess.run(
        [*command, "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    after = os.times()
    assert time.perf_counter() - began < 30  # other work may slow the machine down
    used = after.children_user - before.children_user
    assert used + after.children_system - before.children_system < 2
    assert "--config_path" in done.stdout and "--gpu_allow_growth" in done.stdout
    assert not [line for line in done.stderr.splitlines() if "tensorflow" in line]


def test_version_says_which_package_answers():
    """DeepReg's wheel has commands of the same name."""
    done = subprocess.run(
        [sys.executable, "-m", "deepreg_meta.predict", "--version"],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    expected = f"deepreg_predict of deepreg_meta {__version__} (extends DeepReg 0.1.2)"
    assert done.stdout.strip() == expected
