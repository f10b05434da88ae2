"""The benchmark for a GPU, on a CPU with a toy of a student: what is measured there was run before it gets there."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu
from benchmarks.students import SIZES, Writer


@pytest.mark.slow
def test_all_parts_run_on_a_cpu_with_the_losses_of_plain_trl_and_the_answers_of_generate(tmp_path: Path) -> None:
    assert gpu.main(["--size", "toy", "--out", str(tmp_path), "--seconds", "900"]) == 0
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert list(parts) == ["sft", "sft_packed", "dpo", "evaluate"]
    for name in ("sft", "sft_packed", "dpo"):
        found = parts[name]
        assert found["losses"]["steps_compared"] == found["ours"]["steps"] == found["plain"]["steps"]
        assert found["losses"]["most_apart"] < 1e-4
        assert min(found[side]["peak_memory_mb"] for side in ("ours", "plain")) > 0
        assert found["ours"]["steps"] == 6 if name != "dpo" else 2
    assert [parts[name]["passes"]["packing"] for name in ("sft", "sft_packed")] == [False, True]
    assert parts["evaluate"]["adapter"]
    assert parts["evaluate"]["same_answers"] == 1.0
    assert parts["evaluate"]["ours"]["tokens"] == parts["evaluate"]["plain"]["tokens"] > 0
    assert "| evaluate: tokens per second |" in (tmp_path / "gpu.md").read_text()


def run(seconds: float, losses: dict[int, float]) -> dict[str, Any]:
    """A training of ten steps, the first three of them slow."""
    ends = [10.0, 20.0, 30.0, *(30.0 + 0.5 * step for step in range(1, 8))]
    return {"seconds": seconds, "step_ends": ends, "losses": losses, "peak_memory_mb": 100}


def test_the_first_steps_are_left_out_of_tokens_per_second() -> None:
    measured = gpu.measure(run(33.5, {1: 2.0, 2: 1.5}), 1000)
    assert measured["tokens_per_s"] == pytest.approx(1000 / 10 / 0.5)
    assert (measured["first_loss"], measured["last_loss"], measured["steps"]) == (2.0, 1.5, 10)


def test_losses_are_compared_at_the_steps_that_both_have() -> None:
    assert gpu.compare({1: 2.0, 2: 1.5, 3: 9.0}, {1: 2.0, 2: 1.25, 4: 0.0}) == {
        "steps_compared": 2,
        "first_apart": 0.0,
        "most_apart": 0.25,
    }
    assert gpu.compare({1: 2.0}, {2: 2.0}) == {}


def test_a_part_that_fails_keeps_what_it_had_measured_and_the_others_go_on(tmp_path: Path) -> None:
    def broken(found: dict[str, Any]) -> None:
        found["ours"] = gpu.measure(run(33.5, {1: 2.0}), 1000)
        raise RuntimeError("out of | memory")

    def fine(found: dict[str, Any]) -> None:
        found["ours"] = found["plain"] = gpu.measure(run(20.0, {1: 2.0}), 1000)

    assert gpu.carry_out({"sft": broken, "dpo": fine}, tmp_path, {"device": "cpu"}) == 1
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert report["parts"]["sft"]["ours"]["seconds"] == 33.5
    assert "RuntimeError: out of | memory" in report["parts"]["sft"]["error"]
    assert "Traceback" in report["parts"]["sft"]["error"]
    table = (tmp_path / "gpu.md").read_text().splitlines()
    assert "| sft: seconds | 33.5 |  |  |" in table
    assert "| sft: failed | RuntimeError: out of / memory | | |" in table
    assert "| dpo: seconds | 20.0 | 20.0 | 1.000 |" in table
    assert gpu.carry_out({"sft": broken}, tmp_path, {}) == 2


def test_no_process_is_begun_when_no_time_is_left(tmp_path: Path) -> None:
    late = gpu.Bench(tmp_path, SIZES["toy"], until=0.0)
    with pytest.raises(TimeoutError, match="no time was left"):
        late.call("students", tmp_path / "student", "toy")
    assert not (tmp_path / "student").exists()


def test_rows_are_as_long_as_they_are_said_to_be_and_the_same_at_every_call() -> None:
    median, least, most = SIZES["1.5b"].tokens
    writer = Writer(SIZES["1.5b"])
    lengths = sorted(writer.draw_length() for _ in range(2001))
    assert least <= lengths[0] <= lengths[-1] <= most
    assert lengths[1000] == pytest.approx(median, rel=0.1)
    assert lengths[100] < median / 2 < 2 * median < lengths[1900]
    state = random.getstate()
    one, other = (Writer(SIZES["toy"]).write_turns(["chosen", "rejected"]) for _ in range(2))
    assert one == other
    assert one["chosen"] != one["rejected"]
    assert random.getstate() == state


def test_plain_trl_divides_updates_as_ours_were() -> None:
    ours = {"device": "H200", "longest_row_tokens": 100, "passes": {"tokens": 450, "packing": False}}
    four, two = ({"per_device_train_batch_size": n, "gradient_accumulation_steps": 8 // n} for n in (4, 2))
    assert gpu.choose_passes(ours, 8, 1) == four
    assert gpu.choose_passes(ours, 8, 2) == two
    packed = gpu.choose_passes(ours | {"passes": {"tokens": 450, "packing": True}}, 8, 1)
    assert packed == {"per_device_train_batch_size": 8, "padding_free": True, "max_length": None}
    whole = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}
    assert gpu.choose_passes(ours | {"device": "cpu"}, 8, 1) == whole
