"""The sandbox that templates run in: they can neither change nor call what they are given, nor fill the memory.

A few characters can ask for gigabytes: a text joined to itself in a loop, a list of lists of lists, `center(10**10)`.
So all that makes a text or a list is counted while a template renders, and what can make much out of little is
looked at before it is done.
"""

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.filters import make_attrgetter
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from blackbox_kd.json_text import write_json, write_text
from blackbox_kd.messages import make_fence
from blackbox_kd.sandbox.limits import BY_ITEM, COSTS, LONGEST, MOST, MOST_OF_METHODS, count_bits, weigh

GLOBALS = ("range", "namespace", "joiner", "cycler", "dict")
"""Functions that templates may call. Jinja's `lipsum` is not among them: it makes text of any length."""
NO_FILTERS = ("random", "pprint", "urlize", "xmlattr")
"""Filters that templates do not have: a prompt is the same each time it is rendered, and no page of HTML."""
OF_TEXT = frozenset(
    """
    capitalize center e escape forceescape indent lower replace safe string striptags title trim truncate upper
    wordcount wordwrap
    """.split()  # noqa: SIM905 - as below
)
"""Filters that make a text of whatever they are given: it is the text that the value has in a prompt."""
WORK = 5 * LONGEST
"""The most characters of all texts that one rendering makes on its way, what it throws away included."""
SECONDS = 5.0
"""The most CPU time of one rendering."""
LOOK = 5_000
"""After so many characters the clock is looked at again."""
PASS, CALL = 64, 128
"""What a pass of a loop and a call count as, in characters."""
LONGEST_NUMBER = 4096
"""The most bits of a product."""
_OF_TEXT = """
capitalize casefold center count endswith find index isalnum isalpha isascii isdecimal isdigit isidentifier islower
isnumeric isprintable isspace istitle isupper join ljust lower lstrip partition removeprefix removesuffix replace rfind
rindex rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title upper zfill
""".split()  # noqa: SIM905 - forty words in quotes are no better to read
METHODS = {
    str: frozenset(_OF_TEXT),
    dict: frozenset(["copy", "get", "items", "keys", "values"]),
    list: frozenset(["copy", "count", "index"]),
    tuple: frozenset(["count", "index"]),
    int: frozenset(["bit_length", "is_integer"]),
    float: frozenset(["is_integer"]),
    bytes: frozenset(),
}
"""Methods that templates may call on values; `format` and others make text of any length out of a few characters."""


class _Namespace(Namespace):
    """Jinja's namespace, but what it holds is not written out with it: it can hold itself many times over."""

    def __repr__(self) -> str:
        return "<namespace>"


class Sandbox(ImmutableSandboxedEnvironment):
    """An environment for templates of strangers. Not for two threads at once: it counts for one rendering."""

    intercepted_binops = frozenset(["**", "*", "%", "+"])

    def __init__(self, **options: Any) -> None:
        strict = {"undefined": jinja2.StrictUndefined, "finalize": _show}
        super().__init__(autoescape=False, **(strict | options))
        self.globals = {name: self.globals[name] for name in GLOBALS} | {"namespace": _Namespace}
        own = {"join": _join_items, "tojson": write_json, "fence": make_fence}
        kept = {name: filter for name, filter in (self.filters | own).items() if name not in NO_FILTERS}
        self.filters = {name: self._count_filter(name, filter) for name, filter in kept.items()}
        self.filters |= {_PASSES: self._count_passes, _MADE: self._weigh, _JOINED: self._join}
        self.begin()

    def render(self, template: jinja2.Template, values: Mapping[str, Any]) -> str:
        """The text of a template.

        Raises:
            SecurityError: it does what templates may not, or grows too large.
            Exception: whatever else a template can raise.
        """
        self.begin()
        return template.render(values)

    def begin(self) -> None:
        """Counts anew: a rendering begins."""
        self._left = WORK
        self._looked_at = WORK
        self._until: float | None = None  # the clock costs a system call, and most templates are done before a look

    def count(self, size: int) -> None:
        """Counts what is about to be made or has been, in characters."""
        if size > LONGEST:
            raise SecurityError(f"it makes a text or a list of more than {LONGEST:,} characters")
        self._spend(size)

    def _spend(self, work: int) -> None:
        self._left -= work
        if self._left < 0:
            raise SecurityError(f"what it makes on its way is more than {WORK:,} characters")
        if self._looked_at - self._left > LOOK:
            self._looked_at = self._left
            now = time.thread_time()
            self._until = now + SECONDS if self._until is None else self._until
            if now > self._until:
                raise SecurityError(f"it takes more than {SECONDS:g} s")

    def count_text(self, text: str) -> str:
        """The text, counted."""
        self.count(len(text))
        return text

    def concat(self, parts: Iterable[str]) -> str:
        """The text of a template, or of a block in it."""
        kept, size = [], 0
        for part in parts:
            kept.append(part)
            size += len(part)
            if size > LONGEST:
                break
        self.count(size)
        return "".join(kept)

    def _generate(self, source: nodes.Template, *how: Any, **more: Any) -> str:
        return super()._generate(_Counting(self).visit(source), *how, **more)

    def _count_passes(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.count(PASS)
            yield item

    def _weigh(self, value: Any) -> Any:
        self.count(weigh(value))
        return value

    def _join(self, parts: Iterable[Any]) -> str:
        return self.concat(write_text(_show(part)) for part in parts)

    def _count_filter(self, name: str, filter: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that is looked at before it works, and its result after."""
        passed = 1 if hasattr(filter, "jinja_pass_arg") else 0  # the environment or the context, before the value
        most = MOST.get(name)
        cost = PASS if name in BY_ITEM else COSTS.get(name, 0)

        @functools.wraps(filter)
        def count_and_run(*given: Any, **named: Any) -> Any:
            arguments = [list(arg) if isinstance(arg, Iterator) and most else arg for arg in given[passed:]]
            if name in OF_TEXT and arguments:
                arguments[0] = _show(arguments[0])
            elif name == "format":
                arguments[1:] = [_show_unless_number(value) for value in arguments[1:]]
                named = {key: _show_unless_number(value) for key, value in named.items()}
            if most is not None:
                self.count(most(*arguments, **named))
            if cost and arguments and isinstance(arguments[0], Sized):
                self._spend(cost * len(arguments[0]))
            return self._weigh(filter(*given[:passed], *arguments, **named))

        return count_and_run

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        """An operator that makes much out of little; `+` alone is for more than numbers."""
        if operator == "**":
            raise SecurityError("there is no operator '**'")
        if all(isinstance(value, int | float) for value in (left, right)):
            if operator == "*" and count_bits(left) + count_bits(right) > LONGEST_NUMBER:
                raise SecurityError("the product is too large")
        elif operator != "+":
            raise SecurityError(f"operator {operator!r} takes numbers only")
        else:
            self.count(weigh([left, right]))
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may read an attribute; of values, only the methods that are listed."""
        own = next((names for kind, names in METHODS.items() if isinstance(obj, kind)), None)
        return super().is_safe_attribute(obj, attr, value) and (own is None or attr in own)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """What stands behind a dot: of an object of the row first its own fields, be they called as a method is."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute.removeprefix(_CALLED))

    def wrap_str_format(self, value: Any) -> None:
        """Jinja lends templates `str.format` in a safe form; here it is no method of theirs at all."""

    def call(self, context: jinja2.runtime.Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Calls a macro, a global function or a method of a value."""
        self.count(CALL)
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(owner, str) and name in MOST_OF_METHODS:
            args = tuple(list(arg) if isinstance(arg, Iterator) else arg for arg in args)
            self.count(MOST_OF_METHODS[name](owner, *args, **kwargs))
        return self._weigh(super().call(context, obj, *args, **kwargs))


def _show(value: Any) -> Any:
    """What a template writes of a value: JSON of all that is no text. What is undefined still fails when it is used."""
    return value if isinstance(value, str | jinja2.Undefined) else write_text(value)


@jinja2.pass_environment
def _join_items(environment: jinja2.Environment, items: Iterable[Any], between: str = "", attribute: Any = None) -> str:
    """Jinja's filter, with items that are no text as JSON."""
    of_item = make_attrgetter(environment, attribute) if attribute is not None else _show
    return write_text(between).join(str(_show(of_item(item))) for item in items)


def _show_unless_number(value: Any) -> Any:
    """A number for `%d` as it is, what a template writes of anything else."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else _show(value)


_PASSES, _MADE, _JOINED = "#passes", "#made", "#joined"
"""Filters that no template can name."""
_CALLED = "#"
"""Stands before the name of a method where it is called, so that no field of an object is taken for it."""


class _Counting(NodeTransformer):
    """Puts filters that count around loops, lists and `~`, which the sandbox does not see otherwise."""

    def __init__(self, environment: Sandbox) -> None:
        self._environment = environment

    def visit_For(self, node: nodes.For) -> nodes.Node:
        node = self.generic_visit(node)  # type: ignore[assignment]
        node.iter = self._pass_through(_PASSES, node.iter)
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        if isinstance(node.node, nodes.Getattr) and node.node.attr in METHODS[dict]:
            node.node.attr = _CALLED + node.node.attr
        return self.generic_visit(node)

    def visit_List(self, node: nodes.List) -> nodes.Node:
        return self._pass_through(_MADE, self.generic_visit(node))

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        return self._pass_through(_MADE, self.generic_visit(node))

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        visited = self.generic_visit(node)
        return visited if node.ctx != "load" else self._pass_through(_MADE, visited)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return self._pass_through(_JOINED, nodes.List(node.nodes, lineno=node.lineno))

    def _pass_through(self, name: str, node: nodes.Node) -> nodes.Filter:
        made = nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)
        return made.set_environment(self._environment)  # type: ignore[return-value]
