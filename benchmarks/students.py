"""Students of random weights and rows of made-up words for `gpu.py`: where it runs there may be no hub within reach."""

import json
import math
import random
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.tiny import byte_tokenizer


@dataclass(frozen=True)
class Size:
    """A student, and how much it is given to do.

    Args:
        family: its architecture, by the name that transformers has for it.
        shape: fields of its config.
        rows: of fine-tuning.
        pairs: of preferences.
        questions: to be answered.
        tokens: of a row: the median, the least and the most.
        batch: rows of an optimizer step.
    """

    family: str
    shape: Mapping[str, Any]
    rows: int
    pairs: int
    questions: int
    tokens: tuple[int, int, int]
    batch: int = 16


def shape(
    hidden: int, inner: int, layers: int, heads: int, groups: int, vocabulary: int, length: int
) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "vocab_size": vocabulary,
        "max_position_embeddings": length,
        "tie_word_embeddings": True,
    }


LENGTHS = (350, 100, 1500)
SIZES = {
    "toy": Size("qwen2", shape(64, 128, 2, 4, 2, 320, 512), 24, 8, 6, (60, 30, 120), batch=4),
    "small": Size("qwen2", shape(256, 768, 6, 8, 4, 16_384, 1024), 64, 32, 16, (160, 60, 400), batch=8),
    "135m": Size("llama", shape(576, 1536, 30, 9, 3, 49_152, 4096), 384, 96, 96, LENGTHS),  # as SmolLM2-135M
    "1.5b": Size("qwen2", shape(1536, 8960, 28, 12, 2, 151_936, 4096), 384, 96, 96, LENGTHS),  # as Qwen2.5-1.5B
}
AROUND = 24
"""Tokens that the chat template writes around a question and its answer, about."""


def save_student(folder: Path, size: Size) -> None:
    """Writes weights and tokenizer, in bfloat16 where there is a GPU: the same at every call on the same machine."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    on_gpu = torch.cuda.is_available()
    tokenizer = byte_tokenizer(size.shape["max_position_embeddings"])
    ends = {name: tokenizer.convert_tokens_to_ids(token) for name, token in tokenizer.special_tokens_map.items()}
    tokens = {f"{name}_id": number for name, number in ends.items()}
    config = AutoConfig.for_model(size.family, **size.shape, **tokens)
    torch.manual_seed(0)
    with torch.device("cuda" if on_gpu else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if on_gpu else torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


class Writer:
    """Draws texts of a few hundred words, and of lengths as real rows have them (log-normal)."""

    def __init__(self, size: Size) -> None:
        self._random = random.Random(0)
        self._tokens = size.tokens
        letters = "abcdefghijklmnopqrstuvwxyz"
        self._words = ["".join(self._random.choices(letters, k=self._random.randint(2, 9))) for _ in range(300)]

    def draw_length(self) -> int:
        """Tokens of a row."""
        median, least, most = self._tokens
        return min(most, max(least, round(self._random.lognormvariate(math.log(median), 0.6))))

    def write(self, tokens: int) -> str:
        """A text of so many tokens; a byte is one."""
        text = ""
        while len(text) < tokens:
            text += self._random.choice(self._words) + " "
        return text[: max(1, tokens)].rstrip()

    def write_turns(self, names: Iterable[str]) -> dict[str, list[dict[str, str]]]:
        """A row: a prompt of a third of its tokens, and answers that are about as long as one another."""
        total = self.draw_length() - AROUND
        row = {"prompt": [{"role": "user", "content": self.write(total // 3)}]}
        for name in names:
            length = min(self._tokens[2] - AROUND - total // 3, round(total * self._random.uniform(0.55, 0.8)))
            row[name] = [{"role": "assistant", "content": self.write(length)}]
        return row


def write_data(file: Path, size: Size, count: int, columns: Iterable[str]) -> None:
    """Writes so many rows; the same ones at every call."""
    writer, columns = Writer(size), list(columns)
    file.write_text("".join(json.dumps(writer.write_turns(columns)) + "\n" for _ in range(count)))


def write_questions(file: Path, size: Size) -> None:
    """Writes questions, each with the most tokens of its answer: a third of a row's, as different as rows are."""
    writer = Writer(size)
    questions = [
        {"messages": writer.write_turns([])["prompt"], "max_tokens": writer.draw_length() // 3}
        for _ in range(size.questions)
    ]
    file.write_text(json.dumps(questions))


def count_tokens(model: Path, file: Path, columns: Iterable[str]) -> int:
    """Tokens of all rows of a file, a row's prompt counted once for each answer: what a trainer computes."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    texts = [row["prompt"] + row[column] for row in rows for column in columns]
    return sum(len(tokenizer.apply_chat_template(text, tokenize=True, return_dict=False)) for text in texts)


if __name__ == "__main__":
    save_student(Path(sys.argv[1]), SIZES[sys.argv[2]])
