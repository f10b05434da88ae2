"""What the words around a label do to it: rule it out, doubt it, or join it to the one before."""

from blackbox_kd.paths import read_patterns

_PATTERNS = read_patterns(__file__)
DENIED_BEFORE = _PATTERNS["denied_before"]
"""What ends where a label begins that it rules out: "it is not a"."""
DENIED_AFTER = _PATTERNS["denied_after"]
"""What begins where a label ends that it rules out: "does not fit"."""
JOINED = _PATTERNS["joined"]
"""What stands between two labels of which the same is said: "not A or B"."""
HEDGED = _PATTERNS["hedged"]
"""What ends where a label begins that is in doubt: "it might be a"."""
