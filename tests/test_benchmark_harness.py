"""The harness counts what attackers find, goes on where it stopped, and does not hide what is missing."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import phantom as heads
import pytest
from nibabel.affines import from_matvec
from scipy import ndimage
from scipy.spatial.transform import Rotation

from benchmarks import (
    goals,
    methods,
    provenance,
    questions,
    recogniser,
    run,
    scans,
    statistics,
    surfaces,
    table,
)
from benchmarks.measures import faces, geometry, independence
from benchmarks.methods import rescan
from benchmarks.pairs import CONTROLS, GALLERY, OWN, PEERS, Pair, run_folder
from benchmarks.worker import read_values, value_path, write_json

REPOSITORY = Path(__file__).resolve().parents[1]


# -- statistics --------------------------------------------------------------------------------------------
def test_an_attacker_who_knows_everybody_and_one_who_guesses():
    own = np.arange(20)
    knows = np.ones((20, 20)) - np.eye(20)
    assert statistics.attack(knows, own)['rank1'][0] == 1
    assert statistics.attack(knows, own)['auc'] == [1, 1, 1]
    guesses = statistics.attack(np.full((20, 20), np.nan), own)  # probes without a face
    assert guesses['rank1'][0] == pytest.approx(1 / 20)
    assert guesses['rank5'][0] == pytest.approx(5 / 20)
    assert guesses['auc'][0] == pytest.approx(0.5)


def test_ranks_of_ties_and_of_what_cannot_be_compared():
    distances = np.array([[0.3, 0.1, 0.2, np.nan], [0.1, 0.1, 0.2, 0.3], [0.1, 0.2, 0.3, np.nan]])
    found = statistics.ranks(distances, np.array([0, 0, 3]))
    assert found.tolist() == [[3, 3], [1, 2], [4, 4]]
    assert statistics.hits(found, 1).tolist() == [0, 0.5, 0]
    assert statistics.separation(found, 4) == pytest.approx([1 / 3, 5 / 6, 0])


def test_auc_is_the_area_under_the_curve():
    from sklearn.metrics import roc_auc_score

    distances = np.random.default_rng(0).random((1, 50))
    found = statistics.separation(statistics.ranks(distances, np.array([7])), 50)
    assert found[0] == pytest.approx(roc_auc_score(np.arange(50) == 7, -distances[0]))


def test_wilson_interval_of_textbooks():
    assert statistics.wilson(26, 26) == pytest.approx((1, 0.871, 1), abs=1e-3)
    assert statistics.wilson(15, 50) == pytest.approx((0.3, 0.191, 0.438), abs=1e-3)
    assert np.isnan(statistics.wilson(0, 0)).all()


def test_bootstrap_is_reproducible_and_covers_the_mean():
    values = np.random.default_rng(1).normal(5, 1, 100)
    middle, low, high = statistics.bootstrap(values)
    assert middle == pytest.approx(values.mean())
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 10, rel=0.15)
    assert statistics.bootstrap(values) == (middle, low, high)


def test_guessing_once_in_26_is_within_chance():
    assert statistics.chance_limit(26, 165) == pytest.approx(1 / 26)


def test_paired_test_sees_a_leak_and_nothing_else():
    distances = np.random.default_rng(2).random((20, 30))
    own = np.arange(20)
    assert statistics.nearer_to_own(distances, own) > 0.05
    distances[own, own] -= 0.4
    assert statistics.nearer_to_own(distances, own) < 0.01


def test_dealing_probes_at_random_sees_a_leak_and_is_not_misled_by_rare_heads():
    random = np.random.default_rng(4)
    own = np.arange(24)
    # the same head for everybody, and people of whom a few are far from it
    same = np.tile(np.append(random.random(21), [8, 9, 10]), (24, 1))
    assert statistics.nearer_to_own(same, own) < 0.05
    assert statistics.matched_by_chance(same, own) == 1
    noisy = same + random.random((24, 24))
    assert 0.05 < statistics.matched_by_chance(noisy, own) < 0.95
    noisy[own, own] -= 0.4
    assert statistics.matched_by_chance(noisy, own) < 0.01


def test_probes_of_a_person_are_dealt_together():
    random = np.random.default_rng(5)
    one = random.random((20, 30))
    own = np.arange(20)
    p = statistics.matched_by_chance(one, own)
    assert statistics.matched_by_chance(np.tile(one, (4, 1)), np.tile(own, 4)) == p
    assert np.isnan(statistics.matched_by_chance(one[:5], own[:5]))


def test_a_scanner_that_is_recognised_is_no_person():
    random = np.random.default_rng(6)
    own, scanner = np.arange(24), np.repeat(['a', 'b', 'c'], 8)
    far = 3.0 * (scanner[:, None] != scanner) + random.random((24, 24))
    assert statistics.attack(far, own)['auc'][0] > 0.75
    assert statistics.matched_by_chance(far, own) < 0.01
    within = statistics.within_groups(far, own, scanner)
    assert 0.3 < within['scanner_auc'][0] < 0.7
    assert within['scanner_p'] > 0.05
    far[own, own] -= 0.5
    within = statistics.within_groups(far, own, scanner)
    assert within['scanner_auc'][0] > 0.7
    assert within['scanner_p'] < 0.01


def test_who_cannot_be_compared_is_not_dealt():
    one = np.random.default_rng(5).random((20, 20))
    own = np.arange(20)
    broken = one.copy()
    broken[3], broken[:, 7] = np.nan, np.nan
    rest = np.delete(own, [3, 7])
    expected = statistics.matched_by_chance(one[np.ix_(rest, rest)], np.arange(18))
    assert statistics.matched_by_chance(broken, own) == expected


# -- surfaces ----------------------------------------------------------------------------------------------
def _ball(radius: float, centre=surfaces.CENTRE) -> np.ndarray:
    """A soft ball in the cube; the surface (half of its intensity) has that radius in mm."""
    position = np.indices((surfaces.N,) * 3).reshape(3, -1)
    affine = surfaces.geometry.grid_affine(surfaces.N)
    world = affine[:3, :3] @ position + affine[:3, 3:]
    distance = np.linalg.norm(world - np.array(centre)[:, None], axis=0)
    return np.clip(0.5 + (radius - distance) / 8, 0, 1).reshape((surfaces.N,) * 3)


def test_depth_of_a_ball():
    everywhere = np.ones((surfaces.N,) * 3, bool)
    depth = surfaces.trace(_ball(80), everywhere, 'outline', 0.5)
    assert depth == pytest.approx(150 - 80, abs=0.3)
    swollen = surfaces.trace(_ball(83), everywhere, 'outline', 0.5)
    assert surfaces.mean_distances(depth[None], swollen[None])[0, 0] == pytest.approx(3, abs=0.1)


def test_what_the_field_of_view_hides_is_not_compared():
    seen = np.ones((surfaces.N,) * 3, bool)
    seen[:, :, 70:] = False  # the scan ends above the middle of the brain
    depth = surfaces.trace(_ball(80), seen, 'outline', 0.5)
    _, direction, _ = surfaces.rays('outline')
    assert np.isnan(depth[direction[:, 2] < -0.2]).all()
    assert np.isfinite(depth[direction[:, 2] > 0.3]).all()
    nothing = np.full_like(depth, np.nan)
    assert np.isnan(surfaces.mean_distances(depth[None], nothing[None])).all()


def test_the_brain_alone_explains_what_depends_on_it():
    rng = np.random.default_rng(0)

    def head() -> dict:
        shape = rng.normal(0, 3, 4)
        brain = 40 + np.repeat(shape, 10)
        regions = {'face': rng.normal(50, 3, 30), 'ears': rng.normal(50, 3, 30)}
        return {**regions, 'outline': 20 + np.repeat(shape, 8), 'brain': brain, 'scale': np.ones(3)}

    known = {str(number): head() for number in range(60)}
    probes = {f'probe {number}': head() for number in range(10)}
    predicted = geometry.predict(probes, known)
    for region, explained in (('outline', True), ('face', False)):
        gallery = np.array([one[region] for one in probes.values()])
        guess = np.array([one[region] for one in predicted.values()])
        found = statistics.attack(surfaces.mean_distances(guess, gallery), np.arange(10))
        assert (found['rank1'][0] == 1) == explained
    assert geometry.predict(probes, {}) == {}


# -- faces -------------------------------------------------------------------------------------------------
LANDMARKS = np.array([[162, 108], [137, 108], [75, 108], [99, 108], [118, 150]], dtype=float)


def test_proportions_of_a_face():
    found = faces.proportions(LANDMARKS)
    assert found['eye_distance'] == pytest.approx(62.5)
    assert found['nose_below'] == pytest.approx(42)
    assert found['tilt'] == 0
    turned = LANDMARKS @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    same = faces.proportions(turned)
    assert {**same, 'tilt': 0} == pytest.approx({**found, 'tilt': 0})
    assert set(faces.proportions(np.full((5, 2), np.nan)).values()) == {None}


def test_a_face_with_its_nose_in_the_forehead_is_not_plausible(tmp_path):
    rng = np.random.default_rng(0)

    def value(landmarks: np.ndarray) -> dict:
        return {'frontal': True, 'back': False, **faces.proportions(landmarks)}

    originals = {str(n): value(LANDMARKS + rng.normal(0, 2, (5, 2))) for n in range(200)}
    odd = LANDMARKS.copy()
    odd[4, 1] = 60
    pooled = faces.pool(
        {'original': originals, 'cpmae-256': {'a': value(odd), 'b': value(LANDMARKS)}}, tmp_path
    )
    assert pooled['original']['plausible'][0] > 0.85
    assert pooled['cpmae-256']['plausible'][0] == 0.5
    assert pooled['cpmae-256']['frontal_of_originals'][0] == 1


# -- methods -----------------------------------------------------------------------------------------------
@pytest.fixture
def pair(tmp_path) -> Pair:
    """A phantom head in the frame of the template, with all that a step would have found."""
    return _pair(tmp_path, 'sub-1_T1w', person=1)


def _pair(folder: Path, scan: str, person: int) -> Pair:
    shape, affine = heads.grid((4, 4, 4))
    values, brain = heads.head(shape, affine, person)
    dataset, anatomy = folder / 'heads', folder / 'out' / 'anatomy' / 'original'
    anatomy.mkdir(parents=True, exist_ok=True)
    made = run.Run(dataset, folder / 'out').pair(
        dataset / scan.split('_')[0] / 'anat' / f'{scan}.nii.gz', 'original'
    )
    made.original.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(values.astype(np.int16), affine).to_filename(made.original)
    for path in (made.brain_mask, made.kept_mask):
        nib.Nifti1Image(brain.astype(np.uint8), affine).to_filename(path)
    np.savetxt(made.affine, np.eye(4))
    made.work.mkdir(parents=True)
    return made


def _output(pair: Pair, method: str) -> Pair:
    made = run.Run(pair.original.parents[2], run_folder(pair)).pair(pair.original, method)
    made.work.mkdir(parents=True)
    made.output.parent.mkdir(parents=True)
    methods.load(method).make(made)
    return made


def _voxels(path: Path) -> np.ndarray:
    return np.asanyarray(nib.load(path).dataobj)


def test_a_pair_survives_the_way_to_another_process(pair):
    assert Pair.load(pair.dump()) == pair


@pytest.mark.parametrize('method', [*OWN, *PEERS, *CONTROLS, 'rescan', 'perturbed'])
def test_every_method_has_a_module_with_a_version(method):
    if method in ('radveil', 'quickshear', 'pydeface'):
        pytest.importorskip(method, reason='of the extra "benchmarks"')
    assert any(digit.isdigit() for digit in methods.load(method).version())


def test_upright_views_undo_a_turn_and_nothing_else(pair, monkeypatch):
    image = nib.load(pair.original)
    turn = from_matvec(Rotation.from_euler('xyz', [20, -10, 5], degrees=True).as_matrix(), [3, 4, 5])
    nib.Nifti1Image(_voxels(pair.original), turn @ image.affine).to_filename(pair.original)
    np.savetxt(pair.affine, np.diag([1.1, 1.1, 1.1, 1]) @ np.linalg.inv(turn))
    seen = []
    nothing = recogniser.Views(np.zeros(5, bool), np.zeros((5, 5, 2)), np.zeros((5, 128)), False)
    monkeypatch.setattr(recogniser, 'look', lambda _, affine: seen.append(affine) or nothing)
    recogniser.views(pair)
    recogniser.views(pair, upright=True)
    recogniser.views(pair, upright=True)
    lying, upright = seen  # each once
    assert np.allclose(lying, turn @ image.affine)
    assert np.allclose(upright[:3, :3], image.affine[:3, :3], atol=1e-5)


def test_skull_stripping_leaves_the_brain_and_nothing_else(pair):
    brain = _voxels(pair.brain_mask) > 0
    before, after = _voxels(pair.original), _voxels(_output(pair, 'skullstrip').output)
    assert np.array_equal(after[brain], before[brain])
    assert not after[~brain].any()


@pytest.mark.filterwarnings('ignore:Arrays of 2-dimensional vectors:DeprecationWarning')  # quickshear's own
def test_quickshear_takes_the_face_and_leaves_the_brain(pair):
    pytest.importorskip('quickshear', reason='of the extra "benchmarks"')
    brain = _voxels(pair.brain_mask) > 0
    before, after = _voxels(pair.original), _voxels(_output(pair, 'quickshear').output)
    assert np.array_equal(after[brain], before[brain])
    assert 0.02 < (after != before).mean() < 0.5


def test_a_perturbed_head_is_another_scan_of_the_same_person(pair):
    output = _output(pair, 'perturbed').output
    before, after = _voxels(pair.original), _voxels(output)
    assert nib.load(output).get_data_dtype() == nib.load(pair.original).get_data_dtype()
    assert (after != before).mean() > 0.5
    assert np.corrcoef(after.ravel(), before.ravel())[0, 1] > 0.8


def test_the_head_with_the_nearest_brain_is_pasted(tmp_path):
    probe, other, twin = (_pair(tmp_path, f'sub-{n}_T1w', seed) for n, seed in ((1, 1), (2, 2), (3, 1)))
    (run_folder(probe) / 'gallery.jsonl').write_text(f'{other.dump()}\n{twin.dump()}\n')
    after, before = _voxels(_output(probe, 'nearesthead').output), _voxels(probe.original)
    kept = _voxels(probe.kept_mask) > 0
    assert np.array_equal(after[kept], before[kept])
    correlations = [np.corrcoef(after[~kept], _voxels(one.original)[~kept])[0, 1] for one in (twin, other)]
    assert correlations[0] > 0.9 > correlations[1]


def test_a_transplant_keeps_the_brain_and_takes_the_head(tmp_path):
    own, donor = _pair(tmp_path, 'sub-1_T1w', 1), _pair(tmp_path, 'sub-2_T1w', 2)
    (run_folder(own) / 'scans.jsonl').write_text(f'{own.dump()}\n{donor.dump()}\n')
    assert independence.donor_of(own) == donor
    assert independence.donor_of(donor) == own
    out = tmp_path / 'transplant.nii.gz'
    independence.transplant(own, donor, out)
    kept = _voxels(own.kept_mask) > 0
    assert np.array_equal(_voxels(out)[kept], _voxels(own.original)[kept])
    # the same grid, and the same alignment
    assert np.median(np.abs(_voxels(out)[~kept] - _voxels(donor.original)[~kept].astype(float))) < 3
    assert np.abs(_voxels(out)[~kept] - _voxels(own.original)[~kept].astype(float)).mean() > 3


# -- run ---------------------------------------------------------------------------------------------------
@pytest.fixture
def dataset(tmp_path) -> list[Pair]:
    """Two heads of a dataset; masks and affines are in the folder of the run as if a step had found them."""
    pairs = [_pair(tmp_path, f'sub-{number}_T1w', number) for number in (1, 2)]
    rows = ['participant_id\tsplit', 'sub-1\ttest', 'sub-2\ttest']
    (tmp_path / 'heads' / 'participants.tsv').write_text('\n'.join(rows) + '\n')
    for pair in pairs:
        for step in ('brain_mask', 'alignment'):
            write_json(pair.work / f'{step}.json', {'status': 'made', 'version': '1', 'usage': {}})
    return pairs


def test_a_measure_that_crashes_is_missing_and_the_next_run_makes_up_for_it(tmp_path, dataset, capsys):
    argv = [str(tmp_path / 'heads'), str(tmp_path / 'out'), '--methods', 'original', '--measures', 'geometry']
    dataset[1].affine.write_text('no matrix')
    assert run.main(argv) == 1
    out = tmp_path / 'out'
    assert list(read_values(out, 'geometry')['original']) == ['sub-1_T1w']
    message = capsys.readouterr().err
    assert 'geometry: missing for original sub-2_T1w' in message
    first = value_path(out, 'geometry', 'original', 'sub-1_T1w')
    error = value_path(out, 'geometry', 'original', 'sub-2_T1w').with_suffix('.error')
    assert 'cannot be read' in error.read_text()

    written = first.stat().st_mtime_ns
    np.savetxt(dataset[1].affine, np.eye(4))
    assert run.main(argv) == 0
    assert not error.exists()
    assert first.stat().st_mtime_ns == written  # not measured again
    numbers = json.loads((out / 'benchmark.json').read_text())
    pooled = numbers['measures']['geometry']['pooled']['original']
    assert pooled['face_rank1'][0] == 1
    assert pooled['probes'] == pooled['gallery'] == 2
    assert '100 %' in (out / 'benchmarks.md').read_text()


def test_a_refusal_is_counted_and_a_crash_is_told_from_it(tmp_path, dataset):
    pytest.importorskip('radveil', reason='of the extra "benchmarks"')
    nib.Nifti1Image(np.zeros((30, 30, 30), np.int16), np.eye(4)).to_filename(dataset[0].original)  # no face
    dataset[1].original.write_bytes(b'no image')
    runner = run.Run(tmp_path / 'heads', tmp_path / 'out')
    pairs = [runner.pair(dataset[0].original, 'radveil'), runner.pair(dataset[1].original, 'skullstrip')]
    assert runner.step(run.MAKE, pairs) == []
    numbers = run.collect(runner, [], {'both': pairs}, 0)['methods']['both']
    assert {key: numbers[key] for key in ('made', 'refused', 'failed')} == {
        'made': 0,
        'refused': 1,
        'failed': 1,
    }
    assert [problem.split(':')[0] for problem in runner.problems] == ['skullstrip sub-2_T1w']


def test_masks_of_the_gallery_can_come_from_the_preparation_of_the_training(tmp_path, dataset):
    runner = run.Run(tmp_path / 'heads', tmp_path / 'elsewhere', dataset[0].brain_mask.parent)
    (pair,) = runner.anatomy([runner.pair(dataset[0].original, GALLERY)])
    assert np.array_equal(_voxels(pair.brain_mask), _voxels(dataset[0].brain_mask))
    assert pair.affine.exists()


def test_methods_that_were_left_out_keep_their_numbers():
    old = {
        'version': '0',
        'gallery': 1,
        'methods': {'cpmae-256': {'made': 1}, 'radveil': {'made': 2}},
        'measures': {
            'seam': {'scans': {'cpmae-256': {'a': 1, 'b': 1}, 'radveil': {'a': 2}}, 'pooled': {}},
            'bias': {'scans': {'cpmae-256': {'a': 5}}, 'pooled': {}},
        },
    }
    new = {
        'version': '1',
        'gallery': 2,
        'methods': {'nearesthead': {'made': 3}, 'cpmae-256': {'made': 4}},
        'measures': {'seam': {'scans': {'cpmae-256': {'a': 9}}, 'pooled': {'cpmae-256': {'p': 1}}}},
    }
    found = run.with_rest(new, old)
    assert list(found['methods']) == ['cpmae-256', 'radveil', 'nearesthead']
    assert found['methods']['cpmae-256'] == {'made': 4}
    assert found['measures']['seam'] == {
        'scans': {'cpmae-256': {'a': 9}, 'radveil': {'a': 2}},
        'pooled': {'cpmae-256': {'p': 1}},
    }
    assert found['measures']['bias'] == old['measures']['bias']  # was not measured again
    assert (found['version'], found['gallery']) == ('1', 2)


def test_outputs_stay_out_of_the_repository(tmp_path, dataset, capsys):
    with pytest.raises(SystemExit):
        run.main([str(tmp_path / 'heads'), str(REPOSITORY / 'out')])
    assert 'must not lie inside' in capsys.readouterr().err


# -- table -------------------------------------------------------------------------------------------------
def test_the_table_says_which_goals_are_missed():
    pooled = {
        'original': {'rank1': [1, 0.87, 1], 'auc': [1, 1, 1], 'chance_limit': 1 / 26},
        'cpmae-256': {'rank1': [1 / 26, 0.01, 0.19], 'auc': [0.62, 0.5, 0.7], 'chance_limit': 1 / 26},
        'radveil': {'rank1': [0.5, 0.3, 0.7], 'auc': [0.8, 0.7, 0.9], 'chance_limit': 1 / 26},
    }
    summary = {'version': 'x 1', 'scans': 26, 'made': 26, 'refused': 0, 'failed': 0}
    text = table.document(
        {
            'version': '1',
            'gallery': 139,
            'methods': {'cpmae-256': summary, 'radveil': {**summary, 'made': 25, 'refused': 1}},
            'measures': {
                'recognition': {'scans': {}, 'pooled': pooled},
                'brain': {
                    'scans': {'cpmae-256': {'a': {'kept_changed': 0}, 'b': {'kept_changed': 2}}},
                    'pooled': {},
                },
                'novel': {'scans': {'radveil': {'a': {'shine': 0.25}}}, 'pooled': {}},
            },
        }
    )
    question = text.split('## ')[2]
    assert question.startswith('Can a face recogniser')
    assert '|  | goal | **this tool, 256** | original | RadVeil |' in question
    assert '| rank-1 | chance | 4 % (1–19) | 100 % | 50 % |' in question
    assert '| AUC | ≤ 0.6 | 0.62 (0.50–0.70) **missed** | 1.00 | 0.80 |' in question
    assert 'Not measured: rank-5;' in question
    assert '**missed**' in text.split('Is the brain untouched?')[1].split('##')[0]
    assert '| RadVeil | x 1 | 26 | 25 | 1 | 0 |' in text
    assert '| shine |  | 0.25 |' in text.split('## Further: novel')[1]


def test_the_pages_have_the_goals_and_tables_of_the_results():
    results = goals.read_results()
    page, card = (path.read_text(encoding='utf-8') for path in (goals.PAGE, goals.CARD))
    assert page == goals.insert(table.document(results['benchmark']), goals.lines(results))
    assert card == goals.insert(card, goals.lines(results, missed=True))
    evidence = goals.EVIDENCE.read_text(encoding='utf-8')
    assert evidence == goals.insert(evidence, goals.attacks(results))
    missed = sum('**missed**' in line for line in page.splitlines())
    assert missed == sum('**missed**' in line for line in card.splitlines())
    with pytest.raises(ValueError, match='no <!--'):
        goals.insert('a page', [])


def test_a_goal_is_met_or_missed_by_its_number():
    assert goals.at_most('time', 60, 60, '1 scan', '.0f', ' s').cells() == [
        'time',
        '60 s',
        '1 scan',
        '≤ 60 s',
        'met',
    ]
    assert goals.at_least('efficiency', 0.894, 0.9, '4 scans').cells()[-1] == '**missed**'
    both = goals.Row('AUC', ('0.60', '0.58'), '26 scans', '≤ 0.6', (False, True)).cells()
    assert both[1:] == ['0.60 / 0.58', '26 scans', '≤ 0.6', '**missed** / met']


# -- controls, rescans, living attack, provenance ----------------------------------------------------------
def test_the_own_head_comes_back_from_the_template_grid(pair):
    kept = _voxels(pair.kept_mask) > 0
    before, after = (
        _voxels(path).astype(float) for path in (pair.original, _output(pair, 'own-grid').output)
    )
    assert np.array_equal(before[kept], after[kept])
    assert np.corrcoef(before[~kept], after[~kept])[0, 1] > 0.97
    assert (before != after)[~kept].mean() > 0.5  # it was resampled all the same


def test_the_own_head_gets_other_air(pair):
    kept = _voxels(pair.kept_mask) > 0
    before, after = (_voxels(path).astype(float) for path in (pair.original, _output(pair, 'own-air').output))
    air = ndimage.binary_erosion(before < 40, iterations=2)
    tissue = before > 100
    assert np.corrcoef(before[~kept & tissue], after[~kept & tissue])[0, 1] > 0.7
    assert abs(np.corrcoef(before[air], after[air])[0, 1]) < 0.5
    assert after[air].std() > 1
    assert np.array_equal(before[kept], after[kept])


def test_a_scan_is_compared_with_the_next_one_of_the_person():
    people = {'a_1': 'a', 'a_2': 'a', 'a_3': 'a', 'b': 'b', 'c_1': 'c', 'c_thick': 'c'}
    edges = {**dict.fromkeys(people, 1.0), 'c_thick': 4.8}
    assert rescan.next_scans(people, edges) == {'a_1': 'a_2', 'a_2': 'a_3', 'a_3': 'a_1'}


@pytest.mark.slow
def test_the_other_scan_of_a_person_comes_to_the_grid_of_the_first(tmp_path):
    one, two = _pair(tmp_path, 'sub-1_ses-1_T1w', 1), _pair(tmp_path, 'sub-1_ses-2_T1w', 1)
    # moved in the scanner, in another unit
    image = nib.load(two.original)
    turn = np.eye(4)
    turn[:3, :3], turn[:3, 3] = heads.rotation_matrix(6, 0, 5), (8, -5, 3)
    voxels = _voxels(two.original) * 3
    for path, data in ((two.original, voxels), (two.brain_mask, _voxels(two.brain_mask))):
        nib.Nifti1Image(data.copy(), turn @ image.affine).to_filename(path)
    folder = run_folder(one)
    (folder / 'scans.jsonl').write_text(f'{one.dump()}\n{two.dump()}\n')
    (folder / 'gallery.jsonl').write_text('')
    write_json(folder / 'rescans.json', {'sub-1_ses-1_T1w': 'sub-1_ses-2_T1w'})
    made = _output(one, 'rescan')
    assert rescan.partner(made) == two
    brain = _voxels(one.brain_mask) > 0
    before, after = _voxels(one.original)[brain].astype(float), _voxels(made.output)[brain].astype(float)
    assert np.corrcoef(before, after)[0, 1] > 0.9
    assert np.median(after) == pytest.approx(np.median(before), rel=0.05)


def test_nobody_is_tested_and_in_the_gallery():
    paths = [Path(f'sub-{name}_T1w.nii.gz') for name in ('a', 'b', 'c')]
    people = {'sub-a': 'x', 'sub-b': 'x', 'sub-c': 'c'}
    assert run.divide(paths, {'sub-a', 'sub-c'}, people) == ([paths[2]], [paths[1]])


def test_an_attacker_who_has_another_scan_of_the_person():
    gallery, people = ['a_1', 'a_2', 'b', 'c'], {'a_1': 'a', 'a_2': 'a', 'b': 'b', 'c': 'c'}
    # each is nearest to its own scan, and a's scans are near to each other
    distances = np.array([[0, 0.2, 0.9, 0.8], [0.2, 0, 0.7, 0.9], [0.9, 0.7, 0, 0.5], [0.8, 0.9, 0.5, 0]])
    found, own, _ = statistics.by_person(distances, gallery, gallery, people, own_scan=True)
    assert found.shape == (4, 3)
    assert (found[np.arange(4), own] == 0).all()
    living = statistics.living_attack(distances, gallery, gallery, people)
    assert living['living_probes'] == 2
    assert living['living_rank1'][0] == 1
    distances[0, 1] = distances[1, 0] = 1  # the person cannot be known again
    assert statistics.living_attack(distances, gallery, gallery, people)['living_rank1'][0] == 0
    alone = statistics.living_attack(distances[2:], ['b', 'c'], gallery, people)
    assert alone == {'living_probes': 0}


def test_a_probe_without_a_face_ranks_at_random_among_people():
    people = {'a_1': 'a', 'a_2': 'a', 'b': 'b', 'c': 'c'}
    living = statistics.living_attack(np.full((1, 4), np.nan), ['a_1'], list(people), people)
    assert living['living_rank1'][0] == pytest.approx(1 / 3)


def test_numbers_of_other_weights_or_code_are_not_mixed_without_a_word(
    tmp_path, monkeypatch, dataset, capsys
):
    argv = [str(tmp_path / 'heads'), str(tmp_path / 'out'), '--methods', 'original', '--measures', 'brain']
    assert run.main(argv) == 0
    assert 'Some are of others' not in (tmp_path / 'out' / 'benchmarks.md').read_text()
    other = provenance.Provenance('other', 'code', 'today')
    monkeypatch.setattr(provenance.Provenance, 'today', classmethod(lambda cls: other))
    with pytest.raises(SystemExit):
        run.main(argv)
    assert 'other benchmarks and tool and weights' in capsys.readouterr().err
    assert run.main([*argv, '--mixed']) == 0
    page = (tmp_path / 'out' / 'benchmarks.md').read_text()
    assert 'Some are of others' in page
    assert 'weights other' in page
    # a folder of before provenance was recorded
    (tmp_path / 'out' / 'provenance.json').unlink()
    with pytest.raises(SystemExit):
        run.main(argv)


def test_methods_of_an_earlier_run_say_so():
    summary = {'version': '1', 'scans': 1, 'made': 1, 'refused': 0, 'failed': 0}
    old, new = (provenance.Provenance(name, 'a', 'b').dump() for name in ('old', 'new'))
    rest = {'provenance': [old], 'methods': {'radveil': summary}, 'measures': {}}
    numbers = {
        'version': '1',
        'provenance': [new],
        'gallery': 1,
        'methods': {'cpmae-256': summary},
        'measures': {},
    }
    page = table.document(run.with_rest(numbers, rest))
    assert 'Those of RadVeil are of an earlier run: weights old' in page
    assert 'Numbers are of weights new' in page


def test_goals_are_compared_with_rescans_and_controls():
    goal, value = questions.as_a_rescan(questions.at_least(0.99), higher=True), (0.98, 0.97, 0.99)
    assert goal.met(0.985, 'cpmae-256', {'rescan': value}, {})
    assert not goal.met(0.985, 'cpmae-256', {'rescan': None}, {})
    assert not goal.met(0.975, 'cpmae-256', {'rescan': value}, {})
    control = questions.over_control(0.1)
    assert control.met(0.7, 'cpmae-256', {'own-air': (0.65, 0.6, 0.7)}, {})
    assert not control.met(0.8, 'cpmae-256', {'own-air': (0.65, 0.6, 0.7)}, {})
    assert control.met(0.8, 'cpmae-256', {}, {}) is None


def test_source_that_writes_the_same_images_is_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, 'SAME_IMAGES', tmp_path / 'same_images.json')
    provenance.same_images.cache_clear()
    one, two, three, other = (
        provenance.Provenance('w', tool, 'b') for tool in ('one', 'two', 'three', 'other')
    )
    assert provenance.differences(one, two) == ['tool']
    provenance.record_same(['one', 'two'])
    provenance.record_same(['other', 'another'])
    provenance.record_same(['two', 'three'])
    assert provenance.same_images() == (('another', 'other'), ('one', 'three', 'two'))
    assert provenance.differences(one, three) == []
    assert provenance.differences(one, other) == ['tool']
    assert provenance.differences(one, provenance.Provenance('w', 'two', 'c')) == ['benchmarks']
    assert provenance.differences(one, provenance.Provenance('v', 'two', 'b')) == ['tool', 'weights']
    results = {
        name: {'provenance': [p.dump()]} for name, p in (('benchmark', one), ('a', three), ('b', other))
    }
    assert provenance.strangers(results) == ['Of other weights or code than benchmark: b.']
    page = ' '.join(provenance.remarks([two, other, three]))
    assert '**Some are of others**: weights w, tool other, benchmarks b.' in page
    assert 'Some are of tool two, which write the same images.' in page
    provenance.same_images.cache_clear()


def test_result_files_of_other_weights_are_named_beside_the_goals(tmp_path):
    new, old = (provenance.Provenance(name, 'a', 'b').dump() for name in ('new', 'old'))
    results = {
        'benchmark': {'provenance': [old, new]},
        'scaling': {'provenance': [new]},
        'outline': {'provenance': [old]},
        'tone': {'version': '1'},
    }
    assert provenance.strangers(results) == [
        'Weights and code were not recorded for: tone.',
        'Of other weights or code than benchmark: outline.',
    ]
    assert provenance.strangers({name: results[name] for name in ('benchmark', 'scaling')}) == []
    path = scans.write_result('numbers', {'a': 1}, tmp_path)
    written = json.loads(path.read_text())
    assert written['provenance'] == [provenance.Provenance.today().dump()]
