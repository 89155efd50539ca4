"""Standard streams whose errors do not end a command."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


class Forgiving:
    """A text stream; what its file, pipe or terminal does not accept is lost."""

    def __init__(self, stream: Any):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, if that is possible."""
        with contextlib.suppress(OSError, ValueError):  # a full disk or closed pipe; a closed stream
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Pass on what was written, if that is possible."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


@contextlib.contextmanager
def forgiving_streams() -> Iterator[None]:
    """Let no closed, full or missing log end a command, or become part of one of its files.

    Enter it before any file is opened: a closed standard stream leaves its number to the next file, into
    which libraries would write their messages.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    streams = [_usable(stream) for stream in before]
    sys.stdout, sys.stderr = map(Forgiving, streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in streams:
            _empty(stream)


def _usable(stream: Any) -> Any:
    """Return a stream that takes any text, names of files included, or one in its place."""
    if stream is None or stream.closed:
        return open(os.devnull, 'w', encoding='utf-8')
    if hasattr(stream, 'reconfigure'):
        stream.reconfigure(errors='backslashreplace')
    return stream


def _empty(stream: Any) -> None:
    """Pass on what is left, or lose it: the interpreter would end with an error of its own."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
