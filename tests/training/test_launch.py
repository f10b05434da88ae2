"""How a stage is started: on which GPUs, by which launcher, and again where memory ran out; what is learnt stays."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import DataError
from blackbox_kd.training import job, launch
from blackbox_kd.training.launch import Spread
from blackbox_kd.training.machine import Machines
from tests.support import jobs
from tests.support.jobs import assistant, user
from tests.support.runs import write_rows

JOB = Path("job.json")
STAGE = ["-m", "blackbox_kd.training.sft", "job.json"]
ACCELERATE = ["-m", "accelerate.commands.launch", "--main_process_port", "0"]
TWO = {"compute_environment": "LOCAL_MACHINE", "distributed_type": "MULTI_GPU", "use_cpu": True, "num_processes": 2}
"""An accelerate config of two processes on the CPU, which speak over gloo."""


@pytest.mark.parametrize(
    ("visible", "gpus", "command"),
    [
        ("", None, STAGE),
        ("-1", None, STAGE),
        ("0", None, STAGE),
        ("0,1,2", 1, STAGE),
        ("0,1,2", None, [*ACCELERATE, "--multi_gpu", "--num_processes", "3", *STAGE]),
        ("4,5,6", 2, [*ACCELERATE, "--multi_gpu", "--num_processes", "2", *STAGE]),
        ("4,5", 8, [*ACCELERATE, "--multi_gpu", "--num_processes", "2", *STAGE]),
    ],
)
def test_several_gpus_are_trained_on_through_accelerate_at_a_port_of_their_own(
    monkeypatch: pytest.MonkeyPatch, visible: str, gpus: int | None, command: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert launch.launch_command("sft", JOB, Spread(gpus)) == [sys.executable, *command]
    seen = launch.make_environment(Spread(gpus))["CUDA_VISIBLE_DEVICES"]
    assert seen == (visible if gpus is None else ",".join(visible.split(",")[:gpus]))


@pytest.mark.parametrize("name", ["fsdp2.yaml", "deepspeed_zero3.yaml"])
def test_a_config_for_fsdp2_or_deepspeed_is_passed_on_whole(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    config = Path("configs") / name
    begin = [sys.executable, *ACCELERATE, "--config_file", f"configs/{name}"]
    assert launch.launch_command("sft", JOB, Spread(config=config)) == [*begin, *STAGE]
    by_number = [*begin, "--num_processes", "2", *STAGE, "3"]
    assert launch.launch_command("sft", JOB, Spread(2, config), halved=3) == by_number


def write_job(folder: Path, output: str = "out", **fields: Any) -> Path:
    lines = [{"prompt": [user(f"say {n}")], "completion": [assistant("yes " * (1 + n % 5))]} for n in range(21)]
    return jobs.write_job(folder, "sft", lines, output, learning_rate=1e-3, max_steps=24, **fields)


async def test_a_training_that_ran_out_of_memory_goes_on_in_two_processes_to_the_same_weights(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    quiet, _ = await jobs.run("sft", write_job(tmp_path, "quiet"))
    path, config = write_job(tmp_path), tmp_path / "two.yaml"
    config.write_text(json.dumps(TWO))
    events: list[dict[str, Any]] = []

    def start(method: str, job: Path, spread: Spread, halved: int) -> list[str]:
        if halved:
            return launch.launch_command(method, job, spread, halved)
        jobs.kill_at(12, method, job)
        job.with_suffix(launch.ENDED).write_text(json.dumps({"out_of_memory": True}))
        return [sys.executable, "-c", "raise SystemExit(1)"]

    spread = Spread(config=config)
    result = await launch.run_training("sft", path, lambda event: events.append(dict(event)), spread, start)
    assert events[0] == {"event": "warning", "warning": launch.OUT_OF_MEMORY}
    assert events[1]["step"] == 11
    assert (result.steps, result.passes["processes"], quiet["passes"]["processes"]) == (24, 2, 1)
    assert result.passes["tokens"] < quiet["passes"]["tokens"]
    adapters = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("quiet", "out")]
    for name, weights in adapters[0].items():
        assert (weights - adapters[1][name]).abs().max() < 1e-5, name
    assert not path.with_suffix(launch.ENDED).exists()


def test_a_stage_says_why_it_ends_whatever_status_its_launcher_makes_of_it(tmp_path: Path) -> None:
    path = write_job(tmp_path)

    def full(*_: Any) -> Any:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def broken(*_: Any) -> Any:
        raise RuntimeError("a bug")

    for train, left in ((broken, False), (full, True)):
        with pytest.raises(RuntimeError):
            job._work("sft", path, train, Machines(), lambda event: None)
        assert path.with_suffix(launch.ENDED).exists() is left
    assert json.loads(path.with_suffix(launch.ENDED).read_text()) == {"out_of_memory": True}


@pytest.mark.slow
async def test_a_refusal_in_one_of_several_processes_is_the_users_error(tmp_path: Path) -> None:
    path, config = tmp_path / "out.json", tmp_path / "two.yaml"
    config.write_text(json.dumps(TWO))
    jobs.write_job(tmp_path, "sft", [])
    write_rows(tmp_path / "out.jsonl", [])
    with pytest.raises(Exception, match=r"train \(sft\): there are no rows to train on") as caught:
        await launch.run_training("sft", path, lambda event: None, Spread(config=config))
    assert "ChildFailedError" not in str(caught.value)
    assert DataError.exit_status == getattr(caught.value, "exit_status", None)
