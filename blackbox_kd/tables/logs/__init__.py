"""What applications have logged of models -> rows.

A row is a request and one reply to it: `messages` is the conversation, the reply included; `response` the text of the
reply; `tools`, `model`, `time` (ISO 8601, UTC) and `finish_reason` what is known of the request; `feedback` an object
of scores by their names; `metadata` what the application said of it. What is not known is null. Rows of preferences
have `chosen` and `rejected` in place of `response`, and rows of fine-tuning what else their line says.

What belongs to a record may stand in a file of its own (the replies of a batch, scores): the first record of each file
tells which those files are, and they are read first.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Protocol

from blackbox_kd.errors import DataError
from blackbox_kd.tables.bad_lines import BadLine, BadLines, Record
from blackbox_kd.tables.logs.langfuse import Langfuse
from blackbox_kd.tables.logs.openai import OpenAI
from blackbox_kd.tables.logs.otel import OTel
from blackbox_kd.tables.logs.records import describe
from blackbox_kd.tables.readers import READERS, read_json_object, read_records

Form = Literal["auto", "openai", "otel", "langfuse"]
"""Names of forms, and `auto` for the one that the files have."""
_OF_OTHER_VALUES = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What is raised where a field holds a number, say, in place of an object: logs are written by everybody."""
_READERS = {**READERS, ".json": read_json_object}


class Reader(Protocol):
    """What reads a form. It keeps what belongs to records that come later."""

    def unwrap(self, record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The records in what a line holds, such as the items of a page of an API's list."""
        ...

    def recognise(self, record: Mapping[str, Any]) -> str | None:
        """What a record is, in words; None if it is of another form."""
        ...

    def is_beside(self, record: Mapping[str, Any]) -> bool:
        """Whether it only belongs to other records."""
        ...

    def read(self, record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The rows of a record; none where it is kept for others.

        Raises:
            DataError: it cannot be read.
        """
        ...

    def end(self) -> Iterator[dict[str, Any]]:
        """The rows of records that have waited for others.

        Raises:
            DataError: records lack those that they belong to.
        """
        ...


_FORMS: dict[str, type[Reader]] = {"openai": OpenAI, "otel": OTel, "langfuse": Langfuse}


def read(paths: Sequence[Path], form: Form, bad_lines: BadLines) -> Iterator[dict[str, Any]]:
    """The rows of what was logged.

    Args:
        paths: the files, all of one form.
        form: which; `auto` for what the first record looks like.
        bad_lines: what is done with lines that are no records of the form.

    Raises:
        DataError: a file is of another form, or a record lacks what a row needs.
    """
    firsts = {path: record for path in paths if (record := _look(path)) is not None}
    reader = _choose(firsts, form)
    beside = [path for path, record in firsts.items() if any(map(reader.is_beside, reader.unwrap(record)))]
    for path in (*beside, *(path for path in paths if path not in beside)):
        lines = read_records(path, _READERS, "convert it to one of them")
        found = chain.from_iterable(_convert(line, reader) for line in lines)
        yield from (record.row for record in bad_lines.pass_on(found, path.name))
    yield from _finish(reader)


def _look(path: Path) -> dict[str, Any] | None:
    """The first record of a file; None if it has none."""
    lines = read_records(path, _READERS, "convert it to one of them")
    return next((line.row for line in lines if isinstance(line, Record)), None)


def _choose(firsts: Mapping[Path, Mapping[str, Any]], form: Form) -> Reader:
    if form != "auto":
        return _FORMS[form]()
    for path, record in firsts.items():
        for kind in _FORMS.values():
            reader = kind()
            if any(map(reader.recognise, reader.unwrap(record))):
                return kind()
        known = (
            "known: OpenAI (fine-tuning, preferences, stored completions, batches), OTel spans, Langfuse observations"
        )
        fix = "take format: out, and bring the columns into shape with rename: and a step map"
        raise DataError(f"{path.name}: the form is not known; it holds {describe(record)}", exists=known, fix=fix)
    return OpenAI()  # of files without any record, which are told of as empty


def _convert(line: Record | BadLine, reader: Reader) -> Iterator[Record | BadLine]:
    if isinstance(line, BadLine):
        yield line
        return
    words: str | None = ""
    try:
        for record in reader.unwrap(line.row):
            words = reader.recognise(record)
            if words is None:
                yield BadLine(line.where, *_explain(record, reader))
            else:
                yield from (Record(line.where, row) for row in reader.read(record))
    except DataError as error:
        yield BadLine(line.where, error.what, error.fix or "mend the line")
    except _OF_OTHER_VALUES:
        yield BadLine(line.where, f"looks like {words}, and its fields hold other values", "mend the line")


def _finish(reader: Reader) -> Iterator[dict[str, Any]]:
    """The rows of records that have waited.

    Raises:
        DataError: they cannot be read, or lack others.
    """
    try:
        yield from reader.end()
    except DataError:
        raise
    except _OF_OTHER_VALUES as error:
        what = "records that were read to the end hold other values than their form has"
        raise DataError(what, fix="take format: out, and bring them into shape with a step map") from error


def _explain(record: Mapping[str, Any], reader: Reader) -> tuple[str, str]:
    """What a record of another form looks like, and what is done then."""
    own = next(name for name, kind in _FORMS.items() if isinstance(reader, kind))
    for name, kind in _FORMS.items():
        other = kind()
        if words := next(filter(None, map(other.recognise, other.unwrap(record))), None):
            return f"is not of the form {own}; it looks like {words}", f"write format: {name}, or part the files"
    fix = "take format: out, and bring the columns into shape with rename: and a step map"
    return f"is not of the form {own}; it is {describe(record)}", fix
