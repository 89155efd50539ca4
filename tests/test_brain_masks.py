"""A brain mask of another pipeline takes the place of our own, and is checked like it."""

import errno
import json
import logging
import os
from copy import deepcopy

import nibabel as nib
import numpy as np
import pytest
from judged import publish_scan
from nipype.pipeline.engine.utils import generate_expanded_graph
from phantom import grid, head, write

from cpmae_bids.bids import layout
from cpmae_bids.bids.atomic import crc32_of
from cpmae_bids.bids.completeness import complete_scans
from cpmae_bids.bids.layout import collect_scans
from cpmae_bids.bids.private_paths import hide_paths
from cpmae_bids.cli.folder_checks import check_folders
from cpmae_bids.cli.parser import parse_config
from cpmae_bids.config import RunConfig
from cpmae_bids.deid.images import nifti
from cpmae_bids.exceptions import InputError, UsageError
from cpmae_bids.steps import skullstrip
from cpmae_bids.workflows.base import init_cpmae_bids_wf

T1W = 'sub-01/anat/sub-01_T1w.nii.gz'
PASS = {'status': 'pass', 'reasons': [], 'measures': {}}


def settings(root, *folders):
    return RunConfig(root, root.parent / 'out', seed=1, model_hash='abc', derivatives=folders)


# Which mask is of which scan


def test_masks_belong_to_scans_by_their_names(make_bids, tmp_path, make_nifti, caplog):
    scans = [
        'sub-01/ses-a/anat/sub-01_ses-a_acq-hi_T1w.nii.gz',
        'sub-01/ses-a/anat/sub-01_ses-a_acq-hi_UNIT1.nii.gz',
        'sub-01/ses-b/anat/sub-01_ses-b_run-1_T1w.nii.gz',
        'sub-01/ses-b/anat/sub-01_ses-b_run-2_T1w.nii.gz',
        'sub-02/anat/sub-02_run-1_T1w.nii.gz',
        'sub-03/ses-x/anat/sub-03_ses-x_T1w.nii.gz',
        'sub-04/anat/sub-04_T1w.nii.gz',
        'sub-05/anat/sub-05_echo-1_T1w.nii.gz',
        'sub-05/anat/sub-05_echo-2_T1w.nii.gz',
    ]
    masks = {
        'sub-01/ses-a/anat/sub-01_ses-a_acq-hi_desc-brain_mask.nii.gz': scans[0],
        'sub-01/ses-b/anat/sub-01_ses-b_desc-brain_mask.nii.gz': None,  # of an average of both runs
        'sub-02/anat/sub-02_desc-brain_mask.nii': scans[4],
        'sub-03/anat/sub-03_desc-brain_mask.nii.gz': scans[5],
        'sub-05/anat/sub-05_desc-brain_mask.nii.gz': scans[7],
        'sub-04/anat/sub-04_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz': None,
        'sub-04/anat/sub-04_desc-aseg_mask.nii.gz': None,
        'sub-04/func/sub-04_desc-brain_mask.nii.gz': None,
    }
    folder = tmp_path / 'fmriprep'
    for mask in masks:
        make_nifti(folder / mask)
    with caplog.at_level(logging.INFO):
        found = collect_scans(settings(make_bids(scans), folder))
    given = {scan.relative_path: scan.brain_mask for scan in found if scan.brain_mask}
    assert given == {scan: folder / mask for mask, scan in masks.items() if scan}
    assert 'sub-01_ses-b_desc-brain_mask.nii.gz: not the brain mask of a single T1w scan' in caplog.text
    assert 'brain masks: of 4 of 9 T1w scans' in caplog.text


def test_the_first_of_several_derivatives_wins_and_a_mask_that_is_not_there_fails(
    make_bids, tmp_path, make_nifti
):
    one, two = tmp_path / 'one', tmp_path / 'two'
    name = T1W.replace('T1w', 'desc-brain_mask')
    make_nifti(one / name)
    make_nifti(two / name)
    root = make_bids([T1W])
    (scan,) = collect_scans(settings(root, two, one))
    assert scan.brain_mask == two / name
    (two / name).unlink()
    (two / name).symlink_to('gone')
    (scan,) = collect_scans(settings(root, two, one))
    assert 'sub-01_desc-brain_mask.nii.gz cannot be used: a link to content' in scan.problem


def test_a_mask_that_cannot_be_read_fails_its_scan_alone(make_bids, make_nifti, tmp_path, monkeypatch):
    root = make_bids([f'sub-{label}/anat/sub-{label}_T1w.nii.gz' for label in '12'])
    for label in '12':
        make_nifti(tmp_path / f'masks/sub-{label}/anat/sub-{label}_desc-brain_mask.nii.gz')

    def damaged(path):
        if '1' in path.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return crc32_of(path)

    monkeypatch.setattr(layout, 'crc32_of', damaged)
    first, second = collect_scans(settings(root, tmp_path / 'masks'))
    assert 'sub-1_desc-brain_mask.nii.gz cannot be used: Input/output error' in first.problem
    assert second.brain_mask_crc32
    assert not second.problem


def test_folders_are_given_as_to_fmriprep(tmp_path):
    one, two = tmp_path / 'one', tmp_path / 'a=b'
    one.mkdir()
    two.mkdir()
    for flag in ('-d', '--derivatives'):
        config = parse_config(['in', 'out', 'participant', flag, f'smriprep={one}', str(two)])
        assert config.derivatives == (one, two)
    assert str(tmp_path) not in config.to_toml()
    assert hide_paths(f'{one}/sub-01: no mask', config) == '<derivatives>/sub-01: no mask'


def test_folders_without_masks_of_others_are_refused(make_bids, tmp_path):
    root = make_bids([T1W])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UsageError, match='has no sub-'):
        check_folders(settings(root, tmp_path / 'empty'))
    ours = tmp_path / 'ours'
    (ours / 'sub-01').mkdir(parents=True)
    (ours / 'dataset_description.json').write_text('{"GeneratedBy": [{"Name": "cpmae-bids"}]}')
    with pytest.raises(UsageError, match='preserved region'):
        check_folders(settings(root, ours))


# What becomes of it


@pytest.fixture
def given(make_bids, tmp_path, make_nifti):
    """Settings with a mask of the only scan."""
    make_nifti(tmp_path / 'fmriprep' / T1W.replace('T1w', 'desc-brain_mask'))
    return settings(make_bids([T1W]), tmp_path / 'fmriprep').replace(work_dir=tmp_path / 'work')


def test_it_reaches_the_step(given):
    (scan,) = collect_scans(given)
    for scans, path in (([scan], str(scan.brain_mask)), (collect_scans(given.replace(derivatives=())), '')):
        graph = generate_expanded_graph(deepcopy(init_cpmae_bids_wf(scans, given)._create_flat_graph()))
        (step,) = [node for node in graph.nodes() if node.name == 'skullstrip']
        assert (step.inputs.given or '') == path


def test_outputs_are_made_again_if_it_comes_changes_or_goes(given, finished, make_nifti):
    without = given.replace(derivatives=())
    (own,) = collect_scans(without)
    publish_scan(own, without, finished(own), PASS)
    (scan,) = collect_scans(given)
    assert complete_scans([own], without) == [own]
    assert not complete_scans([scan], given)

    publish_scan(scan, given, finished(scan), PASS)
    assert complete_scans([scan], given) == [scan]
    assert not complete_scans([own], without)
    sidecar = given.output_dir / T1W.replace('T1w.nii.gz', 'desc-refaced_T1w.json')
    assert json.loads(sidecar.read_text())['CPMAE']['BrainMask'] == 'given'
    make_nifti(scan.brain_mask, np.ones((4, 4, 4)))
    assert not complete_scans(collect_scans(given), given)


@pytest.fixture
def stripped(tmp_path, monkeypatch):
    """Return ``stripped(mask, affine=None)``: what the step makes of a given mask; and the true brain."""
    monkeypatch.setattr(skullstrip, 'find_brain', lambda *args: pytest.fail('was skull-stripped'))
    shape, affine = grid((2.0, 2.0, 2.0), 'LPS', oblique=8)
    values, brain = head(shape, affine)
    t1w = write(tmp_path / 't1w.nii.gz', values, affine)

    def strip(mask, mask_affine=affine):
        given = tmp_path / 'given.nii.gz'
        nib.save(nib.Nifti1Image(np.asarray(mask, np.uint8), mask_affine), given)
        skullstrip.skullstrip(t1w, tmp_path / 'brain.nii.gz', tmp_path / 'kept.nii.gz', given=given)
        scan = nifti.read(t1w)
        return tuple(nifti.read_mask(tmp_path / f'{name}.nii.gz', scan) for name in ('brain', 'kept'))

    return strip, brain, affine


def test_it_is_used_on_whatever_grid_it_is(stripped):
    strip, brain, affine = stripped
    found, kept = strip(brain)
    assert np.array_equal(found, brain)
    assert kept[brain].all()
    assert kept.sum() > brain.sum()
    turned = nib.as_closest_canonical(nib.Nifti1Image(brain.astype(np.uint8) * 255, affine))
    found, _ = strip(turned.dataobj, turned.affine)
    assert np.array_equal(found, brain)
    fine = affine @ np.diag([0.5, 0.5, 0.5, 1])
    fine[:3, 3] = (affine @ [-0.25, -0.25, -0.25, 1])[:3]
    found, _ = strip(brain.repeat(2, 0).repeat(2, 1).repeat(2, 2), fine)
    assert np.array_equal(found, brain)


def test_it_is_checked_like_our_own(stripped):
    strip, brain, affine = stripped
    speck = np.zeros_like(brain)
    speck[2, 2, 2] = True
    holes = brain.copy()
    holes[tuple(np.argwhere(brain).mean(axis=0).astype(int))] = False
    found, _ = strip(holes | speck)
    assert np.array_equal(found, brain)
    far = affine.copy()
    far[:3, 3] += 500
    for mask, at, message in (
        (np.zeros_like(brain), affine, 'no brain found'),
        (speck, affine, 'a brain of 0 mL was found'),
        (np.ones_like(brain), affine, 'mL was found'),
        (brain, far, 'no brain found'),
        (brain + 2 * speck, affine, 'more than two values'),
    ):
        with pytest.raises(InputError, match=message) as caught:
            strip(mask, at)
        assert 'given.nii.gz' in str(caught.value)


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'sform_code': 0, 'qform_code': 0}, 'no orientation'),
        ({'srow_x': 0}, 'not invertible'),
        ({'xyzt_units': 1}, 'not mm'),
    ],
)
def test_it_must_say_where_it_lies(tmp_path, fields, message):
    shape, affine = grid((8.0, 8.0, 8.0))
    path = write(tmp_path / 'mask.nii', np.ones(shape), affine)
    header = nib.load(path).header
    for field, value in fields.items():
        header[field] = value
    path.write_bytes(header.binaryblock + path.read_bytes()[348:])
    with pytest.raises(InputError, match=message):
        skullstrip.read_brain(path, nifti.read(path))


# Our own


def test_wide_margins_of_one_value_do_not_hide_the_brain(tmp_path, monkeypatch):
    """As deepbet, which loses its way in scans that were padded to a cube."""
    shape, affine = grid((4.0, 4.0, 4.0), 'LPS', oblique=8)
    values, brain = head(shape, affine)
    padded, wide = np.pad(values, 20), np.pad(brain, 20)
    shift = nib.affines.from_matvec(np.eye(3), [-20, -20, -20])
    t1w = write(tmp_path / 't1w.nii.gz', padded, affine @ shift)

    def find_brain(seen, seen_affine, device):
        if seen.shape == padded.shape:
            return np.zeros(seen.shape, bool)
        assert np.allclose(seen_affine[:3, :3], affine[:3, :3], atol=1e-4)
        return seen > 0 if unclear else resampled(seen.shape, seen_affine)

    def resampled(shape, seen_affine):
        start = np.round(np.linalg.solve(affine, seen_affine[:, 3])[:3]).astype(int)
        return brain[tuple(slice(first, first + size) for first, size in zip(start, shape, strict=True))]

    monkeypatch.setattr(skullstrip, 'find_brain', find_brain)
    unclear = False
    skullstrip.skullstrip(t1w, tmp_path / 'brain.nii.gz', tmp_path / 'kept.nii.gz')
    assert np.array_equal(nifti.read_mask(tmp_path / 'brain.nii.gz', nifti.read(t1w)), wide)
    assert skullstrip.without_padding(np.zeros((4, 4, 4))) is None  # an offset that hides all contrast
    unclear = True
    with pytest.raises(InputError, match='a brain of'):
        skullstrip.skullstrip(t1w, tmp_path / 'brain.nii.gz', tmp_path / 'kept.nii.gz')
