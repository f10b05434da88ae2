"""PAPERS.md leads to what is there, and leaves no recipe out."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = ("PAPERS.md", "README.md")


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def list_anchors(page: str) -> set[str]:
    """Headings as a browser finds them: small letters, no signs, hyphens for blanks."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", read(page), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)|^\[\w+\]: (\S+)$", read(page), re.M)
    inside = [target for pair in links for target in pair if target and "://" not in target]
    assert inside
    for target in inside:
        file, _, anchor = target.partition("#")
        assert (ROOT / (file or page)).exists(), target
        assert not anchor or anchor in list_anchors(file or page), target


def test_every_recipe_of_a_paper_has_its_place() -> None:
    papers = read("PAPERS.md")
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        if paper := yaml.safe_load(path.read_text("utf-8")).get("paper"):
            assert f"(recipes/{path.name})" in papers, path.stem
            assert paper.removeprefix("arXiv:") in papers, path.stem


def test_the_table_of_systems_tells_of_each_what_becomes_of_it() -> None:
    [table] = re.findall(r"^\| system .*\n\|[-|]+\n((?:\|.*\n)+)", read("PAPERS.md"), re.M)
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]
    assert len(rows) == 120
    assert len({row[0] for row in rows}) == 120
    for name, group, recipe, differs, run in rows:
        assert group in set("ABCD"), name
        assert recipe or differs, name
        assert bool(run) == recipe.startswith("["), name
        assert "yes" not in run or "EXPERIMENTS.md#" in run, name
