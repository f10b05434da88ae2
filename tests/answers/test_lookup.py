"""How kinds are found."""

import subprocess
import sys

import pytest

from blackbox_kd import answers
from blackbox_kd.errors import SetupError


def test_every_module_that_is_not_private_is_a_kind() -> None:
    assert answers.kinds() == ["boolean", "choice", "exact", "math", "number", "reasoning_gym"]


@pytest.mark.parametrize("name", answers.kinds())
def test_every_kind_reads_and_compares(name: str) -> None:
    found = answers.kind(name)
    assert callable(found.read)
    assert callable(found.same)


def test_an_unknown_kind_is_named_with_the_nearest_one() -> None:
    with pytest.raises(SetupError, match=r"unknown kind of answer 'numbr'.*did you mean 'number'"):
        answers.kind("numbr")


def test_a_kind_says_what_it_lacks_without_importing_it() -> None:
    assert answers.missing("number") is None
    code = "import sys; from blackbox_kd import answers; print(answers.missing('math'), 'math_verify' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split()[-1] == "False"
