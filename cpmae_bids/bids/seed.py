"""The seed of a dataset, shared by all runs into one output."""

import secrets
import tomllib
from pathlib import Path

from cpmae_bids.bids.derivatives import config_text
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import UsageError


def settle_seed(config: RunConfig) -> RunConfig:
    """Return the settings with a seed: as given, else that of earlier runs into the output, else drawn.

    So all sessions of a subject share theirs, and complete scans stay complete. Of runs that start at the
    same time, the first one settles it for all. Raises UsageError if the log folder of the output cannot be
    written.
    """
    if config.seed is not None:
        return config
    path = config.output_dir / 'logs' / 'config.toml'
    stored = _stored_seed(path)
    if stored is None:
        drawn = config.replace(seed=secrets.randbelow(2**31))
        if config.dry_run:
            return drawn
        try:
            OutputFolder(config.output_dir).write(path, config_text(drawn), replace=False)
        except OSError as err:
            raise UsageError(f'{path}: cannot be written ({err.strerror}); check the output folder') from err
        stored = _stored_seed(path)
        if stored is None:  # a file that was there before, and holds no seed
            stored = drawn.seed
    return config.replace(seed=stored)


def _stored_seed(path: Path) -> int | None:
    try:
        seed = tomllib.loads(path.read_text('utf-8')).get('run', {}).get('seed')
    except (OSError, ValueError):
        return None
    return seed if isinstance(seed, int) else None
