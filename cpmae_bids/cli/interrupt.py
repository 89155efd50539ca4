"""Signals that end a run, even where a library swallows the exception."""

import signal
from types import FrameType
from typing import Any, Self

# Ctrl-C, what schedulers send when time is up, and the end of a terminal unless `nohup` has it outlived
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Context in which these signals raise KeyboardInterrupt, and are remembered.

    Nipype counts an exception inside a node, even this one, as a failure of that node, and would go on
    with the next; Python drops exceptions that are raised during garbage collection. So call `check` between
    nodes, and while a run waits.
    """

    def __init__(self) -> None:
        self.requested = False  # whether one of the signals has come
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        try:
            for number in _SIGNALS:
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._interrupt)
        except ValueError:  # outside the main thread no handler can be set, and none is called
            self._before = {}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal has come."""
        if self.requested:
            raise KeyboardInterrupt
