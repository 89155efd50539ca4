"""The files below a folder, as people share them: through links, each folder once."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def files_below(
    root: Path, enter: Callable[[str], bool], refused: Callable[[OSError], object] | None = None
) -> Iterator[Path]:
    """Yield the paths of all files below a folder, folder by folder, sorted.

    `enter` says by its name whether to look into a folder; `refused` is told of folders that cannot be read.
    """
    seen = set()
    for place, folders, names in os.walk(root, onerror=refused, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(filter(enter, folders))
        yield from (Path(place, name) for name in sorted(names))
