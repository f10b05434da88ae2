"""How languages announce an answer, take it back, and go on to the next question; one line a language.

The phrases are parts of regular expressions. Scripts without blanks have no word boundaries, so theirs stand apart.
"""

import re
import unicodedata

_NOUNS = (
    r"answers?|final\sresult",
    r"antwort(?:en)?|ergebnis|lösung",
    r"r[ée]ponses?|résultat",
    r"respuesta|resultado",
    r"risposta|risultato",
    r"resposta",
    r"antwoord",
    r"odpowied[źz]|wynik",
    r"ответ|відповідь",
    r"cevap|yanıt|sonuç",
    r"svar(?:et)?|facit",
    r"jawaban(?:nya)?",
    r"đáp\s(?:án|số)|câu\strả\slời",
    r"الجواب|الإجابة|جواب|إجابة",
    r"उत्तर|जवाब",
)
_VERBS = (
    r"is|are|was|equals|becomes|(?:would|will|should|must|has\sto|comes\sout\sto)\sbe",
    r"ist|lautet|wäre",
    r"est|sera",
    r"es|sería",
    r"è|é",
    r"to|brzmi|jest",
    r"är|là|adalah|هو|هي|है",
)
_FILLERS = (
    r"therefore|thus|then|hence|simply|just|clearly|indeed|actually|still",
    r"also|daher|somit|donc|entonces|por\stanto|quindi|portanto",
)
_UNSPACED_NOUNS = (
    r"答案(?:应该|应|就)?(?:选择|选|是|为|為)?|故(?:本题)?(?:应)?选择?|(?:所以|因此|本题|应该|应)选择?(?:答案)?|正确(?:选项|答案)(?:是|为)?",
    r"(?:最終)?(?:答え|正解|解答|回答|答)(?:は|が)?",
    r"(?:정답|답|답안)(?:은|이|는)?",
    r"คำตอบ(?:สุดท้าย|ที่ถูกต้อง)?(?:คือ|เป็น)?",
)


def _compile(pattern: str) -> re.Pattern[str]:
    """A pattern whose letters are in NFKC, as those of the texts are: it takes Thai vowels apart."""
    return re.compile(unicodedata.normalize("NFKC", pattern), re.IGNORECASE | re.VERBOSE | re.MULTILINE)


PHRASE = _compile(
    rf"""(?P<doubt>\b(?:if|whether|suppose|assume|assuming|unless|until|wenn|ob|si|se|если)\s(?:that\s)?)?
        (?:\b(?:the|my|our)\s)?
        (?: \b(?:{"|".join(_NOUNS)})\b
            (?:\s(?:to|for|of|that|we|I)\s[^.\n:=]{{1,80}}?
              |\s(?!(?:{"|".join(_VERBS)})\b)[^\W\d_]{{3,14}}(?=[\s:]))?
            ["'*_`]{{0,4}}
            (?:
                \s{{0,3}}\b(?:{"|".join(_VERBS)})\b
                (?:,?\s(?:{"|".join(_FILLERS)})\b,?){{0,3}}
                ["'*_`]{{0,4}}\s{{0,3}}:?
              | \s{{0,3}}[:=]
              | \s[—–-](?=\s)
              | (?<=[^a-zA-Z]{{3}})(?=\s[(]?(?:[-\d]|[A-Z]\b))
              | (?<=cevap)(?=\s[(]?(?:[-\d]|[A-Z]\b))
            )
          | (?:{"|".join(_UNSPACED_NOUNS)})
            ["'*_`]{{0,4}}
            (?:\s{{0,3}}[:=]|(?<=[是为為选择はが은이는อน]))
            ["'*_`]{{0,4}}
        )"""
)
COPULA = re.compile(
    r"(?:'[dt][iıuü]r|\s?(?:です|でした|である|だ|になります|になる|입니다|이다|이에요|예요|है|हैं))\s?[.。।!]?$"
)
"""Verbs that stand behind an announced answer."""
_TASKS = (
    r"question|problem|exercise|task|q|instruction|input",
    r"frage|aufgabe|pregunta|problema|pergunta|domanda|problème|exercice|вопрос|задача|soru|pytanie|zadanie",
    r"vraag|fråga|uppgift|câu\shỏi|pertanyaan|سؤال|السؤال|प्रश्न|问题|題目|题目|問題|質問|问|問|질문|문제|คำถาม",
    r"human|user",
)
NEXT = _compile(
    rf"""(?: ^[ \t]{{0,8}}[-#*>]{{0,6}}[ \t]{{0,3}} | (?<=[\d.!?。])[ \t]{{1,3}}[#*]{{0,4}} )
        (?:(?:next|new|another|follow-up)\s)?
        (?:{"|".join(_TASKS)})
        (?:\s?\#?\d{{1,4}})?[*_]{{0,4}}\s?:
      | <\|(?:im_start|im_end|endoftext|end_of_text|eot_id|start_header_id|user|end)\|> | \[/?INST\] | </s>"""
)
"""Where a model that goes on after its answer begins a question of its own, or another turn."""
SECOND_THOUGHT = _compile(
    r"""\b(?: wait(?=[,.!:…—–-]|\s+(?:no|a\s(?:minute|second|moment)|i|that|this|let|actually|hold)\b|\s*$)
          | hold\son | hmm+ | oops | scratch\sthat | correction\s?: | on\s(?:second\sthought|reflection)
          | actually,?\s(?:it|that|the|this|i|no)
          | (?:i\s(?:made|have\smade)|there\s(?:is|was))\s(?:a|an)\s(?:mistake|error) | i\s(?:misread
          |was\swrong|miscounted)
          | my\smistake | let\sme\s(?:re-?check|correct|redo|recount|reconsider)
          | (?:that|this|which)\s(?:is|was|seems|looks)\s(?:wrong|incorrect|not\s(?:right|correct|so\ssure))
          | (?:that|this|it)\s(?:cannot|can't|can\snot)\sbe\sright
          | (?:moment|warte|halt|attendez|espera|un\smomento|aspetta|подождите|подожди|стоп|wacht|czekaj)(?=[,.!])
        )\b | (?:^|[.!?]\s)no,\s | 等等 | 不对 | 不對 | 待って | 잠깐 | 아니,"""
)
"""Words with which a text takes back what it has said."""
