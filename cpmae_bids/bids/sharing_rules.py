"""What may be shared as it is, by allow-lists (``data/sharing.json``)."""

import json
from functools import cache
from typing import Any

from cpmae_bids.runtime.packaged import packaged_text


@cache
def sharing_rules() -> dict[str, Any]:
    """Return the lists: images, tables, fields and texts, values of columns, and words for suffixes."""
    return json.loads(packaged_text('data/sharing.json'))
