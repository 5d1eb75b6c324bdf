"""One pair as several methods register it, each with its page of slices."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deepreg_meta.results.outputs import Outputs
from deepreg_meta.study.folder import LAST, run_folder
from deepreg_meta.study.schedule import Run
from deepreg_meta.study.testing import Trainer, predict_test

EXAMPLE = "example"
_PAGE = Outputs(volumes=False, formats=(), figure=True)


def draw_examples(
    runs: Sequence[Run],
    wanted: Sequence[tuple[str, str, int]],
    folder: Path,
    output: Path,
    figures: Path,
    predict: Trainer | None = None,
    gpu: str | None = "",
    draws: bool = True,
) -> dict[str, Path]:
    """
    Register one pair by some methods and keep the pages of slices.

    :param runs: of the plan, of one test set; of each method the first is taken that
        is no sweep's and has its weights.
    :param wanted: methods, adaptations, and the epochs of checkpoints, `folder.LAST`
        for the end of training.
    :param folder: of the pair, in DeepReg's paired layout.
    :param output: folder of the study.
    :param figures: folder that gets the pages; those that it has are not drawn again.
    :param predict: as of `run.run_study`.
    :param gpu: as of `run.run_study`.
    :param draws: whether pages that are missing are drawn; a report alone draws none.
    :return: the pages by method, adaptation and epoch, such as "meta, 5-updates", those
        that there are.
    """
    found = {}
    for method, adaptation, epoch in wanted:
        own = [run for run in runs if run.method == method and not run.sweep]
        own = [run for run in own if adaptation in run.adaptations]
        if not own:
            continue
        words = [method, *([adaptation] if adaptation else [])]
        words += [f"{epoch} epochs"] if epoch != LAST else []
        name = "_".join([EXAMPLE, own[0].data, *words]).replace(" ", "_")
        page = figures / f"{name}.png"
        run = next((r for r in own if _has_weights(r, output)), None)
        if draws and run is not None and not page.is_file():
            results = predict_test(
                run_folder(run, output),
                replace(run, tests={EXAMPLE: str(folder)}),
                EXAMPLE,
                predict,
                gpu,
                run_folder(run, output) / "tests",
                adaptation,
                epoch,
                _PAGE,
            )
            figures.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(next(results.glob("*/figure.png")), page)
        if page.is_file():
            found[", ".join(words)] = page
    return found


def _has_weights(run: Run, output: Path) -> bool:
    """Say whether a run was trained here; from elsewhere it comes without weights."""
    return bool(list(run_folder(run, output).glob("save/*.index")))
