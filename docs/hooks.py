"""Lets the pages be read both in the repository and as a site, which has but the folder docs."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, **_) -> str:
    """Turn links to files of the repository that are not part of the site into their names."""

    def name(match: re.Match) -> str:
        text, target = match.groups()
        return f'{text} (`{target}` in the repository)' if (ROOT / target).exists() else match[0]

    return re.sub(r'\[([^]]*)\]\(\.\./([^)#]+)(?:#[^)]*)?\)', name, markdown)
