"""What the tests of this folder share."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # `run` and the tiny model of the tests above


@pytest.fixture
def predict(tiny_bundle, tmp_path):
    """Starts `python -m predict ARGUMENTS` in a folder of its own and gives the process; it is killed if it hangs."""
    started = []

    def start(*arguments: str, **options) -> subprocess.Popen:
        command = [sys.executable, "-m", "predict", "--model", str(tiny_bundle), *map(str, arguments)]
        process = subprocess.Popen(
            command, **{"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()
