"""DeepReg's own methods through our commands, and adaptation of what they trained."""

import os
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import yaml
from deepreg.dataset.load import get_data_loader
from deepreg.model.layer import Warping
from deepreg.model.layer_util import resize3d
from deepreg.registry import REGISTRY

from deepreg_meta import predict, register_pair, train
from deepreg_meta.config import load_config
from deepreg_meta.dataset.phantom import write_dataset
from deepreg_meta.dataset.pipeline import task_arrays
from deepreg_meta.dataset.tasks import load_case_set
from deepreg_meta.model.task import Task
from deepreg_meta.model_file import load_model
from tests.helpers import (
    PHANTOM_FIXED_SHAPE,
    PHANTOM_MOVING_SHAPE,
    assert_same_bits,
    values,
    without_xla,
    write_yaml,
)

SEED = 5


@pytest.fixture(scope="module", autouse=True)
def repeatable():
    """
    Take the CPU, and from DeepReg's loaders the only draws that no seed reaches.

    They shuffle the pairs of training with a generator of their own, and choose a label
    in a thread, beside other users of Python's generator.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        patch.setattr("deepreg.dataset.loader.paired_loader.random", Fixed)
        patch.setattr("deepreg.dataset.util.random", Fixed)
        yield


class Fixed:
    """The little of the module `random` that DeepReg's loaders use."""

    @staticmethod
    def Random(seed):
        return random.Random(SEED)

    @staticmethod
    def randrange(number):
        return number // 2


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """:return: a DeepReg YAML file without any key of ours."""
    folder = tmp_path_factory.mktemp("deepreg")
    data = write_dataset(
        folder / "data", 2, 1, 2,
        moving_shape=PHANTOM_MOVING_SHAPE, fixed_shape=PHANTOM_FIXED_SHAPE,
    )  # fmt: skip
    content = dict(
        dataset=dict(
            type="paired", format="nifti", labeled=True,
            dir={mode: str(data / mode) for mode in ("train", "valid", "test")},
            moving_image_shape=list(PHANTOM_MOVING_SHAPE),
            fixed_image_shape=list(PHANTOM_FIXED_SHAPE),
        ),
        train=dict(
            method="ddf",
            backbone=dict(
                name="local", num_channel_initial=1, extract_levels=[0, 1],
            ),
            loss=dict(
                image=dict(name="lncc", weight=0.0),
                label=dict(name="dice", weight=1.0, scales=[0, 2]),
                regularization=dict(name="bending", weight=0.1),
            ),
            optimizer=dict(name="Adam", learning_rate=0.05),
            preprocess=dict(
                data_augmentation=[], batch_size=2,
                shuffle_buffer_num_batch=0,
            ),
            epochs=3, save_period=1,
        ),
    )  # fmt: skip
    return write_yaml(folder / "ddf.yaml", content)


@pytest.fixture(scope="module")
def trained(config):
    """:return: folder of a run of one epoch, of our command."""
    tf.keras.utils.set_random_seed(SEED)
    root = str(Path(config).parent / "logs")
    words = ["--config", config, "--log_root", root, "--log_dir", "ours"]
    assert train.main([*words, "--max_epochs", "1"]) == 0
    return Path(root) / "ours"


def checkpoint_values(path: Path) -> dict[str, np.ndarray]:
    """:return: all arrays of a checkpoint, without its count of saves."""
    names = [name for name, _ in tf.train.list_variables(str(path))]
    names = [n for n in names if "save_counter" not in n and "_CHECKPOINTABLE" not in n]
    return {name: tf.train.load_variable(str(path), name) for name in names}


def test_training_is_deepregs_own_bit_for_bit(trained, config):
    """The same seed: deepreg.train called directly writes the same checkpoint."""
    import deepreg.train

    tf.keras.utils.set_random_seed(SEED)
    deepreg.train.train(
        gpu="", config_path=[config], gpu_allow_growth=False, ckpt_path="",
        log_dir="direct", log_root=str(trained.parent), max_epochs=1,
    )  # fmt: skip
    found, expected = (
        checkpoint_values(trained.parent / name / "save" / "ckpt-1")
        for name in ("ours", "direct")
    )
    assert set(found) == set(expected) and len(found) > 20
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    saved = [
        yaml.safe_load((trained.parent / name / "config.yaml").read_text())
        for name in ("ours", "direct")
    ]
    assert saved[0] == saved[1]
    beside = sorted(path.name for path in Path(config).parent.iterdir())
    assert beside == ["data", "ddf.yaml", "logs"]


def test_a_run_of_deepreg_goes_on_from_its_folder(trained, config):
    """The second epoch only."""
    root = str(trained.parent)
    words = ["--config", config, "--log_root", root, "-l", "more", "-k", str(trained)]
    assert train.main([*words, "--max_epochs", "2"]) == 0
    names = [path.name for path in (trained.parent / "more/save").glob("*.index")]
    assert names == ["ckpt-2.index"]


@pytest.fixture(scope="module")
def plain(trained):
    """:return: results of DeepReg's own prediction, through our command."""
    root = str(trained.parent)
    words = ["-k", str(trained), "-m", "test", "--log_root", root, "-l", "plain"]
    assert predict.main([*words, "--adapt-steps", "0", "--no_nifti"]) == 0
    return trained.parent / "plain" / "test"


def test_without_adaptation_deepreg_predicts(plain):
    """Its own table: a row for each pair and label."""
    rows = pd.read_csv(plain / "metrics.csv")
    assert {"label_binary_dice", "label_tre", "pair_index", "label_index"} <= set(rows)
    assert set(rows["pair_index"]) == {"[0]", "[1]"}
    assert (rows["label_index"] == 0).sum() == 2
    assert not list(plain.rglob("*.png"))


@pytest.fixture(scope="module")
def adapted(trained):
    """:return: results of our adaptation of DeepReg's model."""
    root = str(trained.parent)
    words = ["-k", str(trained), "-m", "test", "--log_root", root, "-l", "adapted"]
    with without_xla():
        assert predict.main([*words, "--adapt-steps", "2", "--no_png"]) == 0
    return trained.parent / "adapted" / "test"


def test_a_model_that_deepreg_trained_is_adapted(adapted):
    """With its own losses: label + 0.1 bending falls for every pair."""
    steps = pd.read_csv(adapted / "adaptation.csv", comment="#")
    assert len(steps) == 4
    np.testing.assert_allclose(
        steps["loss"], steps["loss_label"] + 0.1 * steps["loss_regularization"], 1e-4
    )
    for _, rows in steps.groupby("case"):
        assert rows["loss"].iloc[1] < rows["loss"].iloc[0]


def test_a_single_pair_is_adapted_as_in_its_split(adapted, trained):
    """By `deepreg_register`; the run knows nothing of its training images' axes."""
    data = Path(load_config(trained / "config.yaml").dataset.folders("test")[0])
    words = ["-k", str(trained), "--adapt-steps", "2", "--keep", "last", "--no_png"]
    for side in ("fixed", "moving"):
        words += [f"--{side}", str(data / f"{side}_images" / "case000001.nii.gz")]
        words += [f"--{side}-label", str(data / f"{side}_labels" / "case000001.nii.gz")]
    out = trained.parent / "pair"
    with without_xla():
        assert register_pair.main([*words, "-o", str(out)]) == 0
    columns = ["dsc_unadapted", "dsc_adapted", "tre_adapted_mm", "loss_adapted"]
    table = pd.read_csv(adapted / "metrics.csv", comment="#").set_index("case")
    found = pd.read_csv(out / "metrics.csv", comment="#").iloc[0]
    expected = table.loc["case000001", columns].astype(float)
    np.testing.assert_allclose(found[columns].astype(float), expected, rtol=1e-4)
    assert (out / "transform.h5").is_file()


def test_the_unadapted_scores_are_deepregs(adapted, plain):
    """Binary Dice of the gland, DeepReg's own figure and ours."""
    ours = pd.read_csv(adapted / "metrics.csv", comment="#")
    theirs = pd.read_csv(plain / "metrics.csv")
    theirs = theirs[theirs["label_index"] == 0].sort_values("pair_index")
    np.testing.assert_allclose(
        ours["dsc_unadapted"], theirs["label_binary_dice"], atol=0.03
    )
    assert (abs(ours["dsc_adapted"] - ours["dsc_unadapted"]) > 1e-4).any()


@pytest.fixture(scope="module")
def both(trained):
    """:return: our model and DeepReg's, of one checkpoint, and a case."""
    loaded = load_config(trained / "config.yaml")
    checkpoint = str(trained / "save" / "ckpt-1")
    with without_xla():
        ours = load_model(loaded, checkpoint)
    data = loaded.deepreg_config()
    loader = get_data_loader(data["dataset"], "test")
    theirs = REGISTRY.build_model(
        dict(
            name="ddf",
            moving_image_size=loader.moving_image_shape,
            fixed_image_size=loader.fixed_image_shape,
            index_size=loader.num_indices,
            labeled=True,
            batch_size=1,
            config=data["train"],
        )
    )
    tf.train.Checkpoint(model=theirs).restore(checkpoint).expect_partial()
    return ours, theirs, load_case_set(loaded, "test")[0]


def test_the_unadapted_field_is_that_of_deepregs_model(both):
    """Moving images resized, grids corner on corner, moving averages."""
    ours, theirs, case = both
    arrays = task_arrays(case, len(case.fixed_labels))
    inputs = {name: np.asarray(value)[None] for name, value in arrays.items()}
    found = ours.predict_step({k: tf.constant(v) for k, v in inputs.items()})
    expected = theirs(
        dict(
            moving_image=inputs["moving_image"],
            fixed_image=inputs["fixed_image"],
            moving_label=inputs["moving_labels"][:, 0],
            fixed_label=inputs["fixed_labels"][:, 0],
            indices=np.zeros((1, 2), np.float32),
        ),
        training=False,
    )["ddf"]
    assert np.abs(expected).max() > 0.02
    np.testing.assert_allclose(found["ddf_unadapted"], expected, atol=1e-5)
    np.testing.assert_array_equal(found["matrix"][0], np.eye(3))
    np.testing.assert_array_equal(found["offset"][0], np.zeros(3))


def test_the_loss_of_adaptation_is_that_of_deepregs_model(both):
    """The gland's Dice over the scales, a batch of one."""
    ours, _, case = both
    arrays = task_arrays(case, len(case.fixed_labels))
    task = Task(**{name: tf.constant(value) for name, value in arrays.items()})
    start = values(ours.network.weights)
    history = ours.adapt(task, 3)["history"].numpy()
    assert history[-1, 2] < history[0, 2]
    assert_same_bits(ours.network.weights, start)
    # the first row: in training mode, with the weights as they were
    field = ours.network(*stretched(case), training=True)
    for variable, value in zip(ours.network.weights, start, strict=True):
        variable.assign(value)
    warp = Warping(fixed_image_size=PHANTOM_FIXED_SHAPE)
    warped = warp([field, tf.constant(case.moving_labels[:1])])
    loss = REGISTRY.build_loss({"name": "dice", "scales": [0, 2]})
    expected = loss(y_true=tf.constant(case.fixed_labels[:1]), y_pred=warped)
    np.testing.assert_allclose(history[0, 0], expected, atol=0.01)


def stretched(case):
    """:return: network inputs as DeepReg makes them."""
    image = tf.constant(case.moving_image)[None, ..., None]
    resized = resize3d(image=image, size=PHANTOM_FIXED_SHAPE)[..., 0]
    return resized, tf.constant(case.fixed_image)[None]


@pytest.mark.parametrize("change", [{"num_channel_initial": 2}, {"name": "unet"}])
def test_another_backbone_than_the_checkpoints_is_refused(
    trained, tmp_path, caplog, change
):
    """One message, exit status 2, no folder."""
    raw = yaml.safe_load((trained / "config.yaml").read_text())
    raw["train"]["backbone"].update(change)
    if "name" in change:
        raw["train"]["backbone"] = dict(name="unet", num_channel_initial=1, depth=2)
    path = write_yaml(tmp_path / "other.yaml", raw)
    words = ["-k", str(trained), "-m", "test", "-c", path, "--adapt-steps", "1"]
    status = predict.main([*words, "--log_root", str(tmp_path / "logs"), "-l", "none"])
    assert status == 2
    assert "--ckpt_path" in caplog.text and "does not fit the backbone" in caplog.text
    assert not (tmp_path / "logs" / "none").exists()


def test_growth_of_gpu_memory_means_the_same_in_both_commands(trained, config):
    """What TensorFlow is told in the end, by DeepReg's own code too."""
    root = str(trained.parent)
    told = []
    for flag in ([], ["--gpu_allow_growth"]):
        words = ["-k", str(trained), "-m", "test", "--log_root", root, "-l", "growth"]
        predict.main([*words, "--no_nifti", *flag])
        told.append(os.environ["TF_FORCE_GPU_ALLOW_GROWTH"])
    assert told == ["false", "true"]
