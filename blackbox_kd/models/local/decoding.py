"""Writes many replies at once: rows come and go at each token, and no reply depends on who is beside it.

Replies are of very different lengths. A batch that is filled once waits for its longest one with ever fewer rows; here
a row that is done makes room at once (continuous batching: Yu et al. 2022, Orca, OSDI).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from blackbox_kd.models.local.kv_slots import Slots
from blackbox_kd.models.local.sampling import Draw, choose_tokens, find_likeliest

WAVE_TOKENS = 4096
"""Prompt tokens, padding included, of one forward pass."""
WORTH_WAITING = 16
"""Tokens in common with another new prompt for which a prompt waits until that one's keys and values are there."""


@dataclass(slots=True, eq=False)
class Generation:
    """One reply in the making.

    Args:
        prompt: token ids.
        draw: how it is sampled.
        max_tokens: the most tokens of the reply.
        finished: told the tokens so far, whether the reply has ended by itself.
        top: how many of the likeliest tokens are noted at each place.
    """

    prompt: list[int]
    draw: Draw
    max_tokens: int
    finished: Callable[[list[int]], bool]
    top: int = 0
    tokens: list[int] = field(default_factory=list)
    dropped: bool = False
    """Set by who no longer wants the reply."""
    likeliest: list[list[tuple[int, float]]] = field(default_factory=list)
    """Of each token of the reply, see `sampling.find_likeliest`."""


class Decoder:
    """Writes texts in R slots. For one thread.

    Args:
        model: a causal language model whose layers attend to a plain cache (see `fits`).
        rows: R, the most texts written at once.
    """

    def __init__(self, model: Any, rows: int) -> None:
        self._model = model
        self._rows = rows
        self._slots = Slots(model.config, rows)
        # The tokens whose keys and values a slot holds. They stay when its text has left: the next prompt often begins
        # with the same instructions or examples, and copies them.
        self._known: list[list[int]] = [[] for _ in range(rows)]
        self._active: list[Generation] = []
        self.waiting: list[Generation] = []

    @property
    def busy(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._active or self.waiting)

    @torch.inference_mode()
    def step(self) -> list[Generation]:
        """Writes one token of each text; returns those that are done."""
        self._admit()
        if not self._active:
            return []
        # One token goes in for each text, the last one of its prompt or of its reply: whether a text is new does not
        # matter, and all are one forward pass. That is why a prefill leaves the last token of a prompt out.
        logits = self._forward(
            list(range(len(self._active))),
            [[(text.prompt + text.tokens)[-1]] for text in self._active],
            [len(text.prompt) + len(text.tokens) - 1 for text in self._active],
            head=True,
        )
        done = []
        likeliest = find_likeliest(logits[:, -1], [text.top for text in self._active])
        for row, token in enumerate(choose_tokens(logits[:, -1], [text.draw for text in self._active])):
            text = self._active[row]
            self._known[row].append((text.prompt + text.tokens)[-1])
            text.tokens.append(token)
            text.likeliest.append(likeliest[row])
            if text.dropped or text.finished(text.tokens) or len(text.tokens) >= text.max_tokens:
                done.append(row)
        ended = [self._active[row] for row in done]
        for row in reversed(done):
            self._leave(row)
        return ended

    def _leave(self, row: int) -> None:
        """Frees a slot; the last text moves into it.

        Those in use stay side by side, so that a forward pass reads the cache as a slice and copies nothing.
        """
        last = len(self._active) - 1
        if row != last:
            self._slots.copy(last, row, len(self._known[last]))
            self._known[row] = list(self._known[last])
            self._active[row] = self._active[last]
        self._active.pop()

    def _admit(self) -> None:
        """Takes waiting texts in, when enough slots are free for a forward pass to be worth it.

        A prefill holds up all that are being written; for one text at a time that costs more than empty slots do.
        """
        self.waiting = [text for text in self.waiting if not text.dropped]
        free = self._rows - len(self._active)
        if not self.waiting or (self._active and free < self._rows // 8):
            return
        taken, self.waiting = self.waiting[:free], self.waiting[free:]
        taken.sort(key=lambda text: text.prompt)  # texts that begin alike come one after the other
        while taken:
            taken = self._take_wave(taken)

    def _take_wave(self, texts: list[Generation]) -> list[Generation]:
        """Takes in those of `texts` (sorted) that gain nothing by waiting for another; returns the others.

        Prompts of one recipe share long beginnings, and in one pass each would compute its own: so the first of those
        that begin alike goes ahead, and the others copy from its slot in the next wave.
        """
        later: list[Generation] = []
        now: list[tuple[int, Generation]] = []
        before: list[int] = []
        for text in texts:
            body = text.prompt[:-1]
            source, common = self._find_nearest(body)
            if now and _overlap(body, before) > common + WORTH_WAITING:
                later.append(text)
                continue
            row = len(self._active)
            self._slots.copy(source, row, common)
            self._known[row] = body[:common]
            self._active.append(text)
            now.append((row, text))
            before = body
        self._prefill(now)
        return later

    def _find_nearest(self, body: list[int]) -> tuple[int, int]:
        """The slot whose text shares the longest beginning with `body`, and how long that is."""
        return max(((row, _overlap(body, known)) for row, known in enumerate(self._known)), key=lambda pair: pair[1])

    def _prefill(self, taken: list[tuple[int, Generation]]) -> None:
        """Computes keys and values of what the slots do not have yet; the last prompt token is left to `step`."""
        missing = [(row, text.prompt[len(self._known[row]) : -1]) for row, text in taken]
        missing = sorted((pair for pair in missing if pair[1]), key=lambda pair: len(pair[1]))
        while missing:
            width = len(missing[-1][1])  # the longest ones together: padding is computed as well
            count = max(1, WAVE_TOKENS // width)
            group, missing = missing[-count:], missing[:-count]
            # Padding on the right is written over by the row's own tokens before it is ever attended to.
            padded = [ids + [0] * (width - len(ids)) for _, ids in group]
            self._forward([row for row, _ in group], padded, [len(self._known[row]) for row, _ in group], head=False)
            for row, ids in group:
                self._known[row] += ids

    def _forward(self, rows: list[int], tokens: list[list[int]], start: list[int], *, head: bool) -> Any:
        model = self._model if head else self._model.base_model
        self._slots.place(rows, start, len(tokens[0]), model.device)
        found = model(
            input_ids=torch.tensor(tokens, device=model.device),
            attention_mask=self._slots.mask(),
            position_ids=self._slots.positions,
            past_key_values=self._slots,
            use_cache=True,
        )
        return found.logits if head else None


def fits(model: Any) -> bool:
    """Whether `Decoder` computes what the model's own forward pass does, tried on two short texts.

    Models with other memories than keys and values (recurrent, convolutional) or positions of their own do not.
    """
    try:
        texts = [[3 + 7 * at % 50 for at in range(length)] for length in (9, 14)]
        decoder = Decoder(model, 2)
        with torch.inference_mode():
            decoder.waiting = [Generation(ids, Draw(), 1, lambda tokens: True) for ids in texts]
            decoder._admit()
            rows = sorted(range(2), key=lambda row: len(decoder._active[row].prompt))
            last = [[decoder._active[row].prompt[-1]] for row in range(2)]
            start = [len(decoder._active[row].prompt) - 1 for row in range(2)]
            found = decoder._forward([0, 1], last, start, head=True)
            true = [model(torch.tensor([ids], device=model.device), use_cache=False).logits[0, -1] for ids in texts]
        # In half precision the order of sums differs by so much; a wrong mask or position differs by far more.
        far = max(float((found[row, -1] - want).norm() / want.norm()) for row, want in zip(rows, true, strict=True))
    except Exception:  # whatever a foreign architecture makes of the cache: then `generate` it is
        return False
    return far < (1e-3 if model.dtype == torch.float32 else 5e-2)


def _overlap(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens two texts share from the start."""
    shorter = min(len(left), len(right))
    return next((at for at in range(shorter) if left[at] != right[at]), shorter)
