"""A training ends with what has started it, however that ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import jobs
from tests.support.jobs import assistant, user

STARTED = "import subprocess, sys; subprocess.run([sys.executable, '-m', 'blackbox_kd.training.sft', sys.argv[1]])"


@pytest.mark.parametrize("command", [["-m", "blackbox_kd.training.sft"], ["-c", STARTED]], ids=["itself", "parent"])
def test_a_training_that_is_killed_or_whose_parent_is_tells_of_no_step_any_more(
    tmp_path: Path, command: list[str]
) -> None:
    rows = [{"prompt": [user(f"say {n}")], "completion": [assistant("yes")]} for n in range(8)]
    job = jobs.write_job(tmp_path, "sft", rows, max_steps=100_000)
    with subprocess.Popen([sys.executable, *command, str(job)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = (event for line in process.stdout if (event := json.loads(line)).get("event") == "step")
        assert next(told)["step"] == 1
        process.kill()
        assert len(list(told)) < 1000  # the pipe is closed by the last process that writes into it
