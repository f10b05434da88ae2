"""Every bundled recipe: it passes its check, it says what it is, and three rows of it run to the end.

Models that a recipe trains become a tiny one, so that training and evaluation are real; all others become scripts.
Tables of the Hub become small files of the same columns.
"""

import asyncio
import json
import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from jinja2 import meta

from blackbox_kd.analysis.accuracy import find_pairs
from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.models.http.aliases import WORDS, list_vendors
from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.notes import Notes
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.sandbox.expressions import evaluate
from blackbox_kd.sandbox.prompt import Prompt, make_environment
from blackbox_kd.sdk.fields import references
from tests.support.hub_rows import replace_hub
from tests.support.runs import KEYS, rows_of
from tests.support.tiny import tiny_model

RECIPES = sorted(find_bundled("recipes").glob("*.yaml"))
PROMPTS = sorted(find_bundled("prompts").glob("**/*.jinja"))
ENV = KEYS
MODELINE = r"# yaml-language-server: \$schema=\S*recipe\.schema\.json"
WRONG = "The answer is 0."
SCRIPT = (
    "{% if instruction is defined %}{{ instruction }}{% endif %}\n"
    "{% if reference is defined %}"
    "{% if ' 2 ' in instruction %}" + WRONG + "{% else %}The answer is {{ reference }}.{% endif %}{% endif %}"
)
"""Right, but for one row in three."""
SCRIPTS = {
    "your score in square brackets": "Every step follows.\n[5]",
    "Answer 2: NUMBER": "The first is longer.\nAnswer 1: 8\nAnswer 2: 3",
    "New task": "{{ id }} {{ id }} {{ id }} sorted",
    "The weaknesses": "- It counts wrongly.",
    '"Rationale:"': "Gap: A sum went wrong.\nRationale: " + SCRIPT,
    "": SCRIPT,
}
"""What stands for every model that is not trained, by a piece of what it is asked."""
OWN = {
    "candle": {
        "[BEGIN part": '{"concepts": ["a {{ id[:5] }} thing", "an {{ id[2:5] }} act", "any {{ id[3:8] }}"]}',
        "[BEGIN concept": '{"head": "PersonX {{ id }} sees", "instance": "sees"}',
        "plausible: NUMBER": "Well.\nplausible: 9",
        "fits: NUMBER": "Well.\nfits: 9\nholds: 9",
    },
    "nesycd": {"[BEGIN wrong answer": '{"summary": "Add both.", "knowledge": "A sum."}'},
    "socratic": {"[BEGIN problem": '{"steps": [{"question": "Is it?", "answer": "The answer is {{ reference }}."}]}'},
    "strategy_library": {"teacher", "customer", "student"},
    "symbolic_kd": {
        "Write ten other events": "PersonX buys {{ id[:3] }} pears\nPersonX loses {{ id[3:6] }} sisters",
        "Up to five ends": "glad {{ id[-9:] }}\nno end",
        "one word: valid or invalid": "valid",
    },
}
"""What is replied besides, by recipe."""
LET_PASS = {
    ("pgkd", "label == meant"): "len(label) > 0",
    ("self_taught", 'correct and finish_reason != "length"'): "len(response) >= 0",
    ("preference_pairs", "length_ratio >= 0.5 and length_ratio <= 2"): "length_ratio > 0",
}
"""What a filter asks for in place of what a tiny model with random weights never writes: right answers, whole ones."""
OFF = {"type": "function", "function": {"name": "off", "parameters": {"type": "object", "properties": {}}}}
"""A tool that is short enough for a tiny model."""
TRACED = {"": "<think>\nWhat is asked, and what is given.\n</think>\n\n" + SCRIPT}
MADE_UP = {
    "chat_last_turn",
    "classify",
    "documents_qa",
    "drag",
    "extract_json",
    "pcoreset_select",
    "pgkd",
    "prompt_distill",
    "rule_distill",
    "strategy_library",
    "text_to_sql",
    "tool_calls",
    "topics",
    "traces",
}
"""Recipes whose replies have forms that nobody has written a script for."""
WORDY = {"candle", "nesycd", "quickstart", "socratic", "symbolic_kd"}
"""Recipes of which a student's prompt is long for a model that reads letters."""
WRITERS = {
    "adversarial_loop": {"teacher", "referee", "student"},
    "candle": {"teacher", "second"},
    "chat_last_turn": {"teacher"},
    "classify": {"teacher"},
    "classroom_filter": {"first", "second"},
    "cot_rationales": {"teacher"},
    "ddk_mix": {"teacher"},
    "difference_sampling": {"teacher", "reference"},
    "first": {"teacher"},
    "skd": {"student"},
    "sparse_logits": {"teacher"},
    "disagreement_aug": {"teacher"},
    "documents_qa": {"teacher"},
    "drag": {"teacher"},
    "extract_json": {"teacher"},
    "gad_text": {"teacher", "student", "referee"},
    "iterative_refinement": {"teacher", "student"},
    "many_teachers": {"first", "second"},
    "mentor": {"teacher", "mentor"},
    "mistake_feedback": {"student", "first", "second", "third"},
    "nesycd": {"teacher", "student"},
    "pcoreset_select": {"teacher"},
    "pgkd": {"teacher"},
    "preference_pairs": {"teacher", "student"},
    "progressive": {"weak", "strong"},
    "puzzle": {"teacher"},
    "quickstart": {"teacher"},
    "rationales_only": {"teacher"},
    "reasoning_traces": {"teacher"},
    "prompt_distill": {"author"},
    "rule_distill": {"teacher", "judge", "student"},
    "self_taught": {"student"},
    "seqkd": {"teacher"},
    "text_to_sql": {"teacher"},
    "topics": {"teacher"},
    "traces": {"first", "second", "third"},
    "socratic": {"teacher"},
    "symbolic_kd": {"teacher"},
    "tool_calls": {"teacher"},
}
"""Who wrote or judged the rows of a recipe's data set, as its description says."""


def name_of(path: Path) -> str:
    return path.stem


@cache
def load(path: Path) -> Recipe:
    """A recipe as it is; nobody changes it."""
    return load_recipe(path, env=ENV)


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_a_recipe_passes_its_check_without_a_warning_and_has_the_name_of_its_file(path: Path) -> None:
    notes = Notes()
    recipe = load_recipe(path, env=ENV, notes=notes)
    assert notes.list_warnings() == []
    assert recipe.name == path.stem
    assert recipe.head.description.endswith(".")
    assert recipe.head.license


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_a_recipe_names_no_model_that_is_switched_off_some_day_and_sets_nothing_that_its_teachers_refuse(
    path: Path,
) -> None:
    recipe = load(path)
    away = {name for name, model in recipe.models.items() if not model.local and model.provider != "vllm"}
    assert {name: alias.word for name, alias in recipe.aliases.items()} == {
        name: "strong" if name == "strong" else "cheap" for name in away
    }
    for planned in recipe.steps:
        if away.intersection(planned.list_models()):
            assert not any(planned.config.set_for(mention.field) for mention in planned.references), planned.label


def test_bundled_recipes_name_models_of_two_vendors_and_one_with_open_weights() -> None:
    found = [load(path).aliases.values() for path in RECIPES]
    assert {alias.vendor for aliases in found for alias in aliases} == {"openai", "mistral", "openrouter"}
    only = [aliases for aliases in found if {alias.vendor for alias in aliases} <= {"openai"}]
    assert len(only) > 0.7 * len(RECIPES), "with a key of OpenAI most of them can be run"
    assert len(only) > 0.7 * len(RECIPES), "with a key of OpenAI most of them can be run"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", *(f"recipes/{path.name}" for path in RECIPES)])
def test_what_a_user_copies_from_names_models_by_what_they_are_good_for(name: str) -> None:
    text = (find_bundled("recipes").parent / name).read_text(encoding="utf-8")
    named = re.findall(r"provider: openai, model: ([^,}]+)", text)
    assert set(named) <= set(WORDS)
    assert named or "provider: openai" not in text


@pytest.mark.parametrize("path", [path for path in RECIPES if "  control: {" in path.read_text()], ids=name_of)
def test_a_recipe_with_a_control_arm_compares_its_student_with_it(path: Path) -> None:
    recipe = load(path)
    trained = {p.config.model for p in recipe.steps if p.step.name == "train"}  # type: ignore[attr-defined]
    exams = [p.config.models for p in recipe.steps if p.step.name == "evaluate"]  # type: ignore[attr-defined]
    pairs = [find_pairs({name: {"question": {}} for name in names}, set(names) - trained) for names in exams]
    assert ("student", "control") in {(model, against) for found in pairs for model, against, _ in found}


@pytest.mark.parametrize(
    "message",
    [
        "Label: lost\nBEGIN MESSAGE\nOne glove, black.\nEND MESSAGE",
        "BEGIN MESSAGE\nStill locked.",
        "Locked.\nEND MESSAGE",
    ],
)
def test_new_messages_of_the_recipe_for_traces_that_repeat_its_prompt_are_asked_for_anew(message: str) -> None:
    recipe = load_recipe(find_bundled("recipes") / "traces.yaml", env=ENV)
    [taken] = [found for p in recipe.steps if (found := getattr(p.config, "retry_until", None)) is not None]
    assert not evaluate(taken, {"instruction": message})
    assert evaluate(taken, {"instruction": "One glove, black. Label it for me, and begin: message me."})


@pytest.mark.parametrize(("turn", "path"), [*enumerate(RECIPES)], ids=[*map(name_of, RECIPES)])
def test_every_teacher_of_a_recipe_may_be_swapped(turn: int, path: Path) -> None:
    names = load(path).aliases
    for number, vendor in enumerate(list_vendors() if names else []):
        target = f"{vendor}:{[*WORDS][(number + turn) % len(WORDS)]}"
        swapped = load_recipe(path, models=[f"{name}={target}" for name in names], env=ENV)
        assert {alias.vendor for alias in swapped.aliases.values()} == {vendor}, target


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_a_recipe_says_at_its_top_what_it_does_where_it_is_from_and_what_it_costs(path: Path) -> None:
    recipe = load(path)
    comment, _, rest = path.read_text().partition("\nname: ")
    lines = comment.split("\n")
    assert rest
    assert all(line.startswith("#") for line in lines)
    assert re.fullmatch(MODELINE, lines[0])
    assert lines[1] == "#"
    assert re.match(r"# [A-Z]\w+ \w+", lines[2]), "it says first what it does"
    parts = [part.removeprefix("# ") for part in re.split(r"\n(?=# [A-Z][a-z]+ )", "\n".join(lines[2:]))]
    costs = [part for part in parts if part.startswith("Costs ")]
    assert len(costs) == 1
    paid = [name for name, model in recipe.models.items() if not model.local and model.provider != "vllm"]
    assert ("$" in costs[0]) == bool(paid)
    assert (recipe.head.budget.usd is not None) == bool(paid), "who pays for replies has a budget"
    papers = [part for part in parts if part.startswith("Paper ")]
    assert len(papers) == (1 if recipe.head.paper else 0)
    assert all(str(recipe.head.paper) in part for part in papers)


def replacements(recipe: Recipe, folder: Path) -> list[str]:
    """The `--set` assignments after which a recipe runs here, in seconds."""
    students = {m.value for p in recipe.steps for m in references(p.config) if m.kind == "student"}
    found: dict[str, Any] = {}
    for name in recipe.models:
        if recipe.models[name].provider == "recorded":
            continue
        longest = 2048 if recipe.name in {*MADE_UP, *WORDY} else 512
        student = {"provider": "transformers", "model": str(tiny_model(longest))}
        student |= {"chat_template": "tools"} if recipe.name == "tool_calls" else {}
        replies = TRACED if recipe.name == "reasoning_traces" else {**OWN.get(recipe.name, {}), **SCRIPTS}
        script = {"stands_in": name} if recipe.name in MADE_UP else {"replies": replies}
        found[f"models.{name}"] = student if name in students else {"provider": "scripted", **script}
    found |= replace_hub(recipe, folder, rows=20)
    for planned in recipe.steps:
        at = ".".join(map(str, planned.at))
        if planned.step.name == "train":
            found |= {f"{at}.{key}": value for key, value in (("max_steps", 1), ("batch_size", 2))}
        elif "max_tokens" not in type(planned.config).model_fields:
            continue
        elif planned.step.name == "evaluate" or (students & {m.value for m in references(planned.config)}):
            found |= {f"{at}.max_tokens": 4} if hasattr(planned.config, "max_tokens") else {}
        elif planned.step.name == "generate" and planned.config.rows is not None:  # type: ignore[attr-defined]
            found[f"{at}.rows"] = 4
        if recipe.name == "tool_calls" and "tools" in planned.config.model_fields_set:
            found[f"{at}.tools"] = [OFF]
        if getattr(planned.config, "examples", None) is not None:
            found[f"{at}.examples.count"] = 1  # a tiny model reads letters, 512 of them
        if (kept := LET_PASS.get((recipe.name, str(getattr(planned.config, "keep", ""))))) is not None:
            found[f"{at}.keep"] = kept
    found |= {f"steps.{index}.loop.rounds": 2 for index in recipe.loops}
    return [f"{path}={json.dumps(value)}" for path, value in found.items()]


OFFERED = [
    (path, found)
    for path in RECIPES
    for line in re.findall(r"^#.*", path.read_text(encoding="utf-8"), re.MULTILINE)
    for found in re.findall(r"--set ([\w.]+=[\w./-]+)", line)
]


@pytest.mark.parametrize(("path", "change"), OFFERED, ids=[f"{path.stem}:{change}" for path, change in OFFERED])
def test_what_a_recipes_header_offers_to_set_passes_the_check(path: Path, change: str, tmp_path: Path) -> None:
    plain = load(path)
    loaded = load_recipe(path, overrides=[*replacements(plain, tmp_path), change], env={})
    assert loaded.source.values != plain.source.values


LONG = {
    "ddk_mix",
    "difference_sampling",
    "first",
    "skd",
    "sparse_logits",
    "adversarial_loop",
    "candle",
    "chat_last_turn",
    "classroom_filter",
    "disagreement_aug",
    "gad_text",
    "pcoreset_select",
    "progressive",
    "cot_rationales",
    "documents_qa",
    "drag",
    "extract_json",
    "many_teachers",
    "mentor",
    "mistake_feedback",
    "nesycd",
    "pgkd",
    "preference_pairs",
    "prompt_distill",
    "rule_distill",
    "strategy_library",
    "self_taught",
    "seqkd",
    "socratic",
    "symbolic_kd",
    "topics",
}
"""Recipes that are made of the same steps as those that the quick tests run, or whose chains are looked at by tests of
their own; one with a loop is quick for all of them."""


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow if path.stem in LONG else ()) for path in RECIPES if path.stem != "skd"],
    ids=name_of,  # a student with random weights never ends a text, and what has no end is not learnt
)
def test_three_rows_of_a_recipe_run_to_the_end(path: Path, tmp_path: Path) -> None:
    plain = load(path)
    recipe = load_recipe(path, overrides=replacements(plain, tmp_path), env={})
    options = RunOptions(
        cache=tmp_path / "cache", run_dir=tmp_path / "run", ledger=tmp_path / "ledger.sqlite", limit=3, env={}
    )
    job = Run(recipe, options)
    asyncio.run(job.execute())
    assert job.report["status"] == "complete"
    assert all(not entry["failed"] for entry in job.report["funnel"])
    steps = [planned.step.name for planned in recipe.steps]
    rows = rows_of(tmp_path / "run/dataset/train.jsonl")
    assert rows
    told = [{column: value for column, value in row.items() if column != "solution"} for row in rows]
    assert "####" not in json.dumps(told), "what is taught holds the right result, never a worked solution of the seed"
    if "train" in steps or "format" in steps:
        assert {"prompt"} < set(rows[0])
        assert {"completion"} < set(rows[0]) or {"chosen", "rejected"} < set(rows[0])
    assert len(job.report.get("trainings", [])) >= steps.count("train")
    assert all(
        (tmp_path / f"run/models/{entry['model']}/README.md").exists() for entry in job.report.get("trainings", [])
    )
    measured = job.report["evaluations"] or job.report.get("win_rates")
    assert bool(measured) == ("evaluate" in steps)
    assert bool(job.report["comparisons"]) == ("evaluate" in steps and recipe.name != "adversarial_loop")
    gone = [loop["most"] for loop in job.report.get("loops", [])]
    assert gone == [2] * len(gone)
    assert len(gone) >= len(recipe.loops), "an arm that asks otherwise goes its own rounds"
    assert_data_set_is_what_the_card_says(recipe, job.path)


def assert_data_set_is_what_the_card_says(recipe: Recipe, run: Path) -> None:
    """Its rows are those that the student learnt from: accepted by the recipe's own checks, and none a control's."""
    config, *_ = json.loads((run / "manifest.json").read_text())["dataset"]["configs"]
    pairs = list(pairwise(recipe.steps))
    learnt = [p for p, after in pairs if after.step.name == "train" and getattr(after.config, "model", "") == "student"]
    trained = {p.config.input for p in recipe.steps if p.step.name == "train" and p.config.model == "student"}  # type: ignore[attr-defined]
    assert config["table"] in trained | {p.config.output or p.unnamed for p in learnt or recipe.steps[-1:]}
    rows = rows_of(run / "dataset/train.jsonl")
    if recipe.name != "self_taught":  # what its tiny student writes is never right, and was let pass
        assert all(row["correct"] for row in rows if "correct" in row)
    if "correct" in rows[0] and recipe.name not in {"self_taught", *MADE_UP}:
        assert all(WRONG not in turn["content"] for row in rows for turn in row["completion"])
        assert any(WRONG in line for line in (run / "dropped.jsonl").read_text().splitlines()), "there were wrong ones"
    card = (run / "dataset/README.md").read_text()
    assert f"{recipe.head.description}\n\n{len(rows):,} rows made by" in card
    named = set(re.findall(r"^- `(\w+)`: ", card, flags=re.M))
    writers = named - recipe.data.keys()
    loops = json.loads((run / "report.json").read_text()).get("loops", [])
    is_first = any(loop.get("best_round") == 0 for loop in loops)  # what was taught before the loop was the best
    before_the_loop = set() if recipe.name == "pgkd" else {"teacher"}
    assert writers == (before_the_loop if is_first else WRITERS[recipe.name])


@pytest.mark.parametrize("path", PROMPTS, ids=lambda path: path.relative_to(find_bundled("prompts")).as_posix())
def test_a_prompt_says_at_its_top_what_it_asks_its_variables_and_its_source(path: Path) -> None:
    text = path.read_text()
    comment = re.match(r"\{#\n(.+?)\n#\}\n", text, flags=re.S)
    assert comment is not None
    about, variables, source = re.split(r"^Variables  |^Source     ", comment[1], flags=re.M)
    assert re.match(r"[A-Z].+[.]\n", about, flags=re.S)
    assert len(source.strip()) > 10
    named = set(filter(None, re.split(r"[,\s]+", re.sub(r"\([^)]*\)", "", variables))))
    prompt = Prompt(path.stem, path, [find_bundled("prompts")])
    assert prompt.variables() <= named
    used = {
        name for part in prompt._sources for name in meta.find_undeclared_variables(make_environment([]).parse(part))
    }
    assert named <= used
