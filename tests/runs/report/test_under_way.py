"""How trainings went, as report.md shows it."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from blackbox_kd.runs.report.under_way import describe, draw_losses, write_plots

PROMPT = [{"role": "user", "content": "What is 1 + 1?"}]
REFERENCE = [{"role": "assistant", "content": "2"}]


def training(**fields: Any) -> dict[str, Any]:
    return {"model": "student@1", "losses": [[1, 4.0], [5, 2.0], [10, 1.0]], **fields}


def test_losses_are_drawn_to_scale_and_each_curve_is_named() -> None:
    text = draw_losses("<student>", {"losses": [(1, 4.0), (5, 2.5), (10, 1.0)], "evaluation_losses": [(5, 3.0)]})
    root = ElementTree.fromstring(text)
    lines = [line.get("points") for line in root.iter("{http://www.w3.org/2000/svg}polyline")]
    assert lines == ["116.0,30.0 340.0,108.8 620.0,187.5", "340.0,82.5"]
    words = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"<student>", "loss", "evaluation loss", "steps", "0", "2", "4", "10"} <= set(words)


def test_a_loss_that_never_moved_and_one_that_is_no_number_can_be_drawn(tmp_path: Path) -> None:
    ElementTree.fromstring(draw_losses("flat", {"losses": [(1, 2.0), (2, 2.0)]}))
    broken = {"trainings": [training(losses=[[1, float("nan")], [2, 1.0], [3, 1.5]])]}
    write_plots(tmp_path, broken)
    assert "nan" not in (tmp_path / "loss_1.svg").read_text()


def test_the_report_shows_the_plot_of_each_training_that_has_a_line(tmp_path: Path) -> None:
    report = {"trainings": [training(losses=[[1, 2.0]]), training(), training(losses=[])]}
    write_plots(tmp_path, report)
    assert [path.name for path in tmp_path.iterdir()] == ["loss_2.svg"]
    assert describe(report) == ["Losses of `student@1` by steps:", "", "![losses by steps](loss_2.svg)", ""]


def test_answers_stand_beside_the_reference_the_first_the_middle_and_the_last() -> None:
    said = [{"step": n, "prompt": PROMPT, "reference": REFERENCE, "answer": f"a{n}" if n else ""} for n in range(5)]
    said[4]["cut_off"] = True
    lines = describe({"trainings": [training(losses=[], answers=said)]})
    assert lines == [
        "What `student@1` answered under way:",
        "",
        "**1.**",
        "",
        "- prompt: user: What is 1 + 1?",
        "- reference: assistant: 2",
        "- after step 0: (nothing)",
        "- after step 2: a2",
        "- after step 4, cut off: a4",
        "",
    ]
