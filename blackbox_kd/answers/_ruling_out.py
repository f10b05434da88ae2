"""What the words around a label do to it: rule it out, doubt it, or join it to the one before."""

import re

_OPEN = r"[\s\"'*`(\[_]*\Z"
DENIED_BEFORE = re.compile(
    rf"""(?:\b(?:not|never|no|isn't|wasn't|aren't|nor|neither|rather\sthan|instead\sof|unlike|than|rul\w{{1,3}}\sout
        |exclud\w{{1,3}}|reject\w{{0,3}}|eliminat\w{{1,4}}|discard\w{{0,3}}|cannot\sbe|can't\sbe
        |(?:first|initially)\s(?:chose|picked|thought|said|considered)
        |nicht|kein\w{{0,2}}|weder|statt|pas|plutôt\sque|ni|non|niet|geen|nie|не|inte|inget|değil|em\svez\sde|não|no\ses|non\sè|n'est\spas|não\sé)
        (?:\s(?:an?|the|of|about|any|really|just|simply|as|for|to\sbe|eine?[nrms]?|de[rnms]?|die|das|une?|una|le|la|el
          |il|een|en|ett))*
        |n't\s(?:an?|the)|不是|并非|而非|不选|排除|而不是|不属于|不屬於){_OPEN}""",
    re.IGNORECASE | re.VERBOSE,
)
"""What ends where a label begins that it rules out: "it is not a"."""
DENIED_AFTER = re.compile(
    r"""[\"'*`)\]_]*\s?
        (?:(?:is|are|was|were|seems?|looks?|would\sbe|ist|est|es|è|é|är)\s)?
        (?:(?:clearly\s)?not(?:\s(?:the|right|correct|it|a\sgood|an?\soption|applicable|appropriate|quite|what)\b|[.,;])
          |(?:do|does|did|would|can)\s?(?:not|n't)\s(?:fit|apply|match|work|qualify)\b
          |isn't\b|wasn't\b|(?:wrong|incorrect|ruled\sout|eliminated|excluded|out)\b
          |(?:passt|trifft|gilt)\snicht|scheidet\saus|falsch|nicht\srichtig|n'est\spas|ne\sconvient\spas|no\sencaja
          |no\ses\b|non\sè|не\sподходит|не\sверно|不对|不是|不合适|ではない|じゃない|이?\s?아니)""",
    re.IGNORECASE | re.VERBOSE,
)
"""What begins where a label ends that it rules out: "does not fit"."""
JOINED = re.compile(
    r"[\s\"'*`)\](\[_]*(?:,|/|\b(?:or|nor|and|oder|noch|und|ou|et|o|ni|y|e|или|и)\b|或|和)[\s\"'*`(\[_]*(?:(?:an?|the)\s)?",
    re.IGNORECASE,
)
"""What stands between two labels of which the same is said: "not A or B"."""
HEDGED = re.compile(
    rf"\b(?:(?:may|might|could)(?:\s(?:also|well))?\sbe|perhaps|maybe|possibly|either|unsure|not\ssure|unclear"
    rf"|vielleicht|peut-être|quizás|forse|talvez|возможно)(?:\s\w+){{0,3}}{_OPEN}",
    re.IGNORECASE,
)
"""What ends where a label begins that is in doubt: "it might be a"."""
