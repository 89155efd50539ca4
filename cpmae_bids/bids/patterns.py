"""The paths of the outputs of a scan.

Names are made from the source's file name, so that every entity survives as it was written (``run-01`` stays
``run-01``). Rules that drop an unknown entity, such as ``desc``, could give the name of the raw file.
"""

from functools import cache
from pathlib import PurePosixPath

from cpmae_bids.config import ALSO_SUFFIXES, T1W, T1W_SUFFIXES
from cpmae_bids.exceptions import InputError
from cpmae_bids.runtime.packaged import packaged_json

IMAGE_EXTENSIONS = ('.nii.gz', '.nii')


@cache
def _entity_order() -> list[str]:
    """Short names of all entities, in the order of BIDS."""
    from bidsschematools.schema import load_schema

    schema = load_schema()
    return [schema.objects.entities[entity].name for entity in schema.rules.entities]


def output_kinds() -> tuple[str, ...]:
    """Return the names of the images that are published for each scan."""
    return tuple(packaged_json('path_patterns')['outputs'])


def output_patterns(kind: str) -> list[str]:
    """Return glob patterns for all images of a kind, relative to the output dataset."""
    globs = []
    for suffix in (*T1W_SUFFIXES, *ALSO_SUFFIXES):
        pattern = _filled(packaged_json('path_patterns')['outputs'][kind], suffix)
        entities = ''.join(f'*_{key}-{label}' for key, label in pattern['entities'].items())
        globs.append(f'sub-*/**/sub-{entities}_{pattern["suffix"]}{pattern["extension"]}')
    return list(dict.fromkeys(globs))


def _filled(pattern: dict, suffix: str) -> dict:
    """A pattern for a source of that suffix: outputs of a scan have names of their own beside the T1w."""
    names = {'suffix': suffix, 'other': '' if suffix == T1W else suffix}
    return {
        'entities': {key: label.format(**names) for key, label in pattern['entities'].items()},
        'suffix': pattern['suffix'].format(**names),
        'extension': pattern['extension'],
    }


def split_name(name: str) -> tuple[dict[str, str], str, str]:
    """Split a BIDS file name, or the last part of a path, into entities, suffix and extension.

    Entities have short names, in the order of the file name; the extension has its leading dot, and
    ``.nii.gz`` counts as one. Raises InputError if a part of the name is not ``key-value``, or a key comes
    twice.
    """
    name = PurePosixPath(name).name
    stem, dot, extension = name.partition('.')
    *pairs, suffix = stem.split('_')
    entities = {}
    for pair in pairs:
        key, dash, label = pair.partition('-')
        if not (key and dash and label) or key in entities:
            raise InputError(f'{name}: not a BIDS file name at {pair!r}; rename the file')
        entities[key] = label
    return entities, suffix, dot + extension


def output_path(source: str, kind: str, extension: str | None = None) -> PurePosixPath:
    """Return the path of an output (`output_kinds`) of the scan `source`, each relative to its dataset.

    ``extension='.json'`` gives its sidecar. Raises InputError if the name of `source` is not a BIDS name.
    """
    pattern = packaged_json('path_patterns')['outputs'][kind]
    entities, suffix, _ = split_name(source)
    # BIDS has no defacemask of a single echo or part; the mask of one has the suffix of any mask.
    if not entities.keys().isdisjoint(pattern.get('not_with', ())):
        pattern = pattern['otherwise']
    pattern = _filled(pattern, suffix)
    entities |= pattern['entities']
    order = _entity_order()
    # Unknown entities sort just before those of derivatives, and keep their own order.
    unknown = order.index('space') - 0.5
    names = sorted(entities, key=lambda key: order.index(key) if key in order else unknown)
    stem = '_'.join([*(f'{key}-{entities[key]}' for key in names), pattern['suffix']])
    return PurePosixPath(source).parent / (stem + (extension or pattern['extension']))
