"""Linear probes: how much of a GLUE task can be read off a model's inner vectors (arXiv 2405.14159, section 4).

The mean of what a layer puts out over a text is its vector; a logistic regression learns the labels from such vectors.
Where a training set is at hand it's fitted on that, else by cross-validation of the validation set, and the record says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from stlm.errors import UserError
from stlm.evaluate.records import Place, Record, load
from stlm.evaluate.scorer import Scorer

FOLDS = 5
MOST = 4000  # texts of a training set that are used, the first


@dataclasses.dataclass(frozen=True)
class Probe:
    """A GLUE or SuperGLUE task. fields: of the sentences."""

    name: str
    title: str
    place: Place
    fields: tuple[str, ...]

    def text(self, record: Record) -> str:
        return "\n".join(record[field].strip() for field in self.fields)


def _probe(name: str, title: str, fields: tuple[str, ...], hub: str = "nyu-mll/glue", prefix: str = "glue") -> Probe:
    return Probe(name, title, Place(f"{prefix}_{name}_validation", hub, name, "validation"), fields)


PROBES = [
    _probe("sst2", "SST-2", ("sentence",)), _probe("mrpc", "MRPC", ("sentence1", "sentence2")),
    _probe("rte", "RTE", ("sentence1", "sentence2")),
    _probe("cb", "CB", ("premise", "hypothesis"), "aps/super_glue", "super_glue"),
]


def run(scorer: Scorer, probe: Probe, folder: Path | None, layer: int | None, seed: int,
        progress: Callable[[float], None] = lambda share: None) -> dict[str, Any]:
    """Accuracy of the probe; chance is that of always saying the commonest label."""
    records, source = load(probe.place, folder)
    train = _train(probe, folder, source)
    texts = [*map(probe.text, train), *map(probe.text, records)]
    done = 0

    def more(n: int) -> None:
        nonlocal done
        done += n
        progress(done / len(texts))

    vectors = np.array(scorer.features(texts, layer, more))
    labels = np.array([record["label"] for record in [*train, *records]])
    n = len(train)
    right = _fitted(vectors[:n], labels[:n], vectors[n:], labels[n:]) if n else _crossed(vectors, labels, seed)
    return {"alias": probe.title, "n": len(records), "acc,none": float(right.mean()),
            "acc_stderr,none": float(right.std(ddof=1) / len(right)**0.5),
            "chance": float(np.unique(labels[n:], return_counts=True)[1].max() / len(records)), "ties": 0,
            "published": len(records), "source": source, "subset_seed": None, "groups": {},
            "how": f"logistic regression on the mean of layer {layer or 'last'}, "
                   + (f"fitted on {n} training texts" if n else f"by cross-validation in {FOLDS} folds")}


def _train(probe: Probe, folder: Path | None, source: str) -> list[Record]:
    place = dataclasses.replace(probe.place, file=probe.place.file.replace("validation", "train"), split="train")
    if source == "STLM_DATA":
        return []
    try:
        return load(place, folder)[0][:MOST]
    except UserError:
        return []


def _regression() -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ModuleNotFoundError:
        raise UserError("linear probes need scikit-learn; pip install 'stlm[eval]'") from None
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))


def _fitted(train: np.ndarray, labels: np.ndarray, vectors: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return _regression().fit(train, labels).predict(vectors) == wanted


def _crossed(vectors: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Each text's label as told by a probe that has not seen the text."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(min(FOLDS, int(np.unique(labels, return_counts=True)[1].min())), shuffle=True, random_state=seed)
    return cross_val_predict(_regression(), vectors, labels, cv=folds) == labels
