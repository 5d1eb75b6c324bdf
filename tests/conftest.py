"""Fixtures that every test shares: seeds, registration, real data, graph mode."""

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from deepreg_meta import stack

SEED = 0
ROOT = Path(__file__).resolve().parents[1]


def pytest_configure(config):
    """Choose tf-keras, and how many threads, before anything imports TensorFlow."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:  # several processes would wait for each other's threads
        threads = max(1, (os.cpu_count() or 1) // workers)
        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            os.environ.setdefault(name, str(threads))
    stack.choose_legacy_keras()


@pytest.fixture(scope="session")
def registered():
    """Put our entries into DeepReg's registries, once."""
    import deepreg_meta

    deepreg_meta.register()


@pytest.fixture(autouse=True)
def seeded(request):
    """
    Fix every global seed before each test.

    TensorFlow is touched only for modules that import it as `tf`, so that the tests of
    configuration and evaluation stay as fast as the code they test.
    """
    random.seed(SEED)
    np.random.seed(SEED)
    if hasattr(request.module, "tf"):
        request.getfixturevalue("registered")
        sys.modules["tensorflow"].random.set_seed(SEED)


@pytest.fixture
def rng():
    """Return a source of random numbers that is the same in every run."""
    return np.random.default_rng(SEED)


@pytest.fixture(params=["eager", "tf.function"])
def mode(request):
    """Return what wraps a function: itself, or its compiled graph."""
    import tensorflow as tf

    return tf.function if request.param == "tf.function" else lambda function: function


@pytest.fixture
def untraced():
    """Run functions as they stand: to trace one takes longer than a few calls."""
    from tests.helpers import eager  # loads TensorFlow, which few tests need

    with eager():
        yield


@pytest.fixture
def real_data():
    """
    Return a function that finds a folder of real images, or skips the test.

    The environment variable DEEPREG_META_DATA names the folder that holds them; without
    it, `shared/data` beside the repository is tried.
    """
    base = Path(os.environ.get("DEEPREG_META_DATA") or ROOT.parent / "shared" / "data")

    def find(name: str) -> Path:
        if not (base / name).is_dir():
            pytest.skip(
                f"needs the real images {name}, which are not in {base}: set "
                "DEEPREG_META_DATA to the folder that holds them"
            )
        return base / name

    return find
