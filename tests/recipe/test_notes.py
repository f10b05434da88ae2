"""What `check` says of a recipe that is not wrong: notes, and warnings of models that are switched off."""

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from blackbox_kd.errors import RecipeError
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.notes import Note, Notes
from blackbox_kd.recipe.spec import Recipe
from tests.support.runs import write_rows

DAY = datetime.date(2026, 11, 28)
KEYS = {"OPENAI_API_KEY": "sk-0123456789abcdef", "AZURE_OPENAI_API_KEY": "0123456789abcdef"}
ASK = {"step": "generate", "prompt": "student/plain", "temperature": 1.0}
EXAM = {"step": "evaluate", "input": "test", "answer": "number"}


def look(
    folder: Path, models: Mapping[str, Any], *steps: Mapping[str, Any], today: datetime.date = DAY, **head: Any
) -> tuple[Recipe, list[Note]]:
    write_rows(folder / "train.jsonl", [{"instruction": "What is 2 + 3?", "reference": "5"}])
    write_rows(folder / "test.jsonl", [{"instruction": "What is 4 + 3?", "reference": "7"}])
    tables = {"train": {"path": "train.jsonl"}, "test": {"path": "test.jsonl", "held_out": True}}
    values = {"name": "demo", "data": tables, "models": models, "steps": list(steps), **head}
    if not any(step["step"] == "evaluate" for step in steps):
        del tables["test"]
    (folder / "demo.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(values)), sort_keys=False))
    notes = Notes(today)
    recipe = load_recipe(folder / "demo.yaml", env=KEYS, notes=notes)
    return recipe, notes.list_all()


def look_at(folder: Path, today: str = "2026-11-28", **teacher: Any) -> list[tuple[str, str, str]]:
    """What is said of a teacher: level, what, fix."""
    entry = {"provider": "openai", "model": "gpt-6-luna", **teacher}
    step = {**ASK, "model": "teacher"}
    if "temperature" in (teacher.get("refuses") or ["temperature"]):
        entry.setdefault("refuses", [])
    _, found = look(folder, {"teacher": entry}, step, today=datetime.date.fromisoformat(today))
    assert all(note.path == "models.teacher" for note in found)
    return [(note.level, note.what, note.fix) for note in found]


def warnings(folder: Path, today: str = "2026-11-28", **teacher: Any) -> list[tuple[str, str]]:
    return [(what, fix) for level, what, fix in look_at(folder, today, **teacher) if level == "warning"]


class TestShutdowns:
    @pytest.mark.parametrize(
        ("today", "told"),
        [
            ("2026-10-15", None),
            ("2026-10-16", "'gpt-4.1-mini' is switched off at OpenAI on 2027-01-14, in 90 days (as of"),
            ("2026-11-28", "'gpt-4.1-mini' is switched off at OpenAI on 2027-01-14, in 47 days (as of"),
            ("2027-01-13", "'gpt-4.1-mini' is switched off at OpenAI on 2027-01-14, in 1 day (as of"),
            ("2027-01-14", "'gpt-4.1-mini' is switched off at OpenAI since 2027-01-14; only somebody else may still"),
            ("2030-01-01", "'gpt-4.1-mini' is switched off at OpenAI since 2027-01-14; only somebody else may still"),
        ],
    )
    def test_a_model_that_ends_within_90_days_is_warned_of_and_one_that_has_ended_is_no_problem(
        self, tmp_path: Path, today: str, told: str | None
    ) -> None:
        found = warnings(tmp_path, today, model="gpt-4.1-mini")
        assert len(found) == (told is not None)
        for what, fix in found:
            assert what.startswith(str(told))
            assert what.endswith("(as of 2026-11-28: openai 3.54, types/shared/chat_model.py).")
            assert fix == "write model: gpt-6-luna, or another one that goes on"

    @pytest.mark.parametrize(
        ("options", "fix"),
        [
            ({"teacher": "openai:gpt-4.1-mini"}, "write --teacher openai:gpt-6-luna, or"),
            ({"models": ["teacher=openai:gpt-4.1-mini"]}, "write --model teacher=openai:gpt-6-luna, or"),
            ({"overrides": ["models.teacher.model=gpt-4.1-mini"]}, "write --set models.teacher.model=gpt-6-luna, or"),
        ],
    )
    def test_one_that_an_option_names_is_mended_there(self, tmp_path: Path, options: dict[str, Any], fix: str) -> None:
        models = {"teacher": {"provider": "openai", "model": "gpt-6-luna", "refuses": []}}
        look(tmp_path, models, {**ASK, "model": "teacher", "temperature": None})
        notes = Notes(DAY)
        load_recipe(tmp_path / "demo.yaml", env=KEYS, notes=notes, **options)
        [warning] = notes.list_warnings()
        assert warning.fix.startswith(fix)
        assert "given by --" in warning.what

    def test_one_that_is_gone_since_an_unknown_day_is_gone(self, tmp_path: Path) -> None:
        [(what, fix)] = warnings(tmp_path, "2026-01-01", model="claude-3-opus-20240229", base_url="https://gw.io/v1")
        assert what.startswith("'claude-3-opus-20240229' is switched off at Anthropic for good; only somebody else")
        assert "claude-haiku-5-5" in fix

    def test_the_line_is_that_of_the_model(self, tmp_path: Path) -> None:
        models = {"first": {"provider": "openai", "model": "gpt-6-luna", "refuses": []}}
        models["second"] = {"provider": "openai", "model": "gpt-4.1-mini"}
        recipe, found = look(tmp_path, models, {**ASK, "models": ["first", "second"]})
        [warning] = [note for note in found if note.level == "warning"]
        assert (warning.path, warning.line) == ("models.second", 12)
        assert (tmp_path / "demo.yaml").read_text().splitlines()[11].strip() == "model: gpt-4.1-mini"
        assert warning.text(recipe.file).startswith(f"{recipe.file}:12: warning: models.second: 'gpt-4.1-mini' is")
        assert warning.text(recipe.file).endswith("\n  fix: write model: gpt-6-luna, or another one that goes on")

    def test_also_a_model_that_only_measures_is_warned_of(self, tmp_path: Path) -> None:
        models = {"teacher": {"provider": "openai", "model": "gpt-4o"}, "script": {"provider": "scripted"}}
        _, found = look(tmp_path, models, {**ASK, "model": "script"}, {**EXAM, "models": ["teacher", "script"]})
        assert [(note.level, note.path) for note in found] == [("warning", "models.teacher")]

    @pytest.mark.parametrize(
        "teacher",
        [
            {"model": "gpt-6-luna"},
            {"model": "gpt-4.1-mini", "base_url": "http://localhost:8000/v1"},
            {"provider": "vllm", "model": "gpt-4", "base_url": "https://mine.example.com/v1"},
            {"provider": "vllm", "model": "openai/gpt-oss-20b"},
            {"provider": "scripted", "model": "gpt-4"},
            {"model": "deepseek/deepseek-chat", "base_url": "https://openrouter.ai/api/v1"},
            {"model": "gpt-4", "servers": ["https://one.example.com/v1", "https://two.example.com/v1"]},
            {"model": "gpt-4", "base_url": "https://me.openai.azure.com/openai/v1"},
            {"provider": "azure", "model": "gpt-4", "base_url": "https://me.openai.azure.com"},
        ],
    )
    def test_what_goes_on_or_stands_on_a_server_of_ones_own_is_not(
        self, tmp_path: Path, teacher: dict[str, Any]
    ) -> None:
        entry = {"provider": "openai", **teacher}
        entry |= {} if entry["provider"] == "scripted" else {"refuses": []}
        _, found = look(tmp_path, {"teacher": entry}, {**ASK, "model": "teacher"})
        assert [note for note in found if note.level == "warning"] == []


class TestTerms:
    def test_whoever_is_learnt_from_has_a_note_of_its_terms(self, tmp_path: Path) -> None:
        [(level, what, fix)] = look_at(tmp_path)
        assert (level, fix) == ("note", "read them before you train or publish (this is no legal advice)")
        assert what.startswith("OpenAI's terms: outputs may not be used to develop models that compete with OpenAI (")

    def test_what_is_open_needs_no_fix(self, tmp_path: Path) -> None:
        [(_, what, fix)] = look_at(tmp_path, provider="vllm", model="openai/gpt-oss-20b")
        assert what.startswith("the licence of gpt-oss: Apache-2.0, which sets no limit on outputs")
        assert fix == ""

    def test_what_is_unknown_is_said_to_be(self, tmp_path: Path) -> None:
        [(_, what, fix)] = look_at(tmp_path, provider="vllm", model="mine")
        assert what == "nothing is known of the terms of 'mine'."
        assert fix

    def test_a_judge_is_learnt_from_and_one_that_measures_is_not(self, tmp_path: Path) -> None:
        at = {"provider": "openai", "model": "gpt-6-luna", "refuses": []}
        models = {"script": {"provider": "scripted"}, "judge": at, "exam": at}
        judge = {"step": "judge", "mode": "scale", "models": ["judge"]}
        recipe, found = look(
            tmp_path, models, {**ASK, "model": "script"}, judge, {**EXAM, "models": ["exam", "script"]}
        )
        assert [note.path for note in found] == ["models.judge"]
        assert recipe.learnt_from == {"script", "judge"}

    @pytest.mark.parametrize(
        "flag", [{"distillable_only": True}, {"extra_body": {"provider": {"enforce_distillable_text": True}}}]
    )
    def test_the_flag_of_openrouter_makes_a_model_open_there(self, tmp_path: Path, flag: dict[str, Any]) -> None:
        teacher = {"provider": "openai", "model": "z-ai/glm-5.3-flash", "base_url": "https://openrouter.ai/api/v1"}
        step = {**ASK, "model": "teacher"}
        _, [note] = look(tmp_path, {"teacher": teacher | flag}, step, terms="open")
        assert note.what.startswith("OpenRouter's flag: only models are asked whose authors allow training")
        with pytest.raises(RecipeError, match=r"fix: at openrouter\.ai, write distillable_only: true; or use a model"):
            look(tmp_path, {"teacher": teacher}, step, terms="open")
        if "extra_body" in flag:
            elsewhere = teacher | flag | {"base_url": "https://elsewhere.io/v1"}
            with pytest.raises(RecipeError, match=r"nothing is known of the terms of 'z-ai/glm-5.3-flash'\."):
                look(tmp_path, {"teacher": elsewhere}, step, terms="open")

    def test_the_servers_that_are_asked_count_and_not_what_names_them(self, tmp_path: Path) -> None:
        fleet = {"provider": "openai", "model": "Qwen/Qwen3-8B", "servers": ["http://127.0.0.1:8001/v1"]}
        _, [note] = look(tmp_path, {"teacher": fleet}, {**ASK, "model": "teacher"}, terms="open")
        assert note.what.startswith("the licence of Qwen's open weights")

    @pytest.mark.parametrize("target", ["deepseek:cheap", "deepseek:strong", "openrouter:cheap"])
    def test_what_the_fix_names_is_open(self, tmp_path: Path, target: str) -> None:
        entry = {"provider": "openai", "model": "cheap", "refuses": []}
        step = {"step": "generate", "prompt": "student/plain", "model": "teacher"}
        with pytest.raises(RecipeError, match=r"fix: use a model that is: --model teacher=deepseek:cheap") as caught:
            look(tmp_path, {"teacher": entry}, step, terms="open")
        assert target in str(caught.value)
        keys = {"DEEPSEEK_API_KEY": "sk-0123456789abcdef", "OPENROUTER_API_KEY": "sk-0123456789abcdef"}
        notes = Notes(DAY)
        load_recipe(tmp_path / "demo.yaml", env=keys, models=[f"teacher={target}"], notes=notes)
        assert [(note.level, note.fix) for note in notes.list_all()] == [("note", "")]
        assert notes.list_all()[0].what.endswith(f"; given by --model teacher={target}.")

    def test_a_recipe_whose_terms_are_open_passes_with_its_notes(self, tmp_path: Path) -> None:
        entry = {"provider": "vllm", "model": "Qwen/Qwen3-8B"}
        _, [note] = look(tmp_path, {"teacher": entry}, {**ASK, "model": "teacher"}, terms="open")
        assert (note.level, note.fix) == ("note", "")


def test_a_wrong_recipe_has_its_notes_all_the_same(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [{"instruction": "a"}])
    recipe = {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": {"provider": "openai", "model": "gpt-4"}},
        "steps": [{**ASK, "model": "teacher"}, {"step": "generat"}],
    }
    (tmp_path / "demo.yaml").write_text(yaml.safe_dump(recipe))
    notes = Notes(DAY)
    with pytest.raises(RecipeError, match="generat"):
        load_recipe(tmp_path / "demo.yaml", env=KEYS, notes=notes)
    assert [note.level for note in notes.list_all()] == ["warning", "note"]


def test_a_note_is_one_line_whatever_stands_in_the_recipe(tmp_path: Path) -> None:
    _, [note] = look(tmp_path, {"teacher": {"provider": "vllm", "model": "a\nb\x1b[31m"}}, {**ASK, "model": "teacher"})
    assert len(note.text("demo.yaml").splitlines()) == 2
    assert "\x1b" not in note.text("demo.yaml")


def test_a_note_that_is_found_twice_is_told_once() -> None:
    notes, note = Notes(DAY), Note("note", 3, "models.m", "what")
    notes.add(note)
    notes.add(Note("warning", 1, "models.m", "first"))
    notes.add(note)
    assert [each.what for each in notes.list_all()] == ["first", "what"]
    assert [each.what for each in notes.list_warnings()] == ["first"]
