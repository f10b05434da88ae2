"""Chat templates, which are code of strangers too: transformers renders them in our sandbox, not in its own.

Its own keeps a template from running code, and not from filling the memory or the day: one line takes gigabytes.
"""

import functools
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import jinja2
from jinja2.exceptions import SecurityError, TemplateError

from blackbox_kd.errors import SetupError
from blackbox_kd.sandbox.jinja import Sandbox
from blackbox_kd.sandbox.limits import WIDEST, weigh

LONGEST_TEMPLATE = 2**20
"""Characters; those of today's models have a few thousand."""


class _Template(jinja2.Template):
    """A template whose every rendering is counted by itself: transformers renders it by these two methods."""

    environment: "_Chats"

    def render(self, *values: Any, **named: Any) -> str:
        self.environment.begin()
        return super().render(*values, **named)

    def generate(self, *values: Any, **named: Any) -> Iterator[str]:
        self.environment.begin()
        yield from map(self.environment.count_text, super().generate(*values, **named))


class _Chats(Sandbox):
    """An environment with what chat templates may expect, and nothing more.

    Args:
        extensions: transformers' own: the block `generation`, and `break` and `continue`.
    """

    template_class = _Template

    def __init__(self, extensions: list[Any]) -> None:
        super().__init__(
            undefined=jinja2.Undefined, finalize=None, trim_blocks=True, lstrip_blocks=True, extensions=extensions
        )
        self.filters["tojson"] = self._to_json
        self.globals |= {"raise_exception": _refuse, "strftime_now": lambda form: datetime.now().strftime(form)}

    def _to_json(self, value: Any, ensure_ascii: bool = False, indent: Any = None, **how: Any) -> str:
        """Without the escapes of HTML that Jinja's own has."""
        width = indent if isinstance(indent, int) else len(indent or "")
        if width > WIDEST or any(len(sign) > WIDEST for sign in how.get("separators") or ()):
            raise SecurityError(f"tojson indents by {WIDEST:,} at most")
        self.count(weigh(value, width))
        return self.count_text(json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **how))


def _refuse(message: str) -> None:
    raise TemplateError(message)


def install() -> None:
    """Has transformers render the chat templates of this process in the sandbox.

    Raises:
        SetupError: this version of transformers compiles templates elsewhere.
    """
    from transformers.utils import chat_template_utils as theirs

    compiler = getattr(theirs, "_compile_jinja_template", None)
    if getattr(compiler, "is_ours", False):
        return
    if compiler is None:
        fix = "install the version that blackbox-kd asks for: pip install 'blackbox-kd[train]'"
        raise SetupError("this version of transformers renders chat templates in a way that is not known", fix=fix)
    extensions = [type(each) for each in compiler("").environment.extensions.values()]
    theirs._compile_jinja_template = _make_compiler(extensions)


def _make_compiler(extensions: list[Any]) -> Callable[[str], jinja2.Template]:
    @functools.lru_cache
    def compile_template(text: str) -> jinja2.Template:
        if len(text) > LONGEST_TEMPLATE:
            raise SecurityError(f"a chat template of more than {LONGEST_TEMPLATE:,} characters is not read")
        return _Chats(extensions).from_string(text)

    compile_template.__dict__["is_ours"] = True
    return compile_template
