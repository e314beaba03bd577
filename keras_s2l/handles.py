"""Where a handle leads: the folder of a SavedModel on this machine, got and checked."""

import contextlib
import contextvars
import hashlib
import http.client
import os
import pathlib
import shutil
import tempfile
import types
import urllib.error
import urllib.parse
import urllib.request

from keras_s2l import _archives

ARCHIVES = (".tar", ".tar.gz", ".tgz")
ATTEMPTS = 3
TIMEOUT = 60  # Seconds without a byte.
_moved = contextvars.ContextVar("moved_handles", default=types.MappingProxyType({}))


@contextlib.contextmanager
def moved_handles(handles):
    """Within it, `HubEncoder` takes other handles for those that are no longer where they were.

    A `.keras` file keeps the handle of an encoder, for its graph, beside the trained weights.

    Args:
        handles: Dict of new handles by old ones.

    Example:
    >>> with moved_handles({"runs/demo/export": "/data/encoders/notes"}):
    ...     model = keras.saving.load_model("classifier.keras")
    """
    token = _moved.set({**_moved.get(), **{str(old): str(new) for old, new in handles.items()}})
    try:
        yield
    finally:
        _moved.reset(token)


def current(handle):
    """The handle to use for one that may have moved."""
    return _moved.get().get(str(handle), str(handle))


def resolve(handle):
    """The folder of a SavedModel, downloaded and unpacked where need be.

    Folders are used in place, also those of TensorFlow Serving, which hold versions: the highest
    is taken. Archives and URLs are kept in `$TFHUB_CACHE_DIR`, by default `~/.cache/keras_s2l`.

    Args:
        handle: Folder, archive, `file://`, `http(s)://`, or what `tensorflow_hub.resolve` takes.

    Raises:
        ValueError, OSError: If nothing is there, or it is not what its checksums say.
    """
    scheme = urllib.parse.urlsplit(handle).scheme
    if scheme in ("http", "https"):
        return _checked(_cached(hashlib.sha1(handle.encode()).hexdigest(), _download, handle))
    path = _path_of(handle) if scheme == "file" else handle
    if os.path.isfile(path) and path.endswith(ARCHIVES):
        with open(path, "rb") as file:
            name = f"sha256-{_archives.sha256(file)}"
        return _checked(_cached(name, _open, path))
    if not os.path.isdir(path):
        path = _resolved_by_hub(path)
    return _checked(path)


def _resolved_by_hub(handle):
    import tensorflow as tf
    import tensorflow_hub  # Costs half a second.

    try:
        return tensorflow_hub.resolve(handle)
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def _path_of(url):
    parts = urllib.parse.urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise ValueError(f"file:// has three slashes before an absolute path: {url}")
    return urllib.request.url2pathname(parts.path)


def _checked(folder):
    """The folder with `saved_model.pb`: this one, or its highest version; its checksums hold."""
    if not os.path.isdir(folder):
        return _checked_remote(folder)
    folder = _of_highest_version(folder, os.listdir)
    _archives.verify_checksums(folder)
    return folder


def _checked_remote(folder):
    """Of gs:// and the like, which TensorFlow reads in place."""
    import tensorflow as tf

    try:
        folder = _of_highest_version(folder, tf.io.gfile.listdir)
        _archives.verify_checksums(folder, tf.io.gfile.GFile, tf.io.gfile.listdir)
    except tf.errors.OpError as error:
        raise OSError(error.message) from error
    return folder


def _of_highest_version(folder, listdir):
    names = [name.rstrip("/") for name in listdir(folder)]
    if {"saved_model.pb", "saved_model.pbtxt"} & set(names):
        return folder
    versions = [name for name in names if name.isdecimal()]
    if not versions:
        raise ValueError(f"{folder} holds no saved_model.pb, nor folders of versions")
    return os.path.join(folder, max(versions, key=int))


def _cached(name, get, source):
    """A folder of the cache; what is not there is got first.

    The name for a URL is the one that TF Hub gives it, so that each finds what the other got.
    """
    cache = os.environ.get("TFHUB_CACHE_DIR") or "~/.cache/keras_s2l"
    if "://" in cache:
        raise ValueError(
            "TFHUB_CACHE_DIR must be a folder of this machine, which archives are unpacked in; set "
            f"it to one, or unset it for ~/.cache/keras_s2l. Received: TFHUB_CACHE_DIR={cache}"
        )
    folder = pathlib.Path(cache).expanduser() / name
    if not (folder.is_dir() and any(folder.iterdir())):
        with get(source) as archive:
            _archives.unpack(archive, folder)
    return str(folder)


def _open(path):
    return open(path, "rb")


@contextlib.contextmanager
def _download(url):
    """A file that holds what a server of TF Hub's protocol sends for a URL."""
    parts = urllib.parse.urlsplit(url)
    query = [*urllib.parse.parse_qsl(parts.query), ("tf-hub-format", "compressed")]
    address = urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode(query)))
    with tempfile.TemporaryFile() as file:
        for attempts_left in reversed(range(ATTEMPTS)):
            try:
                _receive(address, file)
                break
            except (OSError, http.client.HTTPException) as error:
                refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
                if refused or not attempts_left:
                    raise ValueError(f"{address} could not be downloaded: {error}") from error
        yield file


def _receive(address, file):
    file.seek(0)
    file.truncate()
    with urllib.request.urlopen(address, timeout=TIMEOUT) as response:
        shutil.copyfileobj(response, file)
        length = response.headers.get("Content-Length")
    if length is not None and file.tell() != int(length):
        raise ConnectionError(f"it broke off after {file.tell()} of {length} bytes")
    file.seek(0)
