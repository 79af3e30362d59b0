"""Hugging Face's Llama over bytes, in the shape of a small GPT."""

from __future__ import annotations

import torch

from stlm.text.tokenizer.bytes import ByteTokenizer

TOKENIZER = ByteTokenizer()
DEPTH = 6


def llama_of(size: int) -> torch.nn.Module:
    """A byte-level Llama of 6 layers whose unique parameters come nearest to ``size``."""
    from transformers import LlamaConfig, LlamaForCausalLM

    def build(width: int) -> torch.nn.Module:
        return LlamaForCausalLM(LlamaConfig(
            vocab_size=TOKENIZER.vocab_size, hidden_size=width, intermediate_size=round(8 / 3 * width / 16) * 16,
            num_hidden_layers=DEPTH, num_attention_heads=max(1, width // 64), tie_word_embeddings=True,
            max_position_embeddings=4096, bos_token_id=TOKENIZER.bos, eos_token_id=None))

    widths = range(64, 1025, 64)
    with torch.device("meta"):
        sizes = {width: sum(p.numel() for p in build(width).parameters()) for width in widths}
    return build(min(widths, key=lambda width: abs(sizes[width] - size)))
