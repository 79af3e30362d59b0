"""A Hugging Face model as a scorer: the same likelihoods as reading each text alone."""

from __future__ import annotations

import math

import pytest
import torch

from stlm.errors import UserError

transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install 'stlm[hf]'")

pytestmark = pytest.mark.slow  # transformers takes longer to import than all of this takes

TEXT = "the cat sat on the mat, and the ice melts in the sun when it is warm "


def small_llama(folder, positions=128):
    """A Llama with seeded random weights and a tokenizer of its own, saved to a folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.train_from_iterator([TEXT] * 20, trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="<s>")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                      num_attention_heads=4, max_position_embeddings=positions, initializer_range=0.5)
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(folder, safe_serialization=True)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    from stlm.evaluate.huggingface import HuggingFaceScorer
    return HuggingFaceScorer.load(str(small_llama(tmp_path_factory.mktemp("llama"))))


def alone(scorer, tokens, first):
    with torch.no_grad():
        scores = scorer.model(torch.tensor([tokens[:-1]])).logits[0].double().log_softmax(-1)
    return float(scores.gather(1, torch.tensor(tokens[1:])[:, None])[first - 1:].sum())


def test_likelihoods(scorer):
    pairs = [("", " the cat"), ("the ice melts", " in the sun"), ("the ice melts", " on the mat"), ("the ice melts ", "now")]
    seen = []
    found = scorer.likelihoods(pairs, seen.append)
    assert sum(seen) == 4
    encode = scorer.tokenizer.encode
    wanted = [alone(scorer, [0, *encode(" the cat")], 1)]
    for context, text in (("the ice melts", " in the sun"), ("the ice melts", " on the mat"), ("the ice melts", " now")):
        wanted.append(alone(scorer, encode(context + text), len(encode(context))))
    assert [one.log_p for one in found] == pytest.approx(wanted, rel=1e-4)


def test_bits_are_of_the_bytes(scorer):
    text = (TEXT + "naïve 超小 🎉").encode()
    log_p = scorer.log_p_of_documents([text])[0]
    assert log_p == pytest.approx(alone(scorer, [0, *scorer.tokenizer.encode(text.decode())], 1), rel=1e-4)
    long = scorer.log_p_of_documents([text * 10])[0]  # windows
    assert math.isfinite(long) and long < log_p
    with pytest.raises(UserError, match="isn't UTF-8"):
        scorer.log_p_of_documents([b"\xff\xfe"])


def test_features_and_writing(scorer):
    assert len(scorer.features(["the cat"], None)[0]) == 32 and scorer.features(["a"], 2) == scorer.features(["a"], None)
    with pytest.raises(UserError, match="layers 1 to 2"):
        scorer.features(["a"], 3)
    texts = scorer.write(["the cat", "the"], 20, [], 1.0)
    assert texts == scorer.write(["the cat", "the"], 20, [], 1.0) and all(len(text.encode()) <= 20 for text in texts)


def test_what_cannot_be_loaded(tmp_path):
    from stlm.evaluate.huggingface import HuggingFaceScorer
    with pytest.raises(UserError, match="cannot be loaded"):
        HuggingFaceScorer.load(str(tmp_path))
