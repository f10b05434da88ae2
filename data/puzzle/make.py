"""Make the three files of the puzzle from reasoning-gym's `aiw` task ("Alice in Wonderland").

"Alice has 3 sisters and she also has 2 brothers. How many sisters does Alice's brother have?": 4, since Alice is a
sister too. Small models answer 2 or 3. The sibling form is used, with 2 to 9 people of each kind. One change: where the
library asks for the brother of an unrelated man, the question here asks for the woman's own brother.

    train.jsonl     questions that the teacher is asked; its answers are kept where they end in `reference`
    test.jsonl      held-out questions: neither the woman's name nor the pair of numbers occurs in the other two files
    examples.jsonl  the worked examples of the teacher's prompt

Needs `pip install reasoning-gym`; the files are already here, so run this only to change them.
"""

import json
import random
import re
from pathlib import Path
from typing import NamedTuple

import reasoning_gym
from reasoning_gym.factory import DATASETS

HERE = Path(__file__).parent
SEED = 7
LEAST, MOST = 2, 9  # the smallest and largest number of sisters or brothers
TEST_NAMES = {"Alice", "Jennifer", "Sarah", "Margaret"}
TEST_PAIRS = 22  # of the 64 pairs of numbers
TRAIN_ROWS, TEST_ROWS = 200, 160
EXAMPLES = (False, True, False, False)  # whether an example names the sisters first
FORMAT = 'Explain in one sentence and end with "The answer is N."'

Row = dict[str, str]


class Question(NamedTuple):
    """A question and what it is made of."""

    text: str
    woman: str
    sisters: int
    brothers: int
    sisters_first: bool

    def row(self) -> Row:
        """The row of the question."""
        return {"instruction": f"{self.text} {FORMAT}", "reference": str(self.sisters + 1)}

    def example(self) -> Row:
        """The row of the question with its worked answer."""
        n = self.sisters
        said = f"{self.woman} has {n} sisters, and {self.woman} is one of them too, so {n} + 1 = {n + 1}."
        response = f"{said} The answer is {n + 1}."
        return {**self.row(), "response": response}


def questions() -> list[Question]:
    """The distinct questions of the sibling form."""
    siblings = DATASETS["aiw"][1]().task_types[:1]
    source = reasoning_gym.create_dataset(
        "aiw", size=8000, seed=SEED, task_types=siblings, task_type_weights=[1.0], max_entities=MOST
    )
    found: dict[str, Question] = {}
    for entry in source:
        woman = entry["question"].split()[0]
        text = re.sub(r"\w+'s brother have", f"{woman}'s brother have", entry["question"])
        numbers = {kind: int(number) for number, kind in re.findall(r"(\d+) (sisters|brothers)", text)}
        sisters, brothers = numbers["sisters"], numbers["brothers"]
        if int(entry["answer"]) != sisters + 1:
            raise ValueError(f"unexpected answer {entry['answer']} to {text!r}")
        if min(sisters, brothers) >= LEAST:
            found.setdefault(
                text, Question(text, woman, sisters, brothers, text.index("sisters") < text.index("brothers"))
            )
    return list(found.values())


def write(name: str, rows: list[Row]) -> None:
    """Write rows as JSON lines beside this script."""
    (HERE / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    """Split by name and pair of numbers, both orders of sisters and brothers alike often, and write the files."""
    rng = random.Random(SEED)
    numbers = range(LEAST, MOST + 1)
    held_out = set(rng.sample([(sisters, brothers) for sisters in numbers for brothers in numbers], TEST_PAIRS))
    pool = questions()
    rng.shuffle(pool)
    # Equal numbers would let a reply that counts the brothers pass the answer check.
    seen = [
        q
        for q in pool
        if q.woman not in TEST_NAMES and (q.sisters, q.brothers) not in held_out and q.sisters != q.brothers
    ]
    unseen = [q for q in pool if q.woman in TEST_NAMES and (q.sisters, q.brothers) in held_out]
    examples: list[Question] = []
    for sisters_first in EXAMPLES:
        women = {q.woman for q in examples}
        examples.append(next(q for q in seen if q.sisters_first == sisters_first and q.woman not in women))
    train: list[Question] = []
    test: list[Question] = []
    for sisters_first in (True, False):
        train += [q for q in seen if q.sisters_first == sisters_first and q not in examples][: TRAIN_ROWS // 2]
        test += [q for q in unseen if q.sisters_first == sisters_first][: TEST_ROWS // 2]
    rng.shuffle(train)
    rng.shuffle(test)
    write("train.jsonl", [q.row() for q in train])
    write("test.jsonl", [q.row() for q in test])
    write("examples.jsonl", [q.example() for q in examples])


if __name__ == "__main__":
    main()
