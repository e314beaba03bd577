import os
import subprocess
import sys

import pytest

ON = "oneDNN custom operations are on"


@pytest.mark.slow
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="TensorFlow's default there is another")
@pytest.mark.parametrize(("asked", "expected"), [(None, True), ("0", False)])
def test_programs_compute_by_onednn_whatever_the_cpu(asked, expected):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0", "TF_ENABLE_ONEDNN_OPTS": asked}
    environment = {name: value for name, value in environment.items() if value is not None}
    command = [sys.executable, "-c", "import training, tensorflow"]
    ended = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert (ON in ended.stderr) == expected, ended.stderr
