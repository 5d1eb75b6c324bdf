"""
The configuration of a run: YAML files merged left to right, validated whole.

Neither TensorFlow nor DeepReg is imported here, so that a misspelt key is reported
within a second.
"""

from deepreg_meta.config.load import load_config, load_run_config
from deepreg_meta.config.paths import check_paths
from deepreg_meta.config.run import METHOD, ConfigError, RunConfig

__all__ = [
    "METHOD",
    "ConfigError",
    "RunConfig",
    "check_paths",
    "load_config",
    "load_run_config",
]
