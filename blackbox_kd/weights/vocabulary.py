"""Whether two models have the same tokens, by the files of their tokenizers: no library is imported for it."""

import json
from collections.abc import Mapping
from pathlib import Path

FIX = "a teacher of the student's family, or method: gold"


def read(folder: Path) -> dict[str, int] | None:
    """The tokens of a model and their numbers; None where no `tokenizer.json` in its folder lists them."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    told = json.loads(file.read_text(encoding="utf-8"))
    listed = told.get("model", {}).get("vocab")
    if isinstance(listed, list):  # those of Unigram stand in order, each with how likely it is
        listed = {token: number for number, (token, _) in enumerate(listed)}
    return None if listed is None else listed | {each["content"]: each["id"] for each in told.get("added_tokens", [])}


def explain_difference(student: Mapping[str, int], teacher: Mapping[str, int]) -> str | None:
    """What is different between two vocabularies; None if nothing is.

    Special tokens may have other names, such as those that a template brought: their numbers say what is learnt.
    """
    names = {number: token for token, number in teacher.items()}
    shared = [(token, number) for token, number in student.items() if number in names]
    other = sum(names[number] != token for token, number in shared)
    if other > MOST_OTHER * len(shared):
        return f"{other:,} of {len(shared):,} numbers of tokens mean another text"
    more = abs(len(student) - len(teacher))
    if more > MOST_OTHER * len(shared):
        return f"the student has {len(student):,} tokens and the teacher {len(teacher):,}"
    return None


MOST_OTHER = 0.002
"""Share of the tokens that may have other names: the special tokens of a family's instruct models."""
