"""The answer to a reasoning-gym task, scored by the task's own verifier: right is a score of 1.0.

Needs the columns `task` and `metadata` that the generator `reasoning_gym` writes. An answer of several lines
(a grid, a JSON object) is read as such where the reference has several lines or the answer is JSON.

Some of the package's verifiers hand the answer to `eval` or to sympy's `parse_expr`, which evaluates it too.
A model's text would run as code there, so their tasks are given only what is inert: JSON, Python literals,
and short formulas without calls of anything but elementary functions.
"""

import ast
import functools
import inspect
import json
import keyword
import re
import sys
from collections.abc import Mapping
from typing import Any

from blackbox_kd.answers._kind import AnswerKind, answer
from blackbox_kd.answers._plain import plain
from blackbox_kd.answers._stated import drop_thought, find_affirmed, last_line
from blackbox_kd.errors import DataError, SetupError

_FENCE = re.compile(r"```[a-zA-Z]{0,12}\n(.*?)\n[ \t]*```", re.DOTALL)
_AROUND = " \t\r\n*`"
_LONGEST = 20_000
_EVALUATES = re.compile(r"(?<![\w.])(?:eval|exec)\(")
_EVALUATES_BY_SYMPY = re.compile(r"\b(?:parse_expr|sympify)\(")
_TOKEN = re.compile(r"\s+|\d{1,50}(?:\.\d{1,50})?|\*\*|[-+*/^(),]|(?P<word>[^\W\d]\w{0,40})(?P<call>\s*\()?")
_FUNCTIONS = frozenset(
    ["sin", "cos", "tan", "sec", "csc", "cot", "asin", "acos", "atan", "sinh", "cosh", "tanh", "log", "exp", "sqrt"]
)
_POWER = re.compile(r"(?:\*\*|\^)\s*(?P<tame>\d{1,2}(?!\d)|[a-zA-Z]\b|\(\s*-?\d{1,2}(?:/\d{1,2})?\s*\))?")
_TOWER = re.compile(r"(?:\*\*|\^)[^-+*/^,]*(?:\*\*|\^)")
_LONGEST_FORMULA = 2_000
_LARGEST_EXPANSION = 1_000


@answer
class ReasoningGym(AnswerKind):
    """An answer that a task of reasoning-gym scores."""

    needs = ("reasoning_gym", "reasoning-gym")

    def read(self, text: str, row: Mapping[str, Any]) -> str | None:
        """The last answer that the text states, else its last block of code, its last lines, or its last line."""
        text = drop_thought(text)
        reference = str(row.get("reference") or "").strip()
        for statement in find_affirmed(text):
            block = statement.text
            if not text.startswith(("\\", "<"), statement.start):
                block = text[statement.end :].lstrip(" \t:*`")
            if answer := _find_fenced(block) or _first_lines(block, reference) or _one_line(statement.text, reference):
                return answer
        if answer := _find_fenced(text):
            return answer
        count = len(reference.splitlines())
        if count > 1:
            return "\n".join(text.rstrip().splitlines()[-count:]) or None
        return _one_line(last_line(text), reference)

    def same(self, answer: str, reference: str, row: Mapping[str, Any]) -> bool:
        """Whether the task's verifier gives the answer a score of 1.0.

        Raises:
            DataError: the row is not one of reasoning-gym's, or its verifier cannot read it.
            SetupError: reasoning-gym is not installed.
        """
        task, metadata = row.get("task"), row.get("metadata")
        if not isinstance(task, str) or not isinstance(metadata, Mapping):
            raise DataError(
                "`answer: reasoning_gym` needs the columns 'task' and 'metadata' of the generator reasoning_gym; "
                f"this row has: {', '.join(row)}"
            )
        options = json.dumps(metadata.get("task_options") or {}, sort_keys=True)
        dataset, evaluates = _verifier(task, options)
        if len(answer) > _LONGEST or (evaluates and not inert(answer)):
            return answer.strip() == str(reference or "").strip()
        entry = {"question": row.get("instruction", ""), "answer": reference or None, "metadata": dict(metadata)}
        # Rows pass through JSON, which has no tuples; some verifiers compare with `==` and so see a difference.
        return _scores_one(dataset, answer, entry) or _scores_one(dataset, answer, _with_tuples(entry))


def inert(answer: str) -> bool:
    """Whether evaluating a text as Python or by sympy neither runs code nor takes long."""
    for literal in (json.loads, ast.literal_eval):
        try:
            literal(answer)
            return True
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return len(answer) <= _LONGEST_FORMULA and _harmless_words(answer) and _small_powers(answer)


def _harmless_words(formula: str) -> bool:
    """Whether there are only numbers, operators and names, and no calls but of functions, none in another."""
    position = calls = 0
    while position < len(formula):
        token = _TOKEN.match(formula, position)
        if token is None:
            return False
        word = token["word"]
        if word and (keyword.iskeyword(word) or "__" in word or (token["call"] and word not in _FUNCTIONS)):
            return False
        calls += bool(token["call"])
        position = token.end()
    return calls == 0 or not re.search(r"[a-zA-Z]\s*\([^()]*[a-zA-Z]\s*\(", formula)


def _small_powers(formula: str) -> bool:
    expansion = 1
    for power in _POWER.finditer(formula):
        if power["tame"] is None:
            return False
        digits = re.search(r"\d+", power["tame"])
        expansion *= max(1, int(digits[0])) if digits else 1
    return expansion <= _LARGEST_EXPANSION and not _TOWER.search(formula)


@functools.lru_cache(maxsize=256)
def _verifier(task: str, options: str) -> tuple[Any, bool]:
    """A data set of the task, and whether its verifier may evaluate the answer as code."""
    try:
        import reasoning_gym
    except ImportError as error:
        raise SetupError(
            "`answer: reasoning_gym` needs the package reasoning-gym, which is not installed; "
            "install it: pip install 'blackbox-kd[reasoning-gym]'"
        ) from error
    try:
        dataset = reasoning_gym.create_dataset(task, size=1, seed=0, **json.loads(options))
    except (ValueError, TypeError, AssertionError) as error:
        raise DataError(f"reasoning-gym has no verifier for the task {task!r} with {options}: {error}") from error
    source = inspect.getsource(sys.modules[type(dataset).__module__])
    by_sympy = "sympy" in source and _EVALUATES_BY_SYMPY.search(source)
    return dataset, bool(_EVALUATES.search(source) or by_sympy)


def _scores_one(dataset: Any, answer: str, entry: Mapping[str, Any]) -> bool:
    try:
        return bool(dataset.score_answer(answer, entry) == 1.0)
    except Exception as error:  # a verifier may stumble over any answer; over its own reference it must not
        if entry["answer"] is None:
            return False
        try:
            dataset.score_answer(entry["answer"], entry)
        except Exception:
            raise DataError(f"the task's verifier cannot read the row's metadata: {error!r}") from error
        return False


def _with_tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _with_tuples(item) for key, item in value.items()}
    return tuple(_with_tuples(item) for item in value) if isinstance(value, list) else value


def _find_fenced(text: str) -> str | None:
    """The last block of code."""
    blocks = _FENCE.findall(text)
    return blocks[-1].strip("\n") or None if blocks else None


def _first_lines(text: str, reference: str) -> str | None:
    """The JSON that a text begins with, or as many of its lines as the reference has, if that has several."""
    if answer := _json(text):
        return answer
    count = len(reference.splitlines())
    return "\n".join(text.strip("\n").splitlines()[:count]) or None if count > 1 else None


def _json(text: str) -> str | None:
    """The JSON object or array that a text begins with."""
    text = text.lstrip()
    if not text.startswith(("{", "[")):
        return None
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return text[:end]


def _one_line(text: str, reference: str) -> str | None:
    """A line without mark-up, and without its full stop unless the reference has one, too."""
    if answer := _json(text):
        return answer
    text = (plain(text) if "\\" in text else text).strip(_AROUND)
    if text.endswith(".") and not text.endswith("..") and not reference.endswith("."):
        text = text[:-1].rstrip(_AROUND)
    return text or None
