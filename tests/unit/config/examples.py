"""Configurations that the tests of this folder start from."""

import copy

from deepreg_meta.config import load_config

BASE = {
    "dataset": {
        "type": "paired",
        "format": "nifti",
        "dir": {"train": None, "valid": None, "test": None},
        "labeled": True,
        "moving_image_shape": [8, 9, 10],
        "fixed_image_shape": [5, 6, 7],
    },
    "train": {
        "method": "reptile",
        "backbone": {"name": "local", "num_channel_initial": 4},
        "loss": {
            "image": {"name": "ssd", "weight": 0.1},
            "label": {"name": "dice"},
            "regularization": {"name": "bending", "weight": 10.0},
        },
        "optimizer": {"name": "Adam", "learning_rate": 1.0e-3},
        "preprocess": {"batch_size": 2},
        "epochs": 3,
    },
}
SPARSE = {"name": "sparse_frames", "frames": [2, 5], "axis": 1}


def with_key(key, value, base=BASE):
    """Copy `base` with one dotted key set; the value `...` removes it."""
    config = copy.deepcopy(base)
    *parents, last = key.split(".")
    section = config
    for parent in parents:
        section = section.setdefault(parent, {})
    if value is ...:
        del section[last]
    else:
        section[last] = value
    return config


def load(write, key=None, value=None, base=BASE):
    """Load `base` with one key changed, as meta.yaml."""
    content = with_key(key, value, base) if key else base
    return load_config(write(meta=content))


def deepreg(method="ddf"):
    """A plain DeepReg configuration."""
    config = with_key("train.method", method)
    config["dataset"]["dir"]["train"] = "data"
    return config
