"""Which number a text states, and when two are the same."""

import pytest

from blackbox_kd.answers import kind
from blackbox_kd.errors import DataError

KIND = kind("number")

STATED = {
    "signs": [
        ("The answer is 11.", "11"),
        ("The answer is -5", "-5"),
        ("The answer is \u22125.", "-5"),
        ("The answer is \u20135.", "-5"),
        ("= - 5", "-5"),
        ("It is +7", "7"),
        ("10 -5 = 5", "5"),
        ("- 5 apples", "5"),
    ],
    "separators and decimals": [
        ("The answer is 1,234.50", "1234.5"),
        ("Answer: 1,234,567", "1234567"),
        ("Answer: 65{,}520", "65520"),
        (r"\boxed{30\,720}", "30720"),
        ("Answer: 30\u202f720", "30720"),
        ("Answer: 30\u00a0720", "30720"),
        ("Answer: 1'000'000", "1000000"),
        ("Answer: 1.234,50", "1234.5"),
        ("Answer: 3,5", None),
        ("The answer is 88.60.", "88.6"),
        ("That is 20.0", "20"),
        ("Answer: .5", "0.5"),
        ("Answer: 007", "7"),
        ("The answer is **1,000**.", "1000"),
        ("Answer: ٤٢", "42"),
    ],
    "fractions": [
        ("Answer: 3/4", "0.75"),
        ("Answer: 1/3", "1/3"),
        ("Answer: -2/6", "-1/3"),
        ("Answer: 2 1/2", "2.5"),
        ("Answer: 2 and 1/2 cups", "2.5"),
        ("Answer: 2½", "2.5"),
        ("Answer: 5/0", None),
        (r"\boxed{\frac{3}{4}}", "0.75"),
        (r"\boxed{\dfrac{10}{4}}", "2.5"),
        (r"\boxed{-\frac{1}{2}}", "-0.5"),
        (r"\boxed{\frac12}", "0.5"),
        (r"\boxed{2\frac{1}{2}}", "2.5"),
        ("My answer is 4/5 of the cake.", "0.8"),
    ],
    "powers of ten": [
        ("Answer: 1.5e3", "1500"),
        ("Answer: 2.5E-3", "0.0025"),
        ("Answer: 3 × 10^8 m/s", "300000000"),
        ("Answer: 3×10⁸", "300000000"),
        ("Answer: 6.02 x 10^23", "602000000000000000000000"),
        (r"\boxed{5 \times 10^{3}}", "5000"),
        ("Answer: 2 million", "2000000"),
        ("Answer: 1.5 billion people", "1500000000"),
        ("Answer: 1e999999999", None),
        ("The answer is " + "9" * 500, None),
        ("The answer is 1" + ",000" * 2_000, None),
        ("The answer is 1" + ".000" * 2_000 + ",5", None),
    ],
    "units": [
        ("Answer: 50%", "50%"),
        ("Answer: 12.5 percent", "12.5%"),
        (r"\boxed{40\%}", "40%"),
        ("Answer: $1,040", "1040"),
        ("Answer: -$1,040.", "-1040"),
        ("Answer: $-5", "-5"),
        ("Answer: €12", "12"),
        ("Answer: USD 12.00", "12"),
        (r"\boxed{\$1{,}234.50}", "1234.5"),
        ("Answer: 12 dollars and that is it", "12"),
        ("Answer: 5km", "5"),
        (r"\[ \boxed{12\text{ cm}} \]", "12"),
        ("The answer is $4.50 per pound.", "4.5"),
        ("Rounded to the nearest dollar it is €307", "307"),
    ],
    "equations": [
        ("3 + 4 = 7", "7"),
        ("The answer is 3 + 4 = 7", "7"),
        ("The answer is 7 = 3 + 4", "7"),
        ("The answer is N = 12.", "12"),
        (r"The answer is \(53 + 32 = 85\) euros.", "85"),
        (r"\boxed{x = 5}", "5"),
        ("The answer is 5! = 120", "120"),
        ("The answer is 12 × 3.", None),
        ("£30 - £5", None),
        ("It comes to 42 (6 × 7)", "42"),
        ("The answer is 120 (100 + 20).", "120"),
        ("\\begin{align}\n x &= 3+4 \\\\\n &= 7\n\\end{align}", "7"),
    ],
    "what only looks like an answer": [
        ("The answer is 5-10.", None),
        ("The answer is 5\u201310 days.", None),
        ("The answer is between 5 and 10.", None),
        ("The answer is 5 or 6.", None),
        ("The answer is 3:30", None),
        ("The answer is 3:2", None),
        ("The answer is 2024-01-15.", None),
        ("The answer is 2x", None),
        (r"The answer is 4\pi", None),
        ("She has 42. Typical are 40-45", "42"),
        ("He answers 560 mails in a 5-day week.", "560"),
        ("He answers 560 mails on the 3rd day.", "560"),
        ("It comes to 42\n\n3. Now we are done", "42"),
        ("It comes to 42. See step 3", "42"),
        ("We need H2O and x1 and 3 apples", "3"),
        ("1. First\n2. Second\n3. Third", None),
        ("no number here", None),
        ("", None),
    ],
    "where it is stated": [
        ("The answer is 5. Wait, no: the answer is 6.", "6"),
        (r"First \boxed{3}, then \boxed{4}", "4"),
        (r"The answer is \boxed{4}. It was 12 before.", "4"),
        ("The answer is 42. In general 40-45 would do.", "42"),
        ("The answer is 42, which is twice 21.", "42"),
        ("The answer is 42 apples, as 3 of the 45 were eaten.", "42"),
        ("The answer is the sum of 3 and 4, which is 7.", "7"),
        ("The answer is that she has 42 apples.", "42"),
        ("The answer is approx. 42", "42"),
        ("The answer is about 3.14.", "3.14"),
        ("The answer is:\n\\[\n\\boxed{142}\n\\]", "142"),
        ("The answer is:\n\n142 apples", "142"),
        ("The answer is: 1) 42", "42"),
        ("The answer is:\n1. 42 apples", "42"),
        ("The answer is\n1. 42 apples", "42"),
        ("<answer>\n1. 42\n</answer>", "42"),
        ("Answer:\n12. 3 apples are left.", "12"),
        ("The answer is 12. 3 of them are red.", "12"),
        ("The answer is 1. 3 are left.", "1"),
        ("The answer is $12.50. 3 of them are red.", "12.5"),
        ("The answer is **12%**. 3 of them are red.", "12%"),
        ("The answer is 12. 3 x 2 = 6 are red.", "12"),
        ("**Answer:** 12. 3 apples are left over.", "12"),
        ("6 x 2 = 12\n#### 12. 3 are left", "12"),
        ("The answer is 4. so 3 remain", "4"),
        ("So the answer is 18. (6 per box.)", "18"),
        ("The answer is 5. 2024-01-01", "5"),
        ("## Final answer\n\n**142**", "142"),
        ("**Answer:** 142", "142"),
        ("**Final Answer**: *142*", "142"),
        ('{"reasoning": "6 x 7", "answer": 42}', "42"),
        ("<answer>\n42\n</answer> I used 3 steps.", "42"),
        ("<think>The answer is 41. 99</think>It is 42", "42"),
        ("6 × 7 = 42\n#### 42", "42"),
        ("It is 42\n#### Step 3: add\nAll done", "42"),
        ("The answer to question 3 is 42.", "42"),
        ("The final answer is therefore 42", "42"),
        ("So the answer must be 42.", "42"),
        ("The answer would be 12, not 13.", "12"),
        ("Final Answer: The final answer is $\\boxed{42}$. I hope it is correct.", "42"),
        (r"\boxed{\text{42}}", "42"),
    ],
    "where it is not": [
        ("The answer is not 42 but less: 41", "41"),
        ("Let me see if the answer is 12. No, it is 13", "13"),
        ("The answer is N. So 3 + 4 = 7", "7"),
        ("The answer is", None),
    ],
    "words": [
        ("The answer is zero.", "0"),
        ("The answer is **twelve** apples.", "12"),
        ("He had 120. The answer is one hundred and twenty.", "120"),
    ],
    "replies of a small teacher, shortened": [
        ("she had 22 - 3 = 19 spoons left. The number that Ava bought is 26 - 19 = 7. The answer is N.", "7"),
        ("192 / 16 = 12 pans\nTherefore, the answer is N = 12.", "12"),
        ("Net proceeds = $690000 - $700040 = -$1040\n\nThe answer is -1040.", "-1040"),
        ("60\n\n\\[ 336 \\text{ days/year} \\times 195 \\text{ pounds/day} = 65,280 \\text{ pounds} \\]", "65280"),
        ("Therefore, the answer is:\nThe answer is \\(\\boxed{57}\\).", "57"),
        ("\\[ \\text{Total} = 46 \\]\nSo, William has \\(\\boxed{873}\\) pears.", "873"),
        ("10,000 in a 5-day work week is \\(\\boxed{560}\\).", "560"),
        ("Adding these together:\n13 + 4 + 5 + 8 + 7 = 37 skeins", "37"),
        ("8. Therefore, the answer is 0.", "0"),
        ("\\frac{11}{55} \\times 100 = 20\\%\n   \\]\n\n", "20%"),
        ("to take the sum:\n231 \\text{ kg} = 511 \\text{ kg}\\]\n\nThe answer is \\(\\boxed{51", None),
        ("So she eats 26 and is left with 41.\n\\[ 2 \\times 41 = ", None),
    ],
}
CASES = [pytest.param(text, read, id=f"{group}: {text[:40]}") for group, rows in STATED.items() for text, read in rows]


@pytest.mark.parametrize(("text", "read"), CASES)
def test_a_text_is_read_as_the_number_it_states(text: str, read: str | None) -> None:
    assert KIND.read(text, {}) == read


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("7", "7.0"),
        ("0.5", "1/2"),
        ("1/3", "2/6"),
        ("1234.5", "$1,234.50"),
        ("288", "He has 3 * 96 = <<3*96=288>>288 plants.\n#### 288"),
        ("-5", "\u22125"),
        ("50%", "50"),
        ("50%", "0.5"),
        ("0.5", "50%"),
        ("50", "50%"),
        ("50%", "50 %"),
        ("100000000000000000000000000000001", "100000000000000000000000000000001"),
    ],
)
def test_equal_numbers_are_the_same(answer: str, reference: str) -> None:
    assert KIND.same(answer, reference, {})


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("7", "8"),
        ("0.33", "1/3"),
        ("-5", "5"),
        ("50%", "5"),
        ("50%", "0.05"),
        ("100000000000000000000000000000001", "100000000000000000000000000000002"),
        ("nothing", "7"),
    ],
)
def test_other_numbers_are_not(answer: str, reference: str) -> None:
    assert not KIND.same(answer, reference, {})


def test_a_reference_without_a_number_is_the_rows_fault() -> None:
    with pytest.raises(DataError, match="the reference 'Paris' is not one number"):
        KIND.same("7", "Paris", {})


@pytest.mark.parametrize(("text", "read"), [(text, read) for rows in STATED.values() for text, read in rows if read])
def test_what_was_read_is_read_again_as_itself(text: str, read: str) -> None:
    assert KIND.read(read, {}) == read


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 20_000,
        "answer: " * 20_000,
        "The answer is " + "1 = " * 40_000,
        "1 1/" * 40_000,
        "<answer>" * 20_000,
        "\n" * 100_000,
        "\\frac{" * 30_000,
        "1,234" * 40_000,
        "the answer to " + "a " * 70_000,
        "(1-" * 50_000,
    ],
)
def test_hostile_texts_are_read_in_linear_time(text: str) -> None:
    assert KIND.read(text, {}) is None or KIND.read(text, {})


def test_the_module_is_found_as_a_kind() -> None:
    assert type(KIND).__name__ == "Number"
