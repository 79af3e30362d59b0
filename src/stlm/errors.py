"""The one exception that is meant for the person at the keyboard."""


class UserError(Exception):
    """A fault of the input: one line that says what is wrong, where, and what would be right.

    The command line prints the message and exits with ``status``.
    """

    status = 2


def in_one_line(error: BaseException) -> str:
    """What an error of another program says, as part of a line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
