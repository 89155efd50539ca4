"""Read JSON that other programs wrote, and write JSON that they can read."""

import errno
import json
import math
from pathlib import Path
from typing import Any

from cpmae_bids.runtime.content import is_elsewhere, unreadable

MAX_BYTES = 2**25  # largest JSON file that is read; real ones have a few kilobytes


def read_json(path: Path) -> Any:
    """Read a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises OSError if it cannot be read, ValueError if it is not JSON, is nested too deeply or too large for a
    sidecar.
    """
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise ValueError('is not a file')
    if is_elsewhere(path):
        raise FileNotFoundError(errno.ENOENT, unreadable(path))
    with path.open('rb') as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f'larger than {MAX_BYTES // 2**20} MiB')
    try:
        return json.loads(content.decode(json.detect_encoding(content)))
    except RecursionError:
        raise ValueError('nested too deeply') from None


def to_json(content: Any) -> str:
    """Return the text of a JSON file; numbers that JSON does not have (NaN, infinity) become null."""
    return json.dumps(_finite(content), indent=2, allow_nan=False) + '\n'


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
