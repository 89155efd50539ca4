"""cpmae-bids-audit names every face in a folder, and accepts only those that this tool made."""

import base64
import gzip
import io
import json
import os
import runpy
import shutil
from importlib.util import find_spec

import nibabel as nib
import numpy as np
import phantom
import pytest
from judged import publish_scan

from cpmae_bids.bids.derivatives import write_dataset_files
from cpmae_bids.bids.layout import collect_scans
from cpmae_bids.cli import audit as audit_module
from cpmae_bids.cli.audit import main
from cpmae_bids.config import RunConfig
from cpmae_bids.deid.images import masks
from cpmae_bids.exceptions import InputError
from cpmae_bids.sharing.faces import recogniser
from cpmae_bids.sharing.faces.promises import Promises
from cpmae_bids.sharing.faces.search import detect, face_in_copy, list_images, read_volumes
from cpmae_bids.sharing.rawlike.build import write_raw_like

GRID = phantom.grid((4.0, 4.0, 4.0))
SCANS = ('sub-01/anat/sub-01_T1w.nii.gz', 'sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz')
PASS = {'status': 'pass', 'reasons': [], 'measures': {'seam_ratio': 1.0}}


@pytest.fixture(scope='module', autouse=True)
def without_extra():
    """What is tested here must hold without dlib, which finds no face in a phantom anyhow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recogniser, 'is_installed', lambda: False)
        yield


@pytest.fixture(scope='module')
def heads():
    """Two heads around the same brain, the brain alone, a head without a face, and the preserved region."""
    (first, brain), (second, _) = (phantom.head(*GRID, person) for person in (0, 2))
    y, z = (GRID[1][k, k] * np.indices(GRID[0])[k] + GRID[1][k, 3] for k in (1, 2))
    return {
        'head': first,
        'other': second,
        'stripped': np.where(brain, first, 0),
        'blank': np.ones_like(first),  # which is judged quickly
        'defaced': np.where((y > 30) & (z < -10), 0, first),
        'kept': masks.dilate(brain, 2, (4, 4, 4)).astype(np.float32),
    }


@pytest.fixture(scope='module')
def made(heads, tmp_path_factory):
    """A dataset of two heads, and outputs of this tool from it in which the heads are others."""
    root = tmp_path_factory.mktemp('made')
    raw, out = root / 'raw', root / 'out'
    for scan in SCANS:
        put(raw / scan, heads['head'])
    (raw / 'dataset_description.json').write_text('{"Name": "Phantoms", "BIDSVersion": "1.10.0"}')
    config = RunConfig(raw, out, seed=1, model_hash='abc')
    write_dataset_files(config)
    for number, scan in enumerate(collect_scans(config)):
        contents = {
            'refaced': np.where(heads['kept'] > 0, heads['head'], heads['other'] + number),
            'defacemask': 1 - heads['kept'],
            'brainmask': heads['kept'],
        }
        files = {kind: put(root / 'work' / scan.name / f'{kind}.nii.gz', v) for kind, v in contents.items()}
        publish_scan(scan, config, files, PASS)
    return raw, out


@pytest.fixture
def output(made, tmp_path):
    return shutil.copytree(made[1], tmp_path / 'out')


def put(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = phantom.write(path.with_name(path.name.removesuffix('.gz')), values, GRID[1])
    if path != plain:
        path.write_bytes(gzip.compress(plain.read_bytes(), 1, mtime=0))
        plain.unlink()
    return path


def audit(folder, *options) -> int:
    return main([str(folder), '--nprocs', '1', *map(str, options)])


def lines(capsys) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_raw_heads_are_named(made, capsys):
    assert audit(made[0]) == 1
    assert [line.partition(': geometry')[0] for line in lines(capsys)] == [f'FACE {scan}' for scan in SCANS]


def test_faces_of_any_kind_and_place_are_named(heads, tmp_path, capsys):
    places = (
        'derivatives/other/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz',
        'pet/scan.nii.gz',
        'sourcedata/scan.nii.gz',
        'sub-01/anat/sub-01_FLAIR.nii',
        'sub-01/anat/sub-01_acq-high_T2w.nii.gz',
        'sub-01/func/sub-01_task-rest_bold.nii.gz',
        'sub-01/pet/sub-01_ct.nii.gz',
        'sub-02/anat/beh/T1w.nii',
    )
    for place in places:
        put(tmp_path / place, heads['head'])
    assert audit(tmp_path) == 1
    found = [line.partition(': geometry (0.')[0] for line in lines(capsys)]
    assert found == [f'FACE {place}' for place in places]


def test_no_face_is_left_in_stripped_and_defaced_heads(heads, tmp_path, capsys):
    put(tmp_path / 'sub-01/anat/sub-01_T1w.nii.gz', heads['stripped'])
    put(tmp_path / 'sub-02/anat/sub-02_T1w.nii.gz', heads['defaced'])
    assert audit(tmp_path, '-v') == 0
    assert [line.split()[0] for line in lines(capsys)] == ['CLEAR', 'CLEAR']


def test_outputs_of_this_tool_may_show_faces(made, capsys):
    assert audit(made[1], '-v') == 0
    found = lines(capsys)
    assert len(found) == 6
    assert {line.split()[0] for line in found} == {'PASSED'}


def test_a_part_of_an_output_is_judged_as_one(made):
    assert audit(made[1] / 'sub-01') == 0


def test_an_original_slipped_in_is_named(made, output, capsys):
    slipped = 'sub-02/ses-a/anat/sub-02_ses-a_desc-refaced_T1w.nii.gz'
    shutil.copy(made[0] / SCANS[1], output / slipped)
    assert audit(output) == 1
    (line,) = lines(capsys)
    assert line.startswith(f'CHANGED {slipped}: it is not the file that passed its verdict; face by geometry')


def test_reports_are_those_that_are_shared(output, capsys):
    """And not the page before/after of the owner, which has the name of its scan, or whatever lies beside."""
    picture = b'<img src="data:image/png;base64,iVBOR">'
    (output / 'figures').mkdir()
    for name in ('sub-01.html', 'group.html', 'figures/sub-01_T1w_face.png', 'figures/sub-01_T1w_slices.png'):
        (output / name).write_bytes(picture)
    assert audit(output) == 0
    for name in ('sub-01_T1w.html', 'figures/sub-01_T1w.png', 'figures/sub-01_T1w.npy'):
        (output / name).write_bytes(picture)
    assert audit(output) == 1
    assert [line.partition(': ')[::2] for line in lines(capsys)] == [
        ('UNREAD .', '1 file of a format that is not read (.html): convert or remove'),
        ('UNREAD figures', '1 file of a format that is not read (.npy): convert or remove'),
        ('UNREAD figures', '1 file of a format that is not read (.png): convert or remove'),
    ]


def test_a_pipe_in_place_of_an_output_is_named(output, capsys):
    """To open it would wait for ever."""
    image = output / 'sub-01/anat/sub-01_desc-refaced_T1w.nii.gz'
    image.unlink()
    os.mkfifo(image)
    assert audit(output) == 1
    assert 'no regular file' in lines(capsys)[0]


def test_a_pipe_beside_an_image_is_named(tmp_path, capsys):
    (tmp_path / 'sub-01.img').write_bytes(bytes(1000))
    os.mkfifo(tmp_path / 'sub-01.hdr')
    assert audit(tmp_path) == 1
    assert 'no regular file' in lines(capsys)[0]


def test_an_output_without_a_face_must_still_be_the_file_that_passed(heads, output, capsys):
    put(output / 'sub-01/anat/sub-01_desc-refaced_T1w.nii.gz', heads['blank'])
    assert audit(output) == 1
    assert lines(capsys) == [
        'CHANGED sub-01/anat/sub-01_desc-refaced_T1w.nii.gz: it is not the file that passed its verdict'
    ]


def test_an_original_under_its_own_name_beside_outputs_is_named(made, output, capsys):
    shutil.copy(made[0] / SCANS[0], output / SCANS[0])
    assert audit(output) == 1
    assert lines(capsys)[0].startswith(f'FACE {SCANS[0]}: geometry')


@pytest.mark.parametrize('status', ['fail', None])
def test_an_output_needs_a_passing_record(output, status):
    record = output / 'logs' / 'verdicts' / 'sub-01_T1w.json'
    content = json.loads(record.read_text())
    record.unlink()
    if status:
        record.write_text(json.dumps({**content, 'status': status}))
    image = output / 'sub-01/anat/sub-01_desc-refaced_T1w.nii.gz'
    assert Promises().about(image).broken(image) == 'no passing verdict vouches for it'


def test_an_output_needs_a_sidecar_that_says_how(output, capsys):
    sidecar = output / 'sub-01/anat/sub-01_desc-refaced_T1w.json'
    content = json.loads(sidecar.read_text())
    content['DeidentificationMethod'] = ['by hand']
    sidecar.write_text(json.dumps(content))
    assert audit(output) == 1
    assert 'its sidecar does not say how it was de-identified' in lines(capsys)[0]


@pytest.mark.parametrize('maker', [[{'Name': 'fMRIPrep'}], None])
def test_an_output_outside_of_a_dataset_of_this_tool_is_a_face(output, maker):
    description = output / 'dataset_description.json'
    content = json.loads(description.read_text())
    content['GeneratedBy'] = maker
    description.write_text(json.dumps(content))
    image = output / 'sub-01/anat/sub-01_desc-refaced_T1w.nii.gz'
    assert Promises().about(image) is None


def test_a_dataset_within_an_output_stands_for_itself(output, capsys):
    inner = output / 'derivatives' / 'other'
    inner.mkdir(parents=True)
    (inner / 'dataset_description.json').write_text('{"GeneratedBy": [{"Name": "other"}]}')
    copied = inner / 'sub-01_desc-refaced_T1w.nii.gz'
    shutil.copy(output / 'sub-01/anat/sub-01_desc-refaced_T1w.nii.gz', copied)
    assert audit(output) == 1
    assert lines(capsys)[0].startswith('FACE derivatives/other/sub-01_desc-refaced_T1w.nii.gz')


def test_a_raw_like_dataset_vouches_for_its_images(made, output, capsys):
    write_raw_like(RunConfig(made[0], output, seed=1, model_hash='abc', layout='bids'))
    dataset = output / 'bids'
    assert audit(dataset, '-v') == 0
    assert [line.partition(':')[0] for line in lines(capsys)] == [f'PASSED {scan}' for scan in SCANS]
    shutil.copy(made[0] / SCANS[0], dataset / SCANS[0])
    shutil.copy(made[0] / SCANS[0], dataset / SCANS[0].replace('T1w', 'T2w'))
    (dataset / SCANS[1].replace('.nii.gz', '.json')).write_text('{}')
    assert audit(dataset) == 1
    changed, face, undescribed = lines(capsys)
    assert changed.startswith(f'CHANGED {SCANS[0]}: it is not the file that passed its verdict; face by')
    assert face.startswith(f'FACE {SCANS[0].replace("T1w", "T2w")}: geometry')
    assert undescribed.startswith(f'CHANGED {SCANS[1]}: its sidecar does not say how')


def test_an_image_that_would_be_shared_as_it_is_gets_a_second_look(heads, tmp_path):
    put(tmp_path / 'bold.nii.gz', heads['head'])
    put(tmp_path / 'epi.nii.gz', heads['blank'])
    nib.save(nib.Nifti1Image(np.stack([heads['head']] * 2, -1), GRID[1]), tmp_path / 'series.nii')
    assert face_in_copy(tmp_path / 'bold.nii.gz').startswith('geometry')
    assert face_in_copy(tmp_path / 'series.nii').startswith('geometry')
    assert face_in_copy(tmp_path / 'epi.nii.gz') == ''
    (tmp_path / 'epi.nii.gz').write_bytes(b'nothing')
    with pytest.raises(InputError, match=r'epi\.nii\.gz: cannot be read'):
        face_in_copy(tmp_path / 'epi.nii.gz')


def damaged(path, values):
    path.write_bytes(gzip.compress(b'This is not an image'))


def cut_off(path, values):
    phantom.write(path, values, GRID[1])
    path.write_bytes(path.read_bytes()[:-3000])


def a_broken_link(path, values):
    path.symlink_to(path.with_name('annex'))


def without_orientation(path, values):
    content = bytearray(gzip.decompress(phantom.write(path, np.zeros_like(values) + 1, GRID[1]).read_bytes()))
    content[252:256] = bytes(4)  # qform_code and sform_code
    path.write_bytes(gzip.compress(bytes(content)))


def in_colours(path, values):
    rgb = np.zeros((20, 20, 20), [('R', 'u1'), ('G', 'u1'), ('B', 'u1')])
    nib.save(nib.Nifti1Image(rgb, np.eye(4)), path)


def larger_than_memory(path, values):
    content = bytearray(gzip.decompress(phantom.write(path, values, GRID[1]).read_bytes()))
    content[42:48] = np.array([9999] * 3, '<i2').tobytes()
    path.write_bytes(gzip.compress(bytes(content)))


def behind_noise(path, values):
    noise = np.random.default_rng(0).uniform(0, 600, values.shape)
    phantom.write(path, np.where(values > 60, values, noise), GRID[1])


@pytest.mark.parametrize(
    'spoil',
    [damaged, cut_off, a_broken_link, without_orientation, in_colours, behind_noise, larger_than_memory],
)
def test_what_cannot_be_judged_is_not_clear(heads, tmp_path, spoil, capsys):
    spoil(tmp_path / 'sub-01_T1w.nii.gz', heads['head'])
    assert audit(tmp_path) == 1
    (line,) = lines(capsys)
    assert line.startswith('UNREAD sub-01_T1w.nii.gz: ')
    assert str(tmp_path) not in line


def test_formats_that_are_not_read_are_named_by_folder(tmp_path, capsys):
    (tmp_path / 'dicom').mkdir()
    for name in ('a.dcm', 'b.dcm'):
        (tmp_path / 'dicom' / name).write_bytes(b'x')
    (tmp_path / 'dicom' / 'IM0001').write_bytes(bytes(128) + b'DICM')
    (tmp_path / 'LICENSE').write_text('no image')
    assert audit(tmp_path) == 1
    assert len(lines(capsys)) == 2


def test_folders_that_cannot_be_read_are_noticed(tmp_path, capsys, monkeypatch):
    def walk(top, onerror, followlinks):
        onerror(PermissionError(13, 'Permission denied', str(tmp_path / 'sourcedata')))
        yield str(tmp_path), [], []

    monkeypatch.setattr('cpmae_bids.sharing.walk.os.walk', walk)
    assert audit(tmp_path) == 1
    assert lines(capsys)[0].startswith('UNREAD sourcedata: a folder that cannot be read')


def test_a_folder_that_cannot_be_entered_costs_no_other_its_result(heads, tmp_path, capsys, monkeypatch):
    for folder in ('closed', 'open'):
        put(tmp_path / folder / 'T1w.nii.gz', heads['blank'])
    stat, opened = os.stat, open

    def unless_closed(call):
        def checked(path, *args, **kwargs):
            if str(path).startswith(str(tmp_path / 'closed/')):
                raise PermissionError(13, 'Permission denied', str(path))
            return call(path, *args, **kwargs)

        return checked

    monkeypatch.setattr(os, 'stat', unless_closed(stat))
    monkeypatch.setattr('builtins.open', unless_closed(opened))
    assert audit(tmp_path, '-v') == 1
    assert [line.partition(':')[0] for line in lines(capsys)] == [
        'UNREAD closed/T1w.nii.gz',
        'CLEAR open/T1w.nii.gz',
    ]


def test_several_volumes_and_other_formats(heads, tmp_path):
    values, affine = heads['head'], GRID[1]
    nib.save(nib.Nifti1Image(np.stack([values] * 2, -1), affine), tmp_path / 'a.nii')
    nib.save(nib.Nifti1Image(values * 1j, affine), tmp_path / 'b.nii')
    nib.save(nib.MGHImage(values, affine), tmp_path / 'c.mgz')
    for name in ('a.nii', 'b.nii', 'c.mgz'):
        (volume, *_), found, oriented = read_volumes(tmp_path / name)
        assert oriented
        np.testing.assert_allclose(found, affine, atol=1e-4)
        assert detect(volume, found, False).startswith('geometry'), name


def test_a_slice_shows_no_face():
    assert detect(np.ones((64, 64, 1), np.float32), np.eye(4), False) == ''


def test_where_nothing_is_seen_the_kind_decides_in_its_place_alone(heads, tmp_path, capsys):
    for place in ('sub-01/func/sub-01_task-rest_bold.nii.gz', 'func/sub-01_task-rest_bold.nii.gz'):
        (tmp_path / place).parent.mkdir(parents=True)
        behind_noise(tmp_path / place, heads['head'][:20, :20, :20])
    assert audit(tmp_path) == 1
    (line,) = lines(capsys)
    assert line.startswith('UNREAD func/sub-01_task-rest_bold.nii.gz')


@pytest.mark.parametrize('name', ['T1w.nii.gz~', 'T1w.nii.bak', 'T1w', 'T1w.old.gz', '.T1w.nii.swp'])
def test_an_image_under_another_name_is_looked_at(heads, tmp_path, name, capsys):
    image = put(tmp_path / ('a.nii.gz' if 'gz' in name else 'a.nii'), heads['head'])
    image.rename(tmp_path / name)
    assert audit(tmp_path) == 1
    assert lines(capsys)[0].startswith(f'FACE {name}: geometry')


def points(line: str) -> bytes:
    """A surface as text: three thousand points of a sphere."""
    sphere = np.random.default_rng(0).normal(size=(3000, 3))
    return '\n'.join(line.format(*p) for p in 100 * sphere).encode()


def arrays(values) -> dict[str, bytes]:
    file = io.BytesIO()
    np.save(file, values)
    zipped = io.BytesIO()
    np.savez(zipped, head=values)
    text = '\n'.join(' '.join(f'{x:.0f}' for x in row) for row in values.reshape(len(values), -1))
    return {
        'head.npy': file.getvalue(),
        'head.npz': zipped.getvalue(),
        'head.dat': values.tobytes(),
        'head': values.tobytes(),
        'head.tsv.gz~': gzip.compress(values.tobytes()),
        'head.mat': b'MATLAB 5.0 MAT-file' + values.tobytes(),
        'head.h5': b'\x89HDF\r\n\x1a\n' + values.tobytes(),
        'head.png': b'\x89PNG\r\n\x1a\n' + values.tobytes(),
        'head.txt': (text * 4).encode(),
        'page.html': b'<html>' + b' ' * (1 << 20) + b'<img src="data:image/png;base64,iVBOR">',
        'surface.gii': b'<?xml version="1.0"?><GIFTI>',
        'upper.html': b'<IMG SRC="DATA:IMAGE/PNG;BASE64,iVBOR">',
        'data.xml': b'<data>\n' + base64.encodebytes(zipped.getvalue()) + b'</data>',
        'utf16.json': ('{"head": "' + base64.encodebytes(zipped.getvalue()).decode() + '"}').encode('utf-16'),
        'data.json': b'{"head": "' + base64.b64encode(zipped.getvalue()) + b'"}',
        'numbers.json': json.dumps(values.ravel().tolist()).encode(),
        'end.txt': b'words and words\n' * 9999 + zipped.getvalue(),
        'end.tsv.gz': gzip.compress(b'1.0\t2.0\n' * 99999 + zipped.getvalue()),
        'picture.txt': b'P2\n64 64\n255\n' + b'7 ' * 4096,
        'windows.txt': b'P2\r\n64 64\r\n255\r\n' + b'7 ' * 4096,
        'x11.txt': b'#define head_width 8\n#define head_height 1\nstatic char head[] = {0x7};\n',
        'report.txt': b'{\\rtf1 {\\pict\\pngblip 89504e47}}',
        'font.html': b'<html><link href="data:application/octet-stream;base64,iVBOR"></html>',
        'notebook.json': b'{"outputs": [{"data": {"image/jpeg": "/9j/4AAQ"}}]}',
        'prefix.xml': b'<?xml version="1.0"?><svg:svg xmlns:svg="http://www.w3.org/2000/svg"/>',
        'mesh.txt': points('v {:.1f} {:.1f} {:.1f}'),
        'mesh.dxf': points('0\n3DFACE\n10\n{:.1f}\n20\n{:.1f}\n30\n{:.1f}'),
        'mesh.x3d': b'<X3D point="' + points('{:.1f} {:.1f} {:.1f}') + b'"/>',
        'mesh.csv': points('{:.2f},{:.2f},{:.2f}'),
        'IM0001': b'\x08\0\x05\0CS\x0a\0ISO_IR 100',
        'IM0002': b'\x08\0\x05\0\x0a\0\0\0ISO_IR 100',
        **dict.fromkeys(('1.3.12.2.1107.5.2', 'MR.1.2.840.1', 'scan.bin'), bytes(128) + b'DICM'),
        **dict.fromkeys(('T1w.dicom.tgz', 'T1w.nii.bz2', 'all.zip', 'all.tar.gz'), b'x'),
    }


def test_what_could_hold_a_face_and_is_not_read_is_named(heads, tmp_path, capsys):
    found = {}
    for number, (name, content) in enumerate(arrays(heads['head'].astype(np.float32)).items()):
        folder = tmp_path / f'{number:02}'
        folder.mkdir()
        (folder / name).write_bytes(content)
        found[f'UNREAD {number:02}'] = name
    (tmp_path / 'stimuli').mkdir()
    shutil.copy(tmp_path / '00/head.npy', tmp_path / 'stimuli')
    found['UNREAD stimuli'] = 'head.npy'
    assert audit(tmp_path) == 1
    assert [line.partition(':')[0] for line in lines(capsys)] == list(found)


def in_an_extension(path, values):
    image = nib.Nifti1Image(np.ones_like(values), GRID[1])
    image.header.extensions.append(nib.nifti1.Nifti1Extension(6, values.tobytes()))
    nib.save(image, path)


def after_the_image(path, values):
    phantom.write(path, np.ones_like(values), GRID[1])
    path.write_bytes(path.read_bytes() + gzip.compress(values.tobytes()))


def before_the_image(path, values):
    image = nib.Nifti1Image(np.ones_like(values), GRID[1])
    image.header.set_data_offset(352 + values.nbytes)
    nib.save(image, path)
    content = bytearray(path.read_bytes())
    content[352 : 352 + values.nbytes] = values.tobytes()
    path.write_bytes(content)


@pytest.mark.parametrize('hide', [in_an_extension, after_the_image, before_the_image])
def test_what_a_nifti_file_holds_besides_its_image_is_named(heads, tmp_path, hide, capsys):
    hide(tmp_path / 'T1w.nii', heads['head'])
    assert audit(tmp_path) == 1
    assert lines(capsys)[0].startswith('UNREAD T1w.nii: ')


def test_a_text_in_a_header_is_harmless(heads, tmp_path):
    image = nib.Nifti1Image(heads['blank'], GRID[1])
    image.header.extensions.append(nib.nifti1.Nifti1Extension(4, b'<AFNI_attributes/>'))
    nib.save(image, tmp_path / 'T1w.nii.gz')
    assert audit(tmp_path) == 0


def test_a_pair_is_one_image(heads, tmp_path, capsys):
    nib.save(nib.Nifti1Pair(heads['head'], GRID[1]), tmp_path / 'T1w.img')
    assert audit(tmp_path) == 1
    (line,) = lines(capsys)
    assert line.startswith('FACE T1w.img')
    (tmp_path / 'T1w.img').unlink()
    assert audit(tmp_path) == 1
    assert lines(capsys)[0].startswith('UNREAD T1w.hdr')


@pytest.mark.parametrize('layout', ['files', 'series', 'plane'])
def test_slices_that_make_a_head_together_leave_doubt(heads, tmp_path, layout, capsys):
    values = heads['head']
    if layout == 'files':
        for x in range(20):
            phantom.write(tmp_path / f'{x}.nii', values[x : x + 1], GRID[1])
    elif layout == 'series':
        nib.save(nib.Nifti1Image(values[:, :, None], GRID[1]), tmp_path / 'a.nii')
    else:
        nib.save(nib.Nifti1Image(values.reshape(len(values), -1, 1), GRID[1]), tmp_path / 'a.nii')
    assert audit(tmp_path) == 1
    (line,) = lines(capsys)
    assert 'across several' in line


def test_texts_and_recordings_are_harmless_and_what_is_not_looked_at_is_said(heads, tmp_path, capsys):
    texts = {
        'README': b'Heads of phantoms.',
        'participants.tsv': 'participant_id\tgroup\nsub-01\tKörper\n'.encode('latin-1'),
        'notes.csv': '\ufeffa,b\n1,2\n'.encode('utf-16'),
        'sub-01/dwi/sub-01_dwi.bval': b'0 1000\n',
        'sub-01/dwi/sub-01_dwi.bvec': b'0.12345678 ' * 9999,
        'sub-01/func/sub-01_task-rest_physio.tsv.gz': gzip.compress(b'1.0\t2.0\n' * 99999),
        'logs/run.log': b'one step after another, and more\n' * 99999,
        'page.html': b'<html>words</html>',
        '.DS_Store': bytes(range(256)),
        'sub-01/eeg/sub-01_task-rest_eeg.edf': bytes(range(256)),
        'stimuli/face.png': b'\x89PNG\r\n\x1a\n',
        '.git/objects/ab/cd': bytes(range(256)),
    }
    for name, content in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    put(tmp_path / 'sub-01/anat/sub-01_T1w.nii.gz', heads['blank'])
    assert audit(tmp_path) == 0
    said = capsys.readouterr()
    assert said.out == ''
    for what in ('.git', '1 recordings of signals', '1 stimuli'):
        assert what in said.err.partition('not examined:')[2]


LARGE = [pytest.param(scale, marks=pytest.mark.exhaustive) for scale in (2, 3)]


@pytest.mark.parametrize('scale', [0.1, 0.001, 1000, 0.5, *LARGE])
def test_a_wrong_unit_hides_no_face(heads, scale):
    assert detect(heads['head'], np.diag([scale, scale, scale, 1]) @ GRID[1], False).startswith('geometry')


@pytest.mark.parametrize('order', [(1, 2, 0), (0, 2, 1), (2, 1, 0)])
def test_a_turned_header_hides_no_face(heads, order):
    assert 'turned' in detect(heads['head'], np.eye(4)[[*order, 3]] @ GRID[1], False)


@pytest.mark.parametrize('bare', ['stripped', 'defaced'])
def test_a_turned_header_shows_no_face_in_what_has_none(heads, bare):
    assert detect(heads[bare], np.eye(4)[[1, 2, 0, 3]] @ GRID[1], False) == ''


def test_an_affine_that_says_nothing_leaves_doubt(heads, tmp_path, capsys):
    nib.save(nib.Nifti1Image(heads['stripped'], np.eye(4)), tmp_path / 'T1w.nii')
    assert audit(tmp_path) == 1
    assert 'no orientation' in lines(capsys)[0]


def test_a_slab_leaves_doubt_and_a_slice_does_not(heads, tmp_path, capsys):
    phantom.write(tmp_path / 'slab.nii', heads['head'][:, :, :8], GRID[1])
    phantom.write(tmp_path / 'slice.nii', heads['head'][:, :, :2], GRID[1] @ np.diag([1, 1, 0.5, 1]))
    assert audit(tmp_path) == 1
    (line,) = lines(capsys)
    assert line.startswith('UNREAD slab.nii: a slab of 32 mm')


@pytest.mark.parametrize('where', [0, 1, 17, 39])
def test_a_face_is_found_in_any_volume_of_a_series(heads, tmp_path, where):
    series = np.zeros((*GRID[0], 40), np.float32)
    series[..., where] = heads['head']
    nib.save(nib.Nifti1Image(series, GRID[1]), tmp_path / 'series.nii')
    assert face_in_copy(tmp_path / 'series.nii').startswith('geometry')


def test_links_are_followed_once(heads, tmp_path):
    put(tmp_path / 'annex/head.nii.gz', heads['stripped'])
    dataset = tmp_path / 'dataset'
    dataset.mkdir()
    (dataset / 'sub-01').symlink_to(tmp_path / 'annex')
    (tmp_path / 'annex' / 'up').symlink_to(dataset)
    (dataset / '.git').mkdir()
    put(dataset / '.git/head.nii.gz', heads['stripped'])
    assert [path.relative_to(dataset).as_posix() for path in list_images(dataset).images] == [
        'sub-01/head.nii.gz'
    ]


def test_wrong_use_and_nothing_to_check(tmp_path, capsys):
    (tmp_path / '.git').mkdir()
    assert audit(tmp_path) == 70
    report = tmp_path.with_suffix('.json')
    report.write_text('{"images": []}')
    assert audit(tmp_path, '--json', report) == 70
    assert not report.exists()  # it is of an earlier call
    assert 'not examined: .git' in capsys.readouterr().err
    assert audit(tmp_path / 'missing') == 64
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 64
    image = put(tmp_path / 'sub-01_T1w.nii.gz', np.ones(GRID[0]))
    before = image.read_bytes()
    assert audit(tmp_path, '--json', image) == 64
    assert image.read_bytes() == before
    assert audit(tmp_path, '--originals', tmp_path) == 64
    assert 'is not an output of cpmae-bids' in capsys.readouterr().err


def test_python_m_is_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr('sys.argv', ['audit', str(tmp_path / 'missing')])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(audit_module.__file__, run_name='__main__')
    assert ended.value.code == 64


def test_report(made, tmp_path):
    report = tmp_path / 'report.json'
    assert audit(made[0], '--json', report) == 1
    content = json.loads(report.read_text())
    assert [image['path'] for image in content['images']] == list(SCANS)
    assert {image['finding'] for image in content['images']} == {'face'}
    assert str(made[0]) not in report.read_text()


def test_outputs_are_matched_with_originals(made, output, heads, tmp_path, capsys):
    report = tmp_path / 'report.json'
    assert audit(output, '--originals', made[0], '--json', report) == 0
    assert '2 outputs are few' in capsys.readouterr().err
    assert json.loads(report.read_text())['privacy']['alarms'] == []
    for scan in SCANS:  # now the outputs have the heads of the originals
        put(tmp_path / 'same' / scan, heads['other'] + 2)
    assert audit(output, '--originals', tmp_path / 'same') == 1
    assert f'ALARM {SCANS[0]}: the output has the face of its original' in capsys.readouterr().err


@pytest.mark.parametrize('is_link', [False, True])
def test_an_output_that_cannot_be_compared_is_not_in_order(made, tmp_path, capsys, is_link):
    """The content of its original is elsewhere."""
    originals = shutil.copytree(made[0], tmp_path / 'originals')
    original, pointer = originals / SCANS[1], '/annex/objects/MD5E-s1--4d7a.nii.gz'
    original.unlink()
    original.symlink_to(pointer) if is_link else original.write_text(f'{pointer}\n')
    assert audit(made[1], '--originals', originals, '--json', tmp_path / 'report.json') == 1
    assert f'not compared: {SCANS[1]}: ' in capsys.readouterr().err
    assert str(originals) not in (tmp_path / 'report.json').read_text()


def test_processes_give_the_same(made, capsys):
    audit(made[0])
    alone = lines(capsys)
    main([str(made[0]), '--nprocs', '2'])
    assert lines(capsys) == alone


def test_recogniser_sees_no_face_in_nothing():
    pytest.importorskip('dlib')
    if find_spec('face_recognition_models') is None:
        pytest.skip('needs face_recognition_models')
    nothing = np.zeros((20, 20, 20), np.float32), np.diag([8, 8, 8, 1.0])
    assert not recogniser.sees_face(*nothing)
    assert np.isnan(recogniser.describe(*nothing)).all()


@pytest.mark.slow
def test_recogniser_knows_a_person_again(test_heads):
    pytest.importorskip('dlib')
    if find_spec('face_recognition_models') is None:
        pytest.skip('needs face_recognition_models')
    described = []
    for path in sorted(test_heads.glob('sub-*/anat/*_T1w.nii.gz'))[1:3]:  # the first is cut at the nose
        (values, *_), affine, _ = read_volumes(path)
        assert recogniser.sees_face(values, affine)
        noise = np.random.default_rng(0).normal(0, values.std() / 10, values.shape)
        described.append([recogniser.describe(v, affine) for v in (values, np.abs(values + noise))])
    (a, again), (b, _) = described
    assert np.linalg.norm(a - again) < np.linalg.norm(a - b)
