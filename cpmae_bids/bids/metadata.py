"""Make the sidecars of the outputs.

Acquisition parameters are copied by an allow-list that states what each may hold
(``data/sidecar_fields.json``). Everything else stays behind: names, dates, places, serial numbers, free text,
and numbers that follow the person (SAR, shims, anatomical landmarks).
"""

from typing import Any

from cpmae_bids._version import __version__
from cpmae_bids.bids.patterns import split_name
from cpmae_bids.bids.private_text import is_in_pieces, is_private_text, is_technical, names_somebody
from cpmae_bids.runtime.packaged import packaged_json

# No acquisition parameter is larger, or known more exactly; a date or a number of a record would be.
_MAX, _DIGITS = 1e5, 6
METHOD = (
    f'cpmae-bids {__version__}: everything outside the brain (face, ears, scalp, skull, neck) replaced by '
    'a generated head; voxels of the brain unchanged'
)
METHOD_AIR = METHOD.replace('a generated head', 'noise')
# From DICOM PS3.16 CID 7050. The only code that this method has a claim to: 113100 (the basic profile)
# is about attributes, and this file holds no burned-in text to clean (113101).
METHOD_CODES = (
    {
        'CodeValue': '113102',
        'CodeMeaning': 'Clean Recognizable Visual Features Option',
        'CodingSchemeDesignator': 'DCM',
    },
)


def allowed_fields() -> dict[str, Any]:
    """Return the sidecar fields that may travel, and what each may hold."""
    return packaged_json('sidecar_fields')


def shareable_metadata(metadata: dict[str, Any], more: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the fields of a sidecar whose values the allow-list, or `more`, admits."""
    allowed = allowed_fields() | (more or {})
    return {
        name: _rounded(value, allowed[name])
        for name, value in sorted(metadata.items())
        if name in allowed and _is_shareable(value, allowed[name])
    }


def _rounded(value: Any, kind: Any) -> Any:
    """Leave out the digits of a number that differ from person to person, or that no scanner knows."""
    if isinstance(value, list):
        return [_rounded(item, kind) for item in value]
    if not isinstance(value, int | float) or isinstance(value, bool):
        return value
    if isinstance(kind, dict) and 'decimals' in kind:
        return round(value, kind['decimals'] or None)
    return value if isinstance(value, int) else float(f'{value:.{_DIGITS}g}')


def _is_shareable(value: Any, kind: Any) -> bool:
    """Whether a value, or each of a list of values, is of the kind and gives nothing away."""
    if isinstance(value, list):
        if isinstance(kind, dict) and 'words' in kind and is_in_pieces(' '.join(map(str, value))):
            return False
        return bool(value) and all(not isinstance(v, list) and _is_shareable(v, kind) for v in value)
    if kind == 'boolean':
        return isinstance(value, bool)
    if kind == 'number' or (isinstance(kind, dict) and 'words' not in kind):
        largest = kind.get('max', _MAX) if isinstance(kind, dict) else _MAX
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= largest
    if not isinstance(value, str):
        return False
    if isinstance(kind, dict):
        return is_technical(value, frozenset(kind['words'].split()), bool(kind.get('numbers')))
    if kind == 'text':  # of a task, not of a person
        return not names_somebody(value)
    return not is_private_text(value)


def output_sidecar(
    kind: str, source: str, metadata: dict[str, Any], record: dict[str, Any]
) -> dict[str, Any]:
    """Return the content of the sidecar of an output image: 'refaced', 'defacemask' or 'brainmask'.

    `source` is the path of the original, relative to its dataset, `metadata` its sidecar, of which allowed
    fields are copied for 'refaced' only, and `record` its verdict record in the public form
    (`cpmae_bids.bids.verdict_records`).
    """
    in_air = record.get('fill') == 'air'
    around = 'noise' if in_air else 'a generated head'
    common: dict[str, Any] = {'Sources': [f'bids:raw:{source}']}
    if kind == 'brainmask':
        return common | {
            'Description': 'Preserved region (brain and a rim), bit-identical to the original: 1 = preserved',
            'Type': 'Brain',
        }
    common |= {
        'SkullStripped': in_air,
        'DeidentificationMethod': [METHOD_AIR if in_air else METHOD],
        'DeidentificationMethodCodeSequence': [dict(code) for code in METHOD_CODES],
    }
    if kind == 'defacemask':
        return common | {'Description': f'Voxels that were replaced by {around}: 1 = replaced'}
    reference, t1w = record['reference'], record.get('t1w')
    suffix = split_name(source)[1]
    sources = [path for path in dict.fromkeys((source, record.get('first_echo'), reference, t1w)) if path]
    return {
        **shareable_metadata(metadata),
        **common,
        'Sources': [f'bids:raw:{path}' for path in sources],
        'Description': f'{suffix} scan with its original brain in {around}',
        'GeneratedBy': [{'Name': 'cpmae-bids', 'Version': __version__}],
        'HeadStatistics': record.get('head_statistics', {}),
        'CPMAE': {
            'Preset': record['preset'],
            'Steps': record['steps'],
            'Seed': record['seed'],
            'ModelHash': record['model_hash'],
            'Template': record.get('template', ''),
            'Reference': f'bids:raw:{reference}',
            **({'BrainMask': 'given'} if source in record.get('given_brain_masks', ()) else {}),
            **({'T1w': f'bids:raw:{t1w}', 'Fill': record['fill']} if t1w else {}),
            'Verdict': record['status'],
            'Measures': record.get('measures', {}),
            'WithinLimits': record.get('within_limits', {}),
        },
    }
