from blackbox_kd.schema import Dropped
from blackbox_kd.steps import format as format_step
from tests.fakes import FakeContext, rows


async def test_the_student_sees_its_own_prompt_and_the_column_is_what_it_shall_say() -> None:
    [row] = rows({"instruction": "2 + 2?", "reference": "4", "rationale": " It is 4. "})
    config = format_step.Config(step="format", prompt="student/plain", completion="rationale")
    found = await format_step.run(row, config, FakeContext())
    assert found["prompt"] == [{"role": "user", "content": "student/plain | 2 + 2?"}]
    assert found["completion"] == [{"role": "assistant", "content": "It is 4."}]


async def test_an_empty_completion_is_dropped_with_a_reason() -> None:
    [row] = rows({"instruction": "x", "response": "  \n"})
    found = await format_step.run(row, format_step.Config(step="format"), FakeContext())
    assert found == Dropped(row, "empty completion")
