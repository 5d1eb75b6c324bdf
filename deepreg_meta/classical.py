"""What registers two images without a network: a configuration made for them."""

from collections.abc import Sequence
from pathlib import Path

from deepreg_meta.config import ConfigError, RunConfig, load_config
from deepreg_meta.config.files import read_files
from deepreg_meta.geometry.volume_file import read_volume

DEFAULT = Path(__file__).parent / "config" / "classical.yaml"


def classical_config(
    fixed: str | Path, moving: str | Path, config_path: Sequence[str] = ()
) -> RunConfig:
    """
    Configure the classical registration of two images, each on its own grid.

    :param fixed: image file.
    :param moving: image file.
    :param config_path: YAML files that are merged after the default.
    :return: the configuration; shapes that no file states are those of the images.
    :raises ConfigError: for wrong keys, and where a network takes part.
    :raises ValueError: for an image that cannot be read.
    """
    paths = [str(DEFAULT), *config_path]
    given = read_files(paths).raw.get("dataset") or {}
    shapes = {
        key: list(read_volume(Path(path)).grid.shape)
        for key, path in (("moving_image_shape", moving), ("fixed_image_shape", fixed))
        if not (isinstance(given, dict) and given.get(key))
    }
    config = load_config(paths, {"dataset": shapes}, "of the image files")
    name = config.reptile_train.backbone.name if config.is_reptile else config.method
    if name != "identity":
        raise ConfigError(
            [
                f"train.backbone.name {config.locate('train.backbone.name')}: expected "
                f"identity with --classical, got {name!r}. Train it, and register with "
                "--ckpt_path."
            ]
        )
    if not config.adapt.adapts:
        raise ConfigError(
            ["adapt.field: expected updates with --classical, got none: nothing moves."]
        )
    return config
