"""The privacy audit: ranks and intervals of known cases, the frame of the brain, and faces that leak."""

import tracemalloc

import numpy as np
import phantom
import pytest

from cpmae_bids.deid.images import masks, nifti
from cpmae_bids.deid.space import geometry
from cpmae_bids.reports.outliers import find_outliers, robust_z
from cpmae_bids.sharing.privacy import brain_frame
from cpmae_bids.sharing.privacy.attacks import (
    Faces,
    Pair,
    Privacy,
    alarm,
    audit,
    depth_distances,
    describe,
    describe_attacks,
    face_depth,
)
from cpmae_bids.sharing.privacy.identification import attack, bootstrap
from cpmae_bids.templates import find_template


def people(count: int) -> np.ndarray:
    return np.arange(count)


def test_outputs_that_are_their_originals_are_always_found():
    points = np.random.default_rng(0).random((12, 3))
    result = attack(np.linalg.norm(points[:, None] - points, axis=2), people(12), people(12))
    assert result.rank1[0] == result.auc[0] == 1
    assert (result.probes, result.gallery, result.chance) == (12, 12, 1 / 12)
    assert result.luck < 1e-9


def test_outputs_of_chance_are_found_by_chance():
    found = [attack(np.random.default_rng(s).random((40, 40)), people(40), people(40)) for s in range(8)]
    assert np.mean([result.rank1[0] for result in found]) == pytest.approx(1 / 40, abs=0.03)
    assert np.mean([result.auc[0] for result in found]) == pytest.approx(0.5, abs=0.03)


def test_an_average_original_does_not_hide_the_others():
    rng = np.random.default_rng(0)
    distances = rng.uniform(4, 5, (12, 12))
    distances[np.arange(12), np.arange(12)] -= 1.5
    distances[:, 0] -= 3
    assert attack(distances, people(12), people(12)).rank1[0] == 1


def test_of_several_scans_of_a_person_the_nearest_counts():
    distances = np.array([[9.0, 1, 5, 5], [9, 1, 5, 5], [5, 5, 0, 9], [5, 5, 9, 0]])
    persons = np.array([0, 0, 1, 2])
    result = attack(distances, persons, persons)
    assert result.gallery == 3
    assert result.rank1[0] == 1


def test_what_cannot_be_compared_is_left_out():
    distances = np.array([[0.0, 1, 2], [np.nan, np.nan, np.nan], [2, 2, 1]])
    assert attack(distances, people(3), people(3)).probes == 2
    assert attack(np.full((3, 3), np.nan), people(3), people(3)) is None
    assert attack(np.zeros((2, 2)), np.zeros(2, int), np.zeros(2, int)) is None


def test_intervals():
    found = attack(np.array([[0.0, 1], [0, 1]]), people(2), people(2))  # one of two
    assert found.rank1 == pytest.approx((0.5, 0.0945, 0.9055), abs=1e-4)
    value, low, high = bootstrap(np.array([0.0, 1] * 50))
    assert (value, low, high) == pytest.approx((0.5, 0.4, 0.6), abs=0.02)


@pytest.mark.parametrize(('count', 'alarmed'), [(2, False), (6, True), (12, True)])
def test_few_hits_may_be_luck(count, alarmed):
    distances = 1 - np.eye(count)
    assert bool(alarm('geometry', attack(distances, people(count), people(count)))) == alarmed


def test_chance_raises_no_alarm():
    for seed in range(5):
        distances = np.random.default_rng(seed).random((30, 30))
        assert not alarm('recogniser', attack(distances, people(30), people(30)))


def test_the_frame_is_found_again():
    template = find_template()
    moved = np.eye(4)
    moved[:3, :3] = phantom.rotation_matrix(8, -5, 10) @ np.diag([0.9, 1.05, 1.1])
    moved[:3, 3] = 12, -30, 7
    mask = masks.dilate(template.mask, brain_frame.GUARD_MM, geometry.voxel_sizes(template.affine))
    found = brain_frame.world_to_template(mask, moved @ template.affine)
    corners = np.array([[70, 90, -60, 1], [-70, 90, -60, 1], [0, -100, 80, 1], [0, 0, 0, 1]]).T
    assert np.abs(found @ moved @ corners - corners)[:3].max() < 1


@pytest.fixture(scope='module')
def depths(tmp_path_factory):
    """Depths of the faces of two heads, and of the first one with other noise and in other voxels."""
    folder = tmp_path_factory.mktemp('depths')
    result = []
    for person, voxels in ((0, (4, 4, 4)), (1, (4, 4, 4)), (0, (3, 4, 5))):
        shape, affine = phantom.grid(voxels)
        path = phantom.write(folder / 'T1w.nii', phantom.head(shape, affine, person)[0], affine)
        result.append(face_depth(nifti.read(path), phantom.SCALE, np.eye(4)))
    return np.array(result)


def test_depth_knows_the_face_again(depths):
    distances = depth_distances(depths, depths)
    assert distances[0, 0] == 0
    assert distances[0, 2] < distances[0, 1]


def test_a_part_outside_of_the_field_of_view_has_no_depth(tmp_path):
    shape, affine = phantom.grid((4, 4, 4))
    values = phantom.head(shape, affine)[0]
    whole = phantom.write(tmp_path / 'whole.nii', values, affine)
    affine[2, 3] += 4 * 20
    lower = phantom.write(tmp_path / 'cut.nii', values[:, :, 20:], affine)
    whole, low = (face_depth(nifti.read(path), phantom.SCALE, np.eye(4)) for path in (whole, lower))
    assert np.isfinite(whole).mean() > 0.9 > np.isfinite(low).mean()
    common = np.isfinite(low) & np.isfinite(whole)
    assert np.abs(low - whole)[common].mean() < 0.5


def faces(seed: int, own: bool) -> Faces:
    """A pair of made-up faces: output and original are the same, or have nothing in common."""
    rng = np.random.default_rng(seed)
    original = rng.uniform(20, 60, 200)
    output = original + 0.1 if own else np.random.default_rng(seed + 1000).uniform(20, 60, 200)
    return Faces(np.stack([output, original]), np.full((2, 128), np.nan))


def run(count: int, leaking=(), recognise=False) -> Privacy:
    pairs = [Pair(f'sub-{i:02}/anat/sub-{i:02}_T1w.nii.gz', None, None, None) for i in range(count)]
    described = [faces(i, i in leaking) for i in range(count)]
    return audit(pairs, recognise, lambda function, *jobs: described)


def test_independent_faces_raise_no_alarm():
    assert run(12).alarms() == []


def test_one_face_that_is_the_original_is_named():
    (line,) = run(12, {7}).alarms()
    assert line == 'sub-07/anat/sub-07_T1w.nii.gz: the output has the face of its original'


def test_all_faces_that_are_the_originals_are_an_alarm_of_the_dataset():
    assert any('match their own originals' in line for line in run(12, set(range(12))).alarms())


def test_few_outputs_are_said_to_mean_little():
    assert any('few' in line for line in describe_attacks(run(4)))
    assert not any('few' in line for line in describe_attacks(run(12)))


def test_thousands_of_faces_fit_into_memory():
    tracemalloc.start()
    run(500, recognise=True)
    assert tracemalloc.get_traced_memory()[1] < 1e8  # 128 numbers for each pair would be 256 MB
    tracemalloc.stop()


def test_what_cannot_be_compared_is_told_without_its_folder(tmp_path):
    pair = Pair('sub-01/anat/sub-01_T1w.nii.gz', *(tmp_path / name for name in ('a.nii', 'b.nii', 'c.nii')))
    text = describe(pair, False)
    assert text.startswith('b.nii: ')
    assert str(tmp_path) not in text


def test_no_rank_of_a_single_scan_is_given_away():
    assert set(run(12).numbers()['attacks']['geometry']) == {'outputs', 'persons', 'rank1', 'chance', 'auc'}


def test_robust_z():
    values = np.array([1.0, 2, 3, 4, 100])
    assert robust_z(values)[2] == 0
    assert robust_z(values)[4] == pytest.approx(97 / 1.4826)
    assert robust_z(np.array([0.0, 0, 0, 0, 5]))[4] > 3.5
    assert not robust_z(np.ones(5)).any()


def test_the_most_unusual_scan_comes_first():
    measures = {'brain_ml': 1500.0, 'seam_ratio': None, 'far_tissue_share': 0.0}
    records = [{'scan': f's{i}', 'measures': {**measures, 'rotation_deg': i}} for i in range(8)]
    records[3]['measures'] |= {'brain_ml': 900.0, 'not_judged': 1e9}
    records[4]['measures']['far_tissue_share'] = 1e-6  # nowhere near the limit
    records.append({'scan': 'broken'})
    first, *others = find_outliers(records)
    assert (first.scan, first.measure, first.value, first.median) == ('s3', 'brain_ml', 900.0, 1500.0)
    assert first.is_unusual
    assert len(others) == 7
    assert not any(outlier.is_unusual for outlier in others)
    assert find_outliers(records[:4]) == []
