"""Progress of long work: one line with what is done and the time left, to a terminal or a log."""

import sys
import time
from typing import TextIO


class Progress:
    """Counts steps and prints `label 30/120 25% 1m10s left note`, at most every `interval_s` seconds.

    A terminal gets one line rewritten in place; a log gets a new line each time: its last line is the state.
    """

    def __init__(
        self,
        total: int,
        label: str,
        *,
        done: int = 0,
        interval_s: float = 2.0,
        stream: TextIO | None = None,
    ):
        self.total, self.label, self.done = total, label, done
        self._first, self._interval_s = done, interval_s
        self._stream = stream or sys.stderr
        self._start_s = time.monotonic()
        self._printed_s = float("-inf")

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        now_s = time.monotonic()
        if now_s - self._printed_s >= self._interval_s or self.done >= self.total:
            self._printed_s = now_s
            self._print(note, now_s - self._start_s)

    def _print(self, note: str, elapsed_s: float) -> None:
        worked = self.done - self._first
        left = "" if worked <= 0 else f" {duration(elapsed_s / worked * (self.total - self.done))} left"
        percent = 100 * self.done // max(self.total, 1)
        line = f"{self.label} {self.done}/{self.total} {percent}%{left} {note}".rstrip()
        if self._stream.isatty():
            end = "\n" if self.done >= self.total else ""
            print(f"\r\033[K{line}", end=end, file=self._stream, flush=True)
        else:
            print(line, file=self._stream, flush=True)


def duration(seconds: float) -> str:
    """Seconds in words: `8s`, `1m10s`, `2h05m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
