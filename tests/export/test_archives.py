"""Sums are those of sha256sum, archives those of a Hub server."""

import functools
import http.server
import subprocess
import tarfile
import threading

import pytest
import tensorflow as tf
import tensorflow_hub

from export import archives


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "export"
    (made / "variables").mkdir(parents=True)
    (made / "saved_model.pb").write_bytes(b"graph")
    (made / "variables" / "variables.index").write_bytes(b"weights")
    archives.write_sums(made)
    return made


def test_sha256sum_reads_the_sums(folder):
    check = ["sha256sum", "--check", "--strict", archives.SUMS]
    output = subprocess.run(check, cwd=folder, capture_output=True, text=True)
    assert output.returncode == 0 and output.stdout.count(": OK") == 2, output.stderr
    assert archives.differing(folder) == []


def test_what_was_changed_added_or_taken_away_is_named(folder):
    (folder / "saved_model.pb").write_bytes(b"grap!")
    (folder / "variables" / "variables.index").unlink()
    (folder / "new.txt").write_text("new")
    expected = ["new.txt", "saved_model.pb", "variables/variables.index"]
    assert archives.differing(folder) == expected


def test_the_same_files_make_the_same_archive(folder, tmp_path):
    first, second = tmp_path / "first.tar.gz", tmp_path / "second.tar.gz"
    archives.pack(folder, first)
    (folder / "saved_model.pb").touch()
    archives.pack(folder, second)
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as tar:
        assert "saved_model.pb" in tar.getnames()  # At the root.
        assert {member.uid for member in tar.getmembers()} == {0}


def test_tf_hub_loads_it_from_a_server(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    root = tf.train.Checkpoint(v=tf.Variable(2.0))
    root.__call__ = tf.function(lambda x: root.v * x, [tf.TensorSpec(None, tf.float32)])
    tf.saved_model.save(root, str(tmp_path / "export"))
    archives.write_sums(tmp_path / "export")
    archives.pack(tmp_path / "export", tmp_path / "export.tar.gz")
    serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            port = server.server_address[1]
            loaded = tensorflow_hub.load(f"http://127.0.0.1:{port}/export.tar.gz")
        finally:
            server.shutdown()
    assert loaded(tf.constant(3.0)).numpy() == 6
