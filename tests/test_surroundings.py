"""Notebooks, containers and shells leave a process without what libraries expect of it."""

import os
import pwd
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from cpmae_bids.bids.atomic import locked
from cpmae_bids.bids.output_folder import NAME_MAX, OutputFolder, is_temporary, temporary_beside
from cpmae_bids.cli import file
from cpmae_bids.cli.outcome import settle_surroundings
from cpmae_bids.exceptions import InputError
from cpmae_bids.templates import find_template


@pytest.fixture
def gone(tmp_path, monkeypatch):
    """The current folder, which was removed."""
    folder = tmp_path / 'gone'
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    return folder


@pytest.fixture
def nobody(monkeypatch):
    """A user that the machine does not know, without a home."""

    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.delenv('HOME')
    monkeypatch.delenv('TEMPLATEFLOW_HOME', raising=False)
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.setattr(pwd, 'getpwuid', unknown)


def test_a_home_and_a_current_folder(gone, nobody, monkeypatch):
    monkeypatch.setenv('HOME', '')  # to be restored
    monkeypatch.delenv('HOME')
    settle_surroundings()
    assert Path.cwd() == Path('/')
    assert not Path.home().exists()
    assert find_template().name == 'shipped'


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [(['in', '/out'], 'a folder that is gone'), (['/in', '~nobodyatall/out'], 'no such home')],
)
def test_paths_that_cannot_be_known(gone, capsys, arguments, says):
    with pytest.raises(SystemExit) as caught:
        file.main(arguments)
    assert caught.value.code == 64
    assert says in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize('backend', ['module://of_a_notebook.backend_inline', 'nonsense'])
def test_the_backend_of_a_notebook_does_not_matter(backend):
    code = 'from cpmae_bids.steps.register import import_ants; import_ants()'
    environment = os.environ | {'MPLBACKEND': backend}
    run = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize('name', ['x' * NAME_MAX, 'é' * (NAME_MAX // 2), 'sub-01_T1w.json'])
def test_any_name_has_temporary_ones(tmp_path, name):
    path, other = tmp_path / name, tmp_path / f'{name[:-1]}y'
    temporaries = [temporary_beside(path), temporary_beside(path), temporary_beside(other)]
    for temporary in temporaries:
        temporary.touch()
        assert is_temporary(temporary)
    OutputFolder(tmp_path).remove_temporaries(name)
    assert list(tmp_path.iterdir()) == temporaries[2:]


@pytest.mark.parametrize('content', [True, False], ids=['there', 'dropped'])
def test_a_lock_that_datalad_saved(tmp_path, content):
    """It is a link then to a file that nobody may write, or to none."""
    kept = tmp_path / 'annex' / 'object'
    if content:
        kept.parent.mkdir()
        kept.touch(0o444)
        kept.parent.chmod(0o555)
    (tmp_path / 'logs').mkdir()
    (tmp_path / 'logs' / '.lock').symlink_to(kept)
    with locked(tmp_path, 'logs'):
        assert not (tmp_path / 'logs' / '.lock').is_symlink()
    assert kept.exists() == content


# The command for one file


@pytest.fixture
def one_file(tmp_path, make_nifti, monkeypatch, capsys):
    """Return ``one_file(*options)``: the exit code and the message; it must not come to any work."""

    def work(*arguments, **options):
        raise AssertionError('work has begun')

    monkeypatch.setattr('cpmae_bids.steps.chain.deidentify', work)
    scan = make_nifti(tmp_path / 'scan.nii.gz')

    def call(*options, source=scan, out=tmp_path / 'out.nii.gz'):
        code = file.main([str(source), str(out), '--device', 'cpu', *map(str, options)])
        return code, capsys.readouterr().err

    return call


@pytest.mark.parametrize('error', [MemoryError(), RuntimeError("can't allocate memory\nTraceback")])
def test_too_little_memory_is_told_in_one_line(one_file, monkeypatch, error):
    monkeypatch.setattr('cpmae_bids.steps.chain.deidentify', Mock(side_effect=error))
    assert one_file() == (1, 'cpmae-bids-file: out of memory: free some, or use a machine with more\n')


@pytest.mark.skipif(os.geteuid() == 0, reason='permissions do not bind root')
def test_a_folder_that_cannot_be_written_is_told_at_once(one_file, tmp_path):
    folder = tmp_path / 'folder'
    folder.mkdir(0o500)
    for options in ({'out': folder / 'o.nii'}, {}):
        code, message = one_file('--verdict', folder / 'v.json', **options)
        assert code == 64
        assert 'cannot be written' in message


def test_what_cannot_be_written_is_told_at_once(one_file, tmp_path):
    (tmp_path / 'folder.nii').mkdir()
    (tmp_path / 'other.nii').touch()
    (tmp_path / 'file').touch()
    long = tmp_path / f'{"x" * 255}.nii'
    for options, what in (
        ({'out': '/proc/out.nii'}, 'OUT cannot be written'),
        ({'out': long}, 'too long'),
        ({'out': tmp_path / 'folder.nii'}, 'exists'),
    ):
        code, message = one_file(**options)
        assert code != 0
        assert what in message
    for options, what in (
        (('--verdict', '/proc/v.json'), '--verdict cannot be written'),
        (('--verdict', tmp_path / 'folder.nii'), '--verdict is a folder'),
        (('--verdict', tmp_path / 'other.nii'), '--verdict is an image'),
        (('--work-dir', tmp_path / 'file'), '--work-dir cannot be written'),
    ):
        code, message = one_file(*options)
        assert code == 64
        assert what in message
    assert one_file('--overwrite', out=tmp_path / 'folder.nii')[0] == 64


def test_an_earlier_verdict_is_not_left_beside_a_failure(one_file, tmp_path, monkeypatch):
    verdict = tmp_path / 'verdict.json'
    verdict.write_text('{"status": "pass"}')
    monkeypatch.setattr('cpmae_bids.steps.chain.deidentify', Mock(side_effect=InputError('no brain')))
    assert one_file('--verdict', verdict)[0] == 1
    assert not verdict.exists()


def test_an_earlier_image_outlives_a_mistyped_input(one_file, tmp_path):
    out = tmp_path / 'out.nii.gz'
    out.write_bytes(b'of an earlier run')
    code, message = one_file('--overwrite', source=tmp_path / 'scna.nii.gz')
    assert code == 64
    assert 'no such file' in message
    assert out.exists()
