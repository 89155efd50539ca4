"""Of which weights and code numbers are: what is of different ones is not mixed without a word."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from benchmarks.contact_sheet import REPOSITORY

UNKNOWN = 'not recorded'
SAME_IMAGES = REPOSITORY / 'benchmarks' / 'results' / 'same_images.json'
"""Groups of hashes of source that was seen to write the same images, by ``compare_revisions --record``."""


@dataclass(frozen=True)
class Provenance:
    """What numbers depend on, apart from the scans.

    Attributes
    ----------
    weights, tool, benchmarks : str
        Hashes of the weights, of the source of this tool and of that of the benchmarks.
    """

    weights: str
    tool: str
    benchmarks: str

    @classmethod
    def today(cls) -> Provenance:
        """Of the weights and the code that are in place."""
        from cpmae_bids.models.weights import resolve_weights

        return cls(resolve_weights().model_hash, source('cpmae_bids'), source('benchmarks'))

    @classmethod
    def read(cls, content: dict | None) -> Provenance:
        """What `dump` gave; of numbers that have none, nothing is known."""
        return cls(**content) if content else cls(UNKNOWN, UNKNOWN, UNKNOWN)

    def dump(self) -> dict[str, str]:
        """As JSON."""
        return asdict(self)

    @property
    def images(self) -> tuple[str, str]:
        """What outputs depend on: the weights, and the source, or the first that writes the same images."""
        return self.weights, next((group[0] for group in same_images() if self.tool in group), self.tool)

    def __str__(self) -> str:
        return f'weights {self.weights}, tool {self.tool}, benchmarks {self.benchmarks}'


@cache
def source(package: str, code: Path = REPOSITORY) -> str:
    """Hash of the Python files of a package of the repository, and of the tables beside them."""
    digest = hashlib.sha256()
    for path in sorted((code / package).rglob('*')):
        if path.suffix in ('.py', '.json', '.toml') and not {'results', '__pycache__'} & set(path.parts):
            digest.update(path.relative_to(code).as_posix().encode() + b'\0')
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


@cache
def same_images() -> tuple[tuple[str, ...], ...]:
    """Groups of hashes of source that were seen to write the same images."""
    if not SAME_IMAGES.exists():
        return ()
    return tuple(map(tuple, json.loads(SAME_IMAGES.read_text(encoding='utf-8'))))


def record_same(tools: Iterable[str]) -> None:
    """Write down that all these hashes of source are of code that writes the same images."""
    groups = [set(group) for group in same_images()]
    merged = set(tools).union(*(group for group in groups if group & set(tools)))
    left = sorted(map(sorted, [merged, *(group for group in groups if not group & merged)]))
    SAME_IMAGES.write_text(json.dumps(left, indent=1) + '\n', encoding='utf-8')
    same_images.cache_clear()


def differences(one: Provenance, other: Provenance) -> list[str]:
    """Names of what differs; source that writes the same images does not."""
    differing = {name for name, value in one.dump().items() if value != other.dump()[name]}
    return sorted(differing - ({'tool'} if one.images == other.images else set()))


class MixedError(ValueError):
    """Numbers of different weights or code would be mixed."""


def admit(folder: Path, mixed: bool = False) -> list[Provenance]:
    """Provenances of what a folder of numbers holds, with that of today, which is written down there.

    Parameters
    ----------
    folder : Path
        Of a run, which goes on in it.
    mixed : bool
        Let numbers of today stand beside older ones; the pages then say so.

    Raises
    ------
    MixedError
        If the folder has numbers of other weights or code, and `mixed` is not set.
    """
    from benchmarks.worker import write_json

    path, today = folder / 'provenance.json', Provenance.today()
    known = []
    if path.exists():
        known = [Provenance.read(one) for one in json.loads(path.read_text(encoding='utf-8'))]
    elif (folder / 'measures').exists() or (folder / 'scans').exists():
        known = [Provenance.read(None)]
    others = [one for one in known if one != today]
    what = ' and '.join(sorted({name for one in others for name in differences(one, today)}))
    if what and not mixed:
        raise MixedError(
            f'{folder}: has numbers of other {what} ({others[-1]}; now {today}): '
            'take a fresh folder, or --mixed to let them stand side by side, which the pages then say'
        )
    found = [*others, today]
    write_json(path, [one.dump() for one in found])
    return found


def strangers(results: dict[str, dict], name: str = 'benchmark') -> list[str]:
    """What a page has to say of result files that are of other weights or code than a chosen one; Markdown.

    Parameters
    ----------
    results : dict
        Contents of result files by name.
    name : str
        The file that the others are compared with.
    """

    def of(content: dict) -> Provenance:
        return Provenance.read((content.get('provenance') or [None])[-1])

    own = of(results[name]).images
    found = {key: of(content).images for key, content in results.items()}
    unknown = [key for key, one in found.items() if UNKNOWN in one]
    other = [key for key, one in found.items() if UNKNOWN not in one and one != own]
    lines = []
    if unknown:
        lines.append(f'Weights and code were not recorded for: {", ".join(unknown)}.')
    if other and own[0] != UNKNOWN:
        lines.append(f'Of other weights or code than {name}: {", ".join(other)}.')
    return lines


def remarks(found: list[Provenance], by_method: dict[str, Provenance] | None = None) -> list[str]:
    """What a page has to say of numbers of these provenances; lines of Markdown.

    Parameters
    ----------
    found : list of Provenance
        Of a run; the last one is that of the latest call.
    by_method : dict of str to Provenance, optional
        Of methods whose numbers are of another run.
    """
    if not found:
        return ['**Weights and code of these numbers were not recorded**: they are earlier ones.']
    lines = [f'Numbers are of {found[-1]}.']
    others = [one for one in found[:-1] if one.images != found[-1].images]
    if others:
        lines.append('**Some are of others**: ' + '; '.join(map(str, others)) + '.')
    alike = [one for one in found[:-1] if one.images == found[-1].images]
    if tools := sorted({one.tool for one in alike} - {found[-1].tool}):
        lines.append(f'Some are of tool {", ".join(tools)}, which write the same images.')
    if measures := sorted({one.benchmarks for one in alike} - {found[-1].benchmarks}):
        lines.append(f'Some were measured by benchmarks {", ".join(measures)}.')
    for method, one in (by_method or {}).items():
        if one not in found:
            lines.append(f'Those of {method} are of an earlier run: {one}.')
    return lines
