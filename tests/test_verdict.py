"""The verdict: an honest result passes, and every kind of sabotage fails for its own reason."""

import json

import numpy as np
import phantom
import pytest

from cpmae_bids.deid import blending, codes, masks, nifti, noise, verdict
from cpmae_bids.exceptions import InputError
from cpmae_bids.steps.verdict import judge as judge_files
from cpmae_bids.templates import Template

SHAPE, AFFINE = phantom.grid((2, 2, 2), 'LPS')


class Case:
    """A scan and its refaced version, as the steps leave them; each part can be replaced by a bad one."""

    def __init__(self, folder):
        self.folder = folder
        values, self.brain = phantom.head(SHAPE, AFFINE)
        self.original = nifti.read(phantom.write(folder / 'T1w.nii', values, AFFINE))
        self.kept = masks.dilate(self.brain, 2.0, self.original.voxel_sizes)
        self.world_to_template = np.eye(4)
        template_affine = np.diag([2.0, 2.0, 2.0, 1.0])
        template_affine[:3, 3] = (-97, -133, -71)
        mask = phantom.head((98, 116, 94), template_affine, noise=False)[1]
        self.template = Template(mask.astype(np.float32), mask, template_affine, 'phantom')
        rng = np.random.default_rng(0)
        self.original_codes, self.generated_codes = (
            [rng.integers(0, 64, (g, g, g)) for g in (8, 16)] for _ in range(2)
        )

    def air(self):
        return noise.measure(self.original.values(), self.kept, self.original.voxel_sizes, phantom.SCALE)

    def raw(self, head=None, kept=None):
        """Raw values of the scan with a head of the cube (that of another person by default)."""
        head = phantom.cube(3) if head is None else head
        generated = blending.synthesize(
            head, phantom.SCALE, AFFINE, self.world_to_template, SHAPE, self.air(), 1
        )
        return blending.blend(self.original, self.kept if kept is None else kept, generated)

    def write(self, raw=None):
        nifti.write(self.folder / 'out.nii', self.raw() if raw is None else raw, self.original)
        return self.folder / 'out.nii'

    def judge(self, raw=None, **changes):
        """Status, the measures that failed, and all measures, of the file as written."""
        path = changes.pop('path', None) or self.write(raw)
        kept = changes.get('kept', self.kept)
        parts = {
            'brain': self.brain,
            'kept': kept,
            'deface_mask': ~kept,
            'world_to_template': self.world_to_template,
            'original_codes': self.original_codes,
            'generated_codes': self.generated_codes,
            **changes,
        }
        measures = verdict.measure(
            self.original,
            nifti.read(path),
            scale=phantom.SCALE,
            template_mask=self.template.mask,
            template_affine=self.template.affine,
            **parts,
        )
        status, reasons = verdict.judge(measures)
        failed = {limit.measure for limit in verdict.LIMITS if f'({limit.measure} ' in ' '.join(reasons)}
        assert (status == 'fail') == bool(reasons)
        assert len(failed) == len(reasons)
        return status, failed, measures


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    return Case(tmp_path_factory.mktemp('verdict'))


@pytest.fixture(scope='module')
def honest(case):
    return case.raw()


@pytest.fixture(scope='module')
def passed(case, honest):
    """Measures of the honest result."""
    status, failed, measures = case.judge(honest)
    assert (status, failed) == ('pass', set())
    return measures


def test_an_honest_result_passes(passed):
    measures = passed
    assert measures['kept_voxels_changed'] == 0
    assert measures['detail_correlation'] < 0.4
    assert measures['surface_moved_mm'] > 1
    assert measures['template_overlap'] > 0.95
    assert 0.9 < measures['air_busy_ratio'] < 1.1
    assert all(np.isfinite(value) for value in measures.values())


# What a broken model would give


def test_a_model_that_gives_the_original_back_fails(case):
    status, failed, _ = case.judge(case.raw(phantom.cube(0)))
    assert status == 'fail'
    assert {'detail_correlation', 'surface_moved_mm'} <= failed


def test_codes_of_the_original_fail(case, passed):
    found = verdict.code_agreement(case.original_codes, case.original_codes)
    assert found['code_agreement_0'] == 1
    assert found['code_chance_0'] < 0.1
    status, reasons = verdict.judge({**passed, **found})
    assert status == 'fail'
    assert len(reasons) == 1
    assert 'codes are those of the original' in reasons[0]


def test_a_model_that_gives_nothing_but_air_fails(case):
    status, failed, _ = case.judge(case.raw(np.zeros((128, 128, 128), np.float16)))
    assert status == 'fail'
    assert {'head_per_brain', 'nose_share', 'vault_closed_share'} <= failed


def test_clouds_instead_of_a_head_fail(case):
    rng = np.random.default_rng(0)
    cloud = np.kron(rng.random((32, 32, 32)), np.ones((4, 4, 4))).astype(np.float16)
    cloud[cloud < 0.5] = 0
    status, failed, _ = case.judge(case.raw(cloud))
    assert status == 'fail'
    assert {'far_tissue_share', 'surface_roughness'} & failed


def test_the_original_itself_fails(case):
    status, failed, measures = case.judge(case.original.raw)
    assert status == 'fail'
    assert {'unchanged_tissue_share', 'detail_correlation', 'surface_moved_mm'} <= failed
    assert measures['unchanged_tissue_share'] == 1


# What a broken mask or registration would give


def test_a_brain_mask_that_covers_the_whole_head_fails(case):
    inside = case.original.values() > 60
    whole = masks.fill_holes(masks.largest_component(inside))
    kept = masks.dilate(whole, 2.0, case.original.voxel_sizes)
    status, failed, _ = case.judge(case.raw(kept=kept), brain=whole, kept=kept)
    assert status == 'fail'
    assert {'brain_ml', 'template_overlap'} <= failed


def test_a_kept_mask_that_covers_the_whole_head_fails(case):
    kept = masks.dilate(case.brain, 30.0, case.original.voxel_sizes)
    status, failed, _ = case.judge(case.raw(kept=kept), kept=kept)
    assert status == 'fail'
    assert 'kept_per_brain' in failed


def test_an_empty_brain_mask_fails(case):
    nothing = np.zeros(SHAPE, bool)
    status, failed, _ = case.judge(case.raw(kept=nothing), brain=nothing, kept=nothing)
    assert status == 'fail'
    assert {'brain_ml', 'template_overlap', 'kept_per_brain'} <= failed


@pytest.mark.parametrize('degrees', [(90, 0, 0), (0, 90, 0), (0, 0, -90)])
def test_a_registration_turned_by_a_right_angle_fails(case, honest, degrees):
    center = np.array([0, -18, 8.0])
    turned = np.eye(4)
    turned[:3, :3] = phantom.rotation_matrix(*degrees)
    turned[:3, 3] = center - turned[:3, :3] @ center
    status, failed, _ = case.judge(honest, world_to_template=turned)
    assert status == 'fail'
    assert 'rotation_deg' in failed


def test_a_mirrored_or_shrunk_registration_fails(case, honest):
    for matrix in (np.diag([-1.0, 1, 1, 1]), np.diag([0.5, 0.5, 0.5, 1])):
        assert case.judge(honest, world_to_template=matrix)[0] == 'fail'


# What a broken writer would give


def changed_in_the_brain(raw, case):
    index = tuple(np.argwhere(case.kept)[1234])
    raw[index] += 1


def range_exceeded(raw, case):
    raw[tuple(np.argwhere(~case.kept)[0])] = case.original.raw.max() + 1


def air_of_zeros(raw, case):
    values, _ = phantom.head(SHAPE, AFFINE, 3, noise=False)
    raw[(values == 0) & ~case.kept] = 0


def loud_air(raw, case):
    values, _ = phantom.head(SHAPE, AFFINE, 3, noise=False)
    raw[(values == 0) & ~case.kept] *= 4


def original_face(raw, case):
    distance = masks.distance_outside(case.kept, case.original.voxel_sizes, 4.0)
    raw[np.isinf(distance)] = case.original.raw[np.isinf(distance)]


@pytest.mark.parametrize(
    ('damage', 'measure'),
    [
        (changed_in_the_brain, 'kept_voxels_changed'),
        (range_exceeded, 'voxels_out_of_range'),
        (air_of_zeros, 'air_busy_ratio'),
        (loud_air, 'air_p95_change'),
        (original_face, 'unchanged_tissue_share'),
    ],
)
def test_damage_fails(case, honest, damage, measure):
    raw = honest.copy()
    damage(raw, case)
    status, failed, _ = case.judge(raw)
    assert status == 'fail'
    assert measure in failed


def test_an_edge_around_the_kept_mask_fails(case, honest):
    raw = honest.copy()
    distance = masks.distance_outside(case.kept, case.original.voxel_sizes, 3.0)
    raw[(distance > 0) & np.isfinite(distance)] = 900
    assert 'seam_ratio' in case.judge(raw)[1]


def test_not_a_number_fails(tmp_path):
    case = Case(tmp_path)
    values, _ = phantom.head(SHAPE, AFFINE)
    case.original = nifti.read(phantom.write(tmp_path / 'float.nii', values, AFFINE, '<f4'))
    raw = case.raw()
    raw[3, 4, 5] = np.nan
    status, failed, _ = case.judge(raw)
    assert (status, failed) == ('fail', {'not_finite_voxels'})


@pytest.mark.parametrize(
    ('field', 'value', 'measure'),
    [
        ('scl_slope', 2.0, 'header_fields_changed'),
        ('qoffset_x', 3.5, 'header_fields_changed'),
        ('sform_code', 2, 'header_fields_changed'),
        ('xyzt_units', 0, 'header_fields_changed'),
        ('descrip', b'DOE^JANE', 'header_fields_leaked'),
        ('aux_file', b'/home/jane', 'header_fields_leaked'),
        ('intent_name', b'JANE', 'header_fields_leaked'),
        ('db_name', b'JANE', 'header_fields_leaked'),
    ],
)
def test_headers_must_match_and_tell_nothing(case, honest, passed, field, value, measure):
    path = case.write(honest)
    content = bytearray(path.read_bytes())
    header = type(case.original.header)(bytes(content[:348]), check=False)
    header[field] = value
    content[:348] = header.binaryblock
    path.write_bytes(content)
    written = nifti.read(path)
    found = {
        'header_fields_changed': verdict.header_fields_changed(case.original, written),
        'header_fields_leaked': verdict.header_fields_leaked(written),
    }
    status, reasons = verdict.judge({**passed, **found})
    assert status == 'fail'
    assert len(reasons) == 1
    assert measure in reasons[0]


def test_another_data_type_fails(case, honest):
    path = phantom.write(case.folder / 'float.nii', honest.astype(np.float32), AFFINE, '<f4')
    status, failed, _ = case.judge(path=path)
    assert status == 'fail'
    assert {'header_fields_changed', 'kept_voxels_changed'} <= failed  # what cannot be measured fails too


def test_a_wrong_deface_mask_fails(case, honest):
    wrong = ~case.kept
    wrong[0, 0, 0] = False
    assert case.judge(honest, deface_mask=wrong)[1] == {'deface_mask_errors'}


# The limits themselves


def test_every_limit_can_fail_and_missing_measures_fail():
    good = {limit.measure: float(np.clip(1, limit.low, limit.high)) for limit in verdict.LIMITS}
    assert verdict.judge(good) == ('pass', [])
    for limit in verdict.LIMITS:
        for bad in (limit.low - 1, limit.high + 1, np.nan):
            if np.isfinite(bad) or np.isnan(bad):
                status, reasons = verdict.judge({**good, limit.measure: bad})
                assert status == 'fail'
                assert len(reasons) == 1
                assert limit.measure in reasons[0]
                assert '\n' not in reasons[0]
        without = {name: value for name, value in good.items() if name != limit.measure}
        assert verdict.judge(without)[0] == ('pass' if limit.optional else 'fail')


def test_agreement_of_unrelated_codes_is_chance():
    rng = np.random.default_rng(1)
    common = rng.dirichlet(np.ones(20))
    a, b = (rng.choice(20, (16, 16, 16), p=common) for _ in range(2))
    measures = verdict.code_agreement([a], [b])
    assert measures['code_agreement'] == pytest.approx(measures['code_chance_0'], abs=0.03)
    assert verdict.code_agreement([a], [a])['code_agreement'] == 1


def test_air_does_not_count_as_agreement():
    a, b = (np.zeros((16, 16, 16), int) for _ in range(2))
    a[4:12, 4:12, 4:12], b[4:12, 4:12, 4:12] = 1, 2
    assert verdict.code_agreement([a], [b])['code_agreement'] == 0


# The step


def write_files(case, folder, raw):
    nifti.write(folder / 'refaced.nii.gz', raw, case.original)
    nifti.write_mask(folder / 'deface_mask.nii.gz', ~case.kept, case.original)
    nifti.write_mask(folder / 'brain_mask.nii.gz', case.brain, case.original)
    nifti.write_mask(folder / 'kept_mask.nii.gz', case.kept, case.original)
    np.savetxt(folder / 'affine.txt', case.world_to_template)
    np.savez(folder / 'brain.npz', scale=phantom.SCALE)
    codes.write(folder / 'original.npz', case.original_codes)
    codes.write(folder / 'generated.npz', case.generated_codes)
    names = ('refaced.nii.gz', 'deface_mask.nii.gz', 'brain_mask.nii.gz', 'kept_mask.nii.gz', 'affine.txt')
    return [case.original.path, *(folder / name for name in (*names, 'brain.npz', 'verdict.json'))]


@pytest.mark.parametrize('passes', [True, False])
def test_the_step_writes_the_verdict(case, honest, tmp_path, passes):
    files = write_files(case, tmp_path, honest if passes else case.original.raw)
    found = judge_files(
        *files,
        generated_codes=tmp_path / 'generated.npz',
        original_codes=tmp_path / 'original.npz',
        scan='sub-01/anat/sub-01_T1w.nii.gz',
        preset='128',
        seed=7,
        steps=4,
        model_hash='abc',
        template=case.template,
    )
    written = json.loads((tmp_path / 'verdict.json').read_text())
    assert written == found
    assert written['status'] == ('pass' if passes else 'fail')
    assert bool(written['reasons']) != passes
    assert written['scan'] == 'sub-01/anat/sub-01_T1w.nii.gz'
    assert (written['seed'], written['steps'], written['preset']) == (7, 4, '128')
    assert written['noise']['sigma'] == pytest.approx(phantom.SIGMA, rel=0.1)
    assert str(tmp_path) not in (tmp_path / 'verdict.json').read_text()


def test_what_cannot_be_read_cannot_be_judged(case, honest, tmp_path):
    files = write_files(case, tmp_path, honest)
    (tmp_path / 'refaced.nii.gz').write_bytes(b'\x1f\x8bnonsense')
    with pytest.raises(InputError, match=r'refaced\.nii\.gz'):
        judge_files(*files, template=case.template)
    assert not (tmp_path / 'verdict.json').exists()
