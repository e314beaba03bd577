"""What goes with the files of an export: their sums, and the archive of them all."""

import gzip
import hashlib
import pathlib
import tarfile

SUMS = "SHA256SUMS"


def write_sums(folder):
    """Writes SHA256SUMS, as `sha256sum --check SHA256SUMS` reads it."""
    lines = [f"{_sum(path)}  {name}\n" for name, path in _files(folder) if name != SUMS]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def differing(folder):
    """Names of the files whose sums are not those of SHA256SUMS, that are absent, or unlisted.

    Raises:
        OSError, ValueError: If there is no such file, or it cannot be read.
    """
    listed = _listed(folder)
    found = {name: _sum(path) for name, path in _files(folder) if name != SUMS}
    return sorted(name for name in {*listed, *found} if listed.get(name) != found.get(name))


def is_export(folder):
    """Whether a folder holds what an export made and nothing else, changed or not."""
    try:
        listed = _listed(folder)
    except (OSError, ValueError):
        return False
    return {name for name, _ in _files(folder)} <= {*listed, SUMS}


def _listed(folder):
    """The sums of SHA256SUMS by name."""
    lines = (pathlib.Path(folder) / SUMS).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("  ", 1) for line in lines]
    if not all(len(pair) == 2 for pair in pairs):
        raise ValueError(f"{SUMS} is not as sha256sum writes it")
    return {name: sum_ for sum_, name in pairs}


def pack(folder, archive):
    """Packs a folder as a server of TF Hub sends it: its files at the root of a `.tar.gz`.

    The same files make the same bytes: names are sorted, and times and owners are left out.
    """
    with (
        open(archive, "wb") as file,
        gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(folder.rglob("*")):
            tar.add(path, path.relative_to(folder).as_posix(), recursive=False, filter=_plain)


def beside(output):
    """Where the archive of an export lies."""
    return output.with_name(f"{output.name}.tar.gz")


def _plain(member):
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() else 0o644
    return member


def _files(folder):
    paths = sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path) for path in paths]


def _sum(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
