"""Base models without a chat template, and templates of the recipe: what is trained is what is served."""

import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.engine.run import Run
from blackbox_kd.errors import RequestRejected, SetupError, UserError
from blackbox_kd.models import Setup, transformers
from blackbox_kd.schema import Request, Row, Sampling
from blackbox_kd.training import preflight
from blackbox_kd.weights import load, locate
from tests.support.runs import execute
from tests.support.tiny import SMOLLM2, bare_model, base_model, tiny_model

ASKED = [{"role": "user", "content": "What is 1 + 1?"}]
TALK = [
    {"role": "system", "content": "Be short."},
    *ASKED,
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "And 2 + 2?"},
]
GREEDY = Sampling(temperature=0.0, max_tokens=4)


@pytest.mark.parametrize(
    ("family", "fields", "length"),
    [
        ("Gemma3Config", {"text_config": {"max_position_embeddings": 512}}, 512),
        ("Mistral3Config", {"text_config": {"model_type": "mistral", "max_position_embeddings": 256}}, 256),
        ("LlamaConfig", {"max_position_embeddings": 128}, 128),
        ("GPT2Config", {"n_positions": 64}, 64),
        ("BloomConfig", {}, None),
    ],
)
def test_the_context_of_a_model_is_that_of_its_text_part_whatever_the_family_calls_it(
    family: str, fields: dict[str, Any], length: int | None
) -> None:
    import transformers as library

    assert load.find_context_length(getattr(library, family)(**fields)) == length


CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (CHAT, "<|im_end|>"),
        (f"{CHAT}{{% if not add_generation_prompt %}}{{{{ eos_token }}}}{{% endif %}}", "<|im_end|>"),
        ("{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}", "<|endoftext|>"),
        ("{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}", None),
        ("{% for m in messages %}<|im_start|>{{ m.content | upper }}<|im_end|>{% endfor %}", None),
        ("{{ raise_exception('no') }}", None),
        (load.BUNDLED["plain"], "<|endoftext|>"),
    ],
    ids=["ChatML", "own_two_ends", "end of text", "own_none", "own_changed", "own_fails", "own_plain"],
)
def test_the_token_that_ends_an_answer_is_the_templates(template: str, end: str | None) -> None:
    tokenizer = load.load_tokenizer(str(base_model()))
    tokenizer.chat_template = template
    found = load.find_end_of_turn(tokenizer)
    assert (None if found is None else tokenizer.convert_ids_to_tokens(found)) == end


def test_a_template_that_writes_the_tokenizers_end_keeps_it() -> None:
    tokenizer = load.load_tokenizer(str(base_model()))
    tokenizer.chat_template = f"{CHAT}{{{{ eos_token }}}}"
    model = load.load_model(str(base_model()), "float32")
    load.mark_end_of_turn(tokenizer, model)
    assert tokenizer.eos_token == "<|endoftext|>"
    assert tokenizer.convert_ids_to_tokens(model.generation_config.eos_token_id) == ["<|im_end|>", "<|endoftext|>"]


def test_a_template_is_asked_with_the_values_that_the_recipe_gives_it() -> None:
    tokenizer = load.load_tokenizer(str(base_model()))
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{{ '<|im_end|>' if closed else '!' }}{% endfor %}"
    assert load.find_end_of_turn(tokenizer) is None
    found = load.find_end_of_turn(tokenizer, {"closed": True})
    assert tokenizer.convert_ids_to_tokens([found]) == ["<|im_end|>"]


def plain(messages: list[dict[str, str]], **how: Any) -> str:
    tokenizer = load.load_tokenizer(str(bare_model()), load.BUNDLED["plain"])
    return str(tokenizer.apply_chat_template(messages, tokenize=False, **how)).removeprefix("<|im_start|>")


def test_the_plain_form_ends_the_last_answer_and_no_other() -> None:
    asked = "Be short.\n\nQuestion: What is 1 + 1?\nAnswer: 2\n\nQuestion: And 2 + 2?\nAnswer:"
    assert plain(TALK, add_generation_prompt=True) == asked
    assert plain([*TALK, {"role": "assistant", "content": "4"}]) == f"{asked} 4<|im_end|>"


@pytest.mark.parametrize("answer", ["4", "4 apples,\nor so", "\n4", ": 4", ""])
def test_a_prompt_in_the_plain_form_is_the_beginning_of_prompt_and_answer(
    answer: str, request: pytest.FixtureRequest
) -> None:
    is_there = locate.explain_name(SMOLLM2, Path()) is None
    cache = request.getfixturevalue("smollm2_cache") if is_there else Path()
    place = locate.resolve(SMOLLM2 if is_there else str(tiny_model()), cache, Path())
    tokenizer = load.load_tokenizer(place, load.BUNDLED["plain"])
    row = {"prompt": TALK, "completion": [{"role": "assistant", "content": answer}]}
    assert preflight.check_template(tokenizer, [row], ["completion"]).tokens[0] > 20


def opened(folder: Path, **fields: Any) -> transformers.TransformersModel:
    config = transformers.Config(provider="transformers", model=str(bare_model()), **fields)
    model = transformers.open_model(config, Setup("m", folder, folder / "cache", {}))
    assert isinstance(model, transformers.TransformersModel)
    return model


async def reply(model: transformers.TransformersModel, sampling: Sampling = GREEDY) -> dict[str, Any]:
    request = Request(ASKED, sampling, Row(id="a"))
    body, _ = await model.send(model.wire(request), request)
    await model.close()
    return dict(json.loads(body))


async def test_a_base_model_is_asked_in_the_form_that_the_recipe_gives(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"has no chat template[^\n]*\n  fix: .*chat_template: plain"):
        await reply(opened(tmp_path))
    (tmp_path / "mine.jinja").write_text("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    told = [await reply(opened(tmp_path, chat_template=name)) for name in ("plain", "mine.jinja")]
    sizes = [len("_Question: What is 1 + 1?\nAnswer:"), len("What is 1 + 1?")]  # a token is a byte here, `_` its first
    assert [each["usage"]["prompt_tokens"] for each in told] == sizes


def test_a_template_is_a_part_of_what_names_the_model(tmp_path: Path) -> None:
    request, names = Request(ASKED, GREEDY, Row(id="a")), []
    for text in ("{{ messages }}", "{{ messages }}!"):
        (tmp_path / "mine.jinja").write_text(text)
        names.append(opened(tmp_path, chat_template="mine.jinja").wire(request)["weights"])
    names += [
        opened(tmp_path).wire(request)["weights"],
        opened(tmp_path, chat_template="plain").wire(request)["weights"],
    ]
    assert len(set(names)) == 4


def test_in_the_plain_form_a_reply_ends_where_the_model_asks_itself_the_next_question(tmp_path: Path) -> None:
    request = Request(ASKED, Sampling(temperature=0.0, stop=("END",)), Row(id="a"))
    assert opened(tmp_path, chat_template="plain").wire(request)["stop"] == ["END", "\nQuestion:"]
    assert opened(tmp_path).wire(request)["stop"] == ["END"]


@pytest.mark.parametrize("text", ["{{ messages", "{{ nothing.at.all }}", "{{ raise_exception('no') }}"])
async def test_a_template_that_fails_is_an_error_of_the_recipe(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.jinja").write_text(text)
    with pytest.raises(SetupError, match="the chat template cannot write these messages, it says no: "):
        await reply(opened(tmp_path, chat_template="mine.jinja"))


async def test_a_template_without_system_turns_says_so_of_a_row_and_offers_to_fold_them(tmp_path: Path) -> None:
    text = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    (tmp_path / "mine.jinja").write_text(f"{text}{{{{ messages[-1].content }}}}<|im_end|>")
    model = opened(tmp_path, chat_template="mine.jinja")
    request = Request([{"role": "system", "content": "Be brief."}, *ASKED], GREEDY, Row(id="a"))
    with pytest.raises(RequestRejected) as caught:
        await model.send(model.wire(request), request)
    await model.close()
    assert str(caught.value).splitlines() == [
        "the chat template cannot write these messages, it says no: System role not supported",
        "  fix: fold the system text into the user's turn: begin the turn with it, in a prompt without {% system %} or "
        "in the rows",
    ]


def taught(folder: Path, **student: Any) -> Run:
    values = {
        "name": "base",
        "data": {"train": {"path": "train.jsonl"}, "test": {"path": "test.jsonl", "held_out": True}},
        "models": {
            "teacher": {"provider": "scripted"},
            "student": {"provider": "transformers", "model": str(bare_model()), **student},
        },
        "steps": [
            {"step": "generate", "model": "teacher", "prompt": "student/plain"},
            {"step": "train", "model": "student", "max_steps": 1, "r": 4, "batch_size": 2},
            {"step": "evaluate", "input": "test", "answer": "number", "models": ["student"], "max_tokens": 4},
        ],
    }
    return execute(folder, values)


def test_a_student_is_saved_with_the_template_that_it_was_trained_with(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no chat template[^\n]*\n *fix: .*chat_template: plain"):
        taught(tmp_path)
    run = taught(tmp_path, chat_template="plain")
    folder = run.path / "models/student@1"
    assert (folder / "chat_template.jinja").read_text() == load.BUNDLED["plain"]
    assert run.report["evaluations"][0]["n"] == 6
    served = load.load_tokenizer(str(folder))
    assert served.apply_chat_template(ASKED, tokenize=False, add_generation_prompt=True).endswith("?\nAnswer:")
