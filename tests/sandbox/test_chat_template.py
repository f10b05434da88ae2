"""Chat templates render in our sandbox: as transformers renders them, and no gigabytes."""

import re
from typing import Any

import pytest
from jinja2.exceptions import SecurityError, TemplateError, UndefinedError

from blackbox_kd.sandbox import chat_template
from blackbox_kd.weights.load import BUNDLED

CHAT = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "What is <b>2 & 3</b>?"},
    {"role": "assistant", "content": "5", "tool_calls": [{"name": "add", "arguments": {"a": 2, "b": [3, None, True]}}]},
]
TEMPLATES = {
    "plain": BUNDLED["plain"],
    "chatml": """\
{% for message in messages %}
{{ '<|im_start|>' + message.role + '\n' + message['content'] | trim + '<|im_end|>\n' }}
{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}""",
    "undefined": """\
{% if enable_thinking is defined and not enable_thinking %}no{% endif %}{% if nothing %}x{% endif %}{{ nothing }}!""",
    "tools": """\
{% for m in messages if m.tool_calls %}{% for t in m.tool_calls %}{{ t | tojson(indent=2) }}{{ t.arguments | tojson }}
{% for k, v in t.arguments.items() %}{{ k }}={{ v }};{% endfor %}{% endfor %}{% endfor %}""",
    "loops": """\
{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% break %}{% endfor %}""",
    "macro": """\
{% macro turn(m) %}[{{ m.role | upper }}: {{ m.content.split(' ')[0].strip() }}]{% endmacro %}
{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ turn(m) }}{% endfor %}{{ ns.n }}""",
    "blocks": "   {% if true %}\n   text\n   {% endif %}\n   {{- ' end' }}\n",
    "values": "{{ [1, 2.5, none, true] }}{{ {'a': 'b'} }}{{ messages[0] }}",
    "own_generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}|{% endfor %}",
}
BOMBS = {
    "doubled": """\
{% set x = namespace(t='ab') %}{% for i in range(40) %}{% set x.t = x.t + x.t %}{% endfor %}{{ x.t }}""",
    "repeated": "{{ 'ab' * 10**9 }}",
    "constant": "{{ 'ab' * 1000000000 }}",
    "centred": "{{ 'a' | center(3000000000) }}",
    "a list of lists": """\
{% set x = namespace(l=[1]) %}{% for i in range(60) %}{% set x.l = [x.l, x.l] %}{% endfor %}{{ x.l | string }}""",
    "indented": "{{ messages | tojson(indent=1000000000) }}",
    "counted": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "own_separators": "{{ messages | tojson(separators=('a' * 4, 'b')) }}{% for i in range(9**9) %}{% endfor %}",
    "own_generation": """\
{% generation %}{% for i in range(99999) %}{% for m in messages %}{{ m.content * 99999 }}{% endfor %}{% endfor %}
{% endgeneration %}""",
    "own_pieces": """\
{% for i in range(99999) %}{% for j in range(9999) %}{{ messages[0].content }}{% endfor %}{% endfor %}""",
}


@pytest.fixture(scope="module")
def theirs() -> Any:
    """transformers' module, with our compiler in it; its own one is found there as `before`."""
    from transformers.utils import chat_template_utils

    before = chat_template_utils._cached_compile_jinja_template
    chat_template.install()
    chat_template.install()  # again does no harm
    chat_template_utils.before = before
    return chat_template_utils


def render(module: Any, template: str, **how: Any) -> tuple[str, Any]:
    [text], spans = module.render_jinja_template(
        [CHAT], chat_template=template, bos_token="<s>", eos_token="</s>", **how
    )
    return text, spans


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("opens", [True, False])
def test_a_template_says_what_it_says_in_the_sandbox_of_transformers(theirs: Any, name: str, opens: bool) -> None:
    template = TEMPLATES[name]
    text, _ = render(theirs, template, add_generation_prompt=opens)
    values = {"messages": CHAT, "tools": None, "documents": None, "bos_token": "<s>", "eos_token": "</s>"}
    assert text == theirs.before(template).render(add_generation_prompt=opens, **values)


def test_the_spans_of_what_the_assistant_says_are_found(theirs: Any) -> None:
    text, [spans] = render(theirs, TEMPLATES["own_generation"], return_assistant_tokens_mask=True)
    assert [text[start:end] for start, end in spans] == [turn["content"] for turn in CHAT]


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("masked", [False, True])
def test_a_template_that_would_fill_the_memory_or_never_end_is_stopped(theirs: Any, name: str, masked: bool) -> None:
    with pytest.raises(SecurityError):
        render(theirs, BOMBS[name], return_assistant_tokens_mask=masked)


def test_a_template_may_refuse_and_may_not_reach_into_python(theirs: Any) -> None:
    with pytest.raises(TemplateError, match="System role not supported"):
        render(theirs, "{{ raise_exception('System role not supported') }}")
    for escape in ("{{ messages.__class__ }}", "{{ ''.format.__globals__ }}", "{{ cycler.__init__.__globals__.os }}"):
        with pytest.raises((SecurityError, UndefinedError)):
            assert not render(theirs, f"{{% set x = {escape[3:-3]} %}}{{{{ x.y }}}}")[0]


def test_a_year_of_today_is_written(theirs: Any) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", render(theirs, "{{ strftime_now('%Y-%m-%d') }}")[0])
