"""The folder that segmentations are written to."""

from pathlib import Path

ATLASES, STRUCTURES = "atlases.csv", "structures.csv"
SUMMARY = ("summary.csv", "summary.md")
_FILES = {
    *(ATLASES, STRUCTURES, *SUMMARY, "config.yaml", "figure.png"),
    *("segmentation.md", "segmentation.nii.gz", "segmentation.png"),
}


def check_output(folder: Path, flag: str = "--output") -> None:
    """
    Check that no files but earlier segmentations would be replaced.

    :param folder: where results are to lie.
    :param flag: that named it, for the message.
    :raises ValueError: when the folder holds something else, or is a file.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"{flag}: expected a folder, got the file {folder}.")
    files = [path.relative_to(folder) for path in sorted(folder.rglob("*"))
             if not path.is_dir()]  # fmt: skip
    foreign = [
        str(path) for path in files if len(path.parts) > 2 or path.name not in _FILES
    ]
    if files and not (folder / ATLASES).is_file():
        foreign = foreign or [str(path) for path in files]
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise ValueError(
            f"{flag}: {folder} holds files that are no earlier segmentations: "
            f"{', '.join(foreign[:3])}{more}. Move them away, or choose another name."
        )
