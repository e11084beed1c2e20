"""The error that a user can mend, and how a command shows it: one sentence, no traceback, exit code 2."""

import contextlib
import errno
import sys
from collections.abc import Callable


class InputError(ValueError):
    """Something the user gave is wrong; the message says what, where and how to mend it."""


def run(main: Callable[[], None]) -> None:
    """Run a command's `main` and turn what a user can mend into one sentence and a non-zero exit.

    Errors of our own logic keep their traceback: they are bugs, and a bug report needs it.
    """
    try:
        main()
    except InputError as error:
        _leave(str(error), code=2)
    except KeyboardInterrupt:
        _leave("interrupted; run the same command again to go on", code=130)
    except OSError as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        _leave(sentence, code=2)


def _sentence(error: OSError) -> str | None:
    where = error.filename or "the output"
    return {
        errno.ENOENT: f"{where} does not exist; check the path or make it first",
        errno.EACCES: f"{where} may not be read or written by this user; change its permissions",
        errno.EISDIR: f"{where} is a folder where a file is expected",
        errno.ENOTDIR: f"{where} is a file where a folder is expected",
        errno.EROFS: f"{where} lies on a read-only disk; choose another folder",
        errno.EDQUOT: f"the disk quota for {where} is used up; free some space and run the same command again",
        errno.ENOSPC: f"the disk that holds {where} is full; free some space and run the same command again",
    }.get(error.errno)


def _leave(sentence: str, *, code: int) -> None:
    with contextlib.suppress(OSError):  # a full disk may hold the log as well
        print(f"error: {sentence}", file=sys.stderr, flush=True)
    raise SystemExit(code)
