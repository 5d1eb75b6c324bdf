"""What a precision costs on the device at hand."""

from pathlib import Path

import tensorflow as tf

_CPU_INFO = Path("/proc/cpuinfo")


def advise(precision: str, cpu_info: Path = _CPU_INFO) -> str | None:
    """
    Say what speaks against a precision on this machine.

    Measured on CPUs: convolutions in float16 take 37 times as long as in float32; those
    in bfloat16 half as long, where the processor has instructions for it.

    :param precision: `train.precision`.
    :param cpu_info: the file where Linux lists the processor's instructions.
    :return: a warning, or None where nothing does or nothing is known.
    """
    if precision == "float32" or tf.config.get_visible_devices("GPU"):
        return None
    if precision == "mixed_float16":
        return (
            "train.precision: mixed_float16 is many times slower than float32 on a "
            "CPU. It is meant for GPUs; mixed_bfloat16 suits some CPUs."
        )
    try:
        text = cpu_info.read_text(encoding="utf-8")
    except OSError:
        return None
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    if not flags or "avx512_bf16" in flags or "amx_bf16" in flags:
        return None
    return (
        "train.precision: mixed_bfloat16 is slower than float32 on this processor, "
        "which has no instructions for it (avx512_bf16 or amx_bf16)."
    )
