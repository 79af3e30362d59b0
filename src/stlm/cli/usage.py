"""What ``--help`` says. Plain text, so that it answers at once: no verb's work is imported for it."""

VERBS = {
    "train": ("PRESET|FILE.toml [--data TEXT] [--name NAME] [flags]", "train a model; writes runs/NAME"),
    "generate": ("RUN PROMPT [flags]", "continue a prompt with a trained model"),
    "params": ("PRESET|FILE.toml|RUN [flags]", "count the parameters of a model, part by part"),
    "report": ("RUN", "write runs/NAME/report.html anew"),
    "patches": ("RUN [RUN ...] TEXT", "show where patches end in a text, and what each byte costs"),
    "eval": ("RUN|hf:NAME [flags]", "score a model on benchmarks, or on a text"),
    "zip": ("RUN FILE -o OUT", "pack a file with a model: bits per byte, proved"),
    "unzip": ("RUN FILE -o OUT", "unpack what zip packed"),
    "publish": ("RUN NAME", "write a run's weights alone, in bfloat16, to models/NAME"),
    "compare": ("RECIPE.py [flags]", "train all arms of an experiment at equal cost; writes results/RECIPE"),
    "check": ("PART [flags]", "check a part of your own: that nothing leaks, that it goes on from its memory, that it learns"),
}

_DETAILS = {
    "train": """\
  PRESET               demo, 10m, 50m, 100m; with one FFN 10m-shared, 50m-shared, 100m-shared;
                       the controls of 10m, 10m-flat and 10m-bpe; reader, paper
  FILE.toml            your own: the line  base = "10m"  and the lines that change

  --data TEXT          a file, a folder, hf:NAME, or world, the built-in corpus (default); several with commas
  --data.field NAME    which field of jsonl and parquet holds the text (default: text)
  --data.tokenizer KIND    bytes, bpe, subword
  --name NAME          the run's folder in runs/ (default: the preset's name)
  --seed N             of the weights, the order of the text and the built-in corpus
  --resume             go on with the run of that name, or start it where there is none
  --train.minutes M    how long to train, or
  --train.steps N      how many steps, or
  --train.megabytes M  how much text, or
  --train.teraflops T  how much arithmetic
  --train.checkpoint-every N   steps between checkpoints
  --model.patching KIND        none, stride, whitespace, subword, entropy, dynamic
  --model.pooling KIND         last, mean, attention
  --model.embedding KIND       tokens, ngrams, recall
  --model.copying KIND         none, pointer
  --model.head KIND            tied, untied, multi_byte, parallel
  --model.sharing KIND         none, ffn, adjacent, cycle, all
  --model.depth KIND           full, early_exit, mixture, skip
  --train.init-from RUN            begin with the weights of a run, which may share less
  --model.local KIND           conv, attention, linear; --model.trunk KIND the same
  --optim KIND         adamw, muon
  --optim.lr RATE      peak learning rate

  Every field of a run is a flag:  stlm train demo --help  lists all, with their defaults.

Examples
  stlm train demo
  stlm train demo --data ~/my-notes --name notes --train.minutes 10
  stlm train demo --name notes --resume""",
    "generate": """\
  RUN                  a run's name, its folder, or the folder of one checkpoint
  PROMPT               the text to continue; "" writes from nothing

  --max-bytes N        how much to write at most (default: 500)
  --temperature T      0 takes the likeliest token each time (default: 0.8)
  --top-p P            keep the likeliest tokens with this probability together (default: 1)
  --min-p P            keep tokens with this share of the likeliest one's probability (default: 0)
  --seed N             same seed, same text (default: 0)
  --speculate N        draft N tokens by the first layers, verify by all: the same text, faster with deep trunks, most of all
                       those trained with --model.depth early_exit; 6 is good
  --draft-layer LAYER         which layer drafts (default: an eighth of all)
  --exit-threshold LIKENESS     patches leave where a layer changes them no more than this (cosine, such as 0.98; 0 for never), for
                       models trained with --model.depth early_exit: faster, and another text (default: as trained)

  The text alone goes to standard output, as it's written.

Example
  stlm generate demo "Anna wanted to find" --max-bytes 300""",
    "params": """\
  PRESET|FILE.toml     as for train, with any --model flag
  RUN                  a trained run

Examples
  stlm params 10m
  stlm params 10m --model.patching stride --model.patching.stride 6""",
    "report": """\
  RUN                  a run's name or folder""",
    "patches": """\
  RUN                  a run's name or folder; several are shown under each other
  TEXT                 the text to read

Example
  stlm patches demo "Anna wanted to find the red kite." """,
    "eval": """\
  RUN                  a run's name or folder
  hf:NAME              a causal language model of Hugging Face, from the hub or a folder

  --tasks LIST         with commas (default: paper, or bits where --text is given):
                         paper       blimp, hellaswag, arc_easy, winogrande, mmlu
                         more        mmlu_5shot, arc_challenge, lambada_openai, openbookqa, commonsense_qa, boolq
                         world       minimal pairs of the built-in corpus, which need no data
                         glue        linear probes: sst2, mrpc, rte, cb
                         bits        bits per byte of a text
                         progression real text against the same, spoilt in six ways
                         writing     what it writes: variety, repetition, grammar
                         all         all of these
  --data FOLDER        where the benchmarks lie (default: $STLM_DATA/eval, else the hub)
  --text TEXT          a file or folder for bits, progression and writing, of a folder the files named validation or test,
                       where there are such (default: some of the run's held-out text)
  --limit N            only so many items, drawn by --seed; the table says so
  --seed N             of subsets, spoiling and writing (default: 0)
  --layer N            of the trunk, for glue (default: the last)
  --judge RUN|hf:NAME  a larger model that what is written is read by
  --output DIR         where results.json and scores.html go (default: runs/RUN/eval)

  Answers are kept as they come, so a killed evaluation goes on where it was.

Examples
  stlm eval demo --tasks world
  stlm eval 10m --tasks blimp,arc_easy
  stlm eval 10m --text ~/notes
  stlm eval hf:EleutherAI/pythia-70m --tasks blimp --limit 2000""",
    "zip": """\
  RUN                  a run's name or folder
  FILE                 any file, text or not
  -o OUT               where the packed file goes

  One token at a time, so it takes a minute for some ten thousand bytes. Needs  pip install 'stlm[eval]'

Example
  stlm zip demo story.txt -o story.stlm && stlm unzip demo story.stlm -o back.txt""",
    "unzip": """\
  RUN                  the model that packed the file
  FILE                 what zip wrote
  -o OUT               where the file goes""",
    "publish": """\
  RUN                  a run's name or folder
  NAME                 of the model: stlm generate NAME, eval NAME and the others find it in models/

Example
  stlm publish 10m 10m-mine""",
    "compare": """\
  RECIPE.py            a recipe: what is asked, what is run, what is held equal, and what decides (see recipes/)

  --jobs N             how many runs at once; they share the cores (default: 1)
  --cluster KIND       slurm, or local to try it without one; needs  pip install 'stlm[cluster]'
  --set NAME=VALUE     a setting of the cluster's jobs, as submitit names it; may be given again

  Runs that are finished are used again; those that were killed go on. The record is written as each run ends.

Examples
  stlm compare recipes/reading_bytes.py
  stlm compare recipes/reading_bytes.py --cluster slurm --set slurm_partition=gpu --set timeout_min=60""",
    "check": """\
  PART                 the module of a part of the model, by its dotted path: mine.idea for mine/idea.py

  --FIELD VALUE        a field of the part;  stlm check PART --help  lists all
  --model.FIELD VALUE  a field of the small models that it is checked in

  Ends with status 1 where a check fails.

Example
  stlm check mine.my_pooling --heads 2 --model.patching stride""",
}

USAGE = "\n".join([
    "stlm: train, compare, shrink and use super tiny language models (1M to 100M parameters).",
    "",
    "usage: stlm VERB ...",
    "",
    *(f"  {verb:<10} {summary}" for verb, (_, summary) in VERBS.items()),
    "",
    "  stlm VERB --help   what a verb takes",
    "",
    "First run:  stlm train demo",
])


def verb_usage(verb: str) -> str:
    """The help of one verb."""
    arguments, summary = VERBS[verb]
    return f"stlm {verb}: {summary}\n\nusage: stlm {verb} {arguments}\n\n{_DETAILS[verb]}"
