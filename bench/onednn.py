"""What oneDNN, which the package asks for on x86, saves of a network's time."""

import sys

import numpy as np
from child import measured
from layer import TIMED, WITHOUT, Job, network_of, timed_call
from timing import Table, interleave, paired, spread, track

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"
OFF, ON = "TensorFlow's own", "oneDNN's"
COLUMNS = {
    "network": "",
    "fixed grid": "",
    "timed": "",
    OFF: "ms",
    ON: "ms",
    f"{OFF} / {ON}": "",
}
NOTE = (
    f"The same network with {OFF} convolutions (`{VARIABLE}=0`) and {ON} "
    f"(`{VARIABLE}=1`), in processes that take turns, batch 1, float32. Prediction and "
    "training step are those of the part `layer`, without the layer. TensorFlow itself "
    "chooses oneDNN where the processor has AVX-512 VNNI or newer instructions; there "
    "the variable changes nothing but where it is 0. Median (10th to 90th percentile) "
    "over the processes' medians, of ratios that of each pair of processes."
)
NUM_PROCESSES = 3  # of each kind


def measure(job: list) -> dict[str, float]:
    """
    Time a network in this process.

    :param job: a `Job`.
    :return: median seconds for each of `TIMED`.
    """
    backbone, channels, depth, fixed, repeats = job
    own = Job(backbone, channels, depth, tuple(fixed), repeats)
    network = network_of(own, WITHOUT)
    calls = {timed: timed_call(network, own.fixed, timed) for timed in TIMED}
    found = interleave(calls, repeats, warm_up=2)
    return {timed: float(np.median(found[timed])) for timed in TIMED}


def jobs(quick: bool) -> list[Job]:
    """Return what is timed: an image, and two volumes."""
    if quick:
        return [Job("unet", 2, 1, (8, 8, 6), 2)]
    return [
        Job("unet_transposed", 16, 4, (128, 128, 1), 20),
        Job("unet", 8, 3, (32, 32, 32), 6),
        Job("unet", 8, 3, (64, 64, 64), 2),
    ]


def run(quick: bool) -> Table:
    """Return the table of all networks."""
    table = Table("oneDNN's convolutions, against TensorFlow's own", COLUMNS, NOTE)
    for job in track(jobs(quick), "onednn"):
        seconds: dict[str, list[dict[str, float]]] = {OFF: [], ON: []}
        for _ in range(1 if quick else NUM_PROCESSES):
            for name, value in ((OFF, "0"), (ON, "1")):
                found = measured("onednn", quick, variables={VARIABLE: value}, job=job)
                seconds[name].append(found)
        for timed in TIMED:
            off, on = (
                np.array([one[timed] for one in seconds[name]]) for name in (OFF, ON)
            )
            table.add(
                job.network,
                job.grid,
                timed,
                spread(1e3 * off),
                spread(1e3 * on),
                paired(off, on),
            )
    return table


if __name__ == "__main__":
    print(run(quick="--quick" in sys.argv).markdown())
