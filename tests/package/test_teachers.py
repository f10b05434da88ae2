"""README's table of teachers: each provider has a line, what to write is a model's entry, and a fake is called one."""

import re
from pathlib import Path

import pytest

from blackbox_kd import models
from blackbox_kd.models.http.dialects import _OF_HOST

README = Path(__file__).parents[2] / "README.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in README.read_text(encoding="utf-8").partition("## Teachers")[2].partition("\n## ")[0].splitlines()
    if line.startswith("| ") and not line.startswith("| teacher ")
]
REAL = {"vLLM": "vLLM 0.32 on a CPU", "this process": "real weights"}
"""What has been run against the thing itself."""


def test_every_provider_that_asks_somebody_has_a_line() -> None:
    named = {found for row in ROWS for found in re.findall(r"provider: (\w+)", row[1])}
    assert named == set(models.providers()) - {"scripted", "recorded"}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_line_says_what_to_write_and_calls_a_fake_a_fake(row: list[str]) -> None:
    teacher, written, *_, tested = row
    assert len(row) == 7
    assert tested.startswith("fake ") != (teacher in REAL)
    assert tested.startswith("fake ") or tested == REAL[teacher]
    of = re.search(r"provider: (\w+)", written)
    fields = models.provider(of[1] if of else "openai").Config.model_fields
    assert set(re.findall(r"`(?!https)(\w+):", written)) <= fields.keys()


def test_a_host_with_words_of_its_own_is_in_the_table() -> None:
    written = " ".join(row[1] for row in ROWS)
    hosts = set(_OF_HOST) - {"api.together.ai", "api.mistral.ai"}
    assert all(f"https://{host}" in written for host in hosts)
