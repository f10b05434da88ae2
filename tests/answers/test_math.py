"""Formulas: read as LaTeX, compared symbolically, and never evaluated for long."""

import sys
import threading

import pytest

from blackbox_kd.answers import kind, math
from blackbox_kd.errors import SetupError

KIND = kind("math")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (r"The answer is $\frac{1}{2}$.", r"\frac{1}{2}"),
        (r"\boxed{x^2+1}", "x^2+1"),
        ("The answer is x^2 + 1.", "x^2 + 1"),
        ("The answer is 12 apples.", "12"),
        ("The answer is 2sin(x)", "2sin(x)"),
        ("Thus $x = 5$", "x = 5"),
        ("It is 42", "42"),
        ("#### 1/2", "1/2"),
        (r"So \(\boxed{(1,2)}\)", "(1,2)"),
        ("The answer is \\[\n\\boxed{\\sqrt{2}}\n\\]", r"\sqrt{2}"),
        (r"\boxed{12\text{ cm}}", r"12\text{ cm}"),
        (r"\boxed{\frac{1}{2", None),
        ("", None),
    ],
)
def test_the_last_stated_formula_is_read(text: str, read: str | None) -> None:
    assert KIND.read(text, {}) == read


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("1/2", r"\frac{1}{2}"),
        ("0.5", r"\frac{1}{2}"),
        ("(x+1)^2", "x^2+2x+1"),
        ("x=5", "5"),
        (r"\{1,2\}", r"\{2,1\}"),
        ("50\\%", "0.5"),
        (r"\sqrt{8}", r"2\sqrt{2}"),
        (r"12\text{ cm}", "12"),
        ("2^{10}", "1024"),
        ("65{,}520", "65520"),
        ("$3$", "3"),
        (r"\text{Paris}", r"\text{ Paris }"),
        ("e^{x^{2}}\\cdot 2", "2e^{x^{2}}"),
    ],
)
def test_equal_formulas_are_the_same(answer: str, reference: str) -> None:
    assert KIND.same(answer, reference, {})


@pytest.mark.parametrize(
    ("answer", "reference"),
    [("5", "6"), ("(1,2)", "(2,1)"), ("x^2", "y^2"), (r"\text{Paris}", r"\text{Rome}"), ("", "5")],
)
def test_other_formulas_are_not(answer: str, reference: str) -> None:
    assert not KIND.same(answer, reference, {})


@pytest.mark.parametrize(
    "endless",
    [
        "9^{9^{9}}",
        "9^{9^{9}+x}",
        "9^{99999999}",
        "((((9^{99})^{99})^{99})^{99})",
        "99!!",
        "1000000!",
        r"\sin(e^{e^{99}})",
        "(x+y+z)^{99}",
        r"\binom{100000}{50000}",
        r"\sum_{i=1}^{10000000} i^2",
        "9**9**9**9",
        "x" * 1_000,
    ],
)
def test_formulas_that_would_take_long_are_compared_as_text(endless: str) -> None:
    assert not KIND.same(endless, "5", {})
    assert KIND.same(endless, f"${endless}$", {})


def test_it_works_outside_the_main_thread() -> None:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(KIND.same("4/6", r"\frac{2}{3}", {})))
    thread.start()
    thread.join()
    assert found == [True]


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "math_verify", None)
    math._math_verify.cache_clear()
    with pytest.raises(SetupError, match=r"pip install 'blackbox-kd\[math\]'"):
        KIND.same("1/7", "2/7", {})
    math._math_verify.cache_clear()
