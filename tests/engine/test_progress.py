"""What a person sees while a run goes on."""

import io
import re
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from blackbox_kd.engine import progress
from blackbox_kd.engine.progress import LiveView, PlainView, View, view_for, write_account
from blackbox_kd.runs.accounts import Account


class Bill:
    """The totals of a caller."""

    def __init__(self, **changes: Any) -> None:
        self._totals = {"calls": 12, "replayed": 0, "prompt_tokens": 1000, "completion_tokens": 234, "cost_usd": 0.5}
        self._totals["cache_saved_usd"] = 0.0
        self._totals |= changes

    def totals(self) -> Mapping[str, Any]:
        return self._totals


BOOK = Account("steps[0] (filter)", 10, 2, 7, Counter({"not (correct)": 3}), Counter({"truncated": 2}))


def drawn(view: LiveView) -> str:
    """What the live table looks like, without colours."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(view._draw_table())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_step_is_told_in_one_line_with_what_it_added_and_lost() -> None:
    assert write_account(BOOK) == (
        "steps[0] (filter): 10 in, 2 added, 7 out, 3 dropped: not (correct), 2 failed: truncated"
    )
    assert write_account(Account("steps[1] (check)", 1200, 0, 1200)) == "steps[1] (check): 1,200 in, 1,200 out"


def test_the_plain_view_writes_lines_to_stderr_and_nothing_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView()
    with view.showing([], Bill()):
        view.begin([BOOK], 10)
        view.say("steps[3] (train): unchanged since the last run, taken from there")
        view.step_done(BOOK)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "steps[3] (train): unchanged since the last run, taken from there",
        write_account(BOOK),
    ]


def test_the_plain_view_tells_now_and_then_how_far_the_run_is_but_never_the_same_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.01)
    told, enough = [], threading.Event()

    class Listening(PlainView):
        def say(self, text: str) -> None:
            told.append(text)
            book.out += len(told) == 1
            if len(told) == 2:
                enough.set()

    book = Account("steps[0] (generate)", 10, 0, 4)
    view = Listening()
    with view.showing([book], Bill()):
        view.begin([book], 10)
        assert enough.wait(20)
    assert len(told) == 2
    assert told[0].startswith("  steps[0] (generate): 10 in, 4 out; 12 calls, 1,234 tokens, $0.5000; ")
    assert told[1].startswith("  steps[0] (generate): 10 in, 5 out; ")


def test_the_live_table_has_a_line_for_each_step_and_the_bill_below() -> None:
    view = LiveView()
    running = Account("steps[1] (check)", 7, 0, 3)
    with View.showing(view, [BOOK, running], Bill(replayed=5)):
        view.begin([running], 7)
        lines = drawn(view).splitlines()
    assert re.split(r"\s{2,}", lines[0].strip()) == ["step", "in", "out", "dropped", "failed"]
    assert re.split(r"\s{2,}", lines[1].strip()) == ["steps[0] (filter)", "10", "7", "3 not (correct)", "2 truncated"]
    assert re.split(r"\s{2,}", lines[2].strip()) == ["steps[1] (check)", "7", "3", "0", "0"]
    assert lines[3].startswith("12 calls + 5 from the ledger, 1,234 tokens, $0.5000, ")
    assert lines[3].rstrip().endswith("left in this step")


def test_text_of_a_row_or_a_reason_is_never_taken_for_markup() -> None:
    view = LiveView()
    with View.showing(view, [Account("steps[0] (filter)", 1, 0, 0, Counter({"not (x == '[bold]')": 1}))], Bill()):
        assert "1 not (x == '[bold]')" in drawn(view)


def test_a_cost_that_is_not_known_is_said_to_be_unknown() -> None:
    view = View()
    with view.showing([], Bill(cost_usd=None)):
        assert view.money() == "12 calls, 1,234 tokens, cost unknown"


@pytest.mark.parametrize(
    ("saved", "told"), [(0.25, ", $0.2500 saved by caching"), (0.0, ""), (-0.25, ""), (0.00001, "")]
)
def test_what_a_cache_has_saved_stands_beside_the_cost(saved: float, told: str) -> None:
    view = View()
    with view.showing([], Bill(cache_saved_usd=saved)):
        assert view.money() == f"12 calls, 1,234 tokens, $0.5000{told}"


def test_of_steps_that_stream_together_the_first_and_the_last_are_told() -> None:
    view = View()
    steps = [Account("steps[0] (generate)", 10, 6, 8), Account("steps[1] (check)", 8, 0, 8), Account("steps[2] (x)", 8)]
    with view.showing(steps, Bill()):
        view.begin(steps, 10)
        assert view.now().startswith("steps[0] (generate): 10 in, 6 added, 8 out; 0 out of steps[2] (x); 12 calls")
        assert view.time_left().endswith(" s")
        steps[0].out = 16
        assert view.time_left() == ""


def test_training_shows_its_steps_and_its_last_loss() -> None:
    view = LiveView()
    book = Account("steps[5] (train)", 80)
    with View.showing(view, [book], Bill()):
        view.begin([book], 80)
        view.training({"event": "log", "step": 2, "steps": 30, "loss": 1.23456})
        view.training({"event": "step", "step": 3, "steps": 30})
        assert "training: step 3 of 30, loss 1.235; 12 calls" in drawn(view)
        assert "left" not in drawn(view)
        view.training({"event": "log", "step": 20, "steps": 30, "eval_loss": 1.5, "seconds_left": 180.0})
        assert drawn(view).splitlines()[-1].startswith("training: step 20 of 30, loss 1.235, evaluation loss 1.500; ")
        assert view.time_left() == "3 min"
        view.begin([Account("steps[6] (evaluate)", 10)], 10)
        assert "training" not in drawn(view)


def test_a_view_knows_nothing_before_anything_has_begun() -> None:
    view = View()
    assert (view.now(), view.money(), view.time_left()) == ("", "", "")


@pytest.mark.parametrize(
    ("is_terminal", "env", "kind"),
    [
        (True, {}, LiveView),
        (True, {"NO_COLOR": "1"}, LiveView),
        (True, {"TERM": "dumb"}, PlainView),
        (False, {}, PlainView),
        (False, {"FORCE_COLOR": "1"}, PlainView),
    ],
)
def test_the_view_suits_the_stream(is_terminal: bool, env: dict[str, str], kind: type[View]) -> None:
    view = view_for(is_terminal, env)
    assert type(view) is kind
    if isinstance(view, LiveView):
        assert view._console.no_color == bool(env.get("NO_COLOR"))
        assert view._console.stderr


@pytest.mark.parametrize("kind", [LiveView, PlainView])
def test_what_others_said_is_shown_and_not_obeyed(kind: type[View], capsys: pytest.CaptureFixture[str]) -> None:
    view = kind()
    view.say("warning: \x1b]0;title\x07 \u202e")
    assert "warning: \\x1b]0;title\\x07 \\u202e" in capsys.readouterr().err
    book = Account("steps[0] (filter)", 1, 0, 0, Counter({"not (x == '\x1b[2J')": 1}))
    if isinstance(view, LiveView):
        with view.showing([book], Bill()):
            assert "not (x == '\\x1b[2J')" in drawn(view)
