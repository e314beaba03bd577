import os
import subprocess
import sys

import pytest

NAME = "TF_ENABLE_ONEDNN_OPTS"
ON = "oneDNN custom operations are on"


@pytest.mark.slow
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="TensorFlow's default there is another")
@pytest.mark.parametrize(("asked", "expected"), [({}, True), ({NAME: "0"}, False)])
def test_programs_compute_by_onednn_whatever_the_cpu(asked, expected):
    others = {name: value for name, value in os.environ.items() if name != NAME}
    environment = {**others, "TF_CPP_MIN_LOG_LEVEL": "0", **asked}
    command = [sys.executable, "-c", "import training, tensorflow"]
    ended = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert (ON in ended.stderr) == expected, ended.stderr
