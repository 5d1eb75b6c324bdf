"""What a precision costs on the device at hand."""

from pathlib import Path

import tensorflow as tf

_CPU_INFO = Path("/proc/cpuinfo")


def advise(precision: str, cpu_info: Path = _CPU_INFO) -> str | None:
    """
    Say what speaks against a precision on this machine.

    Measured on CPUs: convolutions in bfloat16 take half as long as in float32, where
    the processor has instructions for it.

    :param precision: `train.precision`.
    :param cpu_info: the file where Linux lists the processor's instructions.
    :return: a warning, or None where nothing does or nothing is known.
    """
    if precision != "mixed_bfloat16" or tf.config.get_visible_devices("GPU"):
        return None
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


def check_precision(precision: str) -> None:
    """
    Refuse what TensorFlow cannot compute on this machine.

    :param precision: `train.precision`.
    :raises ValueError: for mixed_float16 without a GPU: TensorFlow has no pooling of
        volumes in float16 on CPUs, and its convolutions take 37 times as long.
    """
    if precision == "mixed_float16" and not tf.config.get_visible_devices("GPU"):
        raise ValueError(
            "train.precision: expected float32 or mixed_bfloat16 without a GPU, got "
            "'mixed_float16'."
        )
