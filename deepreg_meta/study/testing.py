"""Register the cases of a test set with the network of a run."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from deepreg_meta.results.outputs import Outputs
from deepreg_meta.study.folder import (
    LAST,
    test_file,
    test_mapping,
    test_name,
    write_whole,
)
from deepreg_meta.study.rows import has_truth
from deepreg_meta.study.schedule import Run

Trainer = Callable[..., Any]


def predict_test(
    folder: Path,
    run: Run,
    test: str,
    predict: Trainer | None,
    gpu: str | None,
    log_root: Path,
    adaptation: str = "",
    epoch: int = LAST,
    outputs: Outputs | None = None,
) -> Path:
    """
    Register the cases of one test set.

    :param folder: of the run, which has been trained.
    :param run: of the study.
    :param test: name of the test set.
    :param predict: as of `run_study`.
    :param gpu: as of `run_study`.
    :param log_root: folder for the results, in which they have one named as the test
        and the adaptation.
    :param adaptation: name of one of the run's.
    :param epoch: of the checkpoint; -1 is the last one.
    :param outputs: files written of a pair; None writes fields where the truth is
        known, and else tables alone.
    :return: the folder of the results.
    """
    [(_, results)] = predict_epochs(
        folder, run, test, [epoch], predict, gpu, log_root, adaptation, outputs
    )
    return results


def predict_epochs(
    folder: Path,
    run: Run,
    test: str,
    epochs: Sequence[int],
    predict: Trainer | None,
    gpu: str | None,
    log_root: Path,
    adaptation: str = "",
    outputs: Outputs | None = None,
) -> Iterator[tuple[int, Path]]:
    """
    Register the cases of one test set with several checkpoints.

    :param epochs: of the checkpoints; the other parameters are those of
        `predict_test`.
    :return: epochs and folders of the results, each when it is done.
    """
    name = test_name(test, adaptation)
    extra = folder / test_file(test, adaptation)
    mapping = test_mapping(run, test, adaptation)
    write_whole(extra, yaml.safe_dump(mapping, sort_keys=False))
    if outputs is None:
        formats = ("nifti",) if has_truth(run.tests[test]) else ()
        outputs = Outputs(volumes=False, formats=formats, figure=False)
    log_dirs = {}
    for epoch in epochs:
        if epoch == LAST:
            log_dirs[str(folder)] = name
        else:
            checkpoint = folder / "save" / f"ckpt-{epoch}"
            log_dirs[str(checkpoint)] = f"{name}--epoch{epoch}"
    forget_graphs()
    found = (predict or _predict_checkpoints)(
        log_dirs,
        mode="test",
        config_path=[str(folder / "config.yaml"), str(extra)],
        gpu=gpu,
        log_root=str(log_root),
        outputs=outputs,
    )
    for epoch, results in zip(epochs, found, strict=True):
        yield epoch, Path(results)


def _predict_checkpoints(*args: Any, **kwargs: Any) -> Iterator[Path]:
    """Call the default, which imports TensorFlow."""
    from deepreg_meta.predict import predict_checkpoints

    return predict_checkpoints(*args, **kwargs)


def forget_graphs() -> None:
    """Let go of the last run's graphs, which a long study would pile up."""
    if "tf_keras" in sys.modules:
        sys.modules["tf_keras"].backend.clear_session()
