"""Language models that are made in a moment: random weights, a real vocabulary, a chat template."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import gguf

from tests.language_reference import Shape, random_tensors

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6


@dataclass(frozen=True)
class Words:
    """A vocabulary: its kind, tokens with their kinds and scores, and merges."""

    model: str
    tokens: list[str]
    kinds: list[int]
    scores: list[float] = field(default_factory=list)
    merges: list[str] = field(default_factory=list)


def spm_words() -> Words:
    """SentencePiece: special tokens, every byte, some letters and pieces of English."""
    pieces = ["▁", "▁▁", "t", "h", "e", "a", "n", "d", "o", "é", "th", "▁t", "▁the", "the", "an"]
    pieces += ["and", "▁and", "▁a", "日", "日本", "he", "▁th", "nd", "on", "▁on"]
    special = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    tokens = ["<unk>", "<s>", "</s>", *special, "<tool>"]
    kinds = [UNKNOWN, CONTROL, CONTROL, *[CONTROL] * len(special), USER_DEFINED]
    tokens += [f"<0x{byte:02X}>" for byte in range(256)]
    kinds += [BYTE] * 256
    scores = [0.0] * len(tokens) + [-float(index) for index in range(len(pieces))]
    return Words("llama", [*tokens, *pieces], [*kinds, *[NORMAL] * len(pieces)], scores)


def bpe_words() -> Words:
    """Byte-level BPE: every byte, some merges, special tokens."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = {byte: chr(byte) for byte in plain}
    letters |= {byte: chr(256 + index) for index, byte in enumerate(others)}
    tokens = [letters[byte] for byte in range(256)]
    merges = ["t h", "th e", "Ġ the", "a n", "an d", "Ġ and", "Ġ a", "o n", "e r", "Ã ©"]
    tokens += [merge.replace(" ", "") for merge in merges]
    special = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    kinds = [NORMAL] * len(tokens) + [CONTROL] * len(special) + [USER_DEFINED]
    return Words("gpt2", [*tokens, *special, "<tool>"], kinds, merges=merges)


def write_language_model(
    path: Path,
    words: Words | None = None,
    *,
    template: str = CHAT_TEMPLATE,
    context: int = 128,
    seed: int = 1,
    quantization: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.Q8_0,
    endless: bool = False,
    settings: dict[str, str | float] | None = None,
) -> Path:
    """Write a Llama-shaped model of two layers; an endless one never ends its text by itself."""
    words = words or spm_words()
    shape = Shape(vocabulary=len(words.tokens), context=context)
    writer = gguf.GGUFWriter(path, shape.architecture)
    writer.add_name("tiny")
    writer.add_context_length(context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    for key, value in (settings or {}).items():
        add = writer.add_string if isinstance(value, str) else writer.add_float32
        add(f"{shape.architecture}.{key}", value)
    _add_words(writer, words)
    if template:
        writer.add_chat_template(template)
    for name, tensor in random_tensors(shape, seed).items():
        if name == "output.weight" and endless:
            # Against the spread of the other logits, 0 is as good as never.
            ends = [number for number, kind in enumerate(words.kinds) if kind == CONTROL]
            tensor *= 4
            tensor[ends] = 0
        if tensor.ndim == 1:
            writer.add_tensor(name, tensor)
        else:
            data = gguf.quantize(tensor, quantization)
            writer.add_tensor(name, data, raw_dtype=quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_vocabulary(path: Path, words: Words) -> Path:
    """Write a file that has a vocabulary and no weights."""
    writer = gguf.GGUFWriter(path, "llama")
    _add_words(writer, words)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_words(writer: gguf.GGUFWriter, words: Words) -> None:
    is_spm = words.model == "llama"
    writer.add_tokenizer_model(words.model)
    writer.add_tokenizer_pre("default" if is_spm else "gpt-2")
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.kinds)
    if is_spm:
        writer.add_token_scores(words.scores)
    else:
        writer.add_token_merges(words.merges)
    writer.add_bos_token_id(words.tokens.index("<s>" if is_spm else "<|endoftext|>"))
    writer.add_eos_token_id(words.tokens.index("</s>" if is_spm else "<|endoftext|>"))
