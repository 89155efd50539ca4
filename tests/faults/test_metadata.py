"""Sidecars, tables and descriptions of every kind: nothing private travels, and nothing breaks a run."""

import json
import os

import pytest

from cpmae_bids.bids.derivatives import describe_dataset
from cpmae_bids.bids.jsontext import MAX_BYTES
from cpmae_bids.bids.layout import collect_scans
from cpmae_bids.bids.metadata import output_sidecar
from cpmae_bids.bids.participants import write_participants
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import InputError

SIDECARS = {
    'nested 100000 deep': '[' * 100000,
    'nested 100000 deep in an object': '{"a":' * 100000,
    'nested 900 deep': '{"a":' * 900 + '1' + '}' * 900,
    'not JSON': 'EchoTime: 3',
    'empty': '',
    'a list': '[1, 2]',
    'a number': '3',
    'binary': '\0\1\2',
    'UTF-16': '{"EchoTime": 1}'.encode('utf-16').decode('latin-1'),
    'numbers beyond all': '{"EchoTime": 1e999, "FlipAngle": ' + '9' * 4000 + ', "RepetitionTime": NaN}',
    'a number of 5000 digits': '{"FlipAngle": ' + '9' * 5000 + '}',
    'private': '{"PatientName": "Doe^Jane", "EchoTime": "born 1980-01-01", "Manufacturer": "Jane@home"}',
    'half a surrogate': '{"Manufacturer": "\\ud800", "EchoTime": 0.003}',
    'too large': '{"x": "' + 'y' * MAX_BYTES + '"}',
    'with a byte order mark': '\ufeff{"EchoTime": 0.003}',
    'keys twice': '{"EchoTime": 1, "EchoTime": 0.003, "__class__": "x"}',
    'a pipe': None,
    'a folder': None,
    'a link to itself': None,
}
RECORD = {
    'preset': '128',
    'steps': 1,
    'seed': 1,
    'model_hash': 'abc',
    'status': 'pass',
    'reference': 'sub-01/anat/sub-01_T1w.nii.gz',
}


@pytest.fixture
def config(dataset, tmp_path):
    return RunConfig(dataset, tmp_path / 'out', seed=1)


@pytest.mark.parametrize('what', SIDECARS)
def test_sidecars(config, fault, what):
    path = config.bids_dir / 'sub-01/anat/sub-01_T1w.json'
    path.unlink()
    if what == 'a pipe':
        os.mkfifo(path)
    elif what == 'a folder':
        path.mkdir()
    elif what == 'a link to itself':
        path.symlink_to(path.name)
    else:
        encoding = 'latin-1' if what == 'UTF-16' else 'utf-8'
        path.write_bytes(SIDECARS[what].encode(encoding))
    first, second = collect_scans(config)
    assert not second.problem
    assert first.problem.count('\n') == 0
    text = json.dumps(output_sidecar('refaced', first.relative_path, first.metadata, RECORD), allow_nan=False)
    complaints = [f'PRIVATE {word}' for word in ('Jane', '1980', 'Infinity', 'NaN', '999') if word in text]
    fault('sidecars', what, 'its scan fails' if first.problem else 'read', complaints)


TABLES = {
    'quotation marks': 'participant_id\tgroup\nsub-01\ta "quoted" one\n',
    'a cell of 200000 characters': 'participant_id\tgroup\nsub-01\t' + 'x' * 200000,
    'a NUL': 'participant_id\tgroup\nsub-01\ta\0b\n',
    'nothing': '',
    'binary': '\udcff\udcfe',
    'too many columns': 'participant_id\tage\nsub-01\t3\t4\t5\n',
    'too few columns': 'participant_id\tage\tsex\nsub-01\n',
    'names and dates': 'participant_id\tname\tgroup\nsub-01\tJane\tborn 1980-01-01\n',
    'escapes': 'participant_id\tgroup\nsub-01\t\x1b[31mred\n',
    'someone else': 'participant_id\tage\nsub-03\t3\n',
}


@pytest.mark.parametrize('what', TABLES)
def test_tables_of_participants(config, fault, what):
    (config.bids_dir / 'participants.tsv').write_bytes(TABLES[what].encode('utf-8', 'surrogateescape'))
    config.output_dir.mkdir()
    write_participants(config.bids_dir, config.output_dir, {'01'})
    table = config.output_dir / 'participants.tsv'
    text = table.read_text() if table.exists() else ''
    widths = {line.count('\t') for line in text.splitlines()}
    complaints = [f'PRIVATE {word!r}' for word in ('Jane', '1980', '\x1b', '\0', 'sub-03') if word in text]
    complaints += [] if len(widths) < 2 else ['INVALID rows of different lengths']
    fault('tables', f'participants.tsv with {what}', 'carried over' if text else 'left out', complaints)


DESCRIPTIONS = {
    'nested 100000 deep': '[' * 100000,
    'a list': '[]',
    'a number for a name': '{"Name": 3}',
    'markup in its name': '{"Name": "a\\n<script>"}',
    'a DOI with spaces': '{"Name": "x", "DatasetDOI": "no doi at all"}',
    'a list of DOIs': '{"Name": "x", "DatasetDOI": ["10.1/2"]}',
    'a path for a DOI': '{"Name": "x", "DatasetDOI": "file:///home/jane/secret"}',
}


@pytest.mark.parametrize('what', DESCRIPTIONS)
def test_descriptions(config, fault, what):
    (config.bids_dir / 'dataset_description.json').write_text(DESCRIPTIONS[what])
    (config.bids_dir / 'participants.json').write_text(DESCRIPTIONS[what])
    described = describe_dataset(config)
    config.output_dir.mkdir()
    write_participants(config.bids_dir, config.output_dir, {'01'})
    text = json.dumps(described)
    complaints = [f'PRIVATE {word}' for word in (str(config.bids_dir.parent), 'jane') if word in text]
    links = [described['DatasetLinks']['raw'], *described['SourceDatasets'][0].values()]
    complaints += [f'INVALID {link!r} is no link' for link in links if not link or ' ' in link]
    fault('tables', f'dataset_description.json: {what}', 'described', complaints)


NAMES = [
    'sub-01_acq-a b_T1w.nii.gz',
    'sub-01_acq-a-b_T1w.nii.gz',
    'sub-01_acq-ünïcødé_T1w.nii.gz',
    'sub-01_acq-日本_T1w.nii.gz',
    'sub-01_acq-.._T1w.nii.gz',
    'sub-01_acq-$(touch PWNED)_T1w.nii.gz',
    'sub-01_acq-a;touch PWNED;_T1w.nii.gz',
    'sub-01_acq-\'"`_T1w.nii.gz',
    'sub-01_acq-<script>_T1w.nii.gz',
    'sub-01_acq-a\nb_T1w.nii.gz',
    'sub-01_acq-\\_T1w.nii.gz',
    'sub-01_acq-[*]?_T1w.nii.gz',
    f'sub-01_acq-{"x" * 180}_T1w.nii.gz',
    os.fsdecode(b'sub-01_acq-\xff\xfe_T1w.nii.gz'),
    '_T1w.nii.gz',
    'sub-_T1w.nii.gz',
    'sub-01_sub-02_T1w.nii.gz',
    '..T1w.nii.gz',
    '-rf_T1w.nii.gz',
]


@pytest.mark.parametrize('name', NAMES, ids=ascii)
def test_names_of_scans(config, fault, name):
    """Either a workflow can be made of all, or one line says which file to rename, before any work."""
    from cpmae_bids.bids.completeness import output_files
    from cpmae_bids.workflows.base import init_cpmae_bids_wf

    folder = config.bids_dir / 'sub-01/anat'
    (folder / 'sub-01_T1w.nii.gz').rename(folder / name)
    try:
        scans = collect_scans(config)
    except InputError as error:
        refused = str(error).endswith('rename the file')
        fault('names', ascii(name), 'refused', [] if refused else [f'UNCLEAR {error}'])
        return
    assert scans[-1].subject == '02'
    assert not scans[-1].problem
    init_cpmae_bids_wf(
        [scan for scan in scans if not scan.problem], config.replace(work_dir=config.output_dir)
    )
    outside = [
        f'OUTSIDE {path}'
        for scan in scans
        for path in output_files(scan, config.output_dir)
        if not path.resolve().is_relative_to(config.output_dir / 'sub-01')
        and not path.resolve().is_relative_to(config.output_dir / 'sub-02')
    ]
    said = next((f'fails: {scan.problem[:40]}' for scan in scans if scan.problem), 'listed')
    fault('names', ascii(name), said if len(scans) > 1 else 'left out', outside)
