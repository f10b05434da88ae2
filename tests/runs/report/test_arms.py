"""Arms and seeds in a report: what is said of their intervals."""

from typing import Any

import pytest

from blackbox_kd.runs.report import arms


def make(seeds: int) -> dict[str, Any]:
    told = {"step": "steps[1] (evaluate)", "table": "test", "model": "student", "against": "student@base"}
    told |= {"metric": "accuracy", "n": 50, "gain": 0.2, "ci95": [0.1, 0.3], "p_value": 0.01}
    entry = {**told, "gains": [0.2] * seeds, "seeds": list(range(seeds))}
    return {"arms": [entry], "trainings": [{"model": "student@1", "rows": 8, "steps": 2}]}


@pytest.mark.parametrize(("seeds", "level"), [(2, "about 90 %"), (3, "95 %")])
def test_an_interval_over_two_seeds_is_not_called_one_of_95_percent(seeds: int, level: str) -> None:
    text = "\n".join(arms.describe(make(seeds)))
    assert f"+20.0 ({level} interval +10.0 to +30.0)" in text
    assert f"({level} interval +10.0 to +30.0; {seeds} seeds)" in arms.tell(make(seeds))[0]
    assert ("too narrow for 95 %; take three" in text) == (seeds == 2)
