"""Jobs that begin with long texts: a passage becomes questions and answers, and a folder of files becomes chunks."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.jobs.conftest import Job, column, conversations

PASSAGES = """
name: passages
data:
  passages: {path: passages.jsonl}
models:
  teacher: {provider: openai, base_url: SERVER, model: gpt-x}
  open: {provider: transformers, model: STUDENT}
  closed: {provider: transformers, model: STUDENT}
steps:
  - {step: generate, model: teacher, prompt: ask_three, as: questions}
  - {step: map, each: lines(questions), as: question, number: n, remove: [questions]}
  - {step: generate, model: teacher, prompt: grounded, as: answer}
  - {step: filter, keep: "not contains(answer, 'not in the passage')", output: answers}
  - {step: format, prompt: grounded, completion: answer, output: open_book}
  - {step: train, model: open, max_steps: 2}
  - {step: format, input: answers, prompt: closed, completion: answer, output: closed_book}
  - {step: train, model: closed, max_steps: 2}
dataset: {open: open_book, closed: closed_book}
"""


def last(body: Mapping[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def read_passage(body: Mapping[str, Any]) -> str:
    asked = last(body)
    [(animal, place, food)] = re.findall(r"The (\w+) sleeps in (\w+) and eats (\w+)", asked)
    if asked.startswith("Ask"):
        return f"Where does the {animal} sleep?\nWhat does the {animal} eat?\n\nHow old is the {animal}?\n"
    question = asked.splitlines()[-1]
    return {"Where": f"In {place}.", "What": f"It eats {food}."}.get(question.split()[0], "It is not in the passage.")


@pytest.mark.slow
def test_passages_become_three_questions_and_grounded_answers_for_an_open_and_a_closed_book(job: Job) -> None:
    passages = ["The bat sleeps in caves and eats moths.", "The bear sleeps in dens and eats fish."]
    job.write("passages.jsonl", [{"passage": text} for text in passages])
    job.write("ask_three.jinja", "Ask three questions, one a line and without numbers, about: {{ passage }}")
    job.write("grounded.jinja", "Answer from the passage.\n\n{{ passage }}\n\n{{ question }}")
    job.write("closed.jinja", "{{ question }}")
    result = job.run(PASSAGES, read_passage)
    answers = [
        "What does the bat eat?\nassistant: It eats moths.",
        "Where does the bat sleep?\nassistant: In caves.",
        "What does the bear eat?\nassistant: It eats fish.",
        "Where does the bear sleep?\nassistant: In dens.",
    ]
    shown = [passages[0], passages[0], passages[1], passages[1]]
    assert conversations(result, "open") == [
        f"user: Answer from the passage.\n\n{passage}\n\n{answer}"
        for passage, answer in zip(shown, answers, strict=True)
    ]
    assert conversations(result, "closed") == sorted(f"user: {answer}" for answer in answers)
    assert sorted(column(result, "answers", "n")) == [1, 1, 2, 2]
    assert len(column(result, "dropped", "reason")) == 2


DOCUMENTS = """
name: manuals
data:
  docs: {path: "docs/**/*.md", chunk: {words: 40, overlap: 10, by: heading}}
models:
  teacher: {provider: openai, base_url: SERVER, model: gpt-x}
  student: {provider: transformers, model: STUDENT}
steps:
  - {step: split, outputs: {train: 0.8, test: 0.2}, per: source}
  - {step: generate, input: train, model: teacher, prompt: summarise, as: summary}
  - {step: format, prompt: summarise, completion: summary}
  - {step: train, model: student, max_steps: 2}
"""
FACT = "Part {} of the machine turns to the left. "


def test_a_folder_of_twenty_long_files_is_cut_into_chunks_and_summarised(job: Job) -> None:
    for number in range(20):
        parts = [f"# Machine {number}.{part}\n\n{FACT.format(f'{number}.{part}') * 6}" for part in range(3)]
        job.write(f"docs/{'deep/' if number % 2 else ''}{number:02}.md", "\n\n".join(parts))
    job.write("summarise.jinja", "What is this about ({{ source }}, {{ heading }})? {{ text }}")

    def say(body: Mapping[str, Any]) -> str:
        return f"It is about {re.findall(r', (.*?)[)]', last(body))[0]}."

    result = job.run(DOCUMENTS, say)
    told = conversations(result)
    assert len(told) == 16 * 3 * 2
    fact = FACT.format("2.0").strip()
    assert told[:2] == [
        f"user: What is this about (docs/02.md, Machine 2.0)? {chunk}\nassistant: It is about Machine 2.0."
        for chunk in (f"# Machine 2.0\n\n{fact} {fact} {fact} {fact}", f"left. {fact} {fact} {fact}")
    ]
    fact = FACT.format("19.2").strip()
    assert [text for text in told if "19.2" in text][-1] == (
        f"user: What is this about (docs/deep/19.md, Machine 19.2)? left. {fact} {fact} {fact}\n"
        "assistant: It is about Machine 19.2."
    )
    assert {text.split("(")[1].split(",")[0] for text in told} == set(column(result, "train", "source"))
    assert len({*column(result, "train", "source"), *column(result, "test", "source")}) == 20
