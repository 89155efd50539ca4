"""The benchmarks measure what they say: known values, and no head that counts for another."""

import ast
import importlib
import io
import json
import stat
import subprocess
import sys
from inspect import signature
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nibabel as nb
import numpy as np
import pytest

from benchmarks import (
    contact_sheet,
    face_detection,
    model_timing,
    run_test_split,
    scans,
    stage_timing,
)
from cpmae_bids.deid.images import volumes
from cpmae_bids.workflows.progress import Progress

REPOSITORY = Path(__file__).resolve().parents[1]

MODULES = sorted((REPOSITORY / 'benchmarks').rglob('*.py'))


@pytest.mark.parametrize('path', MODULES, ids=lambda path: path.stem)
def test_names_that_a_benchmark_uses_of_other_modules_are_there(path):
    module = importlib.import_module('.'.join(path.relative_to(REPOSITORY).with_suffix('').parts))
    nodes = list(ast.walk(ast.parse(path.read_text('utf-8'))))
    local = {node.arg for node in nodes if isinstance(node, ast.arg)}
    local |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in nodes:
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id not in local
        ):
            owner = getattr(module, node.value.id, None)
            assert not isinstance(owner, ModuleType) or hasattr(owner, node.attr), ast.unparse(node)


@pytest.fixture
def ball() -> tuple[np.ndarray, np.ndarray]:
    """A grey ball of 24 voxels, and its mask, in a cube of 40."""
    x, y, z = np.indices((40, 40, 40)) - 19.5
    mask = x**2 + y**2 + z**2 < 12**2
    return np.where(mask, 0.8, 0.0).astype(np.float32), mask


# -- scans and results -------------------------------------------------------------------------------------
def test_scans_of_a_split(make_bids):
    names = ('sub-01/anat/sub-01_T1w.nii.gz', 'sub-02/ses-a/anat/sub-02_ses-a_T1w.nii')
    table = 'participant_id\tsplit\nsub-01\ttrain\nsub-02\ttest\n'
    root = make_bids(names, {'sub-01/anat/sub-01_T1w.json': {}}, participants=table)
    assert [path.relative_to(root).as_posix() for path in scans.find_t1w(root)] == list(names)
    labels = scans.read_split(root / 'participants.tsv', 'test')
    assert labels == {'sub-02'}
    assert [path.name for path in scans.find_t1w(root, labels)] == ['sub-02_ses-a_T1w.nii']
    with pytest.raises(ValueError, match='nobody'):
        scans.read_split(root / 'participants.tsv', 'validation')
    with pytest.raises(ValueError, match='no T1w'):
        scans.find_t1w(root, {'sub-03'})


def test_results_hold_the_version(tmp_path):
    from cpmae_bids import __version__

    path = scans.write_result('some', {'heads': 3}, tmp_path / 'new')
    assert json.loads(path.read_text()).items() >= {'version': __version__, 'heads': 3}.items()


@pytest.mark.parametrize('path', sorted(scans.RESULTS.glob('*.json')), ids=lambda path: path.stem)
def test_committed_results_name_nobody(path):
    assert path.stem == 'faults' or 'sub-' not in path.read_text(encoding='utf-8')  # whose names are invented


# -- face detection ----------------------------------------------------------------------------------------
def test_detection_counts_by_view(phantom):
    volume, _ = phantom((40, 40, 40))
    seen = []

    def detector(picture, upsample):
        seen.append(picture)
        return ['face'] if len(seen) in (2, 4) else []  # the frontal view, and the back of the head

    found = face_detection.detect_faces(volume, np.diag([5.0, 5.0, 5.0, 1.0]), detector)
    assert found == {'left_20': False, 'frontal': True, 'right_20': False, 'back': True}
    nothing = face_detection.detect_faces(np.zeros((8, 8, 8)), np.eye(4), detector)
    assert not any(nothing.values())
    counts = face_detection.summarise([found, nothing])
    assert counts == {
        'heads': 2, 'any_view': 1, 'all_views': 0, 'left_20': 0, 'frontal': 1, 'right_20': 0, 'back': 1
    }  # fmt: skip


def test_a_face_is_found_in_a_real_head_and_none_in_a_ball(test_heads):
    dlib = pytest.importorskip('dlib')
    detector = dlib.get_frontal_face_detector()
    image = nb.load(scans.find_t1w(test_heads, scans.read_split(test_heads / 'participants.tsv', 'test'))[0])
    assert face_detection.detect_faces(np.asanyarray(image.dataobj), image.affine, detector)['frontal']
    x, y, z = (np.indices((60, 70, 75)).T * 4.0 - [120, 140, 150]).T
    ellipsoid = 300.0 * ((x / 80) ** 2 + (y / 100) ** 2 + (z / 120) ** 2 < 1)
    assert not any(face_detection.detect_faces(ellipsoid, np.diag([4.0, 4, 4, 1]), detector).values())


# -- contact sheet -----------------------------------------------------------------------------------------
@pytest.fixture
def refaced_dataset(tmp_path, make_nifti, phantom) -> tuple[Path, Path]:
    """Two scans and the refaced version of one, with the same brain in another head."""
    raw, out = tmp_path / 'raw', tmp_path / 'out'
    head, brain = phantom()
    make_nifti(raw / 'sub-01/anat/sub-01_T1w.nii.gz', head)
    make_nifti(raw / 'sub-02/anat/sub-02_T1w.nii.gz', head)
    other = np.where(brain, head, head[::-1, ::-1, ::-1] + 40)
    make_nifti(out / 'sub-01/anat/sub-01_desc-refaced_T1w.nii.gz', other)
    make_nifti(out / 'sub-01/anat/sub-01_desc-brain_mask.nii.gz', brain, dtype=np.uint8)
    return raw, out


def test_pairs_are_scans_with_a_refaced_version(refaced_dataset):
    raw, out = refaced_dataset
    (pair,) = contact_sheet.pairs(raw, out)
    assert pair == (raw / 'sub-01/anat/sub-01_T1w.nii.gz', out / 'sub-01/anat/sub-01_desc-refaced_T1w.nii.gz')


def test_sheet_is_written_for_its_owner_alone(refaced_dataset, tmp_path, capsys):
    from PIL import Image

    raw, out = refaced_dataset
    contact_sheet.main([str(raw), str(out), str(tmp_path / 'private' / 'sheet.png')])
    path = tmp_path / 'private' / 'sheet-1.png'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    picture = np.asarray(Image.open(path))
    assert picture.shape == (contact_sheet.PIXELS, 10 * contact_sheet.PIXELS + 6)
    before, after = picture[:, : 5 * contact_sheet.PIXELS], picture[:, 5 * contact_sheet.PIXELS + 6 :]
    assert before.std() > 10
    assert (before != after).mean() > 0.01
    assert 'sheet-1.png' in capsys.readouterr().out


@pytest.mark.parametrize('where', ['repository', 'raw', 'out', 'link'])
def test_sheet_is_refused_where_it_would_be_shared(refaced_dataset, tmp_path, where, capsys):
    raw, out = refaced_dataset
    (tmp_path / 'link').symlink_to(out)
    folder = {'repository': REPOSITORY, 'raw': raw, 'out': out, 'link': tmp_path / 'link'}[where]
    with pytest.raises(SystemExit) as stopped:
        contact_sheet.main([str(raw), str(out), str(folder / 'sheet.png')])
    assert stopped.value.code == 2
    assert 'original faces' in capsys.readouterr().err
    assert not list(folder.glob('sheet*'))


@pytest.mark.parametrize('view', contact_sheet.SLICES)
def test_slices_do_not_depend_on_the_storage_order(view):
    volume = np.random.default_rng(0).random((12, 14, 16)).astype(np.float32)
    affine = np.diag([10.0, 10.0, 10.0, 1.0])
    affine[:3, 3] = -60.0, -70.0, -80.0
    image = nb.Nifti1Image(volume, affine)
    codes = nb.orientations.axcodes2ornt('PSL')
    other = image.as_reoriented(nb.orientations.ornt_transform(nb.io_orientation(affine), codes))
    middle = np.array([3.0, -2.0, 5.0])
    pictures = [
        contact_sheet.slice_panel(np.asanyarray(one.dataobj), one.affine, view, middle, 1.0)
        for one in (image, other)
    ]
    np.testing.assert_allclose(*(picture.astype(int) for picture in pictures), atol=1)
    assert pictures[0].std() > 10


def test_slices_have_front_and_right_of_the_subject_on_the_left():
    volume = np.zeros((20, 20, 20), np.float32)
    affine = np.diag([10.0, 10.0, 10.0, 1.0])
    affine[:3, 3] = -95.0
    volume[17, 10, 10] = volume[10, 17, 10] = 1.0  # a point on the right and one in front
    middle = np.array([5.0, 5.0, 5.0])
    half = contact_sheet.PIXELS // 2
    columns = {}
    for view in ('sagittal', 'coronal'):
        offset = np.array(contact_sheet.SLICES[view][2])
        picture = contact_sheet.slice_panel(volume, affine, view, middle - offset, 1.0)
        columns[view] = np.flatnonzero(picture.any(axis=0))
    assert columns['sagittal'].max() < half - 40
    assert columns['coronal'].max() < half - 40


# -- the test split ----------------------------------------------------------------------------------------
def test_comparison_counts_every_changed_voxel(refaced_dataset, make_nifti):
    raw, out = refaced_dataset
    original = raw / 'sub-01/anat/sub-01_T1w.nii.gz'
    mask = out / 'sub-01/anat/sub-01_desc-brain_mask.nii.gz'
    refaced = out / 'sub-01/anat/sub-01_desc-refaced_T1w.nii.gz'
    good = run_test_split.compare(original, refaced, mask)
    kept = np.asanyarray(nb.load(mask).dataobj) > 0
    assert good['kept'] == kept.sum()
    assert good['kept_ml'] == pytest.approx(kept.sum() * 0.512)
    assert good['kept_changed'] == good['header_changed'] == 0
    assert good['outside_same'] < 0.1

    data = np.asanyarray(nb.load(original).dataobj).copy()
    data[tuple(np.argwhere(kept)[:3].T)] += 1
    affine = nb.load(original).affine.copy()
    affine[0, 3] += 1
    make_nifti(refaced, data, affine=affine)
    bad = run_test_split.compare(original, refaced, mask)
    assert bad['kept_changed'] == 3
    assert bad['outside_same'] == 1.0
    assert bad['header_changed'] > 0

    make_nifti(refaced, data, dtype=np.float32)
    with pytest.raises(ValueError, match='data type'):
        run_test_split.compare(original, refaced, mask)


def test_counts_of_a_run(refaced_dataset, monkeypatch):
    raw, out = refaced_dataset
    for name, status in (('sub-01_T1w', 'pass'), ('sub-02_T1w', 'fail')):
        path = out / 'logs' / 'verdicts' / f'{name}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({'status': status}))
    monkeypatch.setattr(run_test_split, 'validate_bids', lambda dataset: ['an error'])
    numbers = run_test_split.count(raw, out, {'sub-01', 'sub-02'})
    assert numbers['verdicts'] == {'pass': 1, 'fail': 1, 'error': 0}
    assert numbers['scans'] == 2
    assert numbers['images'] == 1
    assert numbers['without_record'] == 0
    assert numbers['kept_voxels_changed'] == 0
    assert numbers['validator_errors'] == 1


# -- stage timing ------------------------------------------------------------------------------------------
def test_stages_are_those_of_the_workflow():
    from cpmae_bids.workflows.resources import MEM_GB

    of_others = {'coregister', 'locate', 'contrast', 'recolour', 'private_report', 'sink'}
    assert set(MEM_GB) - of_others <= set(stage_timing.STAGES)


def test_models_are_loaded_once_and_timed_for_every_scan(tmp_path, monkeypatch, ball):
    small = {'encode': 1, 'remodel': 2, 'decode': 3, 'sum': 6}
    seen, written = [], {}

    def time_scan(models, brain, *, seed, preset):
        assert set(models) == {'brain', 'mae', 'head', 'superresolution'}
        seen.append((id(models), (float(brain.sum()), seed, preset)))
        return {stage: value + seed for stage, value in small.items()}

    for name, share in (('a', 1.0), ('b', 0.5)):
        (tmp_path / name).mkdir()
        volumes.write(tmp_path / name / 'brain.npz', brain=share * ball[0], scale=1.0)
    monkeypatch.setattr(model_timing, 'time_scan', time_scan)
    monkeypatch.setattr(model_timing, 'write_result', lambda name, numbers: written.update({name: numbers}))
    model_timing.main([str(tmp_path), '--rounds', '2'])
    assert len({models for models, _ in seen}) == 1
    assert len({scan for _, scan in seen}) == 6
    numbers = written['model_timing_cpu']
    assert (numbers['scans'], numbers['first_seconds']) == (2, 6)
    assert numbers['seconds'] == {stage: value + 1.5 for stage, value in small.items()}


@pytest.mark.parametrize('stage', stage_timing.STAGES)
def test_every_stage_gets_the_arguments_that_it_needs(stage):
    settings = dict.fromkeys(('t1w', 'scan', 'preset', 'device', 'seed', 'steps'), '1')
    inputs = stage_timing.stage_inputs(stage, settings)
    signature(stage_timing.STAGES[stage][0]).bind(**inputs)
    if stage == 'encode_head':
        assert inputs['conformed'] == 'original_head.npz'
    if stage in ('remodel', 'decode_head'):
        assert 'original' not in str(inputs)


def test_the_log_of_a_run_tells_what_stages_took():
    log = io.StringIO()
    progress = Progress(log, clock=iter((0.0, 2.5, 3.0, 14.0)).__next__)
    for stage in ('skullstrip', 'decode_head'):
        for status in ('start', 'end'):
            progress(SimpleNamespace(fullname=f'wf.sub-01_wf.sub-01_T1w_wf.brain_wf.{stage}'), status)
    log.write('cpmae-bids: 1 of 1 scans processed\n')
    assert stage_timing.stage_seconds(log.getvalue()) == {'skullstrip': 2.5, 'decode_head': 11.0}


def test_measure_sees_time_and_memory(tmp_path):
    code = 'import os, time; block = bytearray(os.urandom(1)) * 300_000_000; time.sleep(0.2)'
    seconds, peak = stage_timing.measure([sys.executable, '-c', code], tmp_path, 1)
    assert seconds > 0.2
    assert 0.27 < peak < 0.6
    small = stage_timing.measure([sys.executable, '-c', 'pass'], tmp_path, 1)[1]
    assert small < 0.05
    with pytest.raises(subprocess.CalledProcessError):
        stage_timing.measure([sys.executable, '-c', 'raise SystemExit(3)'], tmp_path, 1)
