"""What a run writes about itself."""

import subprocess

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
