"""
DeepReg's public MR-TRUS example pairs: download, take out of the archive, check.

Nothing here needs more than Python's own library.
"""

import hashlib
import logging
import shutil
import tempfile
import urllib.request
import zipfile
from http.client import HTTPException
from pathlib import Path, PurePosixPath

logger = logging.getLogger(__name__)

KINDS = ("moving_images", "fixed_images", "moving_labels", "fixed_labels")

# The source archive of DeepReg 0.1.2 (Apache-2.0). GitHub makes it anew now and then
# and does not promise the same bytes, so what it holds is checked, and its SHA-256 only
# where the user names one.
ARCHIVE = "https://github.com/DeepRegNet/DeepReg/archive/refs/tags/v0.1.2.zip"
PAIRS = PurePosixPath("data/test/nifti/paired")  # below the archive's one folder
NUM_PAIRS = {"train": 25, "test": 2}
MAX_BYTES = 2_000_000_000
GZIP = b"\x1f\x8b"


def count_pairs(split: Path) -> int:
    """
    Count the pairs of a split.

    :param split: holds the four sub-folders.
    :raises ValueError: when there are none, or files lack partners.
    """
    names = {
        kind: {file.name for file in (split / kind).glob("*.nii*")} for kind in KINDS
    }
    alone = set.union(*names.values()) - set.intersection(*names.values())
    if alone or not names[KINDS[0]]:
        listed = ", ".join(sorted(alone)) or "no file at all"
        raise ValueError(
            f"{split}: expected files of the same names, .nii or .nii.gz, in "
            f"{', '.join(KINDS)}, got {listed} without partner."
        )
    return len(names[KINDS[0]])


def download(url: str, path: Path, sha256: str = "") -> None:
    """
    Download a file.

    :param url: its address.
    :param path: where it is written.
    :param sha256: expected digest in hexadecimal, "" for any.
    :raises FileNotFoundError: when the address cannot be reached.
    :raises ValueError: when the file is incomplete, too large, or another one.
    """
    digest, num_bytes = hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(url, timeout=60) as source, path.open("wb") as file:
            length = source.headers.get("Content-Length")
            while chunk := source.read(1 << 20):
                num_bytes += len(chunk)
                if num_bytes > MAX_BYTES:
                    raise ValueError(f"{url}: expected at most {MAX_BYTES} bytes.")
                digest.update(chunk)
                file.write(chunk)
    except (OSError, HTTPException) as err:
        raise FileNotFoundError(
            f"{url}: cannot be downloaded ({err}). Without a connection, copy the "
            f"folder {PAIRS} of DeepReg's repository here and name it: "
            "--source real --from DIR."
        ) from err
    if length is not None and int(length) != num_bytes:
        raise ValueError(f"{url}: expected {length} bytes, got {num_bytes}. Try again.")
    if sha256 and digest.hexdigest() != sha256.lower():
        raise ValueError(f"{url}: expected SHA-256 {sha256}, got {digest.hexdigest()}.")


def extract_pairs(archive: Path, folder: Path) -> None:
    """
    Take the MR-TRUS pairs, and the licence, out of DeepReg's source archive.

    :param archive: zip file with one folder at its top.
    :param folder: new; complete or not there at all afterwards.
    :raises ValueError: for another kind of file, or when pairs are missing.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        part.chmod(0o755)
        with zipfile.ZipFile(archive) as source:
            for name in source.namelist():
                target = wanted_path(name)
                if target is not None:
                    (part / target).parent.mkdir(parents=True, exist_ok=True)
                    (part / target).write_bytes(source.read(name))
        check_public_pairs(part, str(archive))
        part.rename(folder)
    except zipfile.BadZipFile as err:
        raise ValueError(f"{archive}: expected a zip archive ({err}).") from err
    finally:
        shutil.rmtree(part, ignore_errors=True)


def wanted_path(name: str) -> PurePosixPath | None:
    """Say where a file of the archive goes; None leaves it out."""
    inner = PurePosixPath(*PurePosixPath(name).parts[1:])
    if inner == PurePosixPath("LICENSE"):
        return inner
    is_pair = PAIRS in inner.parents and name.endswith(".nii.gz")
    return inner.relative_to(PAIRS) if is_pair and ".." not in inner.parts else None


def check_public_pairs(folder: Path, origin: str) -> None:
    """
    Check that the public pairs are all there, as images and not as stand-ins.

    :raises ValueError: naming what is wrong.
    """
    for split, expected in NUM_PAIRS.items():
        found = count_pairs(folder / split)
        if found != expected:
            raise ValueError(
                f"{origin}: expected {expected} pairs in {PAIRS}/{split}, found "
                f"{found}."
            )
    for file in sorted(folder.glob("*/*/*.nii.gz")):
        with file.open("rb") as stream:
            if stream.read(2) != GZIP:
                raise ValueError(f"{origin}: {file.name} is no gzip-compressed image.")


def fetch_public_pairs(folder: Path, url: str = ARCHIVE, sha256: str = "") -> Path:
    """
    Download DeepReg's MR-TRUS pairs, unless they are there.

    :param folder: where they are, or will be.
    :param url: of the archive.
    :param sha256: of the archive, "" for any.
    :return: the folder.
    """
    if not folder.is_dir():
        logger.info("Downloading %s; its licence is Apache-2.0.", url)
        with tempfile.TemporaryDirectory() as temporary:
            archive = Path(temporary) / "archive.zip"
            download(url, archive, sha256)
            extract_pairs(archive, folder)
    return folder
