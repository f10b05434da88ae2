"""Greedy answers, in a process of its own: `python -m benchmarks.answers KIND MODEL ADAPTER QUESTIONS`.

ours: the engine of `provider: transformers`. plain: transformers' `generate`, in padded batches of as many rows, each
of which goes on until its longest answer is done. ADAPTER may be empty. Prints as JSON the seconds, the tokens written,
the answers, and the peak memory; loading and a first answer come before the clock.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.plain_trl import peak_mb
from blackbox_kd.models.local.engine import ROWS, Engine, LocalRequest, Written

Answers = list[tuple[str, int]]
"""Texts, and how many tokens each has."""


def open_ours(model: str, adapter: str | None) -> tuple[Callable[[list[dict[str, Any]]], Answers], str]:
    engine = Engine(model, adapter, "auto", "auto", {})

    def answer(questions: list[dict[str, Any]]) -> Answers:
        new = [LocalRequest(each["messages"], 0.0, 1.0, 0, each["max_tokens"], (), 0) for each in questions]
        found = dict(engine.advance(new))
        while engine.busy:
            found.update(engine.advance([]))
        written = [found[request] for request in new]
        return [(each.text, each.tokens) for each in written if isinstance(each, Written)]

    return answer, type(engine._writer).__name__


def open_plain(place: str, adapter: str | None) -> tuple[Callable[[list[dict[str, Any]]], Answers], str]:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, StoppingCriteria, StoppingCriteriaList

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(place, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32 if device == "cpu" else torch.bfloat16)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    model = model.to(device).eval()

    class Enough(StoppingCriteria):  # type: ignore[misc]
        def __init__(self, begin: int, most: list[int]) -> None:
            self._begin, self._most = begin, torch.tensor(most, device=device)

        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            return input_ids.shape[1] - self._begin >= self._most

    def answer(questions: list[dict[str, Any]]) -> Answers:
        found: Answers = []
        for first in range(0, len(questions), ROWS[device]):
            batch = questions[first : first + ROWS[device]]
            texts = [each["messages"] for each in batch]
            how = {"add_generation_prompt": True, "padding": True, "return_tensors": "pt", "return_dict": True}
            inputs = tokenizer.apply_chat_template(texts, **how).to(device)
            begin, most = inputs["input_ids"].shape[1], [each["max_tokens"] for each in batch]
            enough = StoppingCriteriaList([Enough(begin, most)])
            written = model.generate(**inputs, do_sample=False, max_new_tokens=max(most), stopping_criteria=enough)
            for row, limit in zip(written[:, begin:].tolist(), most, strict=True):
                kept = row[:limit]
                kept = kept[: kept.index(tokenizer.eos_token_id) + 1] if tokenizer.eos_token_id in kept else kept
                found.append((tokenizer.decode(kept, skip_special_tokens=True), len(kept)))
        return found

    return answer, "generate"


def main(kind: str, model: str, adapter: str, questions: str) -> None:
    answer, how = {"ours": open_ours, "plain": open_plain}[kind](model, adapter or None)
    asked = json.loads(Path(questions).read_text())
    answer([asked[0] | {"max_tokens": 8}])
    began = time.perf_counter()
    found = answer(asked)
    told = {"how": how, "seconds": time.perf_counter() - began, "tokens": sum(tokens for _, tokens in found)}
    print(json.dumps(told | {"peak_memory_mb": peak_mb(), "answers": [text for text, _ in found]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
