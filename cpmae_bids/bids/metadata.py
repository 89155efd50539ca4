"""Sidecars: read them with inheritance, and write those of the outputs.

What may travel from an original sidecar is a list of acquisition parameters with what each may hold
(``data/sidecar_fields.json``): a number, perhaps rounded, a boolean, or text of known words. Everything else
stays behind: names, dates, places, serial numbers, free text, and numbers that follow the person (SAR, shims,
anatomical landmarks).
"""

import json
import re
import sys
from collections.abc import Collection
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from cpmae_bids._version import __version__
from cpmae_bids.bids.jsontext import read_json
from cpmae_bids.bids.patterns import split_name
from cpmae_bids.exceptions import InputError
from cpmae_bids.runtime.packaged import packaged_text

# Beyond it, JSON has numbers that other programs cannot read.
_MAX = sys.float_info.max
# Longer strings are free text; these patterns are dates, times and addresses inside a short one.
_MAX_TEXT = 64
_DAY = r'(?:0?[1-9]|[12]\d|3[01])'
MONTH = (
    '(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|'
    'oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)(?![a-z])'
)
_PRIVATE_TEXT = re.compile(
    r'@|\^|\d:\d\d'
    r'|(19|20)\d\d[-./]?[01]\d[-./]?[0-3]\d'  # with or without anything between the numbers
    r'|(?<![\d.])(19|20)\d\d(?P<a>[-/_ ])[01]?\d(?P=a)[0-3]?\d(?![\d.])'
    rf'|(?<![\d.]){_DAY}(?P<b>[-./_ ]){_DAY}(?P=b)(19|20)\d\d(?!\d)'
    rf'|(?<![\d.]){_DAY}(?P<c>[./]){_DAY}(?P=c)\d\d(?![\d./])'
    rf'|\d[-._/ ,]*{MONTH}[-._/ ,]*\d'
    rf'|(?<![a-z]){MONTH}[-._/ ,]*\d{{1,2}}[-._/ ,]+(\d\d|(19|20)\d\d)(?!\d)'
    r'|(?<![\d.])\d\d(?P<d>[- ])(0[1-9]|1[0-2])(?P=d)([0-2]\d|3[01])(?!\d)'
    r'|(?<![\d.])([0-2]\d|3[01])(?P<e>[- ])(0[1-9]|1[0-2])(?P=e)\d\d(?!\d)',
    re.IGNORECASE,
)
_DD, _MM = '(?:0[1-9]|[12][0-9]|3[01])', '(?:0[1-9]|1[0-2])'
# A birthday of six digits: year, month, day; day, month, year; or month, day, year
_SHORT_DATE = re.compile(rf'(?<![\d.])(?:\d\d{_MM}{_DD}|{_DD}{_MM}\d\d|{_MM}{_DD}\d\d)(?!\d|\.\d)')
# What a spreadsheet would execute
_FORMULA = re.compile(r'\s*=|\s*[+-].*[(|!]|[\t\r]')
# In names of software and coils three short numbers with anything between may be a day as well
_SPLIT_DAY = re.compile(r'(?<!\d)\d\d[^0-9A-Za-z]\d\d[^0-9A-Za-z]\d\d(?!\d)')
_TECHNICAL = re.compile(r'[A-Za-z0-9\s_./\\,;:+*()&#-]*')

METHOD = (
    f'cpmae-bids {__version__}: everything outside the brain (face, ears, scalp, skull, neck) replaced by '
    'a generated head; voxels of the brain unchanged'
)
METHOD_AIR = METHOD.replace('a generated head', 'noise')
# From DICOM PS3.16 CID 7050. The only code that this method has a claim to: 113100 (the basic profile)
# is about attributes, and the pixels of this file hold no burned-in text to clean (113101).
METHOD_CODES = (
    {
        'CodeValue': '113102',
        'CodeMeaning': 'Clean Recognizable Visual Features Option',
        'CodingSchemeDesignator': 'DCM',
    },
)


@cache
def allowed_fields() -> dict[str, Any]:
    """Return the sidecar fields that may travel, and what each may hold."""
    return json.loads(packaged_text('data/sidecar_fields.json'))


def read_sidecars(bids_dir: Path, source: str) -> dict[str, Any]:
    """Read the metadata of an image by the BIDS inheritance principle.

    A JSON file applies if it lies in the folder of the image or in one above it, has the same suffix,
    and all its entities are those of the image. Nearer and more specific files win.

    Parameters
    ----------
    bids_dir : Path
        Root of the dataset.
    source : str
        Path of the image, relative to `bids_dir`.

    Returns
    -------
    dict
        All fields as they are; empty without any sidecar.

    Raises
    ------
    InputError
        If a sidecar that applies cannot be read or is not a JSON object.
    """
    metadata: dict[str, Any] = {}
    for path in applicable_files(bids_dir, source, split_name(source)[1], '.json'):
        metadata |= read_json_object(path)
    return metadata


def applicable_files(bids_dir: Path, source: str, suffix: str, extension: str) -> list[Path]:
    """Return the files that apply to another by the BIDS inheritance principle, the nearest last.

    Parameters
    ----------
    bids_dir : Path
        Root of the dataset.
    source : str
        Path of the file that they apply to, relative to `bids_dir`.
    suffix, extension : str
        Of the files that are looked for.
    """
    entities, _, _ = split_name(source)
    found = []
    for folder in reversed(PurePosixPath(source).parents):
        applicable = []
        for path in (bids_dir / folder).glob(f'*{suffix}{extension}'):
            try:
                own_entities, own_suffix, own_extension = split_name(path.name)
            except InputError:
                continue
            is_one = (own_suffix, own_extension) == (suffix, extension)
            if is_one and own_entities.items() <= entities.items():
                applicable.append((len(own_entities), path))
        found += [path for _, path in sorted(applicable)]
    return found


def read_json_object(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except OSError as err:
        raise InputError(f'{path}: the sidecar cannot be read ({err.strerror}); get or remove it') from err
    except ValueError as err:
        raise InputError(f'{path}: the sidecar is not valid JSON ({err}); mend or remove it') from err
    if not isinstance(content, dict):
        raise InputError(f'{path}: the sidecar is not a JSON object; mend or remove it')
    return content


def shareable_metadata(metadata: dict[str, Any], more: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the acquisition parameters of a sidecar: allowed fields that hold what they may.

    Parameters
    ----------
    metadata : dict
        The sidecar, unfiltered.
    more : dict, optional
        Further fields that are allowed, and what each may hold.
    """
    allowed = allowed_fields() | (more or {})
    return {
        name: _rounded(value, allowed[name])
        for name, value in sorted(metadata.items())
        if name in allowed and _is_shareable(value, allowed[name])
    }


def _rounded(value: Any, kind: Any) -> Any:
    """Leave out the digits of a number that differ from person to person."""
    if not isinstance(kind, dict) or 'decimals' not in kind:
        return value
    if isinstance(value, list):
        return [_rounded(item, kind) for item in value]
    return round(value, kind['decimals'] or None)


def _is_shareable(value: Any, kind: Any) -> bool:
    """Whether a value, or each of a list of values, is of the kind and gives nothing away."""
    if isinstance(value, list):
        return bool(value) and all(not isinstance(v, list) and _is_shareable(v, kind) for v in value)
    if kind == 'boolean':
        return isinstance(value, bool)
    if isinstance(kind, dict) and 'words' in kind:
        words = frozenset(kind['words'].split())
        return isinstance(value, str) and is_technical(value, words, bool(kind.get('numbers')))
    if kind == 'number' or isinstance(kind, dict):
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MAX
    if kind == 'text':  # of a task, not of a person
        return isinstance(value, str) and _PRIVATE_TEXT.search(value) is None
    return isinstance(value, str) and not is_private_text(value)


def is_technical(value: str, words: Collection[str], numbers: bool) -> bool:
    """Whether a text consists of known words and, if these are allowed, of short numbers and codes like E11C.

    Parameters
    ----------
    value : str
    words : collection of str
        In lower case.
    numbers : bool
        Whether there may be numbers of up to four digits, with two letters that are no word beside them.
        Numbers that may be years of birth, and dates, are none.
    """
    if is_private_text(value) or _SPLIT_DAY.search(value) or not _TECHNICAL.fullmatch(value):
        return False
    for token in re.findall('[A-Za-z0-9]+', value):
        if token.lower() in words:
            continue
        parts = re.findall('[0-9]+|[A-Z]?[a-z]+|[A-Z]+(?![a-z])', token)
        has_digits = any(part.isdigit() for part in parts)
        for part in parts:
            if part.isdigit():
                is_year = len(part) == 4 and part[:2] in ('19', '20') and token.endswith(part)
                if not numbers or len(part) > 4 or is_year:
                    return False
            elif part.lower() not in words and not (numbers and has_digits and len(part) < 3):
                return False
    return True


def is_private_text(value: str) -> bool:
    """Whether a string looks like free text, a date, a time, an address, a formula or a name in DICOM."""
    return is_private_number(value) or bool(_SHORT_DATE.search(value) or _FORMULA.match(value))


def is_private_number(value: str) -> bool:
    """Whether a number looks like a date; six digits alone do not, as numbers often have as many."""
    return len(value) > _MAX_TEXT or _PRIVATE_TEXT.search(value) is not None


def are_short_dates(cells: Collection[str]) -> bool:
    """Whether the numbers of six digits in a column are birthdays: by chance, one in ten would look so."""
    six = [cell for cell in cells if len(cell) == 6 and cell.isdigit()]
    return 4 * sum(_SHORT_DATE.fullmatch(cell) is not None for cell in six) >= max(len(six), 1)


def output_sidecar(
    kind: str, source: str, metadata: dict[str, Any], record: dict[str, Any]
) -> dict[str, Any]:
    """Return the content of the sidecar of one output image.

    Parameters
    ----------
    kind : {'refaced', 'defacemask', 'brainmask'}
    source : str
        Path of the original, relative to its dataset.
    metadata : dict
        The sidecar of the original; only allowed fields are taken, and only for 'refaced'.
    record : dict
        The verdict record of the scan in its public form (see `cpmae_bids.bids.verdict_records`).
    """
    in_air = record.get('fill') == 'air'
    around = 'noise' if in_air else 'a generated head'
    common: dict[str, Any] = {'Sources': [f'bids:raw:{source}']}
    if kind == 'brainmask':
        return common | {
            'Description': 'Kept voxels (brain and guard rim), bit-identical to the original: 1 = kept',
            'Type': 'Brain',
        }
    common |= {
        'SkullStripped': in_air,
        'DeidentificationMethod': [METHOD_AIR if in_air else METHOD],
        'DeidentificationMethodCodeSequence': [dict(code) for code in METHOD_CODES],
    }
    if kind == 'defacemask':
        return common | {'Description': f'Voxels that were replaced by {around}: 1 = replaced'}
    if kind == 'refaced':
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
    raise ValueError(f'no such kind of output: {kind!r}')
