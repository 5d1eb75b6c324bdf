"""What the machine is that something was measured on; nothing else is imported."""

import platform
from pathlib import Path

_INFO = Path("/proc/cpuinfo")


def processor() -> str:
    """Name the processor of this machine."""
    if _INFO.is_file():
        for line in _INFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
