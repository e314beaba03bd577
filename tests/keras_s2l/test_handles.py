"""A handle leads to a folder with `saved_model.pb`, checked; what fails leaves nothing behind."""

import hashlib
import io
import pathlib
import tarfile

import pytest
import tensorflow_hub

from keras_s2l import handles, moved_handles
from tests.keras_s2l.servers import hub_server

GRAPH = b"graph" * 1000


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "a model"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(GRAPH)
    return folder


def archive_of(folder, path):
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, ".")
    return path


def compressed(folder):
    return archive_of(folder, folder.parent / "sent.tar.gz").read_bytes()


def graph_at(handle):
    return (pathlib.Path(handles.resolve(str(handle))) / "saved_model.pb").read_bytes()


def test_folders_are_used_in_place(folder):
    assert handles.resolve(str(folder)) == str(folder)
    assert handles.resolve(folder.as_uri()) == str(folder)
    assert "%20" in folder.as_uri()


def test_archives_are_unpacked_once_for_their_content(folder, tmp_path, cache):
    path = archive_of(folder, tmp_path / "model.tar.gz")
    assert graph_at(path) == graph_at(path.as_uri()) == GRAPH
    assert len(list(cache.iterdir())) == 1
    (folder / "saved_model.pb").write_bytes(b"another")
    assert graph_at(archive_of(folder, path)) == b"another"


def test_a_cache_that_is_not_on_this_machine_is_refused(folder, tmp_path, monkeypatch):
    path = archive_of(folder, tmp_path / "model.tar.gz")
    monkeypatch.setenv("TFHUB_CACHE_DIR", "gs://bucket/cache")
    monkeypatch.chdir(tmp_path)
    for handle in (str(path), "https://localhost/notes/1"):
        with pytest.raises(ValueError, match=r"must be a folder of this machine.*=gs://bucket"):
            handles.resolve(handle)
    assert graph_at(folder) == GRAPH and not (tmp_path / "gs:").exists()


def test_of_versions_the_highest_is_taken(tmp_path):
    for version in ("2", "10", "9", "x11"):
        (tmp_path / "served" / version).mkdir(parents=True)
        (tmp_path / "served" / version / "saved_model.pb").write_text(version)
    assert graph_at(tmp_path / "served") == b"10"
    assert graph_at(tmp_path / "served" / "9") == b"9"


def test_checksums_beside_the_graph_are_compared(folder):
    digest = hashlib.sha256(GRAPH).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  saved_model.pb\n")
    assert graph_at(folder) == GRAPH
    (folder / "saved_model.pb").write_bytes(GRAPH[:-1])
    with pytest.raises(ValueError, match=r"saved_model\.pb in .* differs"):
        handles.resolve(str(folder))


def test_a_url_is_asked_for_once_and_kept_where_tf_hub_would(folder, cache):
    with hub_server(compressed(folder)) as (url, asked):
        assert graph_at(url) == graph_at(url) == GRAPH
    assert asked == ["/notes/1?tf-hub-format=compressed"]
    assert [path.name for path in cache.iterdir()] == [hashlib.sha1(url.encode()).hexdigest()]
    assert tensorflow_hub.resolve(url) == handles.resolve(url)  # With the server gone.


def test_a_download_that_breaks_off_is_tried_again(folder):
    with hub_server(compressed(folder), break_off=2) as (url, asked):
        assert graph_at(url) == GRAPH
    assert len(asked) == 3


def test_one_that_always_breaks_off_leaves_nothing_and_may_be_asked_for_later(folder, cache):
    with hub_server(compressed(folder), break_off=3) as (url, asked):
        with pytest.raises(ValueError, match=r"could not be downloaded: it broke off after \d+"):
            handles.resolve(url)
        assert len(asked) == 3 and not cache.exists()
        assert graph_at(url) == GRAPH


def test_what_a_server_does_not_have_is_not_asked_for_again(folder):
    with hub_server(b"") as (url, asked):
        with pytest.raises(ValueError, match="HTTP Error 404"):
            handles.resolve(f"{url}/missing")
        assert len(asked) == 1


def test_a_server_that_sends_what_climbs_out_leaves_nothing(cache):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../climbed"))
    with hub_server(archive.getvalue()) as (url, _), pytest.raises(ValueError, match="outside"):
        handles.resolve(url)
    assert list(cache.iterdir()) == []


class Faked:
    """Resolves handles of its own kind as TF Hub's resolvers do."""

    def __init__(self, prefix, folder):
        self.prefix, self.folder = prefix, folder

    def is_supported(self, handle):
        return handle.startswith(self.prefix)

    def __call__(self, handle):
        return str(self.folder)


@pytest.mark.parametrize("handle", ["gs://bucket/notes", "google/yamnet/tensorFlow2/yamnet/1"])
def test_other_handles_are_resolved_by_tf_hub_and_checked(handle, folder, monkeypatch):
    registered = tensorflow_hub.registry.resolver
    faked = Faked(handle, folder)
    monkeypatch.setattr(registered, "_impls", [*registered._impls, faked])
    assert graph_at(handle) == GRAPH
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  saved_model.pb\n")
    with pytest.raises(ValueError, match="differs"):
        handles.resolve(handle)


def test_kaggle_is_asked_by_the_same_protocol(folder, monkeypatch):
    asked = []

    def urlopen(address, timeout):
        assert timeout > 0
        asked.append(address)
        content = io.BytesIO(compressed(folder))
        content.headers = {}
        return content

    monkeypatch.setattr(handles.urllib.request, "urlopen", urlopen)
    model = "https://www.kaggle.com/models/google/yamnet/TensorFlow2/yamnet/1"
    assert graph_at(model) == GRAPH
    assert asked == [f"{model}?tf-hub-format=compressed"]


def test_a_file_system_that_tensorflow_reads_is_checked_in_place(folder, monkeypatch):
    import tensorflow as tf

    remote = "gs://bucket/notes/3"
    listing = {"gs://bucket/notes": ["3/"], remote: ["saved_model.pb", "SHA256SUMS"]}

    def open_remote(path, mode):
        return pathlib.Path(path.replace(remote, str(folder))).open(mode)

    monkeypatch.setattr(tensorflow_hub, "resolve", lambda handle: handle)
    monkeypatch.setattr(tf.io.gfile, "listdir", lambda path: listing[path])
    monkeypatch.setattr(tf.io.gfile, "GFile", open_remote)
    (folder / "SHA256SUMS").write_text(f"{hashlib.sha256(GRAPH).hexdigest()}  saved_model.pb\n")
    assert handles.resolve("gs://bucket/notes") == "gs://bucket/notes/3"
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  saved_model.pb\n")
    with pytest.raises(ValueError, match="differs"):
        handles.resolve("gs://bucket/notes")


@pytest.mark.parametrize("make", [None, "empty", "a file"])
def test_where_nothing_is_the_error_says_so(make, tmp_path):
    path = tmp_path / "model"
    if make == "empty":
        path.mkdir()
    if make == "a file":
        path.write_text("no archive")
    with pytest.raises((ValueError, OSError), match=str(path)):
        handles.resolve(str(path))


def test_a_file_url_without_its_third_slash_is_refused():
    with pytest.raises(ValueError, match="three slashes"):
        handles.resolve("file://models/notes")


def test_moved_handles_hold_within_their_block_and_nest():
    with moved_handles({"old": pathlib.Path("/new")}):
        with moved_handles({"other": "/there"}):
            assert [handles.current(h) for h in ("old", "other", "x")] == ["/new", "/there", "x"]
        assert handles.current("other") == "other"
    assert handles.current("old") == "old"
