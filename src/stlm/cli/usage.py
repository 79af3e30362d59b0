"""The texts of ``--help``. Help has to be fast, so no other part of a verb is imported, and kinds are found as names of files.
"""

from stlm.config.help import Row, columns, terminal_width
from stlm.config.slot import kinds_in

VERBS = {
    "train": ("PRESET|FILE.toml|MODEL [--data TEXT] [--name NAME] [flags]", "train a model; writes runs/NAME"),
    "generate": ("RUN PROMPT [flags]", "continue a prompt with a trained model"),
    "params": ("PRESET|FILE.toml|RUN [flags]", "count the parameters of a model, part by part"),
    "report": ("RUN", "write runs/NAME/report.html again"),
    "patches": ("RUN [RUN ...] TEXT|--text TEXT", "show where patches end in a text, and how many bits each byte takes"),
    "eval": ("RUN|hf:NAME [flags]", "score a model on benchmarks, or on a text"),
    "zip": ("RUN FILE -o OUT", "compress a file with a model, which proves its bits per byte"),
    "unzip": ("RUN FILE -o OUT", "restore a file that zip compressed"),
    "publish": ("RUN NAME", "write only the weights of a run, in bfloat16, to models/NAME"),
    "compare": ("RECIPE.py [flags]", "train all arms of an experiment at equal cost; writes results/RECIPE"),
    "check": ("PART [flags]", "check a part of your own: causal, the same step by step, every parameter learns"),
}

# Names of our verbs in other programs.
SYNONYMS = {
    "train": "fit pretrain finetune fine-tune learn resume run start",
    "generate": "sample write complete continue prompt chat infer inference predict",
    "params": "parameters count size summary info",
    "report": "show html plot view",
    "patches": "tokenize tokenise segment boundaries encode",
    "eval": "evaluate evaluation score test benchmark bench perplexity validate",
    "zip": "compress pack archive",
    "unzip": "decompress unpack extract",
    "publish": "save export release upload ship",
    "compare": "sweep ablate ablation experiment recipe",
    "check": "verify doctor lint",
}

# Slots in `stlm train --help`, and the packages whose files are their kinds.
SLOTS = {
    "--data.tokenizer": "stlm.text.tokenizer",
    "--model.patching": "stlm.model.patching",
    "--model.pooling": "stlm.model.pooling",
    "--model.embedding": "stlm.model.embedding",
    "--model.trunk": "stlm.nn.block",
    "--model.local": "stlm.nn.block",
    "--model.sharing": "stlm.model.sharing",
    "--model.depth": "stlm.model.depth",
    "--model.head": "stlm.model.head",
    "--model.copying": "stlm.model.copying",
    "--objective": "stlm.objective",
    "--batches": "stlm.batches",
    "--train.schedule": "stlm.schedule",
    "--train.averaging": "stlm.averaging",
    "--optim": "stlm.optim",
}

# Verbs that compute with several threads.
THREADED = ("train", "generate", "eval", "patches")
_THREADS: Row = ("--threads N", "threads of the CPU (default: one for each core). Fewer may be faster beside busy programs")
_DEVICE: Row = ("--device NAME", "cpu, cuda, cuda:N (the N-th GPU, from 0) or mps (an Apple GPU) (default: auto, a GPU if "
                                 "there is one)")

# Flags of `stlm train` that aren't fields of a run.
TRAIN_FLAGS: list[Row] = [
    ("--name NAME", "folder of the run in runs/ (default: the name of the preset)"),
    ("--resume", "continue the run of that name, or start it if there is none"),
    _DEVICE,
    ("--processes N", "train with so many processes of this machine, such as one for each GPU. The weights are those of one "
                      "process. On several machines: torchrun -m stlm train ..."),
    ("--fsdp WHEN", "auto, on or off: whether each of several processes holds only a part of the weights (default: auto, from "
                    "100m on)"),
    _THREADS,
]

TASKS = "{tasks}"  # replaced by the list of tasks in the help of `eval`
_RUN: Row = ("RUN", "name or folder of a run")
_FORCE: Row = ("--force", "replace what has that name already")

_DETAILS: dict[str, list[Row | str]] = {
    "train": [
        ("PRESET", "demo, 10m, 50m, 100m; 10m-shared, 50m-shared, 100m-shared (one FFN for all layers); 10m-flat (no patches); "
                   "10m-bpe (BPE tokens); reader (for --model.patching entropy); paper (arXiv 2405.14159)"),
        ("FILE.toml", "your own run: the line  base = \"10m\"  and the lines that change"),
        ("MODEL", "a run or a published model, such as 10m-en: train it further on the text of --data (fine-tuning). It takes "
                  "the model, the tokenizer, the objective and the optimizer from there. The run is called MODEL-tuned. A "
                  "preset of the same name comes first"),
        "",
        ("--data TEXT", "a file, a folder, a .zip, hf:NAME, or world, the built-in corpus; several with commas (default: "
                        "world)"),
        ("--field NAME", "field of jsonl and parquet files, or of a data set of the hub, that holds the text (default: text)"),
        *TRAIN_FLAGS,
        ("--seed N", "seed of the weights, of the order of the text, and of the built-in corpus (default: 0)"),
        ("--train.minutes X", "how long to train; or one of --train.steps N, --train.megabytes X of text, "
                              "--train.epochs X (times that the text is read), --train.teraflops X"),
        ("--train.init-from RUN", "start from the weights of this run or model (fine-tuning)"),
        ("--optim.lr X", "peak learning rate; auto: found at the start by short trials"),
        *((f"{flag} KIND", ", ".join(kinds_in(package))) for flag, package in SLOTS.items()),
        "",
        "  Each field of a run is a flag:  stlm train demo --help  lists all, with their values.",
        "",
        "Examples",
        "  stlm train demo",
        "  stlm train demo --data ~/my-notes --name notes --train.minutes 10",
        "  stlm train demo --name notes --resume",
        "  stlm train 10m-en --data poems.txt",
    ],
    "generate": [
        ("RUN", "name or folder of a run, or the folder of one checkpoint"),
        ("PROMPT", "the text to continue; \"\" starts from nothing"),
        "",
        ("--max-bytes N", "write at most this many bytes (default: 500)"),
        ("--temperature X", "0 always takes the most likely token; higher values vary more (default: 0.8)"),
        ("--top-p X", "choose among the most likely tokens whose probabilities add up to this (default: 1)"),
        ("--min-p X", "leave out tokens less likely than this share of the most likely one (default: 0)"),
        ("--seed N", "the same seed writes the same text (default: 0)"),
        ("--speculate N", "the first layers draft N tokens and all layers check them (try 6). The text stays the same. Faster "
                          "for deep trunks, above all those trained with --model.depth early_exit"),
        ("--draft-layer N", "the last layer that drafts (default: an eighth of all layers)"),
        ("--exit-threshold X", "skip the remaining layers once a layer hardly changes a patch (similarity 0 to 1; try 0.98; 0: "
                               "never). Faster; the text changes. For models trained with --model.depth early_exit (default: "
                               "as trained)"),
        _DEVICE,
        _THREADS,
        "",
        "  Only the text goes to standard output, as it is written.",
        "",
        "Example",
        "  stlm generate demo \"Anna wanted to find\" --max-bytes 300",
    ],
    "params": [
        ("PRESET|FILE.toml", "as for train, with any flag of a run"),
        _RUN,
        "",
        "Examples",
        "  stlm params 10m",
        "  stlm params 10m --model.patching stride --model.patching.stride 6",
    ],
    "report": [_RUN],
    "patches": [
        ("RUN", "name or folder of a run; several are shown below each other"),
        ("TEXT", "the text to read"),
        ("--text TEXT", "the beginning of a file, a folder or hf:NAME instead, as for train --data"),
        ("--field NAME", "field of that text, as for train (default: text)"),
        _THREADS,
        "",
        "Example",
        "  stlm patches demo \"Anna wanted to find the red kite.\"",
    ],
    "eval": [
        _RUN,
        ("hf:NAME", "a causal language model of Hugging Face, from the hub or a folder"),
        "",
        ("--tasks LIST", "names with commas (default: paper; with --text: bits)"),
        TASKS,
        ("--data FOLDER", "folder of the benchmarks (default: $STLM_DATA/eval, else the hub)"),
        ("--text TEXT", "text for bits, progression and writing, as for train --data. If a folder has files named validation "
                        "or test, only these are used (default: some of the run's held-out text)"),
        ("--field NAME", "field of that text, as for train (default: text)"),
        ("--limit N", "use only this many items, drawn at random by --seed; the table says so"),
        ("--seed N", "seed of the drawn items, of the damage and of the writing (default: 0)"),
        ("--layer N", "layer of the trunk that linear probes read (default: the last)"),
        ("--judge RUN|hf:NAME", "a larger model that scores what the model writes"),
        ("--output DIR", "where results.json and scores.html go (default: runs/RUN/eval)"),
        ("--force", "replace scores of another model in that folder"),
        _DEVICE,
        _THREADS,
        "",
        "  Answers are saved as they come: the same command continues an evaluation that was stopped.",
        "",
        "Examples",
        "  stlm eval demo --tasks world",
        "  stlm eval 10m --tasks blimp,arc_easy",
        "  stlm eval 10m --text ~/notes",
        "  stlm eval hf:EleutherAI/pythia-70m --tasks blimp --limit 2000",
    ],
    "zip": [
        _RUN,
        ("FILE", "any file, text or not"),
        ("-o OUT", "name of the compressed file"),
        _FORCE,
        "",
        "  It works token by token: some ten thousand bytes take a minute. Needs  pip install 'stlm[eval]'",
        "",
        "Example",
        "  stlm zip demo story.txt -o story.stlm && stlm unzip demo story.stlm -o back.txt",
    ],
    "unzip": [
        ("RUN", "the model that compressed the file"),
        ("FILE", "a file that zip wrote"),
        ("-o OUT", "name of the restored file"),
        _FORCE,
    ],
    "publish": [
        _RUN,
        ("NAME", "name of the model: generate, eval and other verbs then find it in models/"),
        "",
        ("--compression KIND", f"how weights are stored: {', '.join(kinds_in('stlm.compress'))} (default: publish, bfloat16)"),
        _FORCE,
        "",
        "Example",
        "  stlm publish 10m 10m-mine",
    ],
    "compare": [
        ("RECIPE.py", "a recipe: the question, the runs, what is held equal, and what decides (see recipes/)"),
        "",
        ("--jobs N", "number of runs at the same time; they share the cores, so a minute of training comes to less for each "
                     "(default: 1)"),
        ("--device NAME", "of the runs, as for train. If there are several GPUs, auto and cuda share them among the runs"),
        ("--cluster KIND", "slurm; or local, to try it without a cluster. Needs  pip install 'stlm[cluster]'"),
        ("--set NAME=VALUE", "a setting of the cluster's jobs, named as in submitit; may be given several times"),
        "",
        "  It says first how many runs there are and what they take. If one fails, the others go on.",
        "  Finished runs are used again; runs that were stopped continue. The record is written whenever a run ends.",
        "",
        "Examples",
        "  stlm compare recipes/reading_bytes.py",
        "  stlm compare recipes/reading_bytes.py --cluster slurm --set slurm_partition=gpu --set timeout_min=60",
    ],
    "check": [
        ("PART", "module of a part of the model, by its dotted path: mine.idea for mine/idea.py"),
        "",
        ("--FIELD X", "a field of the part; stlm check PART --help lists all"),
        ("--model.FIELD X", "a field of the small models that the part is checked in"),
        "",
        "  The exit status is 1 if a check fails.",
        "",
        "Example",
        "  stlm check mine.my_pooling --heads 2 --model.patching stride",
    ],
}


def usage() -> str:
    """The help of the program."""
    return "\n".join([
        "stlm: train, compare, shrink and use super tiny language models (1M to 100M parameters).", "",
        "usage: stlm VERB ...", "",
        *columns([(verb, summary) for verb, (_, summary) in VERBS.items()], terminal_width()), "",
        "  stlm VERB --help   what a verb takes", "", "First run:  stlm train demo"])


def verb_usage(verb: str) -> str:
    """The help of one verb."""
    arguments, summary = VERBS[verb]
    rows = columns(_rows(verb), terminal_width())
    return "\n".join([f"stlm {verb}: {summary}", "", f"usage: stlm {verb} {arguments}", "", *rows])


def _rows(verb: str) -> list[Row | str]:
    """The rows of the help of one verb. The tasks of `eval` are read from their files."""
    rows = list(_DETAILS[verb])
    if TASKS in rows:
        from stlm.cli.task_list import task_rows
        index = rows.index(TASKS)
        rows[index:index + 1] = task_rows()
    return rows


def flags_of(verb: str) -> dict[str, str]:
    """The flags of a verb and their help texts."""
    rows = [row for row in _rows(verb) if not isinstance(row, str)]
    return {flag.split()[0]: text for flag, text in rows if flag.startswith("-")}

