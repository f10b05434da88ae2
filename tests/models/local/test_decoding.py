"""Writing in slots gives what the model itself would write, whoever comes and goes beside a text."""

from collections import Counter
from typing import Any

import pytest
import torch
import transformers

from blackbox_kd.models.local.decoding import Decoder, Generation, fits
from blackbox_kd.models.local.generating import Generating
from blackbox_kd.models.local.kv_slots import ATTENTION
from blackbox_kd.models.local.sampling import Draw, choose_tokens

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "head_dim": 8,
}
KINDS: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Qwen3": {},
    "Mistral": {"sliding_window": 8},
    "Gemma3Text": {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"] * 2},
}
CLASSES = {"Gemma3Text": "Gemma3ForCausalLM"}


def model(kind: str = "Llama", **fields: Any) -> Any:
    torch.manual_seed(3)
    config = getattr(transformers, f"{kind}Config")(**{**SMALL, **KINDS.get(kind, {}), **fields})
    made = getattr(transformers, CLASSES.get(kind, f"{kind}ForCausalLM"))(config).eval()
    with torch.no_grad():  # weights so large that the likeliest token is clearly the likeliest
        for weights in made.parameters():
            weights.mul_(6) if weights.ndim > 1 else None
    made.set_attn_implementation(ATTENTION)
    return made


def text(prompt: list[int], max_tokens: int = 12, **draw: Any) -> Generation:
    return Generation(prompt, Draw(**draw), max_tokens, lambda tokens: tokens[-1] == SMALL["eos_token_id"])


def prompts(count: int, shared: int = 0) -> list[list[int]]:
    numbers = torch.Generator().manual_seed(1)
    start = torch.randint(3, 97, (shared,), generator=numbers).tolist()
    lengths = torch.randint(2, 30, (count,), generator=numbers).tolist()
    return [start + torch.randint(3, 97, (length,), generator=numbers).tolist() for length in lengths]


def write(writer: Any, texts: list[Generation]) -> list[list[int]]:
    writer.waiting += texts
    while writer.busy:
        writer.step()
    return [each.tokens for each in texts]


def by_itself(model: Any, prompt: list[int], max_tokens: int) -> list[int]:
    """What the model writes by plain forward passes over the whole text, without any cache."""
    tokens: list[int] = []
    while len(tokens) < max_tokens and SMALL["eos_token_id"] not in tokens:
        mask = torch.ones(1, len(prompt) + len(tokens), dtype=torch.long)
        logits = model(torch.tensor([prompt + tokens]), attention_mask=mask, use_cache=False).logits
        tokens.append(int(logits[0, -1].argmax()))
    return tokens


@pytest.mark.parametrize("kind", KINDS)
def test_slots_write_what_the_model_writes_by_itself(kind: str) -> None:
    small = model(kind)
    assert fits(small)
    asked = prompts(7, shared=20)
    lengths = [3, 12, 1, 20, 7, 12, 5]
    found = write(Decoder(small, 3), [text(ids, length) for ids, length in zip(asked, lengths, strict=True)])
    with torch.no_grad():
        assert found == [by_itself(small, ids, length) for ids, length in zip(asked, lengths, strict=True)]


def test_drawn_texts_are_the_same_in_any_company_and_order() -> None:
    small = model()
    asked = list(enumerate(prompts(9)))

    def drawn(rows: int, order: list[tuple[int, list[int]]]) -> dict[int, list[int]]:
        texts = [text(ids, 15, temperature=1.5, top_p=0.9, seed=number) for number, ids in order]
        return dict(zip([number for number, _ in order], write(Decoder(small, rows), texts), strict=True))

    alone = drawn(1, asked)
    assert drawn(9, asked) == alone
    assert drawn(4, asked[::-1]) == alone
    texts = [text(ids, 15, temperature=1.5, top_p=0.9, seed=number) for number, ids in asked]
    assert write(Generating(small, 4, [2]), texts) == list(alone.values())


def test_what_prompts_have_in_common_is_computed_once() -> None:
    small = model()
    seen: list[int] = []
    small.get_input_embeddings().register_forward_pre_hook(lambda module, args: seen.append(args[0].numel()))
    asked = [[*range(5, 85), number] for number in range(10, 18)]
    decoder = Decoder(small, 8)
    write(decoder, [text(ids, 1) for ids in asked])
    assert sum(seen) == 80 + 8
    seen.clear()
    write(decoder, [text(ids, 1) for ids in asked])
    assert sum(seen) == 8


def test_a_text_that_nobody_waits_for_frees_its_slot() -> None:
    decoder = Decoder(model(), 1)
    long, next_one = text(prompts(1)[0], 200), text(prompts(2)[1], 2)
    long.finished = lambda tokens: False
    decoder.waiting += [long, next_one]
    decoder.step()
    long.dropped = True
    assert decoder.step() == [long]
    decoder.step()
    decoder.step()
    assert len(next_one.tokens) <= 2
    assert not decoder.busy


def test_slots_grow_with_the_texts_and_keep_what_they_hold() -> None:
    small = model(max_position_embeddings=2048)
    ids = prompts(1, shared=240)[0]
    long = text(ids, 40)
    long.finished = lambda tokens: False
    [found] = write(Decoder(small, 2), [long])
    with torch.no_grad():
        logits = small(torch.tensor([ids + found[:-1]]), use_cache=False).logits[0, len(ids) - 1 :]
    assert found == logits.argmax(-1).tolist()


def test_models_with_other_memories_than_keys_and_values_are_left_to_generate() -> None:
    small = model("Lfm2", layer_types=["conv", "full_attention"] * 2, conv_L_cache=3, block_multiple_of=8)
    assert not fits(small)
    small.set_attn_implementation("sdpa")
    asked = prompts(5)
    with torch.no_grad():
        expected = [by_itself(small, ids, 8) for ids in asked]
    assert write(Generating(small, 3, [2]), [text(ids, 8) for ids in asked]) == expected


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"temperature": 1.0}, [0.5, 0.3, 0.15, 0.05]),
        ({"temperature": 0.5}, [0.685, 0.247, 0.062, 0.007]),
        ({"temperature": 1.0, "top_p": 0.9}, [0.526, 0.316, 0.158, 0.0]),
        ({"temperature": 1.0, "top_p": 0.5}, [1.0, 0.0, 0.0, 0.0]),
        ({"temperature": 1.0, "top_k": 2}, [0.625, 0.375, 0.0, 0.0]),
        ({"temperature": 1.0, "top_k": 2, "top_p": 0.6}, [1.0, 0.0, 0.0, 0.0]),
        ({"temperature": 0.0}, [1.0, 0.0, 0.0, 0.0]),
    ],
    ids=str,
)
def test_tokens_are_drawn_as_often_as_they_are_likely(how: dict[str, Any], expected: list[float]) -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    draw = Draw(**how, seed=5)
    drawn = Counter(choose_tokens(logits, [draw])[0] for _ in range(4000))
    assert [drawn[token] / 4000 for token in range(4)] == pytest.approx(expected, abs=0.025)


def test_a_broad_distribution_is_cut_at_top_p_too() -> None:
    draw = Draw(temperature=1.0, top_p=0.5, seed=1)
    logits = torch.zeros(1, 5000)
    logits[0, :4000] = 0.01
    assert all(choose_tokens(logits, [draw])[0] < 4000 for _ in range(50))
