import pytest

from blackbox_kd.analysis import equations


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("3 + 4 = 8, so", "3 + 4 = 7, so"),
        ("72 - 54 = 18", "72 - 54 = 18"),
        ("6*7=41 ounces", "6*7=42 ounces"),
        ("10 / 4 = 2.5", "10 / 4 = 2.5"),
        ("10/3 = 3.33", "10/3 = 3.33"),
        ("1,000 + 200 = 1,300 apples", "1,000 + 200 = 1200 apples"),
        ("(2+3)*4 = 21", "(2+3)*4 = 20"),
        ("2 x 3 = 7", "2 x 3 = 6"),
        ("5 - 3 - 1 = 2.", "5 - 3 - 1 = 1."),
        ("1 / 0 = 5", "1 / 0 = 5"),
        ("x = 3 and y = 4", "x = 3 and y = 4"),
        ("8 * 5 = $41", "8 * 5 = $40"),
        ("first 1 + 1 = 3, then 2 + 2 = 5", "first 1 + 1 = 2, then 2 + 2 = 4"),
    ],
)
def test_wrong_results_are_replaced_and_right_ones_stay(text: str, mended: str) -> None:
    assert equations.fix(text) == mended


def test_precedence_brackets_and_signs_are_those_of_arithmetic() -> None:
    assert equations.calculate("2 + 3 * 4") == 14
    assert equations.calculate("-(2 + 3) * 4") == -20
    assert equations.calculate("7 - 2 - 1") == 4
    assert equations.calculate("8 / 4 / 2") == 1
    assert equations.calculate("2 +") is None
    assert equations.calculate("(2 + 3") is None
