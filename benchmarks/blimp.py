"""The time for all of BLiMP, compared with lm-evaluation-harness and a Hugging Face Llama of the same size.

    python -m benchmarks blimp [--preset 10m] [--rounds 3] [--each 2010]

It needs STLM_DATA and  pip install 'stlm[hf,harness]'. Both models have random weights, compute in float32 on all cores, and
score the same pairs. They take turns on ``--each`` pairs, and the result is the ratio of each round. Then ours scores all
67,000 pairs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks import common
from benchmarks.llama import TOKENIZER, llama_of
from stlm.evaluate.benchmark import answer
from stlm.evaluate.evaluation import TaskData
from stlm.evaluate.items import sample
from stlm.evaluate.native import NativeScorer
from stlm.evaluate.records import load
from stlm.evaluate.task import blimp
from stlm.model.count import count
from stlm.model.lm import LM
from stlm.train.presets import PRESETS

YAML = """
task: blimp_pairs
dataset_path: json
dataset_kwargs: {{data_files: {{train: {file}}}}}
output_type: multiple_choice
validation_split: train
doc_to_text: ""
doc_to_target: 0
doc_to_choice: "{{{{[sentence_good, sentence_bad]}}}}"
metric_list: [{{metric: acc}}]
"""


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks blimp", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="10m", choices=list(PRESETS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--each", type=int, default=2010)
    given = parser.parse_args(arguments)
    run = PRESETS[given.preset]()
    model = LM(run.model, TOKENIZER)
    scorer, task = NativeScorer(given.preset, model, TOKENIZER, run.train.seq_len), blimp.Config()
    items, records = task.items(TaskData())[0], load(task.place)[0]
    llama = llama_of(count(model).unique).eval()
    with tempfile.TemporaryDirectory() as scratch:
        rounds = []
        for number in range(given.rounds + 1):
            chosen = sample(list(zip(items, records, strict=True)), given.each, number)
            theirs = _harness(llama, [record for _, record in chosen], Path(scratch))
            ours = common.timed(lambda chosen=chosen: answer(scorer, task.kind, [item for item, _ in chosen]))
            rounds.append((ours, theirs))
    rounds = rounds[1:]  # the first round is for warming up
    ratio = common.spread(their / our for our, their in rounds)
    whole = common.timed(lambda: answer(scorer, task.kind, items))
    sizes = {"stlm": count(model).unique, "Llama": sum(p.numel() for p in llama.parameters())}
    record: dict[str, Any] = {
        "question": "How long does BLiMP take?", "preset": given.preset, "parameters": sizes, "pairs": given.each,
        "seconds": {"stlm": common.spread(our for our, _ in rounds), "lm-eval with a Llama": common.spread(
            their for _, their in rounds)}, "times_as_fast": ratio, "seconds_for_all": whole,
        "sentences_per_second": 2 * len(items) / whole, "threads": torch.get_num_threads()}
    common.save(f"blimp-{given.preset}", record)
    common.print_table(f"BLiMP with {given.preset}", ["", "seconds", "times as fast"], [
        [f"stlm, {given.each:,} pairs", common.shown(record["seconds"]["stlm"], 1), ""],
        [f"lm-eval, Llama over bytes, {given.each:,} pairs", common.shown(record["seconds"]["lm-eval with a Llama"], 1),
         common.shown(ratio)],
        [f"stlm, all {len(items):,} pairs", f"{whole:.0f}", ""]])


def _harness(llama: torch.nn.Module, records: list[dict[str, Any]], folder: Path) -> float:
    """Seconds that lm-eval takes for these pairs, with its tokenizing and without its start."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    (folder / "pairs.json").write_text("\n".join(map(json.dumps, records)))
    (folder / "pairs.yaml").write_text(YAML.format(file=folder / "pairs.json"))
    model = HFLM(pretrained=llama, tokenizer=_byte_tokenizer(), batch_size=64, dtype="float32", max_length=512)
    manager, seconds = TaskManager(include_defaults=False, include_path=str(folder)), 0.0
    likelihood = model.loglikelihood

    def timed(*given: Any, **more: Any) -> Any:
        nonlocal seconds
        found: list[Any] = []
        seconds += common.timed(lambda: found.append(likelihood(*given, **more)))
        return found[0]

    model.loglikelihood = timed
    lm_eval.simple_evaluate(model=model, tasks=["blimp_pairs"], task_manager=manager, bootstrap_iters=0)
    return seconds


def _byte_tokenizer() -> Any:
    """A tokenizer of Hugging Face whose tokens are bytes, like those of the Llama. The token after them is BOS."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab={**letters, "<s>": TOKENIZER.bos}, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="<s>")
