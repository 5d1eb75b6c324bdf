"""
Build script: metadata is in setup.cfg; here is only the check for DeepReg.

DeepReg 0.1.2 cannot be in `install_requires`, because its own pins (tensorflow==2.3.1,
numpy==1.18.5) exist for no supported Python. A plain `pip install .` without it would
succeed and leave a package that cannot run, so it ends here in one message instead.
"""

import os
import sys
import sysconfig
from importlib import metadata

from setuptools import setup

DEEPREG = "0.1.2"
MESSAGE = f"""
deepreg_meta needs DeepReg {DEEPREG} in this Python environment, found {{found}}.
pip cannot fetch it as a dependency, since DeepReg pins TensorFlow 2.3.1. Install it
first, without its pins, and then this package:

    {{python}} -m pip install --no-deps deepreg=={DEEPREG}
    {{python}} -m pip install .

Or, in a clone of the project, `make env` creates .venv with everything, locked.
"""


def find_deepreg() -> str:
    """
    Look DeepReg up where pip is installing to.

    pip builds with the interpreter of the environment it installs to, but hides that
    environment's packages from `sys.path`; so their folders are asked by name.

    :return: the version found, or the word "none".
    """
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *sys.path}
    for distribution in metadata.distributions(name="deepreg", path=sorted(folders)):
        return distribution.version
    return "none"


def require_deepreg() -> None:
    """
    End an installation by pip with one message where DeepReg 0.1.2 is missing.

    Other builders (`python -m build`, uv) build in an environment of their own, where
    nothing can be said about the user's: there `deepreg_meta.stack` speaks at run time.

    :raises SystemExit: with the commands to type.
    """
    # pip sets the variable for the processes that build; old releases the second name.
    by_pip = "PIP_BUILD_TRACKER" in os.environ or "PIP_REQ_TRACKER" in os.environ
    found = find_deepreg()
    if by_pip and found != DEEPREG:
        raise SystemExit(MESSAGE.format(found=found, python=sys.executable))


require_deepreg()
setup()
