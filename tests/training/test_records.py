"""What a run writes about itself."""

import subprocess
import sys

from training import records


def test_the_commit_says_whether_the_code_has_changed_since(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
        command = ["git", *identity, "-C", str(tmp_path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert records.commit(tmp_path) == "unknown"
    git("init", "--quiet")
    (tmp_path / "code.py").write_text("first")
    git("add", "code.py")
    git("commit", "--quiet", "--message", "first")
    assert records.commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "notes.txt").write_text("of somebody's")
    assert records.commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "code.py").write_text("second")
    assert records.commit(tmp_path) == git("rev-parse", "HEAD") + " with changes"


def test_a_disk_that_is_full_leaves_a_new_workdir_new(tmp_path):
    code = (
        "import resource, signal, sys\n"
        "from training import records\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "records.write_text(sys.argv[1], 'a' * 9)\n"
    )
    path = tmp_path / "run/config.json"
    process = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert "OSError: [Errno 27]" in process.stderr
    assert not list(path.parent.iterdir()) and records.config_in(path.parent) is None
