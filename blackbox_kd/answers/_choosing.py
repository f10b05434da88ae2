"""What a sentence says of labels: which it chooses, which it rules out, and whether it is sure."""

import re

from blackbox_kd.answers._stated import claim

_GAP = r"[(\[*\"'$]{0,3}"
_LABEL = r"(?-i:[A-Z])(?![\w'])"
_LINK = r"\s?(?:,?\s?(?:and|or|nor|und|oder|noch|et|ou|ni|y|o|e|и|или)\s|[,/&、和与或跟と]|か|또는|,\s?和)\s?"
_OF = r"(?:(?:the\s)?(?:options?|choices?|letters?|statements?|answers?|la|el|l'|die|den|a|o|选项|选择)\s?)?"
_LABELS = rf"{_OF}{_GAP}{_LABEL}[)\]*\"']{{0,3}}(?:{_LINK}{_OF}{_GAP}{_LABEL}[)\]*\"']{{0,3}}){{0,8}}"
_DENIED_BEFORE = re.compile(
    rf"""(?:\b(?:not|never|isn't|(?:wrong|incorrect|false)\s(?:one|option|answer|choice)s?\s(?:is|are)|nor|neither|rather\sthan|instead\sof|unlike|than|eliminat\w{{1,4}}|rul\w{{1,3}}\sout|discard\w{{0,3}}|exclud\w{{1,3}}
        |reject\w{{0,3}}|cross\w{{0,3}}\sout|(?:cannot|can't|couldn't|won't)\sbe|(?:first|initially
        |before)\s(?:i\s)?(?:chose|picked|thought|said)
        |n(?:or|either)\s(?:can|could|is|does|will)|i\s(?:first|initially)\s(?:chose|picked|thought\s(?:it\swas\s)?|said)
        |nicht|weder|statt|pas|plutôt\sque|no|non|niet|nie|не|а\sне|não|inte|değil)\s
        |不选|不是|而非|排除|而不是|不選|아니라\s?)\s?{_LABELS}""",
    re.IGNORECASE | re.VERBOSE,
)
_DENIED_AFTER = re.compile(
    rf"""{_LABELS}[ ]?(?:选项|項|项|は|is|are|was|were|can|seems?|looks?|ist|sind|est|sont|es|son|è|sono|é|são)?\s?
        (?:[:：]\s?)?(?:both\s|all\s|also\s|clearly\s|definitely\s|therefore\s|obviously\s)?
        (?:not\b(?!\sonly)|n't\b|cannot\b|can't\b|isn't\b|aren't\b|wrong|incorrect|false|untrue|too\s\w+|out\b
        |eliminated|ruled\sout|impossible|invalid
          |falsch|faux|fausse|incorrect[eoa]?|falso|falsa|sbagliat[ao]|errad[ao]|неверно|неверный|неправильно
          |fout|onjuist|fałsz\w*|yanlış
          |错误|错|不对|不正确|不成立|是错|間違|誤り|正しくない|틀|아니|ผิด|不是)""",
    re.IGNORECASE | re.VERBOSE,
)
_MENTION = re.compile(
    r"""(?<![\w'])(?:[(\[]\s?([A-Z]|[A-Za-z0-9]{1,2})\s?[)\]] | ([B-HJ-Z])(?![\w'’]|\s?[=+*/^<>]|-\w)
        | (A)(?![\w'’]|\s?[=+*/^<>]|-\w)(?=\s?(?:[.,;:)!?*"'\]]|$|\n)|\s(?:is|are|was|and|or|nor|but|because
        |since|as|rather|instead|not|über|ist|oder|und
            |est|ou|et|es|o|y|è|é|или|и|remains?|holds|fits|follows)\b|\s?[^\x00-\x7f])
        | (I)(?=\s?(?:[.,;:)!?]|$)))""",
    re.VERBOSE,
)
_MARKED = re.compile(r"\b(?:[Oo]ption|[Cc]hoice|[Ll]etter)\W{1,4}([A-Z\d]{1,3})\b(?!')")
_CUE = re.compile(
    r"""\b(?:choose|chose|pick|select|go(?:ing)?\swith|choice|option|answer|only|so|hence|thus|therefore|remains?|leaves|left|correct|right|best|true
        |(?:it|that|this)(?:'s|\sis|\smust\sbe|\sshould\sbe|\shas\sto\sbe|\swould\sbe)|i'd\ssay|holds|fits
        |must\sbe|should\sbe
        |also|richtig\w{0,2}|wähle|nehme|antwort|lösung|korrekt|bonne|correcte?|choisis|donc|réponse|elijo
        |correct[ao]|opción|opção|alternativa
        |entonces|respuesta|scelgo|giust[ao]|corrett[ao]|quindi|escolho|portanto|cert[ao]|kies|juist\w?|dus
        |wybieram|prawidłow\w|poprawn\w
        |правильн\w{1,3}|верн\w{1,3}|верно|выбираю|итак|doğru|seçenek|đúng|chọn|rätt|väljer)\b
        |\b(?:definitely|certainly|clearly|obviously|surely|probably|likely|c'est|es\sist|das\sist|es\sla|è\sla|это)\b
        |[,，]\s?(?:而?是|es|è|é|а|sondern|c'est)\s?(?=[A-Z]\b)|选|選|对|正确|正確|正しい|正解|答|对的|정답|맞|옳|ถูก|เลือก|ตอบ|الصحيح|सही""",
    re.IGNORECASE | re.VERBOSE,
)
_DECISIVE = re.compile(
    rf"""(?:\b(?:choose|pick|select|go\swith|(?:answer|option|choice|one)\s(?:is|must\sbe|would\sbe)|so|hence|thus|therefore|leaves|only)\b
        |选|選)\s?{_OF}{_GAP}({_LABEL})(?![)\]*"'.]{{0,3}}{_LINK}{_OF}{_GAP}{_LABEL})""",
    re.IGNORECASE | re.VERBOSE,
)
_HEDGE = re.compile(
    r"""\b(?:may|might|could|perhaps|maybe|possibly|either|whether|if|unsure|not\ssure|uncertain|unclear|could\sbe|vielleicht|möglicherweise|peut-être
        |quizás|forse|talvez|misschien|może|возможно|может\sбыть|belki)\b|可能|也许|かもしれない|아마""",
    re.IGNORECASE | re.VERBOSE,
)


def remove_denied(sentence: str) -> str:
    """The sentence without the labels that it says are wrong: "not A", "A and C are wrong", "we can rule out D"."""
    return _DENIED_AFTER.sub(" ", _DENIED_BEFORE.sub(" ", sentence))


def is_sure(sentence: str) -> bool:
    """Whether a sentence says so, and not that it may be so."""
    return _HEDGE.search(claim(sentence)) is None


def has_cue(sentence: str) -> bool:
    """Whether a sentence speaks of choosing or of what is right."""
    return _CUE.search(sentence) is not None


def list_decided(sentence: str) -> list[str]:
    """Labels that stand right behind a word of choosing, and alone: "between A and B, I choose B"."""
    return [match[1] for match in _DECISIVE.finditer(sentence)]


def list_mentioned(sentence: str) -> list[str]:
    """Labels that stand for themselves, as they are written: B, (b), option 2; "a dog" and "I think" are words."""
    marked = [match[1] for match in _MARKED.finditer(sentence)]
    return [next(filter(None, match.groups())) for match in _MENTION.finditer(sentence)] + marked
