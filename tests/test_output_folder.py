"""Whatever links there are, files change below the output alone, and never in the input."""

import ast
import os
from pathlib import Path

import pytest

from cpmae_bids.bids.atomic import locked
from cpmae_bids.bids.output_folder import OutputFolder, OutsideError, never_written_to

PACKAGE = Path(__file__).parents[1] / 'cpmae_bids'
CHANGES = {
    *('unlink', 'rmdir', 'mkdir', 'makedirs', 'rename', 'renames', 'touch', 'symlink_to', 'hardlink_to'),
    *('write_text', 'write_bytes', 'rmtree', 'remove_tree', 'copyfile', 'copytree', 'symlink', 'link'),
}
# What changes files that lie in no output: temporary folders, files that a user names, results of steps
ELSEWHERE = {
    'bids/output_folder.py': CHANGES | {'replace'},
    'cli/file.py': {'unlink'},
    'cli/process.py': {'rmtree'},
    'cli/selfcheck.py': {'write_bytes'},
    'deid/images/nifti.py': {'unlink', 'replace'},
    'interfaces/process.py': {'open', 'write_text'},
    'interfaces/step.py': {'write_text'},  # in the folder of a node
    'models/weights.py': {'mkdir', 'write_text'},
    'runtime/scratch.py': {'rmtree', 'rmdir', 'unlink'},
    'steps/blend.py': {'write_text'},  # in the folder of a node
    'steps/chain.py': {'mkdir'},
    'steps/report.py': {'write_bytes'},
    'workflows/processes.py': {'rmtree'},
    'workflows/run.py': {'rmdir'},
}


OPENED = ('bids/output_folder.py', 'cli/streams.py', 'deid/images/nifti.py')


@pytest.fixture
def place(tmp_path):
    """An output and an input with a file that must stay."""
    (tmp_path / 'input/sub-01/anat').mkdir(parents=True)
    (tmp_path / 'input/sub-01/anat/scan.nii').write_text('original')
    (tmp_path / 'out').mkdir()
    return tmp_path


def everything(folder):
    return sorted(
        (path.relative_to(folder), path.is_file() and path.read_bytes()) for path in folder.rglob('*')
    )


def ways_to_change(folder, path):
    """All that can be done to a file, and to its neighbours."""
    temporary = f'{path}.old'
    return [
        lambda: folder.write(path, 'x'),
        lambda: folder.stage(path, b'x'),
        lambda: folder.move(temporary, path),
        lambda: folder.move(temporary, path, replace=False),
        lambda: folder.remove(path),
        lambda: folder.remove_temporaries(path),
        lambda: folder.make(f'{path}.d'),
        lambda: folder.open_lock(path),
    ]


def test_files_are_written_renamed_and_removed(place):
    folder = OutputFolder(place / 'out')
    folder.write('sub-01/anat/scan.nii', 'new')
    assert (place / 'out/sub-01/anat/scan.nii').read_text() == 'new'
    staged = folder.stage(place / 'out/sub-01/anat/scan.nii', lambda file: file.write(b'newer'))
    assert staged.read_text() == 'newer'
    folder.move(staged, 'sub-01/anat/scan.nii')
    folder.write('sub-01/anat/scan.nii', 'late', replace=False)
    assert (place / 'out/sub-01/anat/scan.nii').read_text() == 'newer'
    folder.remove_temporaries('sub-01/anat/scan.nii')
    folder.remove_if_empty('sub-01/anat')
    assert [path.name for path in (place / 'out/sub-01/anat').iterdir()] == ['scan.nii']
    folder.remove('sub-01/anat/scan.nii')
    folder.remove('sub-01/anat/scan.nii')
    folder.remove_if_empty('sub-01/anat')
    assert not (place / 'out/sub-01/anat').exists()


def test_a_write_that_fails_leaves_nothing(place):
    def fail(file):
        file.write(b'half')
        raise OSError(28, 'No space left on device')

    with pytest.raises(OSError, match='No space'):
        OutputFolder(place / 'out').stage('a/b', fail)
    assert list((place / 'out/a').iterdir()) == []


@pytest.mark.parametrize('link', ['sub-01', 'sub-01/anat'])
@pytest.mark.parametrize('target', ['input', 'elsewhere'])
@pytest.mark.parametrize('way', range(8))
def test_no_way_leads_through_a_link_out_of_the_output(place, link, target, way):
    (place / 'elsewhere/sub-01/anat').mkdir(parents=True)
    (place / 'elsewhere/sub-01/anat/scan.nii').write_text('of somebody')
    for folder in ('input', 'elsewhere'):
        for name in ('scan.nii.old', '.scan.nii.0123.tmp'):
            (place / folder / 'sub-01/anat' / name).write_text('stays')
    (place / 'out' / link).parent.mkdir(exist_ok=True)
    (place / 'out' / link).symlink_to(place / target / link)
    before = everything(place)
    with pytest.raises(OutsideError, match='remove the link'), never_written_to(place / 'input'):
        ways_to_change(OutputFolder(place / 'out'), 'sub-01/anat/scan.nii')[way]()
    assert everything(place) == before


@pytest.mark.parametrize('way', range(8))
def test_the_input_is_safe_inside_the_output_and_in_place_of_it(place, way):
    (place / 'out/sourcedata').mkdir()
    (place / 'input').rename(place / 'out/sourcedata/raw')
    raw = place / 'out/sourcedata/raw'
    (place / 'out/sub-01').symlink_to('sourcedata/raw/sub-01')
    (place / 'link').symlink_to(raw)
    before = everything(place)
    for root in (place / 'out', raw, place / 'link'):
        with pytest.raises(OutsideError), never_written_to(raw):
            ways_to_change(OutputFolder(root), 'sub-01/anat/scan.nii')[way]()
    assert everything(place) == before


@pytest.mark.parametrize('path', ['../input/x', 'a/../../input/x', '/input/x', Path('/input/x')])
def test_paths_that_leave_the_output_are_refused(place, path):
    with pytest.raises(OutsideError):
        OutputFolder(place / 'out').write(path, 'x')


def test_a_link_that_is_swapped_in_while_a_file_is_written(place):
    """The folder becomes a link to the input after it was checked."""
    folder = OutputFolder(place / 'out')
    folder.write('sub-01/anat/scan.nii', 'old')
    before = everything(place / 'input')

    def swap(file):
        (place / 'out/sub-01').rename(place / 'out/sub-01.gone')
        (place / 'out/sub-01').symlink_to(place / 'input/sub-01')
        file.write(b'new')

    with pytest.raises(OutsideError), never_written_to(place / 'input'):
        folder.move(folder.stage('sub-01/anat/scan.nii', swap), 'sub-01/anat/scan.nii')
    assert everything(place / 'input') == before


def test_links_that_stay_in_the_output_are_followed_and_last_ones_replaced(place):
    folder = OutputFolder(place / 'out')
    folder.make('real')
    (place / 'out/figures').symlink_to('real')
    (place / 'out/real/a').symlink_to(place / 'input/sub-01/anat/scan.nii')
    folder.write('figures/a', 'new')
    assert (place / 'out/real/a').read_text() == 'new'
    assert (place / 'input/sub-01/anat/scan.nii').read_text() == 'original'


def test_an_output_that_is_a_link_itself_is_fine(place):
    (place / 'to').symlink_to('out')
    OutputFolder(place / 'to').write('a/b', 'x')
    assert (place / 'out/a/b').read_text() == 'x'


def test_a_lock_makes_no_file_where_a_link_leads(place):
    (place / 'out/logs').mkdir()
    (place / 'out/logs/.lock').symlink_to(place / 'input/new')
    with locked(place / 'out', 'logs'):
        assert not (place / 'input/new').exists()
    assert not (place / 'out/logs/.lock').is_symlink()


def test_folders_that_may_be_entered_but_not_listed_are_no_hindrance(place):
    (place / 'out').chmod(0o300)
    try:
        OutputFolder(place / 'out').write('a', 'x')
    finally:
        (place / 'out').chmod(0o700)
    assert (place / 'out/a').read_text() == 'x'


def test_nothing_else_in_the_package_changes_files_of_an_output():
    """A change by other means would not be confined."""
    found = []
    for path in sorted(PACKAGE.rglob('*.py')):
        name = path.relative_to(PACKAGE).as_posix()
        if name.startswith('training/'):
            continue
        for node in ast.walk(ast.parse(path.read_text('utf-8'))):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, 'id', '') == 'open'
                and _writes(node.args[1:2])
            ):
                found += [f'{name}:{node.lineno} open'] if name not in OPENED else []
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = node.func
                is_change = called.attr in CHANGES
                is_change |= called.attr == 'replace' and getattr(called.value, 'id', '') == 'os'
                is_change |= called.attr == 'open' and _writes(node.args[:1])
                if is_change and called.attr not in ELSEWHERE.get(name, ()):
                    found.append(f'{name}:{node.lineno} {called.attr}')
    assert found == []


def _writes(arguments):
    modes = (argument.value for argument in arguments if isinstance(argument, ast.Constant))
    return any(
        isinstance(mode, str) and set(mode) <= set('rwaxbt+') and set(mode) & set('wax+') for mode in modes
    )


def test_descriptors_are_closed(place):
    count = len(os.listdir('/proc/self/fd'))
    folder = OutputFolder(place / 'out')
    folder.write('a/b/c', 'x')
    (place / 'out/link').symlink_to(place / 'input')
    with pytest.raises(OutsideError):
        folder.write('link/x', 'x')
    folder.open_lock('a/.lock').close()
    assert len(os.listdir('/proc/self/fd')) == count
