"""Shards and their merge against the run that one process makes: the same bytes and sums, and nothing asked twice."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from blackbox_kd.engine.model_pool import ModelPool
from blackbox_kd.engine.plan import group_steps
from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.engine.sharding.finish import list_stage_files
from blackbox_kd.engine.sharding.merge import merge
from blackbox_kd.engine.sharding.shard import Shard, explain_errors, find_owner, jobs, plan_shards
from blackbox_kd.errors import BudgetReached, HoursOver, LedgerError, StepError, TooManyFailed, UserError
from blackbox_kd.ledger.connection import open_file
from blackbox_kd.ledger.ledger import Spent
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.spec import Recipe

ROWS = [{"instruction": f"What is {number} + 1?", "reference": str(number + 1)} for number in range(30)]
ROWS.append(ROWS[3])
TEACHER = {
    "provider": "scripted",
    "price": {"input": 1000, "output": 2000},
    "replies": {
        "is 7 +": {"text": "It is", "finish_reason": "length"},
        "is 1": "The answer is {% if sample %}0{% else %}{{ reference }}{% endif %}.",
        "": "Sample {{ sample }}: the answer is {{ reference }}.",
    },
}
ASK = {"step": "generate", "model": "teacher", "prompt": "student/plain", "samples": 3, "temperature": 1.0}
CHECK = {"step": "check", "answer": "number"}
KEEP = {"step": "filter", "keep": "correct"}
BEST = {"step": "select", "per": "instruction", "best": 1}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "few.jsonl").write_text('{"instruction": "What is 50 + 1?", "reference": "51", "response": "51"}\n')
    (tmp_path / "test.jsonl").write_text('{"instruction": "And 70 + 1?", "reference": "71"}\n')
    (tmp_path / "shown.jinja").write_text("{{ examples[0].response }} {{ instruction }}")
    return tmp_path


def recipe(steps: list[dict[str, Any]], **changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "demo",
        "seed": 3,
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": TEACHER},
        "max_failed_share": 0.5,
        "steps": steps,
    }
    Path("recipe.yaml").write_text(json.dumps(values | changes))
    return load_recipe(Path("recipe.yaml"), env={})


def run(found: Recipe, *, allow: tuple[type[Exception], ...] = (), **options: Any) -> Run:
    job = Run(found, RunOptions(cache=Path("cache"), env={}, **options))
    with suppress(*allow):
        asyncio.run(job.execute())
    return job


def run_shards(found: Recipe, count: int = 3, *, own_ledgers: bool = False, **options: Any) -> None:
    for number in range(1, count + 1):
        shard = Shard(number, count)
        ledger = shard.folder(Path("runs/demo")) / "ledger.sqlite" if own_ledgers else None
        run(found, shard=shard, ledger=ledger, **options)


def merged(found: Recipe, said: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    models = ModelPool(found, Path("cache"), {})
    return merge(found, Path("runs/demo"), Path("runs/ledger.sqlite"), models, said)


def contents(folder: Path) -> dict[str, bytes]:
    """Every table and every lost row of a run folder, but for its shards."""
    names = [path.relative_to(folder) for path in folder.glob("**/*.jsonl") if "shards" not in path.parts]
    return {str(name): (folder / name).read_bytes() for name in names}


def calls(job: Run) -> tuple[int, int]:
    """Calls made now, and calls answered by the ledger."""
    return sum(m["calls"] for m in job.report["models"]), sum(m["replayed"] for m in job.report["models"])


PLANS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "a segment, then table steps": ([ASK, CHECK, KEEP, BEST, {"step": "format"}], {}),
    "row steps alone": ([ASK, CHECK, KEEP, {"step": "format"}], {}),
    "two segments": (
        [
            ASK | {"output": "asked"},
            CHECK,
            KEEP | {"output": "right"},
            ASK | {"input": "asked", "samples": 2, "as": "again"},
            BEST | {"input": "right"},
        ],
        {},
    ),
    "a subset first, and examples": (
        [
            {"step": "select", "rows": 20, "by": "random"},
            ASK | {"prompt": "shown", "examples": {"table": "few", "count": 1}},
            CHECK,
            BEST,
        ],
        {"data": {"train": {"path": "train.jsonl"}, "few": {"path": "few.jsonl"}}},
    ),
    "evaluate on the way": (
        [ASK, {"step": "evaluate", "input": "test", "models": ["teacher"], "answer": "number"}, CHECK, KEEP, BEST],
        {"data": {"train": {"path": "train.jsonl"}, "test": {"path": "test.jsonl", "held_out": True}}},
    ),
}


@pytest.mark.parametrize("own_ledgers", [False, True], ids=["one ledger", "own ledgers"])
@pytest.mark.parametrize("plan", PLANS)
def test_three_shards_and_a_merge_make_the_run_that_one_process_makes(plan: str, own_ledgers: bool) -> None:
    steps, changes = PLANS[plan]
    found = recipe(steps, **changes)
    alone = run(found, run_dir=Path("alone"), ledger=Path("alone.sqlite"))
    run_shards(found, own_ledgers=own_ledgers)
    report = merged(found)

    led = plan_shards(found, group_steps(found.steps))
    whole, joined = contents(Path("alone")), contents(Path("runs/demo"))
    assert joined.keys() >= {f"{list_stage_files(stage)[0]}.jsonl" for stage in led.stages}
    assert {name: whole[name] for name in joined if "/" in name} == {n: b for n, b in joined.items() if "/" in n}
    labels = {planned.label for stage in led.stages for planned in stage.steps}
    assert report["funnel"] == [entry for entry in alone.report["funnel"] if entry["step"] in labels]
    assert report["status"] == "complete" if led.rest is None else led.rest.steps[0].label in report["status"]
    assert report["contamination"] == alone.report["contamination"]

    went_on = run(found)
    assert contents(Path("runs/demo")) == whole
    assert calls(went_on) == (1 if "evaluate" in plan else 0, calls(alone)[0] - (1 if "evaluate" in plan else 0))
    assert went_on.report["funnel"] == alone.report["funnel"]
    assert went_on.report["spent"] == pytest.approx(alone.report["spent"])


def test_lost_rows_stand_in_the_order_of_one_process_and_the_bill_is_added_up() -> None:
    found = recipe([ASK, CHECK, KEEP])
    alone = run(found, run_dir=Path("alone"), ledger=Path("alone.sqlite"))
    run_shards(found)
    report = merged(found)
    assert contents(Path("runs/demo")) == contents(Path("alone"))
    assert len(Path("runs/demo/failed.jsonl").read_text().splitlines()) == 3
    assert len(Path("runs/demo/dropped.jsonl").read_text().splitlines()) == 22
    assert report["spent"] == pytest.approx(alone.report["spent"])
    assert report["spent"]["usd"] > 0
    added_up, at_once = report["models"][0], alone.report["models"][0]
    assert added_up.pop("cost_usd") == pytest.approx(at_once.pop("cost_usd"))
    assert added_up == at_once
    assert report["dataset"] == alone.report["dataset"]
    manifest = json.loads(Path("runs/demo/manifest.json").read_text())
    assert manifest == json.loads(Path("alone/manifest.json").read_text())


def test_merging_again_changes_nothing() -> None:
    found = recipe([ASK, CHECK, BEST])
    run_shards(found, own_ledgers=True)
    first, files = merged(found), contents(Path("runs/demo"))
    second = merged(found)
    assert {**second, "written_at": ""} == {**first, "written_at": ""}
    assert contents(Path("runs/demo")) == files
    run_shards(found, own_ledgers=True)
    again = merged(found)
    assert again["spent"] == first["spent"]


def test_more_shards_than_rows_leave_some_with_none() -> None:
    Path("train.jsonl").write_text(json.dumps(ROWS[0]) + "\n" + json.dumps(ROWS[1]) + "\n")
    found = recipe([ASK, CHECK, KEEP])
    alone = run(found, run_dir=Path("alone"), ledger=Path("alone.sqlite"))
    run_shards(found, 5)
    assert merged(found)["funnel"] == alone.report["funnel"]
    assert contents(Path("runs/demo")) == contents(Path("alone"))


def test_limit_and_until_are_those_of_the_shards() -> None:
    found = recipe([ASK, CHECK, KEEP, BEST])
    alone = run(found, run_dir=Path("alone"), ledger=Path("alone.sqlite"), limit=9, until="check")
    run_shards(found, limit=9, until="check")
    assert merged(found)["funnel"] == alone.report["funnel"]
    assert contents(Path("runs/demo")) == contents(Path("alone"))


def test_what_was_paid_for_elsewhere_in_a_shards_own_ledger_is_found_by_the_merged_run() -> None:
    found = recipe([ASK, CHECK, BEST])
    first = Shard(1, 2)
    run(found, run_dir=Path("before"), ledger=first.folder(Path("runs/demo")) / "ledger.sqlite")
    run_shards(found, 2, own_ledgers=True)
    merged(found)
    assert calls(run(found))[0] == 0


def test_each_shard_has_all_the_hours_of_a_budget() -> None:
    found = recipe([ASK, CHECK], budget={"hours": 1e-9})
    with pytest.raises(HoursOver, match=r"hours = 1e-09 are over") as caught, explain_errors(Shard(1, 3)):
        run(found, shard=Shard(1, 3))
    assert "share" not in str(caught.value)


def test_a_shard_that_stopped_goes_on_with_the_same_command_and_its_share_of_the_budget_is_that_of_its_rows() -> None:
    scripted = {"teacher": {"provider": "scripted"}}
    found = recipe([ASK, CHECK], models=scripted, budget={"requests": 62})
    shares = [Shard(number, 3).share(found, None, Spent())["requests"] for number in (1, 2, 3)]
    rows = [sum(1 for row in _ids() if find_owner(row, 3) == number) for number in (1, 2, 3)]
    assert shares == [62 * count // 31 for count in rows]
    assert sum(shares) <= 62
    limit = pytest.raises(BudgetReached, match=r"share of shard 1/3: .*\n  fix: raise the budget of the recipe")
    with limit, explain_errors(Shard(1, 3)):
        run(found, shard=Shard(1, 3))
    found = recipe([ASK, CHECK], models=scripted)
    run(found, shard=Shard(2, 3))
    run(found, shard=Shard(3, 3))
    with pytest.raises(
        UserError, match=r"shard 1/3 has not finished.*\n  fix: blackbox-kd run recipe.yaml --shard 1/3"
    ):
        merged(found)
    more = run(found, shard=Shard(1, 3))
    assert calls(more) == (rows[0] * 3 - shares[0], shares[0])
    assert merged(recipe([ASK, CHECK], models=scripted))["spent"]["requests"] == 93


def test_a_budget_is_that_of_all_shards_of_all_times_together() -> None:
    for temperature in (0.1, 0.2, 0.3, 0.4):
        found = recipe([ASK | {"temperature": temperature}, CHECK], budget={"requests": 250})
        run_shards(found, 2, allow=(BudgetReached,))
        with suppress(UserError):  # a shard that has not finished
            merged(found)
    with closing(open_file(Path("runs/ledger.sqlite"), read_only=True)) as db:
        assert 93 * 2 < db.execute("SELECT count(*) FROM replies").fetchone()[0] <= 250


@pytest.mark.parametrize("counts", [(3, 0), (3, 2), (0, 3), (2, 3, 0)], ids=lambda counts: f"{counts}")
def test_a_budget_is_that_of_the_whole_run_and_of_all_its_divisions_together(counts: tuple[int, ...]) -> None:
    found = recipe([ASK, CHECK], budget={"requests": 20})
    for count in counts:
        if count:
            run_shards(found, count, allow=(BudgetReached,))
        else:
            run(found, allow=(BudgetReached,))
    with closing(open_file(Path("runs/ledger.sqlite"), read_only=True)) as db:
        assert 15 <= db.execute("SELECT count(*) FROM replies").fetchone()[0] <= 20


def _ids() -> Iterator[str]:
    from blackbox_kd.tables import sources
    from blackbox_kd.tables.sources import TableSource

    return (row.id for row in sources.make_rows(sources.read(TableSource(path="train.jsonl"), Path()), {}))


def test_too_many_failed_rows_of_the_whole_end_the_merge_and_not_those_of_a_shard() -> None:
    found = recipe([ASK, CHECK], max_failed_share=3 / 93)
    for number in (1, 2, 3):
        run(found, shard=Shard(number, 3), allow=(TooManyFailed,))
    assert merged(found)["status"] == "complete"
    strict = recipe([ASK, CHECK], max_failed_share=0.01)
    with pytest.raises(TooManyFailed, match=r"steps\[0\] \(generate\): 3 of 93 rows failed"):
        merged(strict)
    report = json.loads(Path("runs/demo/report.json").read_text())
    assert (report["status"], report["ended"]) == ("steps[0] (generate): 3 of 93 rows failed: 3 truncated", "error")


def test_a_merged_run_that_keeps_no_row_is_not_complete_and_says_where_they_went() -> None:
    found = recipe([ASK, CHECK, {"step": "filter", "keep": "answer == 'none'"}])
    run_shards(found, 2)
    with pytest.raises(StepError, match=r"no row is left of 31: .*90 dropped at steps\[2\] \(filter\)"):
        merged(found)
    report = json.loads(Path("runs/demo/report.json").read_text())
    assert (report["ended"], report["dataset"]) == ("error", None)


@pytest.mark.parametrize("told", [None, {"generate": 1, "check": 0}, {"own": 1}], ids=["none", "other", "own_other"])
def test_shards_that_another_version_has_finished_are_told_apart_from_those_of_another_recipe(
    told: dict[str, int] | None,
) -> None:
    found = recipe([ASK, CHECK])
    run_shards(found, 2)
    file = Shard(2, 2).folder(Path("runs/demo")) / "manifest.json"
    manifest = json.loads(file.read_text())
    settings = manifest["shard"]["settings"]
    assert settings["versions"] == {"generate": 1, "check": 2}
    manifest["shard"]["settings"] = settings | {"versions": told}
    file.write_text(json.dumps(manifest))
    assert merged(found)["status"] == "complete"  # its steps are the same all the same
    manifest["shard"]["settings"]["steps"] = "of another version"
    file.write_text(json.dumps(manifest))
    with pytest.raises(
        UserError, match=r"shard 2/2 was finished by another version of blackbox-kd.*\n  fix: .*--shard 2/2"
    ):
        merged(found)


def test_the_shard_of_a_row_is_the_same_everywhere_and_always() -> None:
    assert [find_owner(row, 4) for row in ("a", "b", "9f86d081884c7d65", "9f86d081884c7d65-2")] == [2, 4, 3, 2]
    assert {find_owner(str(number), 7) for number in range(100)} == set(range(1, 8))


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "-1/3", "a/b", "1/3/5", "1 / 3"])
def test_a_shard_is_i_of_n(text: str) -> None:
    with pytest.raises(UserError, match=r"is no shard\n  fix: write --shard 1/3"):
        Shard.parse(text)


def test_a_recipe_that_begins_with_all_rows_has_nothing_to_share_out() -> None:
    steps = [{"step": "evaluate", "input": "train", "models": ["teacher"], "answer": "number"}, BEST, KEEP]
    found = recipe([*steps[:2], {"step": "filter", "keep": "len(instruction) > 1"}])
    assert [stage.name for stage in plan_shards(found, group_steps(found.steps)).stages] == ["02_select", "03_filter"]
    with pytest.raises(
        UserError, match=r"nothing to share out: steps\[0\] \(select\) needs all rows\n  fix: run it wi"
    ):
        run(recipe([BEST | {"per": "reference"}], models={}), shard=Shard(1, 2))


def test_jobs_are_commands_that_a_scheduler_can_start() -> None:
    assert list(jobs("r.yaml", 2, ["--limit", "5"])) == [
        ["blackbox-kd", "run", "r.yaml", "--shard", "1/2", "--limit", "5"],
        ["blackbox-kd", "run", "r.yaml", "--shard", "2/2", "--limit", "5"],
    ]


Damage = Callable[[Path], object]


def _others(values: dict[str, Any]) -> Damage:
    def damage(shards: Path) -> None:
        run(recipe([ASK, CHECK, BEST], **values), shard=Shard(2, 3))
        recipe([ASK, CHECK, BEST])

    return damage


def _other_data(shards: Path) -> None:
    before = Path("train.jsonl").read_text()
    Path("train.jsonl").write_text(before + json.dumps({"instruction": "What is 90 + 1?", "reference": "91"}) + "\n")
    run(recipe([ASK, CHECK, BEST]), shard=Shard(2, 3))
    Path("train.jsonl").write_text(before)


def _twice(shards: Path) -> None:
    shutil.rmtree(shards / "2-of-3")
    shutil.copytree(shards / "1-of-3", shards / "2-of-3")


def _cut(shards: Path) -> None:
    table = shards / "2-of-3/tables/02_check.jsonl"
    table.write_bytes(table.read_bytes()[:-10])


AGAIN = "blackbox-kd run recipe.yaml --shard 2/3"
DAMAGES: dict[str, tuple[Damage, str]] = {
    "none": (lambda shards: shutil.rmtree(shards), r"there are no shards of this run\n  fix: .* --shard 1/2"),
    "missing": (lambda shards: shutil.rmtree(shards / "2-of-3"), rf"shard 2/3 is not there\n  fix: {AGAIN}$"),
    "empty": (lambda shards: (shards / "2-of-3/manifest.json").unlink(), rf"2/3 has not finished.*\n  fix: {AGAIN}$"),
    "other count": (lambda s: (s / "1-of-2").mkdir(), "shards of 2 and of 3, whose rows overlap\n  fix: take away"),
    "the same twice": (_twice, rf"holds shard 1/3, whose rows would then be in the run twice\n  fix: {AGAIN}"),
    "other recipe": (
        _others({"seed": 4}),
        rf"2/3 was made with another recipe \(other seed\)\n  fix: merge with.*{AGAIN}",
    ),
    "other model": (
        _others({"models": {"teacher": TEACHER | {"replies": ["Yes."]}}}),
        r"2/3 was made with another recipe \(other models\)",
    ),
    "other data": (_other_data, r"other data than shard 1/3 \(tables/00_train.jsonl differs\)\n  fix: give all"),
    "cut": (_cut, rf"02_check.jsonl: is not what it was when the shard finished\n  fix: copy .*{AGAIN}"),
    "half copied": (
        lambda shards: (shards / "2-of-3/tables/02_check.rows").unlink(),
        r"02_check.rows: is not there\n  fix: copy the whole folder",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_shards_that_do_not_make_one_run_are_refused_with_what_to_do(damage: str) -> None:
    found = recipe([ASK, CHECK, BEST])
    run_shards(found)
    harm, message = DAMAGES[damage]
    harm(Path("runs/demo/shards"))
    with pytest.raises(UserError, match=message):
        merged(recipe([ASK, CHECK, BEST]))
    assert not Path("runs/demo/tables").exists()


def test_a_shard_that_runs_still_is_not_merged() -> None:
    from blackbox_kd.runs.folder import RunFolder

    found = recipe([ASK, CHECK, BEST])
    run_shards(found)
    with RunFolder(Path("runs/demo/shards/3-of-3")), pytest.raises(UserError, match="another process runs in this"):
        merged(found)


def test_a_ledger_that_was_left_behind_is_named() -> None:
    found = recipe([ASK, CHECK, BEST])
    run_shards(found, own_ledgers=True)
    Path("runs/demo/shards/2-of-3/ledger.sqlite").rename("kept.sqlite")
    with pytest.raises(UserError, match=r"shard 2/3: its ledger 'ledger.sqlite' is not there.*\n  fix: copy it to"):
        merged(found)
    Path("kept.sqlite").write_text("no ledger at all, but a long enough text to be taken for one " * 20)
    shutil.copy("kept.sqlite", "runs/demo/shards/2-of-3/ledger.sqlite")
    with pytest.raises(LedgerError, match="is not an SQLite database"):
        merged(found)


def test_the_folder_of_a_shard_can_be_moved_with_its_ledger() -> None:
    found = recipe([ASK, CHECK, BEST])
    Path("elsewhere").mkdir()
    for number in (1, 2):
        place = Path(f"elsewhere/{number}")
        run(found, shard=Shard(number, 2), run_dir=place, ledger=place / "ledger.sqlite")
        Path("runs/demo/shards").mkdir(parents=True, exist_ok=True)
        place.rename(Shard(number, 2).folder(Path("runs/demo")))
    merged(found)
    assert calls(run(found))[0] == 0


def test_older_replies_to_the_same_calls_are_told_of() -> None:
    found = recipe([ASK, CHECK, BEST])
    run(found, run_dir=Path("before"))
    with open_file(Path("runs/ledger.sqlite")) as db:
        db.execute("UPDATE replies SET body = replace(body, 'Sample', 'Older sample') WHERE row_id < '4'")
        changed = db.execute("SELECT count(*) FROM replies WHERE body LIKE '%Older%'").fetchone()[0]
    assert changed
    run_shards(found, 2, own_ledgers=True)
    said: list[str] = []
    merged(found, said.append)
    assert said[0] == "steps[0] (generate): 31 in, 62 added, 90 out, 3 failed: truncated"
    assert said[-2].startswith(f"note: {changed} replies of the shards have another text than older replies")
    assert said[-1] == "next: the same command with run in place of merge; it asks nothing again"


@pytest.fixture
def server() -> Iterator[str]:
    """The URL of a server that counts what it answers, in a process of its own."""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "tests.support.fake_server", "--latency", "lognormal:0.01,0.5"]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.kill()
    process.wait()


def command_line(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", "from blackbox_kd.cli.main import main; main()", *arguments]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("OPENAI_")}
    return subprocess.Popen(command, env=clean, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def done(process: "subprocess.Popen[str]") -> str:
    out, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return out


def answered(server: str) -> int:
    import urllib.request

    with urllib.request.urlopen(server.removesuffix("/v1") + "/stats") as reply:
        return int(json.load(reply)["answered"])


def test_on_the_command_line_and_over_the_wire_nothing_is_asked_twice(server: str) -> None:
    values = {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": {"provider": "openai", "model": "fake", "base_url": server}},
        "steps": [ASK, CHECK, BEST, {"step": "format"}],
    }
    Path("recipe.yaml").write_text(yaml.safe_dump(values))
    done(command_line("run", "recipe.yaml", "--run-dir", "alone", "--ledger", "alone.sqlite"))
    alone = answered(server)
    running = [command_line(*job[1:]) for job in jobs("recipe.yaml", 3)]
    for process in running:
        done(process)
    report = json.loads(done(command_line("merge", "recipe.yaml", "--json")))
    assert answered(server) == 2 * alone == 2 * 93
    assert report["spent"]["requests"] == 93
    assert report["models"][0]["calls"] == 93
    went_on = json.loads(done(command_line("run", "recipe.yaml", "--json")))
    assert answered(server) == 2 * alone
    assert went_on["models"][0]["replayed"] == 93
    assert contents(Path("runs/demo")) == contents(Path("alone"))
    missing = command_line("merge", "recipe.yaml", "--run-dir", "alone")
    said = missing.communicate(timeout=60)[1]
    assert (missing.returncode, "there are no shards of this run" in said) == (2, True)
