"""Keys as they stand in the environment."""

import pytest

from blackbox_kd.errors import FieldError
from blackbox_kd.models.http.keys import read_key


@pytest.mark.parametrize("key", ['"sk-abc"', "'sk-abc'", ' "sk-abc" ', "`sk-abc`", '" sk-abc"', "sk-abc\n"])
def test_quotes_that_an_env_file_has_left_are_no_part_of_a_key(key: str) -> None:
    assert read_key({"KEY": key}, "KEY") == "sk-abc"


@pytest.mark.parametrize("key", ["", " ", '""', "' '"])
def test_nothing_in_quotes_is_no_key(key: str) -> None:
    assert read_key({"KEY": key}, "KEY") is None


PLACEHOLDERS = [
    *("your-api-key", "YOUR_API_KEY", "your_openai_api_key_here", "<your key>", "<API_KEY>", "sk-your-key", "[key]"),
    *("sk-...", "sk-xxxxxxxx", "xxxx", "sk-proj-xxxx", "sk-***", "changeme", "change_me", "replace-me", "TODO"),
    *("$KEY", "${OPENAI_API_KEY}", "%OPENAI_API_KEY%", "{{key}}", "KEY", "insert-key-here", "api-key-here"),
    *("my-api-key", '"your-api-key"', "put-your-key-here"),
]


@pytest.mark.parametrize("key", PLACEHOLDERS)
def test_what_stands_in_the_place_of_a_key_is_refused_and_not_sent(key: str) -> None:
    with pytest.raises(FieldError, match="the variable KEY holds stands in the place of a key, and is none") as caught:
        read_key({"KEY": key}, "KEY")
    assert key == "KEY" or key not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    ["EMPTY", "none", "test", "ollama", "dummy", "sk-proj-xYz1_-", "gsk_your1", "AIzaSyXXXabc", "sk-no-key"],
)
def test_keys_that_servers_take_are_keys(key: str) -> None:
    assert read_key({"KEY": key}, "KEY") == key
