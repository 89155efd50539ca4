"""The raw-like dataset: valid, without a face, a name or a date, and never with a file that is not final."""

import gzip
import json
import multiprocessing
import os
import re
import shutil
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import nibabel as nb
import numpy as np
import pytest
from judged import publish_scan

from cpmae_bids.bids.derivatives import describe_dataset, write_dataset_files
from cpmae_bids.bids.header import header_leaks
from cpmae_bids.bids.layout import collect_scans
from cpmae_bids.bids.participants import write_participants
from cpmae_bids.bids.publish import record_failure
from cpmae_bids.bids.tsv import Table
from cpmae_bids.bids.validation import validate_bids
from cpmae_bids.bids.verdict_records import read_record, write_record
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import InputError
from cpmae_bids.sharing.rawlike import build, commit, images
from cpmae_bids.sharing.rawlike.build import write_raw_like
from cpmae_bids.sharing.rawlike.dates import dated_labels, shift_of, shifted
from cpmae_bids.sharing.rawlike.manifest import write_manifest
from cpmae_bids.sharing.rawlike.root import describe as build_description

PASS = {'status': 'pass', 'reasons': [], 'measures': {'seam_ratio': 1.0}, 'template': 'none'}
T1W = 'sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz'
BOLD = 'sub-01/ses-a/func/sub-01_ses-a_task-rest_bold.nii.gz'
PLAIN = 'sub-02/anat/sub-02_T1w.nii'
KEPT_OUT = [
    'sub-01/ses-a/anat/sub-01_ses-a_T2w.nii.gz',
    'sub-01/ses-a/anat/sub-01_ses-a_part-phase_T1w.nii.gz',
    'sub-01/ses-a/anat/sub-01_ses-a_inv-1_MP2RAGE.nii.gz',
    'sub-01/ses-a/fmap/sub-01_ses-a_magnitude1.nii.gz',
    'sub-02/pet/sub-02_pet.nii.gz',
]
PRIVATE = ('Doe', 'Jane', '1987', '2019', 'SN12345', 'Clinic')


def series(path):
    """An EPI series, with all that scanners and gzip write into headers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(0).integers(0, 900, (8, 8, 8, 5)).astype(np.int16)
    image = nb.Nifti1Image(data, np.diag([8.0, 8, 8, 1]))
    image.header.set_xyzt_units('mm', 'sec')
    image.header['pixdim'][4] = 2.0
    image.header['descrip'] = b'Doe^Jane 2019'
    image.header['db_name'] = b'Jane'
    image.header.extensions.append(nb.nifti1.Nifti1Extension('comment', b'Jane Doe, Clinic'))
    content = image.to_bytes() + b'Jane'
    with path.open('wb') as file, gzip.GzipFile('Doe_Jane.nii', 'wb', 1, file, mtime=1.5e9) as stream:
        stream.write(content)
    return data


@pytest.fixture
def raw(make_bids):
    """A dataset with a bit of everything."""
    root = make_bids(
        [T1W, PLAIN, *KEPT_OUT, 'sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz', 'sub-03/anat/sub-03_T1w.nii.gz'],
        {
            'T1w.json': {'EchoTime': 0.003, 'PatientName': 'Doe^Jane', 'DeviceSerialNumber': 'SN12345'},
            'task-rest_bold.json': {
                'TaskName': 'rest',
                'RepetitionTime': 2.0,
                'InstitutionName': 'Clinic',
                'AcquisitionTime': '12:30:00',
                'SliceTiming': [0.0, 1.0],
            },
            'dwi.json': {'PhaseEncodingDirection': 'j', 'TotalReadoutTime': 0.05},
            'task-rest_events.json': {'trial_type': {'Levels': {'go': 'Go', 'stop': 'Stop'}}},
            'participants.json': {'diagnosis': {'Levels': {'HC': 'healthy', 'AD': 'ill'}}},
            'sub-01/ses-a/fmap/sub-01_ses-a_dir-AP_epi.json': {
                'PhaseEncodingDirection': 'j',
                'TotalReadoutTime': 0.05,
                'IntendedFor': [
                    'ses-a/func/sub-01_ses-a_task-rest_bold.nii.gz',
                    'ses-a/anat/sub-01_ses-a_T2w.nii.gz',
                ],
            },
        },
        'participant_id\tage\tsex\tname\tdiagnosis\tscore\tscanned\tnotes\n'
        'sub-01\t93\tF\tJane\tAD\t12\t20190102\tJane was late\n'
        'sub-02\t30\tM\tJohn\tHC\t7\t20190103\tn/a\n'
        'sub-03\t31\tM\tJim\tHC\t8\t20190104\tn/a\n',
        Authors=['A. Author'],
        DatasetDOI='doi:10.1234/abc',
        Acquired='2019',
    )
    series(root / BOLD)
    series(root / 'sub-01/ses-a/fmap/sub-01_ses-a_dir-AP_epi.nii.gz')
    series(root / 'sub-02/dwi/sub-02_dwi.nii.gz')
    (root / 'dwi.bval').write_text('0 0 1000 1000 1000\n')
    (root / 'dwi.bvec').write_text('0 0 1 0 0\n0 0 0 1 0\n0 0 0 0 1\n')
    (root / 'task-rest_events.tsv').write_text(
        'onset\tduration\ttrial_type\tstim_file\tanswer\n0\t1\tgo\ta.png\tn/a\n2\t1\tstop\tb.png\t2019-01-02\n'
    )
    (root / 'sub-01/ses-a/sub-01_ses-a_scans.tsv').write_text(
        'filename\tacq_time\toperator\n'
        'anat/sub-01_ses-a_T1w.nii.gz\t2019-01-02T09:30:00\tJane\n'
        'anat/sub-01_ses-a_T2w.nii.gz\t2019-01-02T09:40:00\tJane\n'
        'func/sub-01_ses-a_task-rest_bold.nii.gz\t2019-01-02T10:00:00\tJane\n'
    )
    (root / 'sub-01/ses-b/sub-01_ses-b_scans.tsv').write_text(
        'filename\tacq_time\nanat/sub-01_ses-b_T1w.nii.gz\t2019-02-02T09:30:00\n'
    )
    (root / 'sub-01/sub-01_sessions.tsv').write_text(
        'session_id\tacq_time\nses-a\t2019-01-02T09:00:00\nses-b\t2019-02-02T09:00:00\n'
    )
    (root / 'sub-02/sub-02_scans.tsv').write_text('filename\tacq_time\nanat/sub-02_T1w.nii\tn/a\n')
    (root / 'phenotype').mkdir()
    (root / 'phenotype/iq.tsv').write_text('participant_id\tiq\trater\nsub-01\t101\tJane\nsub-09\t99\tJoe\n')
    (root / 'phenotype/iq.json').write_text('{"MeasurementToolMetadata": {"Description": "A test"}}')
    (root / 'sourcedata').mkdir()
    (root / 'sourcedata' / 'Doe_Jane.dcm').write_bytes(b'x')
    (root / 'CHANGES').write_text('1.0.0 today\n')
    return root


@pytest.fixture
def settings(raw, tmp_path):
    return RunConfig(raw, tmp_path / 'out', seed=1, model_hash='abc', layout='bids')


@pytest.fixture
def process(finished):
    """Return ``process(config, failing=())``: publish all scans of a run, but those that fail."""

    def call(config, failing=(), seed=1):
        write_dataset_files(config)
        for scan in collect_scans(config):
            if scan.name in failing:
                record_failure(scan, config, 'no brain')
            else:
                publish_scan(scan, config, finished(scan, seed), PASS)

    return call


@pytest.fixture
def dataset(settings, process):
    """The raw-like dataset of all scans but one, which failed."""
    process(settings, ['sub-03_T1w'])
    return write_raw_like(settings).dataset


def files_of(dataset):
    return sorted(p.relative_to(dataset).as_posix() for p in dataset.rglob('*') if p.is_file())


def texts_of(dataset):
    return {
        path: (dataset / path).read_text()
        for path in files_of(dataset)
        if not path.endswith(('.nii.gz', '.nii'))
    }


def test_it_is_valid_beside_valid_derivatives(dataset, settings):
    assert validate_bids(dataset) == []
    assert validate_bids(settings.output_dir) == []


def test_what_is_in_it(dataset):
    assert [path for path in files_of(dataset) if not path.startswith('code/')] == [
        'CHANGES',
        'README',
        'dataset_description.json',
        'participants.json',
        'participants.tsv',
        'phenotype/iq.json',
        'phenotype/iq.tsv',
        'sub-01/ses-a/anat/sub-01_ses-a_T1w.json',
        'sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz',
        'sub-01/ses-a/fmap/sub-01_ses-a_dir-AP_epi.json',
        'sub-01/ses-a/fmap/sub-01_ses-a_dir-AP_epi.nii.gz',
        'sub-01/ses-a/func/sub-01_ses-a_task-rest_bold.json',
        'sub-01/ses-a/func/sub-01_ses-a_task-rest_bold.nii.gz',
        'sub-01/ses-a/func/sub-01_ses-a_task-rest_events.json',
        'sub-01/ses-a/func/sub-01_ses-a_task-rest_events.tsv',
        'sub-01/ses-a/sub-01_ses-a_scans.tsv',
        'sub-01/ses-b/anat/sub-01_ses-b_T1w.json',
        'sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz',
        'sub-01/ses-b/sub-01_ses-b_scans.tsv',
        'sub-01/sub-01_sessions.tsv',
        'sub-02/anat/sub-02_T1w.json',
        'sub-02/anat/sub-02_T1w.nii.gz',
        'sub-02/dwi/sub-02_dwi.bval',
        'sub-02/dwi/sub-02_dwi.bvec',
        'sub-02/dwi/sub-02_dwi.json',
        'sub-02/dwi/sub-02_dwi.nii.gz',
        'sub-02/sub-02_scans.tsv',
    ]


def test_no_original_and_no_link_is_in_it(dataset, raw, settings):
    originals = {path.read_bytes() for path in raw.rglob('*.nii*')}
    assert not any(path.is_symlink() for path in dataset.rglob('*'))
    for path in dataset.rglob('*.nii*'):
        assert path.read_bytes() not in originals
        assert path.stat().st_nlink == 1
    refaced = settings.output_dir / T1W.replace('_T1w', '_desc-refaced_T1w')
    assert (dataset / T1W).read_bytes() == refaced.read_bytes()


def test_no_name_and_no_date_is_in_it(dataset):
    texts = texts_of(dataset)
    found = {
        (path, word)
        for path, text in texts.items()
        for word in PRIVATE
        if word in re.sub(r'[0-9a-f]{64}', '', text)  # hashes
    }
    # Of the columns that were left behind, the list has the names
    assert found == set()
    for path in dataset.rglob('*.nii*'):
        assert header_leaks(path) == []


def test_copied_images_have_all_their_voxels(dataset, raw):
    original, copied = (nb.load(folder / BOLD) for folder in (raw, dataset))
    np.testing.assert_array_equal(copied.dataobj, original.dataobj)
    np.testing.assert_array_equal(copied.affine, original.affine)
    assert copied.header['pixdim'][4] == 2.0
    assert gzip.decompress((dataset / BOLD).read_bytes())[352:] == original.dataobj.get_unscaled().tobytes(
        'F'
    )


def test_what_is_left_out_is_listed(dataset):
    rows = dict(
        line.split('\t', 1)
        for line in (dataset / 'code/cpmae-bids/left_out.tsv').read_text().splitlines()[1:]
    )
    assert {path for path in rows if path.endswith(('.nii', '.nii.gz'))} == {
        *KEPT_OUT,
        'sub-03/anat/sub-03_T1w.nii.gz',
    }
    assert 'error: no brain' in rows['sub-03/anat/sub-03_T1w.nii.gz']
    assert all(rows[path].startswith('1\tyes\t') for path in [*KEPT_OUT, 'sourcedata/'])
    assert 'columns left out: name, scanned, notes' in rows['participants.tsv']


def test_tables(dataset):
    def table(path):
        return (dataset / path).read_text().splitlines()

    assert table('participants.tsv') == [
        'participant_id\tage\tsex\tdiagnosis\tscore',
        'sub-01\t89\tF\tAD\t12',
        'sub-02\t30\tM\tHC\t7',
    ]
    assert table('phenotype/iq.tsv') == ['participant_id\tiq', 'sub-01\t101']
    assert table('sub-01/ses-a/sub-01_ses-a_scans.tsv') == [
        'filename',
        'anat/sub-01_ses-a_T1w.nii.gz',
        'func/sub-01_ses-a_task-rest_bold.nii.gz',
    ]
    assert table('sub-02/sub-02_scans.tsv') == ['filename', 'anat/sub-02_T1w.nii.gz']
    assert table('sub-01/ses-a/func/sub-01_ses-a_task-rest_events.tsv') == [
        'onset\tduration\ttrial_type',
        '0\t1\tgo',
        '2\t1\tstop',
    ]


def test_sidecars(dataset):
    def sidecar(path):
        return json.loads((dataset / path).read_text())

    refaced = sidecar(T1W.replace('.nii.gz', '.json'))
    assert refaced['EchoTime'] == 0.003
    assert refaced['DeidentificationMethod'][0].startswith('cpmae-bids ')
    assert refaced.keys().isdisjoint(('PatientName', 'SkullStripped', 'Sources'))
    assert sidecar(BOLD.replace('.nii.gz', '.json')) == {
        'RepetitionTime': 2.0,
        'SliceTiming': [0.0, 1.0],
        'TaskName': 'rest',
    }
    assert sidecar('sub-01/ses-a/fmap/sub-01_ses-a_dir-AP_epi.json')['IntendedFor'] == [f'bids::{BOLD}']
    description = sidecar('dataset_description.json')
    assert description['DatasetType'] == 'raw'
    assert description['SourceDatasets'] == [{'DOI': 'doi:10.1234/abc'}]
    assert description['Authors'] == ['A. Author']
    assert 'Acquired' not in description


ENCODINGS = {
    'UTF-16': lambda text: text.encode('utf-16'),
    'UTF-16 without a mark': lambda text: text.encode('utf-16-be'),
    'Latin-1': lambda text: text.replace('late', 'verspätet').encode('latin-1'),
    'commas': lambda text: text.replace(',', ' ').replace('\t', ',').encode(),
    'semicolons, quotes and Windows': lambda text: '\r\n'.join(
        ';'.join(f'"{cell}"' for cell in line.split('\t')) for line in text.splitlines()
    ).encode(),
    'quotes and tabs': lambda text: '\n'.join(
        '\t'.join(f'"{cell}"' for cell in line.split('\t')) for line in text.splitlines()
    ).encode(),
    'labels without prefix': lambda text: text.replace('sub-', '').replace('ses-', '').encode(),
}


@pytest.mark.parametrize('encoded', ENCODINGS.values(), ids=ENCODINGS)
def test_tables_as_spreadsheets_write_them(raw, settings, process, encoded, caplog):
    process(settings, ['sub-03_T1w'])
    first = texts_of(write_raw_like(settings).dataset)
    tables = 'participants.tsv', 'phenotype/iq.tsv', 'sub-01/sub-01_sessions.tsv'
    for path in (*tables, 'README'):
        (raw / path).write_bytes(encoded((raw / path).read_text()))
    outcome = write_raw_like(settings)
    assert outcome.failures == 0
    texts = texts_of(outcome.dataset)
    assert {path: texts[path] for path in tables} == {path: first[path] for path in tables}
    write_participants(raw, settings.output_dir, ['01', '02', '04'])
    table = (settings.output_dir / 'participants.tsv').read_text()
    assert table == 'participant_id\tage\tsex\nsub-01\t89\tF\nsub-02\t30\tM\n'
    assert 'participants.tsv: has no row for sub-04' in caplog.text


TWICE = b'participant_id\tage\nsub-01\t3\nsub-01\t4\n'


@pytest.mark.parametrize(
    'content', [b'PK\3\4\0\0', b'name\tage\nsub-01\t3\n', b'', b'\xff\xfea', TWICE, None]
)
def test_a_table_that_cannot_be_read_is_a_failure(raw, settings, process, content):
    process(settings)
    path = raw / 'participants.tsv'
    path.unlink()
    path.symlink_to('annexed') if content is None else path.write_bytes(content)
    outcome = write_raw_like(settings)
    assert outcome.failures == 1
    assert [entry.path for entry in outcome.left_out if 'participants.tsv' in entry.reason] == [path.name]
    (line,) = write_participants(raw, settings.output_dir, ['01'])
    assert 'participants.tsv' in line


@pytest.mark.parametrize(
    'name',
    [
        'anat/sub-02_T1w.nii.gz',
        'anat/sub-02_T1w.nii',
        'sub-02/anat/sub-02_T1w.nii',
        './anat/sub-02_T1w.nii.gz',
        'anat\\sub-02_T1w.nii',
    ],
)
def test_rows_of_scans_with_another_name_for_the_same_file(raw, settings, process, name):
    """Images are compressed later, or scripts write paths of their own."""
    process(settings)
    (raw / 'sub-02/sub-02_scans.tsv').write_text(f'filename\toperator\n{name}\tJane\ndwi/sub-02_dwi.nii\tX\n')
    outcome = write_raw_like(settings)
    rows = (outcome.dataset / 'sub-02/sub-02_scans.tsv').read_text().splitlines()
    assert rows == ['filename', 'anat/sub-02_T1w.nii.gz', 'dwi/sub-02_dwi.nii.gz']
    (raw / 'sub-02/sub-02_scans.tsv').write_text('filename\nanat/sub-02_T1w.nii\nanat/sub-02_run-9_T1w.nii\n')
    reasons = [entry.reason for entry in write_raw_like(settings).left_out]
    assert 'rows of files that are not in the input (1 of them)' in reasons


@pytest.mark.parametrize(
    ('path', 'label'),
    [
        ('sub-01/ses-20190412/anat/sub-01_ses-20190412_T1w.nii', 'ses-20190412'),
        ('sub-01/ses-pre20190412/anat/x', 'ses-pre20190412'),
        ('sub-01/ses-20190412103000/anat/x', 'ses-20190412103000'),
        ('sub-01/ses-12042019/anat/x', 'ses-12042019'),
        ('sub-01/ses-190412/anat/x', 'ses-190412'),
        ('sub-01/ses-201904/anat/x', 'ses-201904'),
        ('sub-01/ses-12Apr2019/anat/x', 'ses-12Apr2019'),
        ('sub-01/ses-april122019/anat/x', 'ses-april122019'),
        *((f'sub-01/{label}/anat/x', label) for label in ('ses-apr2019', 'ses-2019Q2', 'ses-2019w18')),
        *((f'sub-01/{label}/anat/x', label) for label in ('ses-1555027200', 'ses-12mai2019', 'ses-3dez18')),
        ('sub-19800412/anat/x', 'sub-19800412'),
        ('sub-01/anat/sub-01_acq-20190412_T1w.nii', 'acq-20190412'),
    ],
)
def test_labels_that_are_dates(path, label):
    assert dated_labels([path]) == {label: path}


@pytest.mark.parametrize(
    'label',
    [
        *('ses-01', 'ses-baseline', 'ses-2019', 'ses-12345678', 'ses-991399', 'sub-100307', 'sub-0050002'),
        *('ses-march2', 'ses-wave3', 'acq-256x256', 'sub-UKB1000019', 'ses-decoding2000', 'sub-1555027200'),
    ],
)
def test_labels_that_are_none(label):
    assert dated_labels([f'{label}/anat/sub-01_T1w.nii.gz']) == {}


def test_dates_can_be_shifted(settings, process, monkeypatch):
    process(settings)
    loaded, load = Counter(), Table.load
    monkeypatch.setattr(Table, 'load', lambda path: loaded.update([path.name]) or load(path))
    dataset = write_raw_like(settings.replace(scan_dates='shift')).dataset
    # for the dates of the subject, and for itself: with a hundred sessions, each has to be read twice only
    assert loaded['sub-01_ses-a_scans.tsv'] == loaded['sub-01_sessions.tsv'] == 2

    def times(path):
        return [line.split('\t')[1] for line in (dataset / path).read_text().splitlines()[1:]]

    a, bold = times('sub-01/ses-a/sub-01_ses-a_scans.tsv')
    (b,) = times('sub-01/ses-b/sub-01_ses-b_scans.tsv')
    assert a[:4] < '1925'
    assert (a[10:], bold[:10]) == ('T09:30:00', a[:10])
    assert (np.datetime64(b) - np.datetime64(a)) == np.timedelta64(31 * 86400, 's')
    assert times('sub-01/sub-01_sessions.tsv')[0][:10] == a[:10]
    assert times('sub-02/sub-02_scans.tsv') == ['n/a']
    assert validate_bids(dataset) == []


def test_shifted_dates_tell_nothing_of_the_true_ones():
    early, late = ['2001-02-03T10:00:00', '2001-03-03'], ['2020-05-06T11:00:00.5Z', 'n/a', '2019-99-01']
    moved = [shifted(times[0], shift_of(7, '01', times)) for times in (early, late)]
    assert moved[0][:10] == moved[1][:10]
    assert moved[1].endswith('T11:00:00.5Z')
    assert shifted('nonsense', shift_of(7, '01', early)) == 'n/a'
    assert shift_of(7, '01', ['n/a']) is None
    starts = {shifted('2001-02-03', shift_of(seed, '01', early)) for seed in range(30)}
    assert len(starts) > 20


@pytest.mark.parametrize('missing', ['1900-01-01', '1970-01-01T00:00:00', '9999-12-31', '0001-01-01'])
def test_a_date_that_stands_for_none_does_not_give_the_shift_away(missing):
    times = [missing, '2019-05-06T11:00:00', '2020-05-05']
    shift = shift_of(7, '01', times)
    assert shift == shift_of(7, '01', times[1:])
    moved = [shifted(text, shift) for text in times]
    assert moved[0] == 'n/a'
    assert '1900' <= moved[1] < moved[2] < '1921'
    shift = shift_of(7, '01', ['1912-03-04', '1915-03-04'])  # shifted before
    assert '1900' <= shifted('1912-03-04', shift) < shifted('1915-03-04', shift) < '1924'


def test_a_second_run_changes_nothing(dataset, settings):
    before = {path: (dataset / path).stat().st_ino for path in files_of(dataset)}
    write_raw_like(settings)
    changed = {path for path in files_of(dataset) if before.get(path) != (dataset / path).stat().st_ino}
    assert changed == {'code/cpmae-bids/left_out.tsv'}
    assert set(before) == set(files_of(dataset))


def test_a_run_updates_what_changed(dataset, raw, settings, process):
    old = (dataset / T1W).read_bytes(), (dataset / BOLD).read_bytes()
    data = series(raw / BOLD)
    shutil.copy(raw / T1W, raw / BOLD.replace('_bold', '_sbref'))
    image = nb.Nifti1Image(data + 1, np.diag([8.0, 8, 8, 1]))
    image.header['pixdim'][4] = 2.0
    nb.save(image, raw / BOLD)
    process(settings, seed=2)
    write_raw_like(settings)
    assert (dataset / T1W).read_bytes() != old[0]
    assert (dataset / BOLD).read_bytes() != old[1]
    assert (dataset / 'sub-03/anat/sub-03_T1w.nii.gz').is_file()
    assert 'sub-03' in (dataset / 'participants.tsv').read_text()
    assert validate_bids(dataset) == []


def test_an_output_that_fails_later_is_removed(dataset, settings, process):
    process(settings, ['sub-01_ses-a_T1w', 'sub-03_T1w'])
    assert not (dataset / T1W).exists()  # at once
    assert validate_bids(dataset) == []
    write_raw_like(settings)
    assert validate_bids(dataset) == []
    assert 'ses-a_T1w' not in (dataset / 'sub-01/ses-a/sub-01_ses-a_scans.tsv').read_text()
    assert (dataset / BOLD).is_file()


def test_an_output_that_fails_later_is_removed_where_datalad_has_dropped_its_content(dataset, settings):
    scan = next(scan for scan in collect_scans(settings) if scan.relative_path == T1W)
    image = dataset / T1W
    image.unlink()
    image.symlink_to('../../../.git/annex/objects/gone')
    record_failure(scan, settings, 'no brain')
    assert not image.is_symlink()


def test_a_file_beside_the_manifests_is_none_of_them(dataset, settings):
    """It would be removed, and with it the files that it lists."""
    notes = dataset / 'code/cpmae-bids/notes.json'
    notes.write_text('{"files": {"CHANGES": {}, "sub-01/own.txt": {}}}')
    (dataset / 'sub-01/own.txt').touch()
    write_raw_like(settings)
    assert notes.exists()
    assert (dataset / 'sub-01/own.txt').exists()


@pytest.mark.parametrize(
    'manifest',
    [
        {'files': {T1W: 'x', BOLD: 3}, 'refaced': {T1W: 4}, 'left_out': ['x', {'path': 'sub-01/anat/x'}, 5]},
        {
            'files': {'/etc/passwd': {}, '../x': {}, BOLD: {'sha256': 7}},
            'left_out': [{'path': 1, 'reason': 2}],
        },
        {'files': [], 'refaced': None, 'left_out': {}},
        [],
    ],
)
def test_a_manifest_that_somebody_edited_is_made_anew(dataset, settings, manifest):
    path = dataset / 'code/cpmae-bids/sub-01_ses-a.json'
    before = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {'version': before['version']} if manifest else manifest))
    assert write_raw_like(settings.replace(participant_label=('02',))).failures == 0
    assert write_raw_like(settings).failures == 0
    assert json.loads(path.read_text()) == before


def test_a_description_in_another_encoding_is_written_anew(dataset, settings):
    path = dataset / 'dataset_description.json'
    content = path.read_text()
    path.write_bytes(content.encode('utf-16'))
    write_raw_like(settings)
    assert path.read_text() == content


def test_what_left_the_input_leaves_the_dataset(dataset, raw, settings):
    shutil.rmtree(raw / 'sub-02')
    shutil.rmtree(raw / 'sub-01/ses-b')
    (raw / BOLD).unlink()
    (dataset / 'sub-01/ses-a/eeg').mkdir()
    (dataset / 'sub-01/ses-a/eeg/by_hand.txt').touch()
    write_raw_like(settings)
    assert not (dataset / 'sub-02').exists()
    assert not (dataset / 'sub-01/ses-b').exists()
    assert not (dataset / 'sub-01/ses-a/func').exists()
    assert (dataset / 'sub-01/ses-a/eeg/by_hand.txt').exists()
    assert 'sub-02' not in (dataset / 'participants.tsv').read_text()


@pytest.mark.parametrize('label', ['x' * 300, '', '..'])
def test_a_session_that_is_none_costs_its_row_alone(raw, settings, process, label):
    process(settings)
    with (raw / 'sub-01/sub-01_sessions.tsv').open('a') as table:
        table.write(f'{label}\t2019-03-02\n')
    dataset = write_raw_like(settings).dataset
    assert (dataset / 'sub-01/sub-01_sessions.tsv').read_text() == 'session_id\nses-a\nses-b\n'
    left_out = (dataset / 'code/cpmae-bids/left_out.tsv').read_text()
    assert 'sub-01_sessions.tsv\t1\tno\trows of sessions that are not in the input (1 of them)' in left_out


def test_a_measure_of_several_sessions_keeps_their_labels(raw, settings, process):
    """Without them its rows cannot be told apart; dates, and labels of one row alone, tell too much."""
    process(settings)
    labels = [('01', 'ses-a'), ('01', 'b'), *((s, 'screening') for s in ('01', '02')), ('02', 'Jane')]
    labels += [(s, '20190102') for s in ('01', '02')]
    rows = [f'sub-{subject}\t{session}\t{n}\n' for n, (subject, session) in enumerate(labels)]
    (raw / 'phenotype/iq.tsv').write_text(''.join(['participant_id\tsession_id\tiq\n', *rows]))
    dataset = write_raw_like(settings).dataset
    lines = (dataset / 'phenotype/iq.tsv').read_text().splitlines()
    told = [line.split('\t')[1] for line in lines]
    assert told == ['session_id', 'ses-a', 'ses-b', *['ses-screening'] * 2, *['n/a'] * 3]


@pytest.mark.parametrize('table', ['phenotype/iq.tsv', 'participants.tsv'])
def test_rows_of_nobody_in_the_input_are_told(raw, settings, process, table):
    """Else a table whose labels are spelled otherwise would be gone without a word."""
    process(settings)
    (raw / table).write_text('participant_id\tiq\nsub-1\t101\n"sub-02"\t99\n')
    outcome = write_raw_like(settings)
    assert not (outcome.dataset / table).exists()
    told = {entry.path: entry.reason for entry in outcome.left_out}
    assert told[table] == 'rows of participants who are not in the input (2 of them)'


@pytest.mark.parametrize(
    ('target', 'named'),
    [
        *((t, []) for t in (f'bids::{__file__}', f'{"x" * 300}.nii', 'bids::sub-01/../sub-02', 3)),
        (f'bids::{PLAIN}', [f'bids::{PLAIN}.gz']),  # which is compressed there
    ],
)
def test_a_target_is_named_as_far_as_it_is_there(dataset, raw, settings, target, named):
    name = 'sub-01/ses-a/fmap/sub-01_ses-a_dir-AP_epi.json'
    content = json.loads((raw / name).read_text())
    (raw / name).write_text(json.dumps({**content, 'IntendedFor': [target, *content['IntendedFor']]}))
    write_raw_like(settings)
    assert json.loads((dataset / name).read_text())['IntendedFor'] == [*named, f'bids::{BOLD}']


def test_gradients_that_are_not_here_fail_their_image_alone(raw, settings, process):
    (raw / 'dwi.bval').unlink()
    (raw / 'dwi.bval').symlink_to('annex')
    process(settings)
    outcome = write_raw_like(settings)
    assert outcome.failures == 1
    assert any('dwi.bval' in entry.reason and 'datalad get' in entry.reason for entry in outcome.left_out)
    assert not list(outcome.dataset.rglob('*_dwi.*'))
    assert (outcome.dataset / BOLD).exists()


def test_an_original_that_is_gone_fails_its_image_alone(raw, settings, process):
    process(settings)
    (raw / T1W).unlink()
    (raw / T1W).symlink_to('annex')
    outcome = write_raw_like(settings)
    assert outcome.failures >= 1
    assert not (outcome.dataset / T1W).exists()
    assert (outcome.dataset / BOLD).exists()


def test_tables_of_runs_side_by_side_wait_for_each_other(settings, process, monkeypatch):
    process(settings)
    inside = threading.Event()

    def slow(*args, write=build.write_root):
        assert not inside.is_set()
        inside.set()
        time.sleep(0.2)
        inside.clear()
        return write(*args)

    monkeypatch.setattr(build, 'write_root', slow)
    with ThreadPoolExecutor(2) as pool:
        labels = [settings.replace(participant_label=(label,)) for label in ('01', '02')]
        outcomes = list(pool.map(write_raw_like, labels))
    assert [outcome.failures for outcome in outcomes] == [0, 0]


def test_runs_over_sessions_of_one_subject_wait_for_each_other(settings, process, monkeypatch):
    """Each found temporary files of the other one, took them for those of a killed run, and removed them."""
    process(settings)
    monkeypatch.setattr(commit, 'write_manifest', lambda *args: (time.sleep(0.5), write_manifest(*args)))
    fork = multiprocessing.get_context('fork')
    runs = [
        fork.Process(target=write_raw_like, args=(settings.replace(session_label=(label,)),))
        for label in ('a', 'b')
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0]
    table = settings.raw_like_folder / 'sub-01/sub-01_sessions.tsv'
    assert table.read_text() == 'session_id\nses-a\nses-b\n'


@pytest.mark.parametrize('damage', ['truncated', 'gone', 'sidecar', 'unreadable'])
def test_a_file_that_cannot_be_copied_is_left_out_and_counted(raw, settings, process, damage):
    if damage == 'truncated':
        content = gzip.decompress((raw / BOLD).read_bytes())
        (raw / BOLD).write_bytes(gzip.compress(content[:2000]))
    elif damage == 'gone':
        (raw / BOLD).unlink()
        (raw / BOLD).symlink_to('annex')
    elif damage == 'sidecar':
        (raw / BOLD.replace('.nii.gz', '.json')).write_text('{"TaskName"')
    else:
        (raw / BOLD).write_bytes(b'\x1f\x8b this is no image')
    process(settings)
    outcome = write_raw_like(settings)
    assert outcome.failures == 1
    assert not [path for path in files_of(outcome.dataset) if '_bold' in path and 'code' not in path]
    assert any(entry.path == BOLD for entry in outcome.left_out)
    assert str(raw) not in ''.join(texts_of(outcome.dataset).values())
    assert validate_bids(outcome.dataset) == []


def test_an_image_in_which_a_face_is_found_is_left_out(settings, process):
    process(settings)
    outcome = write_raw_like(settings, lambda path: 'geometry (0.90)' if 'dwi' in path.name else '')
    assert not list(outcome.dataset.rglob('*dwi*nii.gz'))
    assert (outcome.dataset / BOLD).is_file()
    assert any('a face was found in it (geometry (0.90))' in entry.reason for entry in outcome.left_out)


def test_an_output_that_is_not_the_file_that_passed_stays_out(raw, settings, process):
    process(settings)
    shutil.copy(raw / T1W, settings.output_dir / T1W.replace('_T1w', '_desc-refaced_T1w'))
    outcome = write_raw_like(settings)
    assert outcome.failures == 1
    assert not (outcome.dataset / T1W).exists()
    assert validate_bids(outcome.dataset) == []


def test_any_image_with_a_passing_record_takes_the_place_of_its_original(settings, process):
    """Whatever its suffix: what other contrasts are de-identified is decided elsewhere."""
    process(settings)
    out, source = settings.output_dir, KEPT_OUT[0]
    record = read_record(out, 'sub-01_ses-a_T1w')
    names = {
        path: path.replace('T1w', 'T2w').replace('desc-brain_', 'desc-brainT2w_') for path in record['files']
    }
    files = {name: record['files'][path] for path, name in names.items()}
    for path, name in names.items():
        shutil.copy(out / path, out / name)
    write_record(out, 'sub-01_ses-a_T2w', {**record, 'scan': source, 'files': files})
    dataset = write_raw_like(settings).dataset
    assert (dataset / source).read_bytes() == (dataset / T1W).read_bytes()
    assert source.rpartition('/')[2] in (dataset / 'sub-01/ses-a/sub-01_ses-a_scans.tsv').read_text()
    assert source not in (dataset / 'code/cpmae-bids/left_out.tsv').read_text()
    assert validate_bids(dataset) == []


def test_runs_over_subjects_and_sessions_make_the_same_dataset(dataset, settings):
    whole = {path: (dataset / path).read_bytes() for path in files_of(dataset)}
    shutil.rmtree(dataset)
    parts = [
        {'participant_label': ('02',)},
        {'participant_label': ('01',), 'session_label': ('b',)},
        {'participant_label': ('01',), 'session_label': ('a',)},
        {'participant_label': ('03',)},
    ]
    for part in parts:
        write_raw_like(settings.replace(**part))
        named = re.findall(r'^(sub-\d+)', (dataset / 'participants.tsv').read_text(), re.MULTILINE)
        assert named == sorted(path.name for path in dataset.glob('sub-*'))
    assert {path: (dataset / path).read_bytes() for path in files_of(dataset)} == whole


@pytest.mark.parametrize('call', [0, 2, 9, 18, 25, 33])
def test_wherever_it_is_cut_off_it_is_valid_and_holds_final_files(settings, process, monkeypatch, call):
    """Each file gets its name by a rename; the power fails before one of them."""
    process(settings, ['sub-03_T1w'])
    count, replace = iter(range(1000)), os.replace

    def failing(*arguments, **folders):
        if next(count) == call:
            raise KeyboardInterrupt
        return replace(*arguments, **folders)

    with monkeypatch.context() as patch:
        patch.setattr(os, 'replace', failing)
        with pytest.raises(KeyboardInterrupt):
            write_raw_like(settings)
    dataset = settings.output_dir / 'bids'
    whole = {T1W, BOLD}
    if (dataset / 'dataset_description.json').exists():
        codes = {issue.code for issue in validate_bids(dataset)}
        assert codes <= {'SIDECAR_WITHOUT_DATAFILE', 'SUBJECT_FOLDERS', 'EMPTY_DATASET', 'NO_SUBJECT_FOLDERS'}
    finished = write_raw_like(settings).dataset
    for path in whole:
        assert header_leaks(finished / path) == []
    assert not list(finished.rglob('.*'))
    assert 'sub-02' in (finished / 'participants.tsv').read_text()


def test_a_full_disk_leaves_final_files_only(settings, process, monkeypatch):
    process(settings)

    def full(source, file):
        file.write(b'half')
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr('cpmae_bids.sharing.rawlike.subject.copy_image', full)
        with pytest.raises(InputError, match='No space left'):
            write_raw_like(settings)
    dataset = settings.output_dir / 'bids'
    assert not [path for path in dataset.rglob('*') if path.is_file() and path.read_bytes() == b'half']
    write_raw_like(settings)
    assert (dataset / BOLD).is_file()


def test_uncompressed_big_endian_and_nifti2_images(tmp_path):
    data = np.arange(24, dtype='>i2').reshape(2, 3, 4)
    for kind, name in ((nb.Nifti1Image, 'a.nii'), (nb.Nifti2Image, 'b.nii.gz')):
        image = kind(data, np.diag([1.0, 2, 3, 1]), kind.header_class(endianness='>'))
        image.header['descrip'] = b'Jane'
        nb.save(image, tmp_path / name)
        target = tmp_path / f'copy_{name}'
        with target.open('wb') as file:
            images.copy_image(tmp_path / name, file)
        copied = nb.load(target)
        np.testing.assert_array_equal(copied.dataobj, data)
        assert copied.header.endianness == '>'
        assert header_leaks(target) == []


def test_unused_dimensions_of_a_copy_hold_no_numbers(tmp_path):
    image = nb.Nifti1Image(np.zeros((4, 4, 4, 3), np.int16), np.diag([2.0, 2, 2, 1]))
    image.header['pixdim'][4:8] = 2.5, 870503, 1, 5
    image.header['intent_p1'] = image.header['toffset'] = 870503
    image.header['slice_start'], image.header['slice_end'] = 1987, 503
    nb.save(image, tmp_path / 'a.nii')
    content = bytearray((tmp_path / 'a.nii').read_bytes())
    content[50:52] = (8705).to_bytes(2, 'little')  # dim[5]
    (tmp_path / 'a.nii').write_bytes(content)
    with (tmp_path / 'b.nii').open('wb') as file:
        images.copy_image(tmp_path / 'a.nii', file)
    header = nb.load(tmp_path / 'b.nii').header
    assert header['pixdim'][4:].tolist() == [2.5, 0, 1, 0]
    assert header['dim'].tolist() == [4, 4, 4, 4, 3, 1, 1, 1]
    assert all(header[field] == 0 for field in ('intent_p1', 'toffset', 'slice_start', 'slice_end'))
    assert images.is_copy(tmp_path / 'a.nii', tmp_path / 'b.nii')
    content[-1] ^= 1
    (tmp_path / 'a.nii').write_bytes(content)
    assert not images.is_copy(tmp_path / 'a.nii', tmp_path / 'b.nii')


def test_a_table_of_numbers_is_one(tmp_path):
    path = tmp_path / 'physio.tsv.gz'
    numbers = b'1.5\t-2e3\nn/a\t4\nNaN\t-inf\n1E5\t-\n'
    path.write_bytes(gzip.compress(numbers))
    assert gzip.decompress(images.copy_numbers(path)) == numbers
    for name in (b'Jane', b'Ian', b'Nina', b'nan1Ina'):
        path.write_bytes(gzip.compress(b'1.5\t' + name + b'\n'))
        with pytest.raises(InputError, match='more than numbers'):
            images.copy_numbers(path)


def test_descriptions_of_datasets_hold_texts_alone(make_bids):
    root = make_bids(
        [],
        Authors=['A. Author'],
        Funding=[{'PatientName': 'Jane'}],
        Acknowledgements={'Doe': 'Jane'},
        GeneratedBy=[{'Name': 'converter', 'Version': '1', 'Description': {'Operator': 'Jane'}}],
    )
    told = build_description(root)
    assert 'Jane' not in json.dumps(told)
    assert told['Authors'] == ['A. Author']
    assert told['GeneratedBy'][1] == {'Name': 'converter', 'Version': '1'}


def test_descriptions_of_datasets_hold_no_path(make_bids):
    path = '/home/jane/study'
    maker = {
        'Name': 'dcm2niix',
        'Version': 'v1.0.20220720',
        'CodeURL': f'file://{path}',
        'Description': f'-o {path}',
    }
    root = make_bids([], Name=path, DatasetDOI=f'file://{path}', HowToAcknowledge=path, GeneratedBy=[maker])
    told = build_description(root)
    assert told['GeneratedBy'][1] == {'Name': 'dcm2niix', 'Version': 'v1.0.20220720'}
    for description in (told, describe_dataset(RunConfig(root, root.parent / 'out'))):
        assert 'jane' not in json.dumps(description)


def test_nothing_but_the_dataset_is_written_to(dataset, raw, settings):
    """Neither the input, nor the derivatives."""

    def outside():
        files = (path for path in raw.parent.rglob('*') if path.is_file())
        return {path: path.read_bytes() for path in files if not path.is_relative_to(dataset)}

    before = outside()
    write_raw_like(settings.replace(scan_dates='shift'))
    assert outside() == before
    assert settings.raw_like_folder == dataset
