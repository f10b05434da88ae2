"""Shapes of rows, recognised by their columns."""

import pytest

from blackbox_kd.errors import DataError
from blackbox_kd.tables.formats import recognise, refuse_method


@pytest.mark.parametrize(
    ("columns", "shape"),
    [
        (["prompt", "completion", "id"], "completion"),
        (["messages"], "messages"),
        (["conversations", "id"], "sharegpt"),
        (["instruction", "input", "output"], "alpaca"),
        (["instruction", "response", "reference"], "own"),
        (["prompt", "chosen", "rejected"], "preference"),
        (["chosen", "rejected"], "preference"),
        (["instruction", "response", "prompt", "completion"], "completion"),
    ],
)
def test_a_shape_is_recognised_by_its_columns(columns: list[str], shape: str) -> None:
    assert recognise(columns) == shape


def test_unknown_columns_are_named_with_the_shapes_known() -> None:
    with pytest.raises(DataError) as error:
        recognise(["question", "answer"])
    assert str(error.value).startswith("the columns answer, question make no shape that training knows\n  known: pref")
    assert "own (instruction, response); alpaca (instruction, output)" in str(error.value)
    assert "\n  fix: rename columns" in str(error.value)


@pytest.mark.parametrize(
    ("method", "shape", "fits"), [("sft", "own", True), ("sft", "preference", False), ("dpo", "preference", True)]
)
def test_a_shape_fits_one_method(method: str, shape: str, fits: bool) -> None:
    assert (refuse_method(method, shape) is None) == fits
