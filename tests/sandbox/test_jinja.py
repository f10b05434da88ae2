"""What a template of a stranger can ask for in a few characters ends in an error, in little memory and time.

The bombs go off in a process of their own, which may not grow: a sandbox with a hole would take the machine with it.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from blackbox_kd.errors import DataError, RequestRejected, UserError
from blackbox_kd.models import Setup, scripted
from blackbox_kd.sandbox import jinja
from blackbox_kd.sandbox.prompt import Prompt
from blackbox_kd.schema import Request, Row, Sampling

TOO_LONG = f"it makes a text or a list of more than {jinja.LONGEST:,} characters"
TOO_MUCH = f"what it makes on its way is more than {jinja.WORK:,} characters"
DOUBLED = (
    "{{% set ns = namespace(x={0}) %}}{{% for n in range(100) %}}{{% set ns.x = {1} %}}{{% endfor %}}{{{{ ns.x }}}}"
)
BOMBS = {
    "{{ 'a'|center(10000000000) }}": TOO_LONG,
    "{{ 'a'.center(10000000000) }}": TOO_LONG,
    "{{ 'a'.ljust(10000000000) }}": TOO_LONG,
    "{{ '1'.zfill(10000000000) }}": TOO_LONG,
    "{{ [1] * 10000000000 }}": "operator '*' takes numbers only",
    "{{ '%10000000000d'|format(1) }}": TOO_LONG,
    "{{ '%*d'|format(10000000000, 1) }}": TOO_LONG,
    "{{ '%.10000000000f'|format(1.5) }}": TOO_LONG,
    "{{ ('%(a)s' ~ '%(a)s')|format(a=text ~ text) }}": TOO_LONG,
    "{{ '{:>10000000000}'.format(1) }}": "'format' of 'str' object is unsafe",
    "{{ '{:>10000000000}'['format'](1) }}": "'format' of 'str' object is unsafe",
    "{{ 'a\tb'.expandtabs(10000000000) }}": "'expandtabs' of 'str' object is unsafe",
    "{{ (5).to_bytes(10000000000, 'big') }}": "'to_bytes' of 'int' object is unsafe",
    "{{ 5|round(-1000000000) }}": TOO_LONG,
    "{{ 5.5|round(1000000000, 'floor') }}": TOO_LONG,
    "{{ 'a\nb'|indent(10000000000) }}": TOO_LONG,
    "{{ ('a\n' ~ text|replace('x', '\n'))|indent(text) }}": TOO_LONG,
    "{{ text|wordwrap(1, wrapstring=text) }}": TOO_LONG,
    "{{ text|wordwrap }}": TOO_MUCH,
    "{{ (text ~ text)|title }}": TOO_MUCH,
    "{{ text|sort|length }}": TOO_MUCH,
    "{{ text|replace('x', text) }}": TOO_LONG,
    "{{ text.replace('', text) }}": TOO_LONG,
    "{{ text|join(text) }}": TOO_LONG,
    "{{ text.join(text) }}": TOO_LONG,
    "{{ range(99999)|map('string')|join(text) }}": TOO_LONG,
    "{{ (text ~ text)|list }}": TOO_LONG,
    "{{ [1]|batch(10000000000, 0)|list }}": TOO_LONG,
    "{{ [1]|slice(10000000000)|list }}": TOO_LONG,
    "{{ rows|tojson(10000000000) }}": TOO_LONG,
    "{{ range(100000)|map('center', 1000)|list }}": TOO_MUCH,
    "{% for a in range(9999) %}{% for b in range(9999) %}xxxxxxxxxxxxxxxx{% endfor %}{% endfor %}": TOO_LONG,
    "{% user %}{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}{% enduser %}": TOO_MUCH,
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}": TOO_MUCH,
    "{% for n in range(9999) %}{% if 'z' * 1 in text %}{% endif %}{% endfor %}": "operator '*' takes numbers only",
    "{{ text|wordwrap(1) }}": TOO_MUCH,
    "{{ text|title }}{{ text|striptags }}": TOO_MUCH,
    "{{ text|groupby('upper') }}": TOO_MUCH,
    "{{ text|map('upper')|first }}": TOO_MUCH,
    "{{ text|unique|first }}": TOO_MUCH,
    "{{ text|max }}": TOO_MUCH,
    DOUBLED.format("'aa'", "ns.x ~ ns.x"): TOO_LONG,
    DOUBLED.format("'aa'", "ns.x + ns.x"): TOO_LONG,
    DOUBLED.format("[1]", "ns.x + ns.x"): TOO_LONG,
    DOUBLED.format("[1]", "[ns.x, ns.x]"): TOO_LONG,
    DOUBLED.format("[1]", "(ns.x, ns.x)"): TOO_LONG,
    DOUBLED.format("[1]", "{'a': ns.x, 'b': ns.x}"): TOO_LONG,
    DOUBLED.format("[1]", "dict(a=ns.x, b=ns.x)"): TOO_LONG,
    DOUBLED.format("7", "ns.x * ns.x"): "the product is too large",
    "{% set ns = namespace(x='aa') %}{% for n in range(100) %}{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}"
    "{% endfor %}{{ ns.x }}": TOO_LONG,
    "{% set a = namespace(x=1) %}{% set b = namespace(x=a, y=a) %}{{ b.x.x }}{{ b }}": "",
}
"""Templates, and why they are refused; one that is not, since what a namespace holds is not written out with it."""
SET_OFF = """
import json, resource, sys
from pathlib import Path
from blackbox_kd.errors import DataError
from blackbox_kd.sandbox.prompt import Prompt

resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
said = []
for number, bomb in enumerate(json.loads(sys.stdin.read())):
    file = Path(sys.argv[1]) / f"{number}.jinja"
    file.write_text(bomb)
    try:
        said.append(str(Prompt("ask", file).render({"text": "x" * 1_000_000, "rows": [{"a": 1}] * 20})))
    except DataError as error:
        said.append(str(error))
status = Path("/proc/self/status").read_text()  # getrusage would count what the process had that started this one
print(json.dumps({"said": said, "mb": int(status.partition("VmHWM:")[2].split()[0]) / 1024}))
"""


def test_templates_that_would_fill_the_memory_are_refused_before_they_do(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    command = [sys.executable, "-c", SET_OFF, str(tmp_path)]
    done = subprocess.run(command, input=json.dumps(list(BOMBS)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    for (bomb, reason), said in zip(BOMBS.items(), told["said"], strict=True):
        assert reason in said, bomb
        assert ("the sandbox does not allow this" in said) == bool(reason), said[:200]
    assert told["mb"] < 500


def test_a_template_that_takes_its_time_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jinja, "SECONDS", 0.05)
    (tmp_path / "ask.jinja").write_text("{% for n in range(99999) %}{% if 'z' in text %}{% endif %}{% endfor %}")
    with pytest.raises(DataError, match=r"the sandbox does not allow this: it takes more than 0\.05 s"):
        Prompt("ask", tmp_path / "ask.jinja").render({"text": "x" * 1_000_000})


SLOW = [
    "wordwrap(1)",
    "wordwrap",
    "groupby('a')",
    "sort",
    "title",
    "own_unique|first",
    "own_map('center', 2)|first",
]


@pytest.mark.parametrize("filter", SLOW)
@pytest.mark.parametrize("text", ["x", "a ", "a'"])
def test_a_filter_that_would_take_minutes_is_not_begun(tmp_path: Path, filter: str, text: str) -> None:
    (tmp_path / "ask.jinja").write_text(f"{{{{ text|{filter.removeprefix('own_')} }}}}")
    with pytest.raises(DataError, match=TOO_MUCH):
        Prompt("ask", tmp_path / "ask.jinja").render({"text": (text * 4_000_000)[:3_999_999]})


@pytest.mark.parametrize("filter", ["wordwrap(60)", "title", "list|length", "groupby(0)|length"])
def test_texts_of_books_may_be_worked_on(tmp_path: Path, filter: str) -> None:
    (tmp_path / "ask.jinja").write_text(f"{{{{ text|{filter} }}}}")
    assert Prompt("ask", tmp_path / "ask.jinja").render({"text": "a word " * 20_000})


@pytest.mark.parametrize("name", ["random", "pprint", "urlize", "xmlattr"])
def test_filters_that_are_not_the_same_each_time_or_make_pages_are_not_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "ask.jinja").write_text(f"\n{{{{ [1, 2]|{name} }}}}")
    with pytest.raises(UserError, match=rf"ask\.jinja:2: No filter named '{name}'"):
        Prompt("ask", tmp_path / "ask.jinja")


ORDINARY = {
    "{{ rows|map(attribute='a')|join(', ') }}": "1, 2",
    "{% for row in rows %}{{ loop.index }}/{{ loop.length }}{{ '' if loop.last else ' ' }}{% endfor %}": "1/2 2/2",
    "{% for key, value in rows[0].items() %}{{ key }}={{ value }}{% endfor %}": "a=1",
    "{% for row in rows if row.a > 1 %}{{ row.a }}{% else %}none{% endfor %}": "2",
    "{{ text|replace('x', 'yz')|upper }} {{ text.replace('x', '') ~ 1 ~ none }}": "YZ 1null",
    "{{ '%5.1f|%s'|format(2.25, text) }}": "  2.2|x",
    "{{ rows|tojson(2) }}": '[\n  {\n    "a": 1\n  },\n  {\n    "a": 2\n  }\n]',
    "{{ ('a' + 'b', 'c')|join }}{{ [1] + [2] }}{{ {'a': text}.a }}": "abc[1, 2]x",
    "{% set ns = namespace(n=0) %}{% for row in rows %}{% set ns.n = ns.n + row.a * 2 %}{% endfor %}{{ ns.n }}": "6",
    "{% macro twice(word) %}{{ word }}{{ word }}{% endmacro %}{{ twice('ab') }}{{ ', '.join(['a', 'b']) }}": "ababa, b",
    "{{ 'a\nb'|indent(2) }}{{ 7.125|round(2) }}{{ 'abc'|center(7) }}|": "a\n  b7.12  abc  |",
    "{{ [3, 1, 2]|sort|batch(2)|list }}{{ rows|sum(attribute='a') }}": "[[1, 2], [3]]3",
}


@pytest.mark.parametrize("template", ORDINARY)
def test_what_prompts_do_works_as_jinja_says(tmp_path: Path, template: str) -> None:
    (tmp_path / "ask.jinja").write_text(f"|{template}")
    [message] = Prompt("ask", tmp_path / "ask.jinja").render({"text": "x", "rows": [{"a": 1}, {"a": 2}]})
    assert message["content"] == f"|{ORDINARY[template]}"


def test_a_template_that_no_compiler_takes_is_an_error_of_its_file(tmp_path: Path) -> None:
    nested = "{% for a in x %}" * 60 + "{% endfor %}" * 60
    for template in (nested, "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "{{ " + "not " * 9000 + "1 }}"):
        (tmp_path / "ask.jinja").write_text(template)
        with pytest.raises(UserError, match=r"ask\.jinja: cannot be read"):
            Prompt("ask", tmp_path / "ask.jinja")


def test_a_template_as_large_as_a_book_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "ask.jinja").write_text("x" * (2**20 + 1))
    with pytest.raises(UserError, match="a template of more than 1 MB is not read"):
        Prompt("ask", tmp_path / "ask.jinja")


def test_scripts_are_held_by_the_same_sandbox() -> None:
    config = scripted.Config(provider="scripted", replies=["{{ 'a'|center(10000000000) }}"])
    model = scripted.open_model(config, Setup("m", Path(), Path(), {}))
    with pytest.raises(RequestRejected, match="more than 4,000,000 characters"):
        model.wire(Request([], Sampling(), Row(id="a")))
