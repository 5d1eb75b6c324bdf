"""
Train on two logical CPU devices and keep what comes out, for `test_replicas.py`.

A process of its own, because a CPU is divided before TensorFlow starts:

    python -m tests.two_devices FOLDER
"""

import pickle
import sys
from pathlib import Path
from unittest import mock

from deepreg_meta.stack import require_stack

require_stack()

import tensorflow as tf  # noqa: E402

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
# every graph runs a few times only: to rewrite it first would take longer
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

from deepreg_meta.callback.checkpoint import restore_model  # noqa: E402
from deepreg_meta.config import load_config  # noqa: E402
from deepreg_meta.model.build import build_optimizer  # noqa: E402
from deepreg_meta.model.reptile import ReptileModel  # noqa: E402
from deepreg_meta.training import meta_train  # noqa: E402
from tests.helpers import (  # noqa: E402
    eager,
    make_model,
    make_task,
    run_config,
    stack_tasks,
    values,
    without_xla,
    write_yaml,
)

DEVICES = ["CPU:0", "CPU:1"]
ADAM = {"name": "Adam", "learning_rate": 0.01}


def make_both() -> dict[str, ReptileModel]:
    """:return: models on one device and on two; all that is random takes part."""
    options = dict(
        optimizer=ADAM,
        normalization="moving",
        augmentation=[
            {"name": "affine", "scale": 0.1},
            {"name": "sparse_frames", "frames": [2, 5], "axis": 1},
        ],
        tasks_per_step=2,
        inner_optimizer_state="carry",
    )
    models = {name: make_model(**options) for name in ("one", "two")}
    strategy = tf.distribute.MirroredStrategy(DEVICES)
    models["two"].compile(build_optimizer(ADAM), strategy=strategy)
    return models


def train(model: ReptileModel, num_episodes: int) -> dict[str, list[float]]:
    """:return: the means of the logs of some episodes, on the same pairs each time."""
    data = stack_tasks(make_task(0), make_task(1))
    dataset = tf.data.Dataset.from_tensors(data).repeat(num_episodes)
    return model.fit(dataset, verbose=0).history


def state(model: ReptileModel) -> dict[str, list]:
    """:return: all that decides how training goes on."""
    return dict(
        weights=values(model.network.weights),
        optimizer=values(model.optimizer.variables),
        episode=[int(model.episode)],
    )


def run_both(folder: Path) -> dict:
    """:return: states by (model, episodes), changed over after two of three."""
    models, saved, found = make_both(), {}, {}
    for name, model in models.items():
        with eager(name == "one"):  # a few episodes, for which no graph is worth it
            found[name, 0] = state(model)
            found[name, "logs"] = train(model, 2)
            found[name, 2] = state(model)
            saved[name] = tf.train.Checkpoint(model=model).save(str(folder / name))
            train(model, 1)
            found[name, 3] = state(model)
    for name, other in (("one", "two"), ("two", "one")):
        with eager(name == "one"):
            restore_model(models[name], saved[other], weights_only=False)
            found[f"{name} from {other}", 2] = state(models[name])
            train(models[name], 1)
            found[f"{name} from {other}", 3] = state(models[name])
    return found | look_into(models["two"])


def look_into(model: ReptileModel) -> dict:
    """:return: where a model on two devices keeps what, and what steers it."""
    replicas, found = model._replicas, {}
    found["devices"] = [
        {v.device for v in (*loop.network.weights, *loop.optimizer.variables)}
        for loop in replicas._loops
    ]
    found["shares"] = replicas.share(4)
    start = values(model.network.trainable_variables)
    model.optimizer.learning_rate = 0.0
    train(model, 1)
    found["at rate 0"] = start, values(model.network.trainable_variables)
    return found


def run_commands(folder: Path) -> dict[str, str]:
    """:return: folders of a run on two devices and of its second half on one."""
    config = run_config()
    config["train"]["optimizer"] = dict(name="SGD", learning_rate=0.1, momentum=0.9)
    config["train"]["meta"] = dict(
        episodes_per_epoch=1, tasks_per_step=2, inner_steps=2, meta_step_size_end=0.5
    )
    config["adapt"] = dict(steps=1)
    path, root = write_yaml(folder / "run.yaml", config), str(folder)
    found = {}
    with mock.patch.object(tf.config, "list_logical_devices", list_cpus_as_gpus):
        found["two"] = str(meta_train(load_config(path), log_dir="two", log_root=root))
        odd = load_config(path, {"train": {"meta": {"tasks_per_step": 3}}})
        try:
            meta_train(odd, log_dir="odd", log_root=root)
        except ValueError as err:
            found["message"] = str(err)
    checkpoint = str(folder / "two" / "save" / "ckpt-1")
    with eager():
        found["one"] = str(meta_train(load_config(path), checkpoint, "one", root))
    return found


def list_cpus_as_gpus(device_type: str | None = None) -> list:
    """Stand in for `tf.config.list_logical_devices` on a machine with two GPUs."""
    assert device_type == "GPU"
    return [tf.config.LogicalDevice(f"/device:{name}", "GPU") for name in DEVICES]


def main(folder: Path) -> None:
    """Run everything and keep it in `results.pickle`."""
    found = run_both(folder)
    with without_xla():
        found["commands"] = run_commands(folder)
    (folder / "results.pickle").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
