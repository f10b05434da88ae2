"""How languages announce an answer, take it back, and go on to the next question; one line a language.

The phrases are parts of regular expressions. Scripts without blanks have no word boundaries, so theirs stand apart.
"""

from blackbox_kd.paths import read_patterns

_PATTERNS = read_patterns(__file__)
PHRASE = _PATTERNS["phrase"]
COPULA = _PATTERNS["copula"]
"""Verbs that stand behind an announced answer."""
NEXT = _PATTERNS["next"]
"""Where a model that goes on after its answer begins a question of its own, or another turn."""
SECOND_THOUGHT = _PATTERNS["second_thought"]
"""Words with which a text takes back what it has said."""
