"""What users get wrong: one message, exit status 2, and nothing half-written."""

import logging
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta import predict, train
from deepreg_meta.config import load_config
from deepreg_meta.dataset.phantom import write_dataset
from tests.helpers import (
    PHANTOM_FIXED_SHAPE,
    PHANTOM_MOVING_SHAPE,
    make_model,
    run_config,
    write_yaml,
)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """:return: folder of a small data set, not to be changed."""
    return write_dataset(
        tmp_path_factory.mktemp("data") / "phantom", 2, 0, 1,
        moving_shape=PHANTOM_MOVING_SHAPE, fixed_shape=PHANTOM_FIXED_SHAPE,
    )  # fmt: skip


@pytest.fixture
def data(phantom, tmp_path):
    """:return: a copy of the data set, to be spoilt."""
    return Path(shutil.copytree(phantom, tmp_path / "data"))


@pytest.fixture
def fails(tmp_path, caplog):
    """:return: runs a command that must fail; gives its one message."""

    def run(main, *arguments: str) -> str:
        root = tmp_path / "logs"
        status = main([*arguments, "--log_root", str(root), "--log_dir", "run"])
        assert status == 2
        errors = [r for r in caplog.records if r.levelno >= logging.ERROR]
        assert len(errors) == 1 and errors[0].exc_info is None
        assert not root.exists()
        return errors[0].getMessage()

    return run


def save(path: Path, volume: np.ndarray) -> None:
    """Write a volume in place of another one."""
    nib.save(nib.Nifti1Image(volume, nib.load(path).affine), path)


def change(config: dict, key: str, value: object) -> dict:
    """Set a dotted key; :return: the configuration."""
    *path, last = key.split(".")
    section = config
    for name in path:
        section = section[name] if isinstance(section, dict) else section[int(name)]
    section[last] = value
    return config


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("train.meta.inner_step", 3, ["train.meta.inner_step", "inner_steps"]),
        ("adapts", {"steps": 3}, ["adapts", "adapt"]),
        ("train.epochs", "ten", ["train.epochs", "an integer >= 0", "'ten'"]),
        ("dataset.labeled", 1, ["dataset.labeled", "true or false", "got 1"]),
        ("train.meta.meta_step_size", 0.0, ["train.meta.meta_step_size", "(0, 1]"]),
        ("adapt", {"steps": -2}, ["adapt.steps", "an integer >= 0", "got -2"]),
        (
            "train.preprocess.data_augmentation.1.frames", [6, 3],
            ["frames", "F_min <= F_max", "[6, 3]"],
        ),
        (
            "train.preprocess.data_augmentation.1.frames", [2, 17],
            ["frames", "16", "17"],
        ),
        ("dataset.moving_image_shape", [16], ["moving_image_shape", "[16]"]),
        ("dataset.moving_image_shape", [16, 18, 14, 2], ["three integers", "14, 2]"]),
    ],
)  # fmt: skip
def test_a_wrong_key_or_value(tmp_path, fails, key, value, words):
    """The key and its file, the rule, the value."""
    path = write_yaml(tmp_path / "mine.yaml", change(run_config(), key, value))
    message = fails(train.main, "--config", path)
    for word in [*words, "in mine.yaml"]:
        assert word in message


def test_all_problems_of_a_file_are_told_together(tmp_path, fails):
    """A line for each."""
    config = change(run_config(), "train.epochs", -1)
    config = change(config, "train.meta.inner_steps", 0)
    message = fails(train.main, "-c", write_yaml(tmp_path / "mine.yaml", config))
    named = sorted(line.split(" ")[0] for line in message.splitlines())
    assert named == ["train.epochs", "train.meta.inner_steps"]


def test_a_missing_configuration(tmp_path, fails):
    """The folder that was looked in."""
    message = fails(train.main, "--config", str(tmp_path / "none.yaml"))
    assert "none.yaml: no such file" in message and str(tmp_path) in message


def user_config(tmp_path: Path, data: Path) -> str:
    """:return: a run on the folders of a data set."""
    config = run_config()
    config["dataset"].pop("phantom")
    config["dataset"]["dir"] = dict(
        train=str(data / "train"), valid=None, test=str(data / "test")
    )
    return write_yaml(tmp_path / "mine.yaml", config)


IMAGE = "train/fixed_images/case000001.nii.gz"
LABEL = "train/moving_labels/case000000.nii.gz"


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def with_nan(path: Path) -> None:
    """Spoil one voxel."""
    volume = nib.load(path).get_fdata().astype(np.float32)
    volume[3, 4, 5] = np.nan
    save(path, volume)


def constant(path: Path) -> None:
    """Leave no contrast."""
    save(path, np.full(PHANTOM_FIXED_SHAPE, 7, np.float32))


def flat(path: Path) -> None:
    """Save one slice alone."""
    save(path, np.random.default_rng(0).random((14, 16)).astype(np.float32))


def series(path: Path) -> None:
    """Save two volumes in one file."""
    save(path, np.random.default_rng(0).random((14, 16, 12, 2)).astype(np.float32))


def index_map(path: Path) -> None:
    """Use integers that nobody declared."""
    save(path, 3 * nib.load(path).get_fdata().astype(np.uint8))


def without_gland(path: Path) -> None:
    """Leave the first channel empty."""
    volume = nib.load(path).get_fdata().astype(np.uint8)
    volume[..., 0] = 0
    save(path, volume)


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("train", remove, ["dataset.dir.train", "an existing folder"]),
        ("train/fixed_labels", remove, ["dataset.dir.train", "fixed_labels"]),
        (IMAGE, remove, ["case000001", "fixed_images", "found none"]),
        (IMAGE, with_nan, ["finite intensities", "1 voxels"]),
        (IMAGE, constant, ["with contrast", "the constant 7"]),
        (IMAGE, flat, ["a 3-D image", "2-D of shape (14, 16)"]),
        (IMAGE, series, ["a 3-D image", "4-D of shape (14, 16, 12, 2)"]),
        (LABEL, index_map, ["in [0, 1]", "got 0, 3", "dataset.labels"]),
        (LABEL, without_gland, ["channel 0"]),
    ],
)
def test_files_that_cannot_be_used(tmp_path, data, fails, name, spoil, words):
    """The file (or the key), the rule and the value, before training starts."""
    spoil(data / name)
    message = fails(train.main, "--config", user_config(tmp_path, data))
    where = [] if spoil is remove else [str(data / name)]
    for word in [*words, *where, "dataset.dir.train"]:
        assert word in message, message


def test_there_is_no_phantom_of_2d_images(tmp_path, fails):
    config = change(run_config(), "dataset.moving_image_shape", [16, 18])
    path = write_yaml(tmp_path / "mine.yaml", config)
    message = fails(train.main, "--config", path)
    assert "got (16, 18, 1). There is none of 2-D images: name folders" in message


def test_a_grid_side_of_one_voxel_is_a_2d_image_not_an_error(tmp_path):
    """Only two axes without the third are refused: see `flat` above."""
    config = run_config()
    config["dataset"]["fixed_image_shape"] = [14, 16, 1]
    path = write_yaml(tmp_path / "mine.yaml", config)
    assert load_config(path).dataset.fixed_shape == (14, 16, 1)


def test_a_sparse_frame_that_misses_the_gland_is_no_error(tmp_path, data, untraced):
    """Frames are drawn from the whole label: it may end before the image does."""
    path = data / IMAGE.replace("images", "labels")
    labels = nib.load(path).get_fdata().astype(np.uint8)
    labels[:, :6] = 0
    labels[7, 8, 6, :] = 1
    save(path, labels)
    root = ["--log_root", str(tmp_path / "logs"), "--log_dir", "run"]
    config = user_config(tmp_path, data)
    assert train.main(["-c", config, "--max_epochs", "1", *root]) == 0


# ---- prediction ----


@pytest.fixture
def run(tmp_path, data):
    """:return: folder of a run of another architecture than its configuration."""
    folder = tmp_path / "trained"
    folder.mkdir()
    Path(user_config(tmp_path, data)).rename(folder / "config.yaml")
    tf.train.Checkpoint(model=make_model(channels=2)).write(str(folder / "save/ckpt-1"))
    return folder


def test_a_checkpoint_of_another_architecture(run, fails):
    """Both sizes, and what to do."""
    message = fails(predict.main, "--ckpt_path", str(run), "--mode", "test")
    assert "--ckpt_path" in message and "another architecture" in message
    assert (
        str(run / "save" / "ckpt-1") in message and "config.yaml of its run" in message
    )


def test_a_checkpoint_that_is_not_there(run, fails):
    """A folder without, a name without."""
    shutil.rmtree(run / "save")
    message = fails(predict.main, "--ckpt_path", str(run), "--mode", "test")
    assert "expected a folder with checkpoints" in message


def test_a_split_without_a_folder(run, fails):
    """--mode names it."""
    message = fails(predict.main, "--ckpt_path", str(run), "--mode", "valid")
    assert "dataset.dir.valid" in message and "--mode valid" in message


def test_a_bad_file_of_the_split(run, data, fails):
    """Before the model is built."""
    with_nan(data / "test/moving_images/case000000.nii.gz")
    message = fails(predict.main, "--ckpt_path", str(run), "--mode", "test")
    assert "case000000.nii.gz: expected finite intensities" in message


@pytest.mark.parametrize("steps", ["-1", "1.5"])
def test_a_wrong_number_of_updates(run, steps, capsys):
    """Told by the parser, with status 2."""
    with pytest.raises(SystemExit) as end:
        predict.main(["-k", str(run), "-m", "test", "--adapt-steps", steps])
    assert end.value.code == 2
    assert f"--adapt-steps/--adapt_steps: expected an integer >= 0, got '{steps}'" in (
        capsys.readouterr().err
    )
