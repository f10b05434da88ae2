"""What a refusal says: the category that the vendor gives it, and what can be done without working round it."""

import re
from collections.abc import Mapping
from typing import Any

from blackbox_kd.errors import Refusal, ReplyFault
from blackbox_kd.models.http.status import quote
from blackbox_kd.paths import read_table

FIXES: Mapping[str, str] = read_table(__file__)
"""By the categories of Claude's refusals; what the first one says is the remedy that Anthropic itself names.

Source: anthropic 2.14, the docstring of `RefusalStopDetails.category`
"""
_CATEGORY = re.compile(r"[\w. -]{1,40}")
"""What may be counted by; anything else is a text, and could be another one in each reply."""


def explain_refusal(said: Any) -> ReplyFault:
    """The fault of a reply that was refused.

    Args:
        said: a message's `refusal`: the model's own words, or a mapping with `category` and `explanation`, each of
            which may be None.
    """
    parts = said if isinstance(said, Mapping) else {"explanation": said}
    category, explanation = parts.get("category"), parts.get("explanation")
    told = f": {quote(str(explanation))}" if explanation else ""
    if isinstance(category, str) and _CATEGORY.fullmatch(category):
        kind = f"refused: {category}"
        return Refusal(f"the model refused ({category}){told}", kind=kind, fix=FIXES.get(category, ""))
    fault = (
        Refusal if isinstance(said, Mapping) else ReplyFault
    )  # a vendor's own notice of it stands without a name, too
    return fault(f"the model refused{told}", kind="refused")
