"""Linear probes: how well the hidden vectors of a model predict the labels of a GLUE task (arXiv 2405.14159, section 4).

The vector of a text is the mean of a layer's outputs. A logistic regression learns the labels from such vectors. It is fitted
on the training set if there is one, or else by cross-validation on the validation set. The record says which.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from stlm.errors import UserError
from stlm.evaluate.evaluation import Evaluation, TaskData
from stlm.evaluate.records import Place, Record, digest_of, load
from stlm.evaluate.task import Figures, TaskConfig

FOLDS = 5
MOST = 4000  # number of texts of a training set that are used: the first ones


class LinearProbe(TaskConfig):
    """A task of texts with labels, such as those of GLUE and SuperGLUE."""

    options = ("data", "layer")
    place: ClassVar[Place]
    """Where the validation set is."""
    fields: ClassVar[tuple[str, ...]]
    """Fields of a record whose sentences together are a text."""

    def run(self, context: Evaluation) -> Figures:
        return self.prepare(context)(context)

    def prepare(self, data: TaskData) -> Callable[[Evaluation], Figures]:
        _regression()  # a missing package is told before anything is scored
        records, source = load(self.place, data.folder)
        train = _train(self.place, data.folder, source)
        return lambda context: self._score(context, train, records, source)

    def _score(self, context: Evaluation, train: list[Record], records: list[Record], source: str) -> Figures:
        """Accuracy of the probe. Chance is the accuracy of always choosing the most common label."""
        texts = ["\n".join(record[field].strip() for field in self.fields) for record in [*train, *records]]
        vectors = np.array(context.scorer.features(texts, context.layer, context.count_to(len(texts))))
        labels = np.array([record["label"] for record in [*train, *records]])
        n = len(train)
        right = _fitted(vectors[:n], labels[:n], vectors[n:], labels[n:]) if n else _crossed(vectors, labels, context.seed)
        return {"n": len(records), "acc,none": float(right.mean()),
                "acc_stderr,none": float(right.std(ddof=1) / len(right)**0.5),
                "chance": float(np.unique(labels[n:], return_counts=True)[1].max() / len(records)), "ties": 0,
                "published": len(records), "source": source, "subset_seed": None,
                "digest": digest_of(f"{label} {text}".encode() for label, text in zip(labels.tolist(), texts, strict=True)),
                "how": f"logistic regression on the mean of layer {context.layer or 'last'}, "
                       + (f"fitted on {n} training texts" if n else f"by cross-validation in {FOLDS} folds")}


def _train(place: Place, folder: Path | None, source: str) -> list[Record]:
    if source == "STLM_DATA":
        return []
    try:
        return load(dataclasses.replace(place, file=place.file.replace("validation", "train"), split="train"), folder)[0][:MOST]
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
    """Whether the label of each text is right, predicted by a probe that was fitted without that text."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(min(FOLDS, int(np.unique(labels, return_counts=True)[1].min())), shuffle=True, random_state=seed)
    return cross_val_predict(_regression(), vectors, labels, cv=folds) == labels
