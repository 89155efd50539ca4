"""JSON as other programs can read it."""

import json
import math
from typing import Any


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
