"""Index a dataset with pybids."""

import os
from pathlib import Path
from typing import Any

from bids.layout import BIDSLayoutIndexer

from cpmae_bids.exceptions import InputError


class Indexer(BIDSLayoutIndexer):
    """Index with entities of the path below the dataset's root only.

    pybids also reads those of the folders above (pybids#600), follows links that lead back up without end,
    and takes rules from any layout_config.json that it meets.
    """

    def __init__(self, **options: Any):
        super().__init__(config_filename='.there-is-no-such-file', **options)
        self._around: list[Path] = []  # the folder that is being looked through, and those around it

    def _index_dir(self, path, config, force=None):
        if not os.access(path.path, os.R_OK | os.X_OK):
            if not os.path.relpath(path.path, self._layout._root.path).startswith('sub-'):
                return [], []  # such as lost+found
            raise InputError(
                f'{path.path}: a folder that cannot be read; check its permissions, or leave its subject out'
            )
        real = Path(os.path.realpath(path.path))
        if any(folder.is_relative_to(real) for folder in self._around):
            return [], []
        self._around.append(real)
        try:
            return super()._index_dir(path, config, force)
        finally:
            self._around.pop()

    def _index_file(self, abs_fn, entities):
        path, root = os.fspath(abs_fn.path), os.fspath(self._layout._root.path)
        file, tags = super()._index_file('/' + os.path.relpath(path, root), entities)
        # Entities are known: now it gets the name by which it will be found
        file.path, file.dirname = path, os.path.dirname(path)
        return file, [{**tag, 'file_path': path} for tag in tags]
