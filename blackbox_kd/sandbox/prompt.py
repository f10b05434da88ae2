"""Prompts: Jinja templates that render to chat messages.

A template without message marks is one user message. With marks it holds several:

    {% system %}You solve word problems.{% endsystem %}
    {% for example in examples %}
    {% user %}{{ example.instruction }}{% enduser %}
    {% assistant %}{{ example.response }}{% endassistant %}
    {% endfor %}
    {% user %}{{ instruction }}{% enduser %}

`{% conversation messages %}` hands the messages of a column through as they are, calls of tools and their results
included.

Templates are code of strangers: they run in a sandbox (see `jinja`), a variable that no column provides is an
error, and a row's text is only ever data.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from blackbox_kd.errors import DataError, UserError
from blackbox_kd.json_text import decode, write_json
from blackbox_kd.messages import is_conversation, read_list
from blackbox_kd.sandbox.jinja import GLOBALS, Sandbox
from blackbox_kd.schema import Message

ROLES = ("system", "user", "assistant")
SUFFIX = ".jinja"
CONVERSATION = "conversation"
_ASKED = ("role", "content", "tool_calls", "tool_call_id", "name", "weight")
"""Keys of messages that are handed through; the reasoning of earlier turns is not, as chat templates leave it out."""
_MARK = f"\x00{secrets.token_hex(8)}\x00"
"""Stands before and after a message while a template renders; random, so that no row can forge a message."""
MOST_BYTES = 2**20
"""The largest file of a template."""


class _Messages(Extension):
    """The tags `{% system %}`, `{% user %}` and `{% assistant %}`, and `{% conversation COLUMN %}`."""

    tags = {*ROLES, CONVERSATION}  # noqa: RUF012 - jinja2 declares it as an instance attribute

    def parse(self, parser: Parser) -> nodes.Node:
        token = next(parser.stream)
        if token.value == CONVERSATION:
            return nodes.Output([self.call_method("_hand_through", [parser.parse_expression()])], lineno=token.lineno)
        body = parser.parse_statements((f"name:end{token.value}",), drop_needle=True)
        inner = [call.args[0] for node in body for call in _find_calls(node) if _is_mark(call)]
        if inner:
            parser.fail("a message inside a message; end the first one before the next begins", token.lineno)
        call = self.call_method("_mark", [nodes.Const(token.value)])
        return nodes.CallBlock(call, [], [], body).set_lineno(token.lineno)

    def _hand_through(self, value: Any) -> str:
        if not (found := read_list(value)) or not is_conversation(found):
            raise DataError("{% conversation %} takes a list of messages, {role, content}")
        return f"{_MARK}{CONVERSATION}\n{write_json([_show(message) for message in found])}{_MARK}"

    def _mark(self, role: str, caller: Callable[[], str]) -> str:
        return f"{_MARK}{role}\n{caller().strip()}{_MARK}"


def _show(message: Mapping[str, Any]) -> Message:
    return {"content": "", **{name: message[name] for name in _ASKED if message.get(name) is not None}}


def _find_calls(node: nodes.Node) -> Iterator[nodes.Call]:
    if isinstance(node, nodes.CallBlock):
        yield node.call
    for block in node.find_all(nodes.CallBlock):
        yield block.call


def _is_mark(call: nodes.Call) -> bool:
    return isinstance(call.node, nodes.ExtensionAttribute) and call.node.name == "_mark"


class _Templates(jinja2.FileSystemLoader):
    """Finds `{% include %}`s: templates only, so that a prompt cannot send other files of the folder to a model."""

    def get_source(self, environment: jinja2.Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        if not template.endswith(SUFFIX):
            raise jinja2.TemplateNotFound(template, f"{template!r} is not a template ({SUFFIX})")
        found = super().get_source(environment, template)
        if len(found[0]) > MOST_BYTES:
            raise jinja2.TemplateError(f"{template!r} is larger than {MOST_BYTES // 2**20} MB")
        return found


def make_environment(folders: Sequence[Path]) -> Sandbox:
    """A sandboxed environment that finds `{% include %}`s in the given folders only."""
    return Sandbox(
        loader=_Templates([str(folder) for folder in folders]),
        extensions=[_Messages],
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )


class Prompt:
    """A template that was found and compiled.

    Args:
        name: as the recipe names it.
        path: the file it was read from.
        folders: where its includes are looked up.

    Attributes:
        source: the text of the template and of all that it includes.
        text: that of the template alone.
        included: the text of each template that it includes, imports or extends, by the name that it calls it.

    Raises:
        UserError: the template cannot be read or compiled; the message has the file and the line.
    """

    def __init__(self, name: str, path: Path, folders: Sequence[Path] = ()) -> None:
        self.name = name
        self.path = path
        self._shown = show_path(path)
        self._environment = make_environment([path.parent, *folders])
        self.included: dict[str, str] = {}
        try:
            if path.stat().st_size > MOST_BYTES:
                raise UserError(f"{self._shown}: a template of more than {MOST_BYTES // 2**20} MB is not read")
            self.text = path.read_text(encoding="utf-8")
            self._template = self._environment.from_string(self.text)
            self._template.globals = dict(self._template.globals)  # a plain one: it is copied for each row
            self._sources = list(self._read_all(self.text))
        except jinja2.TemplateError as error:
            raise UserError(_locate(error, path)) from error
        except (OSError, ValueError, RecursionError, SyntaxError, MemoryError) as error:
            # A plain ValueError is Python's of an integer literal with more digits than it reads.
            reason = "a number has too many digits" if type(error) is ValueError else error
            raise UserError(f"{self._shown}: cannot be read: {reason}") from error
        self.source = "\n".join(self._sources)
        self._variables: frozenset[str] | None = None
        self._names: frozenset[str] | None = None

    def _read_all(self, text: str) -> Iterator[str]:
        """The template, and all that it includes, imports or extends."""
        seen: set[str] = set()
        waiting = [text]
        while waiting:
            yield waiting[-1]
            tree = self._environment.parse(waiting.pop())
            for name in meta.find_referenced_templates(tree):
                if name is None or name in seen:
                    continue
                seen.add(name)
                try:
                    found = self._environment.get_template(name)
                except jinja2.TemplateNotFound:
                    if _is_required(name, tree):
                        raise
                else:
                    self.included[name] = Path(str(found.filename)).read_text(encoding="utf-8")
                    waiting.append(self.included[name])

    def variables(self) -> frozenset[str]:
        """Names that the template, and what it includes, needs from outside.

        What a template asks for with `is defined` or `default(...)` it does not need.
        """
        if self._variables is not None:
            return self._variables
        needed: set[str] = set()
        assigned: set[str] = set()
        for source in self._sources:
            tree = self._environment.parse(source)
            needed |= meta.find_undeclared_variables(tree) - set(find_optional(tree))
            assigned |= {name.name for name in tree.find_all(nodes.Name) if name.ctx in ("store", "param")}
        own = meta.find_undeclared_variables(self._environment.parse(self._sources[0]))
        # An included template sees what the one around it assigned, such as the variable of a loop.
        self._variables = frozenset(name for name in needed if name in own or name not in assigned) - set(GLOBALS)
        return self._variables

    def names(self) -> frozenset[str]:
        """Names that the template, or what it includes, reads from outside, whether it needs them or not."""
        if self._names is None:
            trees = map(self._environment.parse, self._sources)
            self._names = frozenset(name for tree in trees for name in find_read(tree))
        return self._names

    def render(self, values: Mapping[str, Any]) -> list[Message]:
        """The messages for one row.

        Raises:
            DataError: a variable is missing, a value cannot be used so, or no text comes out.
        """
        try:
            text = self._environment.render(self._template, values)
        except jinja2.exceptions.SecurityError as error:
            raise DataError(f"{self._shown}: the sandbox does not allow this: {error}") from error
        except Exception as error:  # a template is code of its own and can raise anything
            raise DataError(f"{self._shown}: cannot be rendered: {type(error).__name__}: {error}") from error
        return self._split(text)

    def _split(self, text: str) -> list[Message]:
        parts = text.split(_MARK)
        if len(parts) == 1:
            content = text.strip()
            if not content:
                raise DataError(f"{self._shown}: the prompt is empty for this row")
            return [{"role": "user", "content": content}]
        loose = "".join(parts[::2]).strip()
        if loose:
            raise DataError(f"{self._shown}: text outside of the messages: {loose[:60]!r}; put it into a {{% user %}}")
        messages: list[Message] = []
        for part in parts[1::2]:
            role, _, content = part.partition("\n")
            if role == CONVERSATION:
                messages += decode(content)
                continue
            if not content:
                raise DataError(f"{self._shown}: the {role} message is empty for this row")
            messages.append({"role": role, "content": content})
        return messages


def _is_required(name: str, tree: nodes.Template) -> bool:
    """Whether a template fails without another one: not if it says `ignore missing` or names several."""
    kinds = (nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport)
    using = [node for node in tree.find_all(kinds) if getattr(getattr(node, "template", None), "value", None) == name]
    return any(not getattr(node, "ignore_missing", False) for node in using)


def find_read(tree: nodes.Template) -> set[str]:
    """Names that a template reads from outside; a row's column goes before a function of the same name."""
    functions = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "load"}.intersection(GLOBALS)
    return meta.find_undeclared_variables(tree) | functions


def find_optional(tree: nodes.Template) -> Iterator[str]:
    """Names that a template tests before it uses them."""
    for test in tree.find_all(nodes.Test):
        if test.name in ("defined", "undefined") and isinstance(test.node, nodes.Name):
            yield test.node.name
    for applied in tree.find_all(nodes.Filter):
        if applied.name in ("default", "d") and isinstance(applied.node, nodes.Name):
            yield applied.node.name


def _locate(error: jinja2.TemplateError, path: Path) -> str:
    """What is wrong with a template, after the file and the line where it is."""
    if isinstance(error, jinja2.TemplateSyntaxError):
        return f"{show_path(Path(error.filename or path))}:{error.lineno}: {error.message}"
    if isinstance(error, jinja2.TemplatesNotFound | jinja2.TemplateNotFound):
        return f"{show_path(path)}: includes {error.name!r}, which does not exist as a {SUFFIX} file beside it"
    return f"{show_path(path)}: {error.message}"


def show_path(path: Path) -> Path:
    """A path as messages show it: relative to the working directory where it is inside."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def find(name: str, places: Sequence[Path]) -> Path | None:
    """The template of a name: the first of `places` that has it. `.jinja` may be left out, other files are none."""
    file = name if name.endswith(SUFFIX) else f"{name}{SUFFIX}"
    for place in places:
        try:
            if (place / file).is_file():
                return place / file
        except (OSError, ValueError):  # too long or no file's name at all: text, not a name
            return None
    return None
