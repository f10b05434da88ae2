"""Replies that were paid for before, as `blackbox-kd ledger export` writes them: nothing is sent and nothing is paid.

    models:
      teacher: {provider: recorded, replies: teacher.jsonl.gz}

A question is looked up by its messages, and of several replies to it the one of the same sample. One that nobody has
asked is an error of its row: no other reply is taken for it.
"""

import gzip
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from blackbox_kd import json_text
from blackbox_kd.errors import DataError, RequestRejected, quote_cause
from blackbox_kd.ledger.ledger import compute_key
from blackbox_kd.models import InProcess, Model, ModelConfig, Setup
from blackbox_kd.models.http.generate_content import GenerateContent
from blackbox_kd.models.http.messages_api import MessagesApi
from blackbox_kd.models.http.parameters import NOTHING_KNOWN
from blackbox_kd.models.http.responses_api import ResponsesApi
from blackbox_kd.schema import Request, digest

ROUNDS = 100
"""Of a loop, in which a question may have been asked: a key does not tell which one it was."""
BILLS = ("cost", "cost_details", "is_byok")
"""What gateways say beside the tokens that they bill; it was paid once."""
_FORMATS = (MessagesApi(NOTHING_KNOWN), GenerateContent(NOTHING_KNOWN), ResponsesApi())


class Config(ModelConfig):
    """Replies of a real model, out of a file."""

    local: ClassVar[bool] = True

    model: str = "recorded"
    """Name that the recipe of the recorded run had for the model, where the file holds replies of several."""
    replies: str = Field(min_length=1)
    """File beside the recipe with lines of `blackbox-kd ledger export`; it may end in .gz."""

    def find_files(self) -> dict[str, str]:
        """The file of replies."""
        return {"replies": self.replies}

    def missing(self, setup: Setup) -> list[tuple[str, str, str]]:
        """What stands in the way of opening a model: the config's field, what is wrong, what to do."""
        try:
            found = _read(setup.folder / self.replies, self._wanted)
        except DataError as error:
            return [("replies", f"{self.replies!r} {error.what}.", error.fix)]
        if found:
            return []
        whose = f" of a model {self._wanted!r}" if self._wanted else ""
        return [("replies", f"{self.replies!r} has no replies{whose}.", "name the file of another run, or its model")]

    def identity(self, setup: Setup) -> str:
        """What names a model in fingerprints: the file's content."""
        content = (setup.folder / self.replies).read_bytes()
        return digest([self.provider, self._wanted, hashlib.sha256(content).hexdigest()])

    @property
    def _wanted(self) -> str:
        return self.model if "model" in self.model_fields_set else ""


def open_model(config: Config, setup: Setup) -> Model:
    """Opens a model.

    Raises:
        SetupError: the file is not there, or holds no replies.
    """
    config.refuse_missing(setup)
    return RecordedModel(config, setup)


class RecordedModel(InProcess):
    """See `models.Model`."""

    def __init__(self, config: Config, setup: Setup) -> None:
        self.config: ModelConfig = config
        self.endpoint = f"recorded {setup.name}"
        self._file = config.replies
        self._lines = _read(setup.folder / config.replies, config._wanted)

    def wire(self, request: Request) -> dict[str, Any]:
        """The question and the reply: the key is another one where another reply is recorded.

        Raises:
            RequestRejected: nobody has asked this.
        """
        asked = self._lines.get(_name(request.messages), ())
        line = _choose(asked, request)
        if line is None:
            others = f"; of the question {len(asked)} other replies are" if asked else ""
            what = f"sample {request.sample}, attempt {request.attempt} is not recorded in {self._file!r}{others}"
            fix = "ask the real model, or take the recipe, the data and the prompts with which it was asked"
            raise RequestRejected(what, kind="not recorded", fix=fix)
        return {"provider": "recorded", "messages": request.messages, "reply": line["body"]}

    async def send(self, wire: dict[str, Any], request: Request) -> tuple[str, Mapping[str, str]]:
        """The reply as a chat completion, without what it did cost."""
        value: Any = json_text.decode(wire["reply"])
        for each in _FORMATS:
            value = each.convert(value)
        if isinstance(value, dict) and isinstance(used := value.get("usage"), dict):
            value = {**value, "usage": {name: count for name, count in used.items() if name not in BILLS}}
        return json.dumps(value, ensure_ascii=False), {}

    async def close(self) -> None:
        """Nothing to close."""


def _choose(lines: Sequence[Mapping[str, Any]], request: Request) -> Mapping[str, Any] | None:
    """The line of a sample, of the same row first; where there are no keys to tell it by, by its place."""
    told = [line for line in lines if isinstance(line.get("key"), str)]
    if not told:
        place = request.sample + request.attempt
        return lines[place] if place < len(lines) else None
    for line in sorted(told, key=lambda line: line.get("row_id") != request.row.id):
        wire, row, sample, attempt = json_text.decode(line["wire"]), line["row_id"], request.sample, request.attempt
        keys = (compute_key(wire, row_id=row, sample=sample, attempt=attempt, round=each) for each in range(ROUNDS))
        if line["key"] in keys:
            return line
    return None


def _name(messages: Any) -> str:
    return digest(messages)


@lru_cache(maxsize=8)
def _read_again(path: Path, wanted: str, stamp: tuple[int, int]) -> Mapping[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in _list_lines(path):
        if not wanted or line.get("model") == wanted:
            wire = json_text.decode(line["wire"])
            body = wire.get("body", wire)
            found[_name(body["messages"])].append(line)
    return dict(found)


def _read(path: Path, wanted: str) -> Mapping[str, list[Mapping[str, Any]]]:
    """The lines of a file by what was asked.

    Raises:
        DataError: it is not there, or holds something else.
    """
    fix = "write one with `blackbox-kd ledger export FILE`"
    try:
        stat = path.stat()
        return _read_again(path, wanted, (stat.st_mtime_ns, stat.st_size))
    except FileNotFoundError as error:
        raise DataError("does not exist", fix=fix) from error
    except (OSError, EOFError, UnicodeError) as error:
        raise DataError(f"cannot be read: {quote_cause(error)}", fix=fix) from error


def _list_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                line = json_text.decode(text)
                wire = json_text.decode(line["wire"])
                is_whole = isinstance(line["body"], str) and isinstance(wire.get("body", wire)["messages"], list)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                is_whole = False
            if not is_whole:
                what = f"holds no reply of a ledger in line {number:,}"
                raise DataError(what, fix="write one with `blackbox-kd ledger export FILE`")
            yield line
