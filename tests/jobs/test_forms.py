"""Jobs whose replies have a form: labels, fields of a schema, an answer that several replies agree on, a user's CSV."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from tests.jobs.conftest import Job, column, conversations

TICKETS = {
    "billing": "I was charged twice in {}",
    "card": "My card was kept by a machine in {}",
    "refund": "I want my money back for {}",
    "login": "I cannot log in since {}",
    "delivery": "The parcel from {} has not come",
    "damaged": "The vase from {} is broken",
    "cancel": "Please end my contract in {}",
    "other": "Do you like it in {}?",
}
CLASSIFY = """
name: tickets
data:
  train: {path: tickets.csv}
  dev: {path: dev.csv, held_out: true}
  test: {path: test.csv, held_out: true}
models:
  teacher: {provider: openai, base_url: SERVER, model: gpt-x}
  student: {provider: transformers, model: STUDENT}
steps:
  - step: evaluate
    input: dev
    models: [teacher]
    prompt: route
    answer: {label: {labels: [billing, card, refund, login, delivery, damaged, cancel, other]}}
    metrics: [macro_f1]
    require: {metric: macro_f1, at_least: 0.8}
  - step: generate
    input: train
    model: teacher
    prompt: route
    labels: [billing, card, refund, login, delivery, damaged, cancel, other]
    as: label
  - {step: format, prompt: route, completion: label}
  - {step: train, model: student, max_steps: 4}
  - {step: evaluate, input: test, models: [student@base, student, teacher], metrics: [macro_f1], max_tokens: 8}
"""


def last(body: Mapping[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def route(body: Mapping[str, Any]) -> str:
    [label] = [name for name, text in TICKETS.items() if re.search(text.format(r"\w+").replace("?", r"\?"), last(body))]
    return json.dumps({"label": label}) if "response_format" in body else label


@pytest.mark.parametrize("weights", ["tiny", pytest.param("smollm2", marks=pytest.mark.slow)])
def test_tickets_without_right_answers_get_one_of_eight_labels_and_a_student_learns_them(
    job: Job, weights: str, request: pytest.FixtureRequest
) -> None:
    def write(name: str, form: str, *words: str) -> None:
        lines = [form.format(text.format(word), label) for word in words for label, text in TICKETS.items()]
        job.write(name, "\n".join([form.format("text", "reference"), *lines]))

    write("tickets.csv", "{}", "May", "June")
    write("dev.csv", "{},{}", "spring", "summer", "winter")
    write("test.csv", "{},{}", "Rome")
    job.write("route.jinja", "What is this ticket about? {{ text }}")
    result = job.run(CLASSIFY, route, request.getfixturevalue(weights))
    assert conversations(result)[2:5] == [
        "user: What is this ticket about? I cannot log in since June\nassistant: login",
        "user: What is this ticket about? I cannot log in since May\nassistant: login",
        "user: What is this ticket about? I want my money back for June\nassistant: refund",
    ]
    assert Counter(column(result, "03_format", "label")) == dict.fromkeys(TICKETS, 2)
    [ceiling, *_, teacher] = result.report["evaluations"]
    assert (ceiling["table"], ceiling["accuracy"]) == ("dev", 1.0)
    assert (teacher["table"], teacher["model"], teacher["accuracy"]) == ("test", "teacher", 1.0)
    answered = result.tables["05_evaluate"].to_pylist()
    assert {row["answer"] for row in answered if row["model"] == "student"} <= {None, *TICKETS}
    assert "| billing  |" in str(result), "a line of the confusion table"


EXTRACT = """
name: invoices
data:
  train: {path: invoices.jsonl}
  test: {path: test.jsonl, held_out: true}
models:
  teacher: {provider: openai, base_url: SERVER, model: gpt-x}
  student: {provider: transformers, model: STUDENT}
steps:
  - {step: generate, model: teacher, prompt: extract, schema: invoice.schema.json, parsed: invoice, repair: true}
  - {step: filter, keep: "invoice['total'] > 0"}
  - {step: map, set: {vendor: "{{ invoice.vendor }}"}}
  - {step: format, prompt: extract, completion: invoice}
  - {step: train, model: student, max_steps: 2}
  - {step: evaluate, input: test, models: [student, teacher], answer: json, metrics: [field_f1], max_tokens: 8}
"""
FIELDS = {
    "vendor": {"type": "string"},
    "total": {"type": "number"},
    "paid": {"type": "boolean"},
    "note": {"type": ["string", "null"]},
}
SCHEMA = {"type": "object", "properties": FIELDS, "required": [*FIELDS], "additionalProperties": False}


def read_invoice(body: Mapping[str, Any]) -> str:
    found = re.search(r"(?P<vendor>[^:]+) asks for (?P<total>\S+) EUR, (?P<paid>\w+)\.", last(body).partition(": ")[2])
    assert found is not None
    total, paid = json.loads(found["total"]), found["paid"] == "paid"
    text = json.dumps({"vendor": found["vendor"], "total": total, "paid": paid, "note": None}, ensure_ascii=False)
    return f"```json\n{text[:-1]},\n}}\n```" if found["vendor"] == "Acme" else text


def test_invoices_are_read_into_the_fields_of_a_schema(job: Job) -> None:
    job.write("invoice.schema.json", json.dumps(SCHEMA))
    job.write("extract.jinja", "Read the invoice as JSON: {{ text }}")
    asks = [("Müller & Söhne", "12.5 EUR, paid"), ("Acme", "3 EUR, open"), ("Zoë's", "99.99 EUR, paid")]
    job.write(
        "invoices.jsonl", [{"text": f"{vendor} asks for {rest}."} for vendor, rest in (*asks, ("Free", "0 EUR, paid"))]
    )
    wanted = {"vendor": "Bolt", "total": 5, "paid": False, "note": None}
    job.write("test.jsonl", [{"text": "Bolt asks for 5 EUR, open.", "reference": wanted}])
    result = job.run(EXTRACT, read_invoice)
    assert conversations(result) == [
        "user: Read the invoice as JSON: Acme asks for 3 EUR, open.\n"
        'assistant: {"vendor": "Acme", "total": 3, "paid": false, "note": null}',
        "user: Read the invoice as JSON: Müller & Söhne asks for 12.5 EUR, paid.\n"
        'assistant: {"vendor": "Müller & Söhne", "total": 12.5, "paid": true, "note": null}',
        "user: Read the invoice as JSON: Zoë's asks for 99.99 EUR, paid.\n"
        'assistant: {"vendor": "Zoë\'s", "total": 99.99, "paid": true, "note": null}',
    ]
    repaired = dict(zip(column(result, "04_format", "vendor"), column(result, "04_format", "repaired"), strict=True))
    assert repaired == {"Müller & Söhne": False, "Acme": True, "Zoë's": False}
    assert column(result, "dropped", "reason") == ["not (invoice['total'] > 0)"]
    assert result.report["evaluations"][-1]["metrics"]["field_f1"]["value"] == 1.0


VOTE = """
name: votes
data:
  train: {path: questions.jsonl}
models:
  teacher: {provider: openai, base_url: SERVER, model: gpt-x}
  student: {provider: transformers, model: STUDENT}
steps:
  - {step: generate, model: teacher, prompt: rationale/cot, samples: 5, temperature: 0.8}
  - {step: check, answer: number, against: null}
  - {step: select, per: instruction, by: majority, column: answer, min_share: 0.6, as: vote_share}
  - {step: format}
  - {step: train, model: student, max_steps: 2}
"""


def test_of_five_replies_the_first_with_the_answer_of_most_is_learnt(job: Job) -> None:
    asked: Counter[int] = Counter()
    wrong = {1: (), 2: (2,), 3: (1, 3), 4: (1, 2, 3)}

    def say(body: Mapping[str, Any]) -> str:
        [number] = map(int, re.findall(r"is (\d+) \+ 1", last(body)))
        asked[number] += 1
        right = asked[number] not in wrong[number]
        return f"We add one. The answer is {number + 1 if right else 10 * number + asked[number]}."

    job.write("questions.jsonl", [{"instruction": f"What is {number} + 1?"} for number in wrong])
    result = job.run(VOTE, say)
    assert conversations(result) == [
        f"user: What is {number} + 1?\nassistant: We add one. The answer is {number + 1}." for number in (1, 2, 3)
    ]
    assert sorted(column(result, "04_format", "vote_share")) == [0.6, 0.8, 1.0]
    assert Counter(column(result, "dropped", "reason")) == {"not the best": 12, "no majority": 5}
    assert len(job.server.seen) == 20


OWN_CSV = """
name: products
data:
  train: {path: products.csv, rename: {Product Title: title, Beschreibung: text}}
models:
  teacher: {provider: openai, base_url: SERVER, model: gpt-x}
  student: {provider: transformers, model: STUDENT}
steps:
  - {step: map, set: {text: "{{ text | trim }}", length: {expr: len(text)}}}
  - {step: filter, keep: length > 0}
  - {step: generate, model: teacher, prompt: slogan, as: slogan}
  - {step: format, prompt: slogan, completion: "{{ title }}: {{ slogan }}"}
  - {step: train, model: student, max_steps: 2}
"""


def test_a_csv_of_ones_own_is_renamed_trimmed_and_written_about(job: Job) -> None:
    lines = ['"Lamp ""Lux""","  Bright, 5 W "', "Stuhl,Aus Eiche für Müßige", "Empty,  ", '"Tongs","Two\nlines"']
    job.write("products.csv", "\ufeffProduct Title,Beschreibung\r\n" + "\r\n".join(lines) + "\r\n")
    job.write("slogan.jinja", "A slogan for {{ title }} ({{ text }})")
    result = job.run(OWN_CSV, lambda body: f"Buy {last(body).split()[3]} now!")
    assert conversations(result) == [
        'user: A slogan for Lamp "Lux" (Bright, 5 W)\nassistant: Lamp "Lux": Buy Lamp now!',
        "user: A slogan for Stuhl (Aus Eiche für Müßige)\nassistant: Stuhl: Buy Stuhl now!",
        "user: A slogan for Tongs (Two\nlines)\nassistant: Tongs: Buy Tongs now!",
    ]
    assert column(result, "dropped", "reason") == ["not (length > 0)"]
