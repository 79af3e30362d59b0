"""The text of a run."""

from __future__ import annotations

import dataclasses

from stlm.data.concat import open_sources
from stlm.data.shards import Corpus
from stlm.data.sources import Source
from stlm.data.splits import LEAST
from stlm.train.run_config import RunConfig

ROWS = 10  # rows that are held out at least, if the text is long enough


def beginning_of(config: RunConfig, corpus: Corpus) -> Corpus:
    """The part of a text that a run is trained on."""
    if config.data.first_megabytes is None:
        return corpus
    train = corpus.train.beginning(1e6 * config.data.first_megabytes, corpus.tokenizer)
    return dataclasses.replace(corpus, train=train)


def open_text(config: RunConfig) -> Source:
    """The text of a run. Enough of it is held out for a score: `ROWS` rows, if it is long enough for that."""
    data = config.data
    return open_sources(data.source, field=data.field, seed=config.seed, megabytes=data.megabytes,
                        held_out=max(LEAST, ROWS * config.train.seq_len * data.tokenizer.bytes_per_token))
