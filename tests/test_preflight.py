"""A run that cannot end well is refused before it starts, with a line that says what to do."""

import os
import shutil
import stat
import tempfile
from collections import namedtuple

import pytest

from cpmae_bids.bids.derivatives import read_description
from cpmae_bids.cli import devices, folder_checks, preflight
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import TemplateError, UsageError, WeightsError


@pytest.fixture
def config(make_bids, tmp_path):
    return RunConfig(make_bids(['sub-01/anat/sub-01_T1w.nii.gz']), tmp_path / 'out', device='cpu')


def test_everything_is_settled(config, ready, monkeypatch, tmp_path):
    monkeypatch.setattr(preflight.tempfile, 'tempdir', str(tmp_path))
    settled = preflight.preflight(config)
    assert settled.model_hash == 'abc'
    assert settled.seed is not None
    assert settled.temporary_work_dir
    assert settled.work_dir.parent == tmp_path
    assert stat.S_IMODE(settled.work_dir.stat().st_mode) == 0o700
    preflight.remove_work_dir(settled)
    assert not settled.work_dir.exists()


def test_given_work_dir_is_made_private_and_kept(config, ready, tmp_path):
    settled = preflight.preflight(config.replace(work_dir=tmp_path / 'work' / 'here'))
    assert stat.S_IMODE(settled.work_dir.stat().st_mode) == 0o700
    preflight.remove_work_dir(settled)
    assert settled.work_dir.is_dir()
    assert list(settled.work_dir.iterdir()) == []


def test_a_work_directory_that_nipype_cannot_name_is_refused(config, ready, tmp_path, monkeypatch):
    (tmp_path / '%s').mkdir()
    with pytest.raises(UsageError, match='choose another --work-dir'):
        preflight.preflight(config.replace(work_dir=tmp_path / '100%'))
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / '%s'))
    with pytest.raises(UsageError, match='choose another --work-dir'):
        preflight.preflight(config)
    assert list((tmp_path / '%s').iterdir()) == []


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'bids_dir': 'missing'}, 'no such folder'),
        ({'output_dir': 'raw'}, 'may not be the input'),
        ({'output_dir': 'raw/derivatives/x'}, 'may not be the input'),
        ({'output_dir': 'link/derivatives'}, 'may not be the input'),
        ({'output_dir': '.'}, 'lies inside the output'),
        ({'output_dir': 'raw/README'}, 'may not be the input'),
        ({'output_dir': 'file'}, 'is not a folder'),
        ({'work_dir': 'raw/work'}, '--work-dir .* inside the input'),
        ({'work_dir': 'link/work'}, '--work-dir .* inside the input'),
        ({'work_dir': 'out/work'}, '--work-dir .* inside the output'),
        ({'private_report_dir': 'out'}, '--private-report-dir .* inside the output'),
        ({'layout': 'bids', 'raw_like_dir': 'raw/bids'}, 'may not hold each other'),
        ({'layout': 'bids', 'raw_like_dir': '.'}, 'may not hold each other'),
        ({'layout': 'bids', 'raw_like_dir': 'out'}, 'must be "bids" in the output'),
        ({'layout': 'bids', 'raw_like_dir': 'out/sub'}, 'must be "bids" in the output'),
        ({'layout': 'bids', 'raw_like_dir': 'file'}, 'is not a folder'),
        ({'layout': 'bids', 'work_dir': 'upload/w', 'raw_like_dir': 'upload'}, 'inside the raw-like dataset'),
        ({'private_report_dir': 'raw/private'}, '--private-report-dir .* inside the input'),
    ],
)
def test_folders_that_would_mix_faces_with_what_is_shared(config, tmp_path, changes, message):
    (tmp_path / 'link').symlink_to(config.bids_dir)
    (tmp_path / 'file').write_text('')
    changes = {f: value if f == 'layout' else tmp_path / value for f, value in changes.items()}
    with pytest.raises(UsageError, match=message):
        folder_checks.check_folders(config.replace(**changes))
    assert not (config.bids_dir / 'derivatives').exists()


def test_input_in_sourcedata_of_the_output_is_fine(make_bids, tmp_path):
    root = make_bids([], root=tmp_path / 'out' / 'sourcedata' / 'raw')
    folder_checks.check_folders(RunConfig(root, tmp_path / 'out'))


def test_swapped_arguments_are_noticed(config, make_bids, tmp_path):
    other = make_bids([], root=tmp_path / 'other')
    with pytest.raises(UsageError, match='did not make'):
        folder_checks.check_folders(config.replace(output_dir=other))


def test_a_scan_in_place_of_a_dataset_has_a_command_of_its_own(config, make_nifti, tmp_path):
    with pytest.raises(UsageError, match=r'is a file; .* use cpmae-bids-file'):
        folder_checks.check_folders(config.replace(bids_dir=make_nifti(tmp_path / 'T1w.nii.gz')))


def test_our_own_output_is_fine(config):
    from cpmae_bids.bids.derivatives import write_dataset_files

    write_dataset_files(config.replace(seed=1))
    folder_checks.check_folders(config)


@pytest.mark.parametrize('content', [b'{"Name": ', b'[]', b'3', '{"Name": "ä"}'.encode('latin-1'), None])
def test_a_description_that_cannot_be_read_is_refused(config, ready, content):
    """Name, authors and licence would be lost."""
    path = config.bids_dir / 'dataset_description.json'
    path.unlink()
    os.mkfifo(path) if content is None else path.write_bytes(content)
    with pytest.raises(UsageError, match=r'dataset_description\.json: cannot be read'):
        preflight.preflight(config)


@pytest.mark.parametrize('is_link', [True, False])
def test_a_description_that_was_not_fetched_is_to_be_fetched(config, is_link):
    path = config.bids_dir / 'dataset_description.json'
    path.unlink()
    where = '.git/annex/objects/MD5E-s1--4d7a.json'
    if is_link:
        path.symlink_to(where)
    else:
        path.write_text(f'/{where}\n')
    with pytest.raises(UsageError, match=r'dataset_description\.json: cannot be read \(.*"datalad get"'):
        folder_checks.check_description(config.bids_dir)


def test_a_description_in_another_encoding_is_read(config):
    path = config.bids_dir / 'dataset_description.json'
    path.write_bytes(path.read_text().encode('utf-16'))
    folder_checks.check_description(config.bids_dir)
    assert read_description(config.bids_dir)['Name'] == 'Tiny heads'
    path.unlink()
    folder_checks.check_description(config.bids_dir)  # the validator asks for one


def test_our_own_output_as_input_is_noticed(config, caplog):
    from cpmae_bids.bids.derivatives import write_dataset_files

    folder_checks.note_own_output(config.bids_dir)
    assert not caplog.records
    write_dataset_files(config.replace(seed=1))
    folder_checks.note_own_output(config.output_dir)
    assert 'give the raw dataset' in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason='permissions do not bind root')
def test_output_that_cannot_be_written(config, ready, tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match='output_dir cannot be written'):
            preflight.preflight(config)
    finally:
        tmp_path.chmod(0o700)


def test_output_below_a_file(config, ready, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UsageError, match='output_dir cannot be written'):
        preflight.preflight(config.replace(output_dir=tmp_path / 'file' / 'out'))


def test_a_read_only_input_is_fine(config, ready, tmp_path):
    for path in [config.bids_dir, *config.bids_dir.rglob('*')]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        preflight.preflight(config.replace(work_dir=tmp_path / 'work'))
    finally:
        for path in [config.bids_dir, *config.bids_dir.rglob('*')]:
            path.chmod(0o700 if path.is_dir() else 0o600)


@pytest.mark.parametrize('mode', [0o755, 0o750, 0o777, 0o2770, 0o701])
def test_a_work_directory_is_closed_to_others_or_refused(config, ready, tmp_path, mode, caplog):
    work = tmp_path / 'work'
    (work / 'cpmae_bids_wf').mkdir(parents=True)
    work.chmod(mode)
    preflight.preflight(config.replace(work_dir=work))
    assert stat.S_IMODE(work.stat().st_mode) & 0o077 == 0
    assert 'closed to other users' in caplog.text
    (work / 'of somebody').touch()
    preflight.preflight(config.replace(work_dir=work))  # which nobody can read
    work.chmod(mode)
    with pytest.raises(UsageError, match='chmod 700'):
        preflight.preflight(config.replace(work_dir=work))
    assert stat.S_IMODE(work.stat().st_mode) == mode


def test_private_report_dir_is_private(config, ready, tmp_path):
    preflight.preflight(config.replace(work_dir=tmp_path / 'w', private_report_dir=tmp_path / 'private'))
    assert stat.S_IMODE((tmp_path / 'private').stat().st_mode) == 0o700


def test_cuda_without_cuda_is_an_error_and_auto_says_what_it_does(monkeypatch, caplog):
    monkeypatch.setattr(devices, 'cuda_is_available', lambda: False)
    with pytest.raises(UsageError, match='--device cuda'):
        devices.settle_device('cuda')
    assert devices.settle_device('auto') == 'cpu'
    assert 'run on the CPU' in caplog.text


def test_cuda_with_cuda(monkeypatch):
    monkeypatch.setattr(devices, 'cuda_is_available', lambda: True)
    assert devices.settle_device('auto') == devices.settle_device('cuda') == 'cuda'


def test_cpu_asks_nobody(monkeypatch):
    monkeypatch.setattr(devices, 'cuda_is_available', lambda: pytest.fail('asked'))
    assert devices.settle_device('cpu') == 'cpu'


@pytest.mark.slow
def test_cuda_question_agrees_with_torch():
    import torch

    assert devices.cuda_is_available() == torch.cuda.is_available()


@pytest.mark.parametrize('error', [WeightsError('damaged'), TemplateError('missing')])
def test_nothing_is_left_when_a_check_fails(config, ready, monkeypatch, tmp_path, error):
    def fail(config):
        raise error

    name = 'find_model_hash' if isinstance(error, WeightsError) else 'check_template'
    monkeypatch.setattr(preflight, name, fail)
    monkeypatch.setattr(preflight.tempfile, 'tempdir', str(tmp_path))
    before = set(tmp_path.iterdir())
    with pytest.raises(type(error)):
        preflight.preflight(config)
    assert set(tmp_path.iterdir()) == before


def test_a_mistyped_label_is_found_before_anything_else(config, tmp_path):
    with pytest.raises(UsageError, match='sub-02'):
        preflight.preflight(config.replace(participant_label=('02',)))
    assert not (tmp_path / 'out').exists()


def test_a_bad_filter_file_is_found_before_the_dataset_is_validated(config, ready, tmp_path):
    path = tmp_path / 'filter.json'
    path.write_text('{"t2w": {"suffix": "bold"}}')
    settings = config.replace(bids_filter_file=path)
    assert preflight.preflight(settings).seed is not None
    with pytest.raises(UsageError, match='only suffix T2w'):
        preflight.preflight(settings.replace(also=('T2w',)))


def test_bad_plugin_file_is_found_at_once(config, ready, tmp_path):
    (tmp_path / 'plugin.json').write_text('[')
    with pytest.raises(UsageError, match=r'plugin\.json'):
        preflight.preflight(config.replace(nipype_plugin_file=tmp_path / 'plugin.json'))


def test_full_disk(config, ready, monkeypatch, tmp_path):
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: usage(100, 100, 1000))
    monkeypatch.setattr(preflight.tempfile, 'tempdir', str(tmp_path))
    with pytest.raises(UsageError, match=r'--work-dir has 0\.0 GB left'):
        preflight.preflight(config)
    assert not list(tmp_path.glob('cpmae-bids-*'))


def test_space_for_one_but_not_for_all_is_a_warning(config, monkeypatch, caplog, tmp_path):
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: usage(0, 0, 2**30))
    config = config.replace(work_dir=tmp_path)
    preflight.check_space(config)
    assert not caplog.records
    preflight.check_space(config, 5, at_a_time=1)
    assert not caplog.records
    preflight.check_space(config, 5)
    assert '--work-dir has 1.0 GB left, and 5 scans may take 3.0 GB' in caplog.text


def test_temporary_folder_inside_the_input_is_refused(config, ready, monkeypatch):
    monkeypatch.setattr(preflight.tempfile, 'tempdir', str(config.bids_dir))
    before = sorted(config.bids_dir.rglob('*'))
    with pytest.raises(UsageError, match=r'--work-dir .* inside the input'):
        preflight.preflight(config)
    assert sorted(config.bids_dir.rglob('*')) == before


def test_a_raw_like_dataset_is_kept_apart_from_what_others_wrote(config, tmp_path):
    folder = tmp_path / 'upload'
    config = config.replace(layout='bids', raw_like_dir=folder)
    (folder / 'derivatives' / 'cpmae-bids').mkdir(parents=True)
    folder_checks.check_folders(config.replace(output_dir=folder / 'derivatives' / 'cpmae-bids'))
    (folder / '.probe.1a2b3c4d.tmp').touch()  # of a run beside this one
    for name in ('.git', '.datalad'):  # a new DataLad dataset
        (folder / name).mkdir()
    (folder / '.gitattributes').touch()
    folder_checks.check_folders(config)
    (folder / 'mine.txt').touch()
    with pytest.raises(UsageError, match='did not write'):
        folder_checks.check_folders(config)
    (folder / 'dataset_description.json').write_text(
        '{"Name": "x", "DatasetType": "raw", "GeneratedBy": [{"Name": "cpmae-bids"}]}'
    )
    folder_checks.check_folders(config)
    with pytest.raises(UsageError, match='no derivatives'):
        folder_checks.check_folders(config.replace(output_dir=folder, layout='derivatives'))
