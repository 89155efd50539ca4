"""The output is a valid BIDS-derivatives dataset that names no place on this machine."""

import json
import shutil
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from judged import publish_scan

from cpmae_bids import __version__
from cpmae_bids.bids import derivatives, validation
from cpmae_bids.bids.derivatives import describe_dataset, generated_by, write_dataset_files
from cpmae_bids.bids.layout import collect_scans
from cpmae_bids.bids.participants import write_participants
from cpmae_bids.bids.seed import settle_seed
from cpmae_bids.bids.validation import ValidatorMissingError, validate_bids
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import UsageError
from cpmae_bids.sharing.rawlike.root import describe

PASS = {'status': 'pass', 'reasons': [], 'measures': {'seam': 1.05, 'open': float('nan')}}
SCANS = [
    'sub-01/ses-a/anat/sub-01_ses-a_run-01_T1w.nii.gz',
    'sub-01/ses-a/anat/sub-01_ses-a_acq-hi_rec-x_run-02_echo-1_T1w.nii',
    'sub-02/anat/sub-02_T1w.nii.gz',
]


def settings(root, tmp_path, **changes):
    return RunConfig(
        **{'bids_dir': root, 'output_dir': tmp_path / 'out', 'seed': 1, 'model_hash': 'abc', **changes}
    )


@pytest.fixture
def published(make_bids, finished, tmp_path):
    """An output dataset as the participant level leaves it, with a failed scan."""
    root = make_bids(
        SCANS,
        {'T1w.json': {'EchoTime': 0.003, 'MagneticFieldStrength': 3}},
        'participant_id\tage\tsex\tname\nsub-01\t34.5\tF\tJane\nsub-02\t92\tM\tJohn\n',
    )
    config = settings(root, tmp_path)
    write_dataset_files(config)
    *passing, failing = collect_scans(config)
    for scan in passing:
        publish_scan(scan, config, finished(scan), PASS)
    publish_scan(failing, config, finished(failing), {'status': 'fail', 'reasons': ['x']})
    (config.output_dir / 'sub-01.html').write_text('<html></html>')
    write_participants(root, config.output_dir, ['01'])
    return config.output_dir


def test_validator_finds_no_error(published):
    assert validate_bids(published) == []


def test_validator_is_alive(published):
    """The same dataset without one required field is an error: an empty list above means something."""
    sidecar = next(published.rglob('*desc-refaced_T1w.json'))
    content = json.loads(sidecar.read_text())
    del content['SkullStripped']
    sidecar.write_text(json.dumps(content))
    issues = validate_bids(published)
    assert [issue.code for issue in issues] == ['SIDECAR_KEY_REQUIRED']
    assert 'SkullStripped' in str(issues[0])


def test_validator_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, 'which', lambda *_, **__: None)
    with pytest.raises(ValidatorMissingError, match='not installed'):
        validate_bids(tmp_path)


def test_validator_that_gives_no_report(monkeypatch, tmp_path):
    monkeypatch.setattr(validation.shutil, 'which', lambda *_, **__: shutil.os.path.realpath('/bin/false'))
    with pytest.raises(ValidatorMissingError, match='gave no report'):
        validate_bids(tmp_path)


def test_nothing_shared_names_a_place_or_a_person(published, tmp_path):
    for path in published.rglob('*'):
        if path.is_file() and path.suffix in ('.json', '.tsv', '.toml', '.md', '.txt', ''):
            text = path.read_text()
            assert str(tmp_path) not in text, path
            assert 'Jane' not in text, path


def test_description_with_doi(make_bids, tmp_path):
    root = make_bids([], DatasetDOI='doi:10.18112/openneuro.ds000001.v1', License='CC0', Name='Study')
    description = describe_dataset(settings(root, tmp_path))
    assert description['DatasetType'] == 'derivative'
    assert description['License'] == 'CC0'
    assert description['SourceDatasets'] == [{'DOI': 'doi:10.18112/openneuro.ds000001.v1'}]
    assert description['DatasetLinks'] == {'raw': 'https://doi.org/10.18112/openneuro.ds000001.v1'}
    (maker,) = description['GeneratedBy']
    assert maker['Name'] == 'cpmae-bids'
    assert 'Container' not in maker


def test_the_address_of_the_code_is_that_of_the_package_or_none(monkeypatch):
    for told in ({}, {'home_page': 'https://example.org/code'}):
        monkeypatch.setattr(derivatives, 'metadata', lambda name, told=told: SimpleNamespace(json=told))
        url = generated_by().get('CodeURL')
        assert url == (f'https://example.org/code/archive/{__version__}.tar.gz' if told else None)


@pytest.mark.parametrize('kind', ['docker', 'apptainer', 'singularity'])
def test_description_names_the_container_and_no_path(kind, monkeypatch, make_bids):
    monkeypatch.setenv('CPMAE_BIDS_DOCKER_TAG', 'cpmae-bids:1.2.3')
    if kind != 'docker':
        monkeypatch.setenv(f'{kind.upper()}_CONTAINER', '/home/jane/cpmae-bids.sif')
    assert generated_by()['Container'] == {'Type': kind, 'Tag': 'cpmae-bids:1.2.3'}
    assert describe(make_bids([]))['GeneratedBy'][0] == generated_by()


@pytest.mark.parametrize(
    ('bids_dir', 'output_dir', 'link'),
    [
        ('raw', 'out', '../raw'),
        ('my raw', 'derivatives/out', '../../my%20raw'),
        ('out/sourcedata/raw', 'out', 'sourcedata/raw'),
        ('jane/raw', 'shared/out', 'urn:dataset:A%20%2F%20B'),
        ('Doe_2019-03-04', 'out', 'urn:dataset:A%20%2F%20B'),
        ('20190304', 'derivatives/out', 'urn:dataset:A%20%2F%20B'),
    ],
)
def test_link_to_the_input_names_no_other_folder(make_bids, tmp_path, bids_dir, output_dir, link):
    root = make_bids([], root=tmp_path / bids_dir, Name='A / B')
    description = describe_dataset(settings(root, tmp_path, output_dir=tmp_path / output_dir))
    assert description['DatasetLinks'] == {'raw': link}


def test_input_without_description(tmp_path):
    assert describe_dataset(settings(tmp_path / 'raw', tmp_path))['Name'] == 'T1w scans, de-identified'


def test_readme_that_is_there_is_kept(make_bids, tmp_path):
    config = settings(make_bids([]), tmp_path)
    config.output_dir.mkdir()
    (config.output_dir / 'README.md').write_text('ours')
    write_dataset_files(config)
    assert (config.output_dir / 'README.md').read_text() == 'ours'
    assert not (config.output_dir / 'README').exists()


def test_config_toml(make_bids, tmp_path):
    given = {
        'preset': '128',
        'participant_label': ('01', 'a"b'),
        'mem_gb': 3.5,
        'work_dir': Path('/home/jane'),
    }
    config = settings(make_bids([]), tmp_path, **given)
    write_dataset_files(config)
    text = (config.output_dir / 'logs' / 'config.toml').read_text()
    assert '/' not in text
    assert 'jane' not in text
    stored = tomllib.loads(text)
    assert stored['run'].items() >= {'seed': 1, 'preset': '128', 'mem_gb': 3.5}.items()
    assert stored['run']['participant_label'] == ['01', 'a"b']
    assert 'numpy' in stored['environment']


def test_a_given_seed_is_used(make_bids, tmp_path):
    assert settle_seed(settings(make_bids([]), tmp_path, seed=0)).seed == 0


def test_a_seed_is_drawn_once_for_an_output(make_bids, tmp_path):
    root = make_bids([])
    first = settle_seed(settings(root, tmp_path, seed=None))
    assert settle_seed(settings(root, tmp_path, seed=None)).seed == first.seed
    write_dataset_files(first)
    assert settle_seed(settings(root, tmp_path, seed=None)).seed == first.seed
    elsewhere = {
        settle_seed(settings(root, tmp_path, seed=None, output_dir=tmp_path / str(i))).seed for i in range(5)
    }
    assert len(elsewhere | {first.seed}) == 6
    assert not list((tmp_path / 'out' / 'logs').glob('.*'))


def test_log_folder_that_cannot_be_written(make_bids, tmp_path):
    (tmp_path / 'out').write_text('a file')
    with pytest.raises(UsageError, match='cannot be written'):
        settle_seed(settings(make_bids([]), tmp_path, seed=None))


def participants(root, tmp_path, text, subjects, sidecar=None):
    root.mkdir(exist_ok=True)
    (root / 'participants.tsv').write_text(text, 'utf-8')
    if sidecar is not None:
        (root / 'participants.json').write_text(json.dumps(sidecar))
    write_participants(root, tmp_path / 'out', subjects)
    table = tmp_path / 'out' / 'participants.tsv'
    return [line.split('\t') for line in table.read_text().splitlines()] if table.exists() else None


def test_participants_columns_and_rows(tmp_path):
    text = (
        '\ufeffparticipant_id\tname\tage\tsex\tbirth\tgroup\tzip\n'
        'sub-01\tJane\t34.5\tF\t1970-01-01\tcontrol\t12345\n'
        'sub-02\tJohn\t88\tM\t1930-01-01\tpatient\t12345\n'
        'sub-03\tJim\t20\tM\t2000-01-01\tpatient\t12345\n'
    )
    sidecar = {
        'age': {'Description': 'age', 'Units': 'year', 'Contact': 'jane@example.org'},
        'name': {'Description': 'x'},
    }
    rows = participants(tmp_path / 'raw', tmp_path, text, ['01', '02'], sidecar)
    assert rows == [
        ['participant_id', 'age', 'sex', 'group'],
        ['sub-01', '35', 'F', 'control'],
        ['sub-02', '88', 'M', 'patient'],
    ]
    described = json.loads((tmp_path / 'out' / 'participants.json').read_text())
    assert described == {'age': {'Description': 'age', 'Units': 'year'}}


def test_no_participants_of_ours(tmp_path):
    text = 'participant_id\tage\nsub-01\t7\n'
    assert participants(tmp_path / 'raw', tmp_path, text, ['01']) is not None
    assert participants(tmp_path / 'raw', tmp_path, text, []) is None
    (tmp_path / 'raw' / 'participants.tsv').unlink()
    write_participants(tmp_path / 'raw', tmp_path / 'out', ['01'])
    assert not (tmp_path / 'out' / 'participants.tsv').exists()
