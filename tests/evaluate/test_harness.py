"""Native scores are those of lm-evaluation-harness, item by item, for a model of ours and one of Hugging Face."""

from __future__ import annotations

import json

import pytest
import torch

from stlm.errors import UserError
from stlm.evaluate.benchmark import answer, judge, summarize
from stlm.evaluate.evaluation import Evaluation, TaskData
from stlm.evaluate.native import NativeScorer
from stlm.evaluate.task import find

lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'stlm[harness]'")
pytestmark = pytest.mark.slow
SHOWN = 40  # items of each task
FILES = {
    "hellaswag": ("validation", "hellaswag.yaml"), "arc_easy": ("test", "arc_easy.yaml"),
    "arc_challenge": ("test", "arc_challenge.yaml"), "winogrande": ("validation", "default.yaml"),
    "openbookqa": ("test", "openbookqa.yaml"), "commonsense_qa": ("validation", "default.yaml"),
    "boolq": ("validation", "default.yaml"), "lambada_openai": ("test", "lambada_openai.yaml"),
}


def lines(records):
    return "\n".join(map(json.dumps, records))


def in_the_words_of_the_hub(name, record):
    """A record of ours as the harness's own task files expect it."""
    if name == "hellaswag":  # texts are ready there
        return record | {"label": str(record["gold"])}
    if name == "winogrande":
        return record
    if name == "lambada_openai":
        return {"text": record["context"] + " " + record["continuation"]}
    if name == "boolq":  # the prompt taken to pieces, for the harness to put together
        passage, _, question = record["query"].rpartition("\nQuestion: ")
        return {"passage": passage, "question": question.removesuffix("?\nAnswer:"),
                "label": ["no", "yes"].index(record["choices"][record["gold"]])}
    if name.startswith("mmlu"):
        return record | {"answer": record["gold"]}
    if name == "blimp":
        return record
    letters = "ABCDE"[:len(record["choices"])]
    return {"question": record["question"], "question_stem": record["question"], "answerKey": letters[record["gold"]],
            "choices": {"text": record["choices"], "label": list(letters)}}


def harness_tasks(folder, records, examples):
    """Task files of the harness over our records: its own prompts, read from files instead of the hub. examples: records that
    are shown solved.
    """
    from pathlib import Path

    import yaml

    home = Path(lm_eval.__file__).parent / "tasks"
    for name, found in records.items():
        data = folder / f"{name}.json"
        data.write_text(lines(found))
        split, file = FILES.get(name, ("test", ""))
        if file:
            path = next(path for path in home.rglob(file) if path.parent.name in (name, name.split("_")[0]))
            text = path.read_text()
            if name == "arc_challenge":
                text = (path.parent / "arc_easy.yaml").read_text()
            own = yaml.load(text.replace("!function", ""), Loader=yaml.SafeLoader)
        elif name == "blimp":
            own = yaml.safe_load((home / "blimp" / "_template_yaml").read_text())
            split = "train"
        else:
            own = yaml.safe_load((home / "mmlu" / "default" / "_default_template_yaml").read_text())
            subject = found[0]["subject"].replace("_", " ")
            own["description"] = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
        own = {key: value for key, value in own.items() if key not in ("tag", "training_split", "include", "fewshot_split",
                                                                         "fewshot_config", "dataset_name", "process_docs")}
        if name == "hellaswag":
            own |= {"doc_to_text": "{{query}}", "doc_to_target": "{{label}}"}
        if name == "winogrande":
            for key in ("doc_to_text", "doc_to_target", "doc_to_choice"):
                own[key] = f"!function {home}/winogrande/preprocess_winogrande.{key}"
        files = {split: str(data)}
        if name == "mmlu_5shot":
            files["dev"] = str(folder / "dev.json")
            (folder / "dev.json").write_text(lines(examples))
            own |= {"fewshot_split": "dev", "fewshot_config": {"sampler": "first_n"}, "num_fewshot": 5}
        own |= {"task": f"our_{name}", "dataset_path": "json", "dataset_name": None, "test_split": None,
                "validation_split": None, "dataset_kwargs": {"data_files": files}}
        own["test_split" if split == "test" else "validation_split"] = split
        if "acc_norm" in json.dumps(own.get("metric_list", [])):
            own["metric_list"] = [*own["metric_list"], {"metric": "acc_bytes", "aggregation": "mean", "higher_is_better": True}]
        text = yaml.safe_dump(own)
        for key in ("doc_to_text", "doc_to_target", "doc_to_choice"):
            text = text.replace(f"'!function {home}/winogrande/preprocess_winogrande.{key}'",
                                "!function preprocess_winogrande." + key)
        (folder / f"our_{name}.yaml").write_text(text)
    (folder / "preprocess_winogrande.py").write_text((home / "winogrande" / "preprocess_winogrande.py").read_text())


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The first items of each task, ours and the harness's."""
    import os

    if not os.environ.get("STLM_DATA"):
        pytest.skip("STLM_DATA is not set: no benchmarks at hand")
    from stlm.evaluate.records import load
    folder = tmp_path_factory.mktemp("tasks")
    names = [*FILES, "blimp", "mmlu", "mmlu_5shot"]
    records = {name: load(find(name).place)[0][:SHOWN] for name in names}
    hub = {name: [in_the_words_of_the_hub(name, record) for record in found] for name, found in records.items()}
    subject = records["mmlu_5shot"][0]["subject"]
    harness_tasks(folder, hub, [in_the_words_of_the_hub("mmlu", record) for record in load(find("mmlu_5shot").examples)[0]
                                if record["subject"] == subject])
    return folder, {name: find(name).items(TaskData())[0][:SHOWN] for name in names}


def compare(model, scorer, shared):
    from lm_eval.tasks import TaskManager

    folder, items = shared
    manager = TaskManager(include_defaults=False, include_path=str(folder))
    found = lm_eval.simple_evaluate(model=model, tasks=[f"our_{name}" for name in items], task_manager=manager,
                                    log_samples=True, bootstrap_iters=0)
    checked = 0
    for name, own in items.items():
        samples = sorted(found["samples"][f"our_{name}"], key=lambda sample: sample["doc_id"])
        outcomes = [judge(item, answers) for item, answers in
                    zip(own, answer(scorer, name, own), strict=True)]
        assert len(samples) == len(outcomes) == SHOWN
        for metric in find(name).metrics:
            theirs, ours = [s[metric] for s in samples], [o.right[metric] for o in outcomes]
            whole = summarize(find(name).metrics, own, outcomes)[f"{metric},none"]
            assert found["results"][f"our_{name}"][f"{metric},none"] == pytest.approx(whole, rel=1e-4, abs=1e-9)
            assert theirs == (pytest.approx(ours, rel=1e-4) if metric == "perplexity" else ours), (name, metric)
            checked += SHOWN
    assert checked == SHOWN * sum(len(find(name).metrics) for name in items)


def trained():
    """A model of ours after a few steps: its likelihoods are no longer noise."""
    from stlm.data.shards import Shard
    from stlm.data.stream import Stream
    from stlm.model.lm import LM
    from stlm.objective import causal
    from stlm.text.tokenizer.bytes import ByteTokenizer
    from stlm.train.presets import demo

    torch.manual_seed(0)
    tokenizer = ByteTokenizer()
    model = LM(demo().model, tokenizer)
    words = [item.pairs[0][0].encode() for item in find("arc_easy").items(TaskData())[0][:200]]
    stream = Stream(Shard.of(words, tokenizer), tokenizer, 256, 8, 0)
    optimizer, objective = torch.optim.AdamW(model.parameters(), 3e-3), causal.Causal()
    for step in range(30):
        objective(model, stream.batch(step)).total.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, tokenizer


def test_a_model_of_ours(shared):
    from stlm.evaluate.harness import StlmModel
    scorer = NativeScorer("ours", *trained(), 1024)
    compare(StlmModel(scorer=scorer), scorer, shared)


def test_a_model_of_hugging_face(shared, tmp_path):
    from lm_eval.models.huggingface import HFLM
    from tests.evaluate.test_huggingface import small_llama

    from stlm.evaluate.huggingface import HuggingFaceScorer
    scorer = HuggingFaceScorer.load(str(small_llama(tmp_path / "llama", positions=2048)))
    compare(HFLM(pretrained=scorer.model, tokenizer=scorer.tokenizer, batch_size=8, dtype="float32"), scorer, shared)


def test_results_have_the_shape_of_the_harness(shared):
    from lm_eval.utils import make_table

    from stlm.evaluate import results
    scorer = NativeScorer("ours", *trained(), 1024)
    found = results.no_scores(scorer)
    for name in ("blimp", "arc_easy"):
        task = find(name)
        results.add(found, task, task.score(scorer, shared[1][name]), 1.0, Evaluation(scorer=scorer))
    table = make_table(found)
    assert "|ARC-easy" in table and "acc_norm" in table and "phenomenon" in table and "N/A" not in table.replace("± |N/A", "")


@pytest.mark.parametrize(("arguments", "message"), [
    ({"path": "nope"}, "there is no run 'nope'"), ({"pretrained": "10m-en"}, "pretrained=: the model stlm takes path=RUN"),
    ({}, "path=: the model stlm takes path=RUN"), ({"path": "", "batch_size": 8}, "path=: the model stlm takes path=RUN"),
    ({"path": "10m-en", "dtype": "float"}, "dtype=: ")])
def test_wrong_arguments_are_named(arguments, message):
    from stlm.evaluate.harness import StlmModel
    with pytest.raises(UserError, match=message):
        StlmModel(**arguments)


def test_faults_of_the_command_are_one_line(capsys, monkeypatch):
    from stlm.evaluate import harness
    for fault, message in ((UserError("no run"), "stlm: no run\n"), (ConnectionError("no net"), "no net (its tasks are read")):
        monkeypatch.setattr("lm_eval.__main__.cli_evaluate", lambda fault=fault: (_ for _ in ()).throw(fault))
        assert harness.main() == 2
        said = capsys.readouterr().err
        assert message in said and len(said.splitlines()) == 1


def test_rolling_and_writing(tmp_path):
    from lm_eval.api.instance import Instance

    from stlm.evaluate.harness import StlmModel
    scorer = NativeScorer("ours", *trained(), 256)
    model = StlmModel(scorer=scorer)
    text = "Which of these melts in the sun? " * 20
    rolling = model.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0)])
    assert rolling == scorer.log_p_of_documents([text.encode()])
    until = Instance("generate_until", {}, ("Question: ", {"until": ["e"], "max_gen_toks": 30}), 0)
    assert "e" not in model.generate_until([until])[0]
