"""The command line. Each verb is a module of this package. It is imported only when it is used."""

from __future__ import annotations

import importlib
import os
import sys

from stlm.cli import streams
from stlm.cli.processes import launch, speaks
from stlm.cli.threads import use_threads
from stlm.cli.usage import SYNONYMS, THREADED, VERBS, usage, verb_usage
from stlm.config.spread import take_processes
from stlm.config.suggest import did_you_mean
from stlm.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit status: 2 if the input was wrong, 130 if Ctrl-C ended it."""
    streams.prepare()
    try:
        status = _run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
        return status
    except UserError as error:
        status = _refuse(str(error), error.status)
        if error.at_once:
            streams.flush_or_discard()
            os._exit(status)
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the program that reads our output has ended
        streams.flush_or_discard()
        return 0
    except OSError as error:  # such as a name that is too long, a folder that can't be entered, a full disk
        streams.flush_or_discard()
        return _refuse(f"{error.filename or 'standard output or a file'}: {error.strerror or error}")


def _run(arguments: list[str]) -> int:
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if any("\0" in word for word in arguments):
        raise UserError("an argument can't have a NUL byte")
    if verb in ("-h", "--help", "help"):
        print(usage())
        return 0
    if verb == "--version":
        from importlib.metadata import version
        print(f"stlm {version('stlm')}")
        return 0
    if verb not in VERBS:
        raise UserError(f"there is no verb {verb!r}{did_you_mean(verb, list(VERBS), SYNONYMS)}; "
                        f"the verbs are {', '.join(VERBS)}")
    sys.path.append(os.getcwd())  # the user's own modules are found from this folder; last, so that they hide no others
    if not rest or rest[0] in ("-h", "--help"):
        print(verb_usage(verb))
        return 0 if rest else 2
    if verb in THREADED:
        rest = use_threads(rest)
    if verb == "train":
        n, rest = take_processes(rest)
        if n > 1 and not {"-h", "--help"}.intersection(rest):
            return launch(n, [verb, *rest])
    return importlib.import_module(f"stlm.cli.{verb}").run(rest)


def _refuse(message: str, status: int = 2) -> int:
    if speaks():
        print(f"stlm: {streams.one_line(message)}", file=sys.stderr)
    return status
