"""Archives are unpacked whole or not at all; nothing that climbs out, and nothing damaged."""

import gzip
import hashlib
import io
import os
import tarfile
import time

import pytest

from keras_s2l import _archives

FILES = {"saved_model.pb": b"graph" * 400, "variables/variables.index": b"numbers"}


def member(name, content=b"", kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(content), link
    return info, content


def packed(*members, mode="w:gz"):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode=mode) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return archive.getvalue()


def honest(mode="w:gz", **more):
    return packed(*(member(*item) for item in {**FILES, **more}.items()), mode=mode)


def unpack(content, folder):
    _archives.unpack(io.BytesIO(content), folder)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_an_honest_archive_is_unpacked(mode, tmp_path):
    assert unpack(honest(mode), tmp_path / "model") == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model").stat().st_mode & 0o055  # As other folders, by the umask.


def test_names_that_begin_with_a_dot_are_the_same(tmp_path):
    dotted = packed(
        member(".", kind=tarfile.DIRTYPE),
        *(member(f"./{name}", content) for name, content in FILES.items()),
    )
    assert unpack(dotted, tmp_path / "model") == FILES


HOSTILE = {
    "climbing": [member("../climbed", b"x")],
    "climbing later": [member("a/../../climbed", b"x")],
    "absolute": [member("{outside}/climbed", b"x")],
    "backslashes": [member("..\\climbed", b"x")],
    "a link outside": [
        member("variables/out", kind=tarfile.SYMTYPE, link="{outside}"),
        member("variables/out/climbed", b"x"),
    ],
    "a link up": [member("up", kind=tarfile.SYMTYPE, link=".."), member("up/climbed", b"x")],
    "a hard link": [member("stolen", kind=tarfile.LNKTYPE, link="{outside}/secret")],
    "a device": [member("null", kind=tarfile.CHRTYPE)],
    "a pipe": [member("pipe", kind=tarfile.FIFOTYPE)],
    "a name twice": [member("saved_model.pb", b"other")],
    "a file as a folder": [member("saved_model.pb/within", b"other")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_leave_nothing_behind(name, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    members = [member(*item) for item in FILES.items()]
    for info, content in HOSTILE[name]:
        hostile, _ = member(
            info.name.format(outside=outside),
            content,
            info.type,
            info.linkname.format(outside=outside),
        )
        members.append((hostile, content))
    with pytest.raises(ValueError, match=r"within its own folder|is damaged"):
        unpack(packed(*members), tmp_path / "cache" / "model")
    assert list((tmp_path / "cache").iterdir()) == []
    assert [path.name for path in tmp_path.rglob("*climbed*")] == []
    assert [path.name for path in outside.iterdir()] == ["secret"]


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_a_cut_anywhere_is_noticed(mode, tmp_path):
    whole = honest(mode)
    blocks = range(0, len(whole) - tarfile.BLOCKSIZE, tarfile.BLOCKSIZE)
    ends = blocks if mode == "w" else range(0, len(whole), 7)
    content = 512 * (1 + 4 + 1 + 1)  # The files; from then on a plain one has its end mark.
    for end in [end for end in ends if mode == "w:gz" or end <= content]:
        with pytest.raises(ValueError, match="damaged, or the end of it is missing"):
            unpack(whole[:end], tmp_path / "model")
        assert list(tmp_path.iterdir()) == []


def test_a_changed_byte_of_a_compressed_file_is_noticed(tmp_path):
    whole = bytearray(honest())
    whole[-6] ^= 1  # In the checksum of gzip.
    with pytest.raises(ValueError, match="damaged"):
        unpack(bytes(whole), tmp_path / "model")
    for other in (b"", b"no archive at all", gzip.compress(b"no archive" * 100)):
        with pytest.raises(ValueError, match="damaged"):
            unpack(other, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def sums(**changed):
    lines = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    return "".join(f"{value}  {name}\n" for name, value in {**lines, **changed}.items()).encode()


def test_right_checksums_are_accepted_wrong_ones_leave_nothing(tmp_path):
    assert unpack(honest(SHA256SUMS=sums()), tmp_path / "good")["SHA256SUMS"] == sums()
    wrong = {
        "saved_model.pb in .* differs": sums(**{"saved_model.pb": "0" * 64}),
        "fingerprint.pb in .* is missing": sums(**{"fingerprint.pb": "0" * 64}),
        "must be lines as `sha256sum`": b"not a checksum\n",
        "within the folder": f"{'0' * 64}  ../secret\n".encode(),
    }
    for message, content in wrong.items():
        with pytest.raises(ValueError, match=message):
            unpack(honest(SHA256SUMS=content), tmp_path / "bad")
    assert [path.name for path in tmp_path.iterdir()] == ["good"]


def test_what_another_process_unpacked_meanwhile_stays(tmp_path):
    assert unpack(honest(), tmp_path / "model") == FILES
    assert unpack(honest(more=b"late"), tmp_path / "model") == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_killed_processes_left_a_day_ago_is_removed(tmp_path):
    names = ("old.unfinished-" + "0a" * 16, "new.unfinished-" + "1b" * 16, "mine.unfinished-7")
    for name, hours in zip(names, (25, 23, 1000)):
        (tmp_path / name / "variables").mkdir(parents=True)
        (tmp_path / name / "variables" / "variables.index").write_bytes(b"half")
        ago = time.time() - 3600 * hours
        os.utime(tmp_path / name, (ago, ago))
    assert unpack(honest(), tmp_path / "model") == FILES
    assert {path.name for path in tmp_path.iterdir()} == {"model", *names[1:]}


def test_checksums_are_those_of_the_program_sha256sum(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    published = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    for separator in ("  ", " *"):
        (tmp_path / "SHA256SUMS").write_text(f"{published}{separator}file\n")
        _archives.verify_checksums(tmp_path)
