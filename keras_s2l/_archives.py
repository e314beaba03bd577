"""Archives and checksums from elsewhere: what is not as it should be is refused, whole."""

import contextlib
import gzip
import hashlib
import lzma
import os
import pathlib
import re
import shutil
import tarfile
import time
import uuid
import zlib

CHECKSUMS = "SHA256SUMS"
_CHUNK = 1 << 20
_ABANDONED_SECONDS = 24 * 3600
# The last two: of two members of one name, or one within another that is a file.
_DAMAGE = (
    *(tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError),
    *(FileExistsError, NotADirectoryError),
)


def unpack(archive, folder):
    """Unpacks a tar archive, compressed or not, into a new folder; on failure there is none.

    What killed processes left unfinished beside it is removed once it is a day old.

    Args:
        archive: File object that can seek.
        folder: Path to make. If another process made it meanwhile, it is left as it is.

    Raises:
        ValueError: If the archive is damaged or ends early, holds anything but files and folders
            within it, or its files differ from its `SHA256SUMS`.
    """
    folder = pathlib.Path(folder)
    remove_abandoned(folder.parent)
    unfinished = folder.with_name(f"{folder.name}.unfinished-{uuid.uuid4().hex}")
    unfinished.mkdir(parents=True)
    try:
        _extract(archive, unfinished)
        verify_checksums(unfinished)
        try:
            os.replace(unfinished, folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def remove_abandoned(folder):
    """Removes what processes that were killed left unfinished; none that works takes a day."""
    for path in folder.glob("*.unfinished-" + "[0-9a-f]" * 32):
        with contextlib.suppress(OSError):  # Another process may remove it too.
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _extract(archive, folder):
    try:
        with tarfile.open(fileobj=archive, mode="r:*") as tar:
            for member in tar:
                _extract_member(tar, member, folder)
            _refuse_early_end(tar)
    except _DAMAGE as error:
        raise ValueError(
            f"the archive is damaged, or the end of it is missing ({error}): get it again"
        ) from error


def _extract_member(tar, member, folder):
    parts = pathlib.PurePosixPath(member.name).parts
    outside = member.name.startswith("/") or ".." in parts or "\\" in member.name
    # A sparse file of a few bytes could fill the disk.
    if outside or member.issparse() or not (member.isfile() or member.isdir()):
        raise ValueError(
            "an archive of a SavedModel may hold files and folders within its own folder, and "
            f"nothing else. It holds {member.name!r}, which "
            + ("lies outside" if outside else "is a link, a device or sparse")
        )
    target = folder.joinpath(*parts)
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tar.extractfile(member) as source, target.open("xb") as copy:
        shutil.copyfileobj(source, copy, _CHUNK)


def _refuse_early_end(tar):
    """`tarfile` takes a cut between two files for the end; a whole archive ends with zeros."""
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise EOFError("it has no end mark")
    while tar.fileobj.read(_CHUNK):  # At the very end a compressed file has its own checksum.
        pass


def verify_checksums(folder, open_file=open, listdir=os.listdir):
    """Compares a folder with its `SHA256SUMS`, in the format of `sha256sum`, if it has one.

    Args:
        folder: Path of the folder.
        open_file: Opens a file, as `open` does; another file system has its own.
        listdir: Lists a folder.

    Raises:
        ValueError: If a file differs or is missing, the list cannot be read, or it leaves out
            `saved_model.pb`, the graph.
    """
    folder = os.fspath(folder)
    names, listed = listdir(folder), set()
    if CHECKSUMS not in names:
        return
    with open_file(os.path.join(folder, CHECKSUMS), "rb") as file:
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    for line in filter(None, lines):
        match = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](.+)", line)
        if match is None or match[2].startswith("/") or ".." in match[2].split("/"):
            raise ValueError(
                f"{CHECKSUMS} must be lines as `sha256sum` writes them, of files within the "
                f"folder. It holds {line!r}"
            )
        expected, name = match[1].lower(), match[2]
        listed.add(name.removeprefix("./"))
        try:
            with open_file(os.path.join(folder, name), "rb") as file:
                found = sha256(file)
        except FileNotFoundError:
            found = None
        if found != expected:
            raise ValueError(
                f"{name} in {folder} {'is missing' if found is None else 'differs'}, by its line "
                f"in {CHECKSUMS}: it was damaged or changed; get the folder again"
            )
    if "saved_model.pb" in names and "saved_model.pb" not in listed:
        raise ValueError(f"{CHECKSUMS} in {folder} has no line of saved_model.pb: get it again")


def sha256(file):
    """The SHA-256 of what is left of a file object, in hexadecimal."""
    digest = hashlib.sha256()
    while block := file.read(_CHUNK):
        digest.update(block)
    return digest.hexdigest()
