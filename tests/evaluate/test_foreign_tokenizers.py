"""Tokenizers of Hugging Face that add, lose or change text: bits per byte are of exactly the bytes that are scored.

All tokens are equally likely under the model here, so the right value is the number of tokens that the text needs.
"""

from __future__ import annotations

import math

import pytest
import torch

from stlm.errors import UserError
from stlm.evaluate.benchmark import judge
from stlm.evaluate.items import multiple_choice
from stlm.evaluate.scorer import bits_of

transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install 'stlm[hf]'")
tokenizers = pytest.importorskip("tokenizers")

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors  # noqa: E402

WORDS = ["<unk>", "<s>", "hello", "world", "a", "b", "##s", ","]


def of_bytes(merges=()):
    """A tokenizer of single bytes, as GPT-2 writes them, and of merges."""
    pieces = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    made = tokenizers.Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, list(merges)))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), decoders.ByteLevel()
    return made


def changed(**parts):
    made = of_bytes()
    for name, part in parts.items():
        setattr(made, name, part)
    return made


def llama(letters="abc "):
    """Pieces whose spaces are marks, one put first, and bytes for everything else, as in Llama 2."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters.replace(" ", "▁")]
    made = tokenizers.Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, [], unk_token="<unk>",
                                           byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                      decoders.Strip(" ", 1, 0)])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return made


def of_words(kind, **about):
    made = tokenizers.Tokenizer(kind({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>", **about))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


def uncased():
    made = of_words(models.WordPiece)
    made.normalizer, made.decoder = normalizers.BertNormalizer(lowercase=True), decoders.WordPiece()
    return made


def enclosed():
    return changed(post_processor=processors.TemplateProcessing(single="<|end|> $A <|end|>", special_tokens=[("<|end|>", 0)]))


def scorer_of(tokenizer, positions=64, uniform=True, opens="bos_token", **about):
    from stlm.evaluate.huggingface import HuggingFaceScorer

    words = {opens: next(word for word in ("<|end|>", "<s>") if tokenizer.token_to_id(word) is not None)} if opens else {}
    if tokenizer.token_to_id("<unk>") is not None:
        words["unk_token"] = "<unk>"
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **words)
    torch.manual_seed(0)
    size = {"vocab_size": tokenizer.get_vocab_size(), "n_positions": positions, "n_embd": 16, "n_layer": 1, "n_head": 2}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**size | about, bos_token_id=0, eos_token_id=0))
    if uniform:
        torch.nn.init.zeros_(model.lm_head.weight)
    return HuggingFaceScorer("it", model, fast)


def tokens_and_bytes(scorer, text):
    bits, sizes = bits_of(scorer, [text.encode()])
    return bits[0] / math.log2(scorer._vocab_size), sizes[0]


@pytest.mark.parametrize(("make", "text", "tokens", "n_bytes"), [
    (of_bytes, "naïve 超小 🎉\r\n\t ", 22, 22),
    (of_bytes, "<|end|>" * 3, 21, 21),
    (lambda: of_bytes([("a", "b")]), "abab<|end|>", 9, 11),
    (lambda: changed(normalizer=normalizers.Strip()), "x y", 3, 3),
    (lambda: changed(normalizer=normalizers.Lowercase()), "it rains", 8, 8),
    (lambda: changed(normalizer=normalizers.NFC()), "caf\u00e9", 5, 5),
    (lambda: changed(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)), "abc", 4, 4),
    (lambda: changed(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)), " abc", 4, 4),
    (llama, "abc", 4, 4),
    (llama, " a  b", 6, 6),
    (llama, "<s>é🎉", 10, 10),
    (enclosed, "abc", 3, 3),
    (uncased, "hello worlds", 3, 13),
], ids=range(13))
def test_bits_are_of_the_bytes_that_were_scored(make, text, tokens, n_bytes):
    assert tokens_and_bytes(scorer_of(make()), text) == (pytest.approx(tokens, rel=1e-5), n_bytes)


@pytest.mark.parametrize(("make", "text"), [
    (lambda: changed(normalizer=normalizers.Strip()), "\n\nx"),
    (lambda: changed(normalizer=normalizers.Strip()), "x "),
    (lambda: changed(normalizer=normalizers.Lowercase()), "It rains"),
    (lambda: changed(normalizer=normalizers.NFC()), "cafe\u0301"),
    (lambda: changed(normalizer=normalizers.NFKC()), "\ufb01n"),
    (lambda: changed(normalizer=normalizers.Replace("\r\n", "\n")), "a\r\nb"),
    (lambda: changed(normalizer=normalizers.Replace(Regex(" +"), " ")), "a  b"),
    (lambda: changed(normalizer=normalizers.StripAccents()), "a\u0301"),
    (uncased, "Hello world"),
    (uncased, "hello , world"),
    (uncased, "hello there"),
    (lambda: of_words(models.WordLevel), "a \u2603"),
    (lambda: of_words(models.WordLevel), "a <unk>"),
], ids=range(13))
def test_a_tokenizer_that_changes_the_text_is_refused(make, text):
    with pytest.raises(UserError, match="its tokenizer changes the text"):
        bits_of(scorer_of(make()), [b"a", text.encode()])


def test_a_special_token_that_cannot_be_text_is_refused():
    made = of_words(models.WordLevel)
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    with pytest.raises(UserError, match="'<s>' as text"):
        scorer_of(made).likelihoods([("a", " b <s>")])


@pytest.mark.parametrize(("make", "context", "text", "tokens"), [
    (of_bytes, "", " it", 3), (of_bytes, "ab", " it", 3), (enclosed, "ab", " it", 3), (enclosed, "", " it", 3),
    (of_bytes, "a<|end|>", "<|end|>b", 8), (llama, "ab", " c", 2), (llama, "", "c", 2),
    (lambda: of_bytes([("b", "c")]), "ab", "c", 1),  # joined with the end of the context
    (lambda: of_bytes([("a", "b")]), "a", "b", 1),  # with all of it
], ids=range(9))
def test_likelihoods_are_of_the_text_alone(make, context, text, tokens):
    scorer = scorer_of(make())
    assert scorer.likelihoods([(context, text)])[0].log_p == pytest.approx(-tokens * math.log(scorer._vocab_size), rel=1e-5)


def test_choices_that_are_the_same_tokens_tie():
    scorer = scorer_of(changed(normalizer=normalizers.Lowercase()), uniform=False)
    item = multiple_choice("The", ["Cat", "a much longer one", "cat"], 0)
    outcome = judge(item, scorer.likelihoods(item.pairs))
    assert outcome.tie["acc"] or outcome.right["acc"] == 0
    same = multiple_choice("The", ["Cat", "cat"], 0)
    assert judge(same, scorer.likelihoods(same.pairs)).tie == {"acc": True, "acc_norm": True, "acc_bytes": True}


def test_without_a_token_that_opens_a_document():
    with pytest.raises(UserError, match="no token that opens a document"):
        scorer_of(of_bytes(), opens=None)
    made = enclosed()  # it puts one there by itself
    assert tokens_and_bytes(scorer_of(made, opens=None), "abc") == (pytest.approx(3, rel=1e-5), 3)
    assert tokens_and_bytes(scorer_of(of_bytes(), opens="eos_token"), "abc") == (pytest.approx(3, rel=1e-5), 3)


def test_few_positions():
    scorer = scorer_of(of_bytes(), positions=8)
    assert tokens_and_bytes(scorer, "It rains all day long.") == (pytest.approx(22, rel=1e-5), 22)
    found = scorer.likelihoods([("It rains all day", " long."), ("It", " rains all day long")])
    assert [one.log_p for one in found] == pytest.approx([-6 * math.log(257), -19 * math.log(257)], rel=1e-5)
    assert [one.cut for one in found] == [True, True]
    written = scorer_of(of_bytes(), positions=8, uniform=False).write(["It rains all day long.", "It"], 30, [], 1.0)
    assert len(written) == 2 and all(len(text.encode()) <= 30 for text in written)
    assert len(scorer.features(["It rains all day long."], None)[0]) == 16


def test_a_tokenizer_of_another_model():
    with pytest.raises(UserError, match="the model knows only 100"):
        scorer_of(of_bytes(), vocab_size=100).likelihoods([("", "\xff")])


def test_a_model_that_reads_both_ways_is_refused():
    from stlm.evaluate.huggingface import HuggingFaceScorer

    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 257}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=of_bytes(), bos_token="<|end|>")
    with pytest.raises(UserError, match="it isn't causal"):
        HuggingFaceScorer("it", transformers.BertLMHeadModel(transformers.BertConfig(**size)), fast)
    HuggingFaceScorer("it", transformers.BertLMHeadModel(transformers.BertConfig(**size, is_decoder=True)), fast)


def test_settings_that_a_repository_recommends_do_not_count():
    scorer = scorer_of(of_bytes(), uniform=False)
    sampled, greedy = (scorer.write(["It rains"], 40, [], temperature) for temperature in (1.0, 0.0))
    for name, value in {"top_p": 0.01, "repetition_penalty": 5.0, "min_new_tokens": 3, "temperature": 0.1}.items():
        setattr(scorer.model.generation_config, name, value)
    scorer = type(scorer)("it", scorer.model, scorer.tokenizer)
    assert [scorer.write(["It rains"], 40, [], temperature) for temperature in (1.0, 0.0)] == [sampled, greedy]
