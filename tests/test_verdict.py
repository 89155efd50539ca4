"""The verdict: an honest result passes, and every kind of sabotage fails for its own reason."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import phantom
import pytest
from scipy import ndimage

from cpmae_bids.deid.images import intensity, masks, nifti, volumes
from cpmae_bids.deid.qc import decision, file_metrics, margin, metrics
from cpmae_bids.deid.qc.thresholds import is_public, threshold, thresholds_of
from cpmae_bids.deid.space import geometry, regions
from cpmae_bids.deid.synthesis import air as air_model
from cpmae_bids.deid.synthesis import blending
from cpmae_bids.exceptions import InputError
from cpmae_bids.steps.verdict import verdict as judge_files
from cpmae_bids.templates import Template

LIMITS = thresholds_of('')
SHAPE, AFFINE = phantom.grid((3, 3, 3), 'LPS')
SIDE, FRONT, HEIGHT = (
    (row[:3] @ np.indices(SHAPE).reshape(3, -1) + row[3]).reshape(SHAPE) for row in AFFINE[:3]
)


def turned(*degrees):
    """Rotation about the middle of the brain, shape (4, 4)."""
    center = np.array([0, -18, 8.0])
    matrix = np.eye(4)
    matrix[:3, :3] = phantom.rotation_matrix(*degrees)
    matrix[:3, 3] = center - matrix[:3, :3] @ center
    return matrix


class Case:
    """A scan and its refaced version, as the steps leave them; each part can be replaced by a bad one."""

    def __init__(self, folder):
        self.folder = folder
        values, self.brain = phantom.head(SHAPE, AFFINE)
        self.original = nifti.read(phantom.write(folder / 'T1w.nii', values, AFFINE))
        self.kept = masks.dilate(self.brain, 3.0, self.original.voxel_sizes)
        self.air = air_model.estimate(values, self.kept, self.original.voxel_sizes, phantom.SCALE)
        self.head = phantom.cube(3)
        self.world_to_template = np.eye(4)
        template_affine = np.diag([2.0, 2.0, 2.0, 1.0])
        template_affine[:3, 3] = (-97, -133, -71)
        values, mask = phantom.head((98, 116, 94), template_affine, noise=False)
        self.template = Template(np.where(mask, values, 0), mask, template_affine, 'phantom')
        rng = np.random.default_rng(0)
        self.original_codes, self.generated_codes = (
            [rng.integers(0, 64, (g, g, g)) for g in (8, 16)] for _ in range(2)
        )

    def raw(self, head=None, kept=None, world_to_template=None):
        """Raw values of the scan with a head of the cube (that of another person by default)."""
        head = self.head if head is None else head
        world_to_template = self.world_to_template if world_to_template is None else world_to_template
        generated = phantom.synthesize(head, phantom.SCALE, AFFINE, world_to_template, SHAPE, self.air, 1)
        return blending.blend(self.original, self.kept if kept is None else kept, generated)

    def write(self, raw=None):
        nifti.write(self.folder / 'out.nii', self.raw() if raw is None else raw, self.original)
        return self.folder / 'out.nii'

    def without_its_head(self):
        """The original, with what is not kept darker and the other way round; in the same range of values."""
        raw = np.where(self.kept, self.original.raw, self.original.raw[:, ::-1] * 3 // 4)
        raw[:2, 0, 0] = self.original.raw.min(), self.original.raw.max()
        return replace(self.original, raw=raw.astype(self.original.raw.dtype))

    def judge(self, raw=None, **changes):
        """Status, the measures that failed, and all measures, of the file as written."""
        path = changes.pop('path', None) or self.write(raw)
        kept = changes.pop('kept', self.kept)
        parts = {
            'original': self.original,
            'brain': self.brain,
            'preserved': kept,
            'deface_mask': ~kept,
            'world_to_template': self.world_to_template,
            'original_codes': self.original_codes,
            'generated_codes': self.generated_codes,
            **changes,
        }
        measures = metrics.measure(
            refaced=nifti.read(path), scale=phantom.SCALE, template=self.template, **parts
        )
        status, reasons = decision.decide(measures, LIMITS)
        failed = {limit.metric for limit in LIMITS if f'({limit.metric} ' in ' '.join(reasons)}
        assert (status == 'fail') == bool(reasons)
        assert len(failed) == len(reasons)
        return status, failed, measures


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    return Case(tmp_path_factory.mktemp('verdict'))


@pytest.fixture(scope='module')
def head(case):
    return case.head


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
    assert measures['detail_correlation'] < 0.5
    assert measures['surface_moved_mm'] > 1
    assert measures['template_overlap'] > 0.95
    assert 0.9 < measures['air_busy_ratio'] < 1.1
    assert all(np.isfinite(value) for value in measures.values())


def test_what_is_public_does_not_depend_on_the_original_head(case, honest, passed):
    codes = [np.random.default_rng(2).permutation(level) for level in case.original_codes]
    codes[0][:4] = codes[0][0, 0, 0]
    _, _, measures = case.judge(honest, original=case.without_its_head(), original_codes=codes)
    assert measures.keys() == passed.keys()
    changed = {name for name, value in measures.items() if value != passed[name]}
    assert changed == {name for name in passed if not is_public(name)}


# Sabotage: each limit catches one kind alone, all but those of what never comes alone (no head, no nose)


def box(x, y, z):
    """Voxels of the cube within ranges of mm."""
    return regions.box((x, y, z), 128)


def ball(center, radius):
    affine = geometry.grid_affine(128)
    position = [affine[axis, axis] * np.arange(128) + affine[axis, 3] - center[axis] for axis in range(3)]
    return np.add.outer(np.add.outer(position[0] ** 2, position[1] ** 2), position[2] ** 2) < radius**2


def without_nose(head):
    head[box((-14, 14), (56, 116), (-84, -30))] = 0


def horn(head):
    head[box((40, 98), (60, 108), (20, 102))] = 0.8


def open_skull(head):
    head[box((0, 128), (-140, 116), (15, 112))] = 0


def islands(head):
    head[ball((-55, -105, -100), 26) | ball((55, -105, -100), 26)] = 0.8


def comb(head):
    teeth = (np.arange(128) // 4 % 2 == 0)[:, None, None]
    head[teeth & box((-128, 128), (-140, 50), (-144, 0))] = 0


def husk(head):
    """Neck gone, and nothing within but for the nose: the least that still looks like a head from outside."""
    head[box((-128, 128), (-140, 30), (-144, -30))] = 0
    inside = ndimage.binary_erosion(masks.head_mask(head.astype(np.float32), fill=True), iterations=3)
    head[inside & box((-128, 128), (-140, 116), (-118, 80)) & ~box((-16, 16), (50, 116), (-90, -25))] = 0.05


def chin_of_a_giant(head):
    head[box((-70, 70), (40, 108), (-112, -60))] = 0.8


def ironed(head):
    """A plane in place of brows, eyes and nose."""
    head[box((-60, 60), (80, 116), (-110, 10))] = 0
    head[box((-60, 60), (50, 80), (-110, 10))] = 0.7


def bright(head):
    head *= 1.6


def grey(head):
    head[head > 0.2] = 0.6


def shape_of_the_original(head):
    rough = ndimage.gaussian_filter(np.random.default_rng(5).standard_normal(head.shape), 2)
    head[:] = np.where(phantom.cube(0) > 0, 0.8 + 0.2 * np.clip(rough / rough.std(), -1.5, 1.5), 0)


@pytest.mark.parametrize(
    ('damage', 'measures'),
    [
        (without_nose, {'nose_share', 'face_relief'}),
        (ironed, {'face_relief'}),
        (horn, {'far_tissue_share'}),
        (open_skull, {'vault_closed_share'}),
        (islands, {'stray_tissue_share'}),
        (comb, {'surface_roughness'}),
        (husk, {'head_volume_ratio'}),
        (chin_of_a_giant, {'face_distance_mm'}),
        (bright, {'head_brightness'}),
        (grey, {'head_contrast'}),
        (shape_of_the_original, {'surface_moved_mm', 'surface_same_share'}),
    ],
)
def test_a_head_that_is_none_fails(case, head, damage, measures):
    head = head.copy()
    damage(head)
    assert case.judge(case.raw(head))[1] == measures


def changed_in_the_brain(raw, case):
    index = tuple(np.argwhere(case.kept)[1234])
    raw[index] += 1


def range_exceeded(raw, case):
    raw[tuple(np.argwhere(~case.kept)[0])] = case.original.raw.max() + 1


def air(case):
    return (phantom.head(SHAPE, AFFINE, 3, noise=False)[0] == 0) & ~case.kept


def air_of_zeros(raw, case):
    raw[air(case)] = 0


def away_from_the_brain(case):
    return np.isinf(masks.distance_outside(case.kept, case.original.voxel_sizes, 5.0))


def neck_of_the_original(raw, case):
    where = away_from_the_brain(case) & (HEIGHT < -90)
    raw[where] = case.original.raw[where]


def half_a_face_of_the_original(raw, case):
    where = away_from_the_brain(case) & (FRONT > 20) & (HEIGHT < 10) & (SIDE > 0)
    raw[where] = np.minimum(case.original.raw[where] + 2, case.original.raw.max())


def ear_of_the_original(raw, case):
    where = away_from_the_brain(case) & (np.abs(FRONT + 20) < 25) & (np.abs(HEIGHT + 35) < 25) & (SIDE > 40)
    raw[where] = case.original.raw[where]


def original_but_for_the_face(raw, case):
    where = away_from_the_brain(case) & ((HEIGHT > 0) | (FRONT < 30))
    raw[where] = np.minimum(case.original.raw[where] + 2, case.original.raw.max())


def bright_rim(raw, case):
    distance = masks.distance_outside(case.kept, case.original.voxel_sizes, 3.0)
    raw[(distance > 0) & np.isfinite(distance)] = case.original.raw.max()


@pytest.mark.parametrize(
    ('damage', 'measures'),
    [
        (changed_in_the_brain, {'kept_voxels_changed'}),
        (range_exceeded, {'voxels_out_of_range'}),
        (air_of_zeros, {'air_busy_ratio'}),
        (neck_of_the_original, {'unchanged_tissue_share', 'unchanged_region_share'}),
        (ear_of_the_original, {'unchanged_region_share'}),
        (half_a_face_of_the_original, {'surface_same_share'}),
        (original_but_for_the_face, {'detail_correlation'}),
        (bright_rim, {'seam_ratio'}),
    ],
)
def test_damage_fails(case, honest, damage, measures):
    raw = honest.copy()
    damage(raw, case)
    assert case.judge(raw)[1] == measures


def test_air_much_quieter_than_in_the_input_fails(case, honest, tmp_path):
    loud, quiet = case.original.raw.copy(), honest.copy()
    empty = (phantom.head(SHAPE, AFFINE, noise=False)[0] == 0) & ~case.kept
    loud[empty] = 1.5 * loud[empty]
    quiet[air(case)] = np.ceil(0.3 * quiet[air(case)])
    original = nifti.read(phantom.write(tmp_path / 'T1w.nii', loud, AFFINE))
    assert case.judge(quiet, original=original)[1] == {'air_p95_change'}


def test_not_a_number_fails(case, honest, tmp_path):
    raw = honest.astype(np.float32)
    values = case.original.raw.astype(np.float32)
    original = nifti.read(phantom.write(tmp_path / 'float.nii', values, AFFINE, '<f4'))
    raw[3, 4, 5] = np.nan
    nifti.write(tmp_path / 'out.nii', raw, original)
    assert case.judge(path=tmp_path / 'out.nii', original=original)[1] == {'not_finite_voxels'}


@pytest.mark.parametrize(
    ('change', 'measure'),
    [
        (np.diag([1.2, 1.2, 1.2, 1]), 'brain_ml'),
        (np.diag([1 / 0.68, 1, 1, 1]), 'stretch_min'),
        (np.diag([1, 1 / 1.65, 1, 1]), 'stretch_max'),
        (turned(70, 0, 0), 'rotation_deg'),
    ],
)
def test_an_implausible_registration_fails(case, honest, tmp_path, change, measure):
    """Scan and registration agree, but no head is of that size, or lies like that."""
    original = nifti.read(phantom.write(tmp_path / 'T1w.nii', case.original.raw, change @ AFFINE))
    nifti.write(tmp_path / 'out.nii', honest, original)
    world_to_template = np.linalg.inv(change)
    found = case.judge(path=tmp_path / 'out.nii', original=original, world_to_template=world_to_template)
    assert found[1] == {measure}


def test_a_brain_in_the_shape_but_not_the_place_of_the_template_fails(case):
    world_to_template = turned(0, 45, 0)
    raw = case.raw(world_to_template=world_to_template)
    assert case.judge(raw, world_to_template=world_to_template)[1] == {'template_correlation'}


def test_half_a_brain_fails(case):
    brain = case.brain & (HEIGHT > -12)
    kept = masks.dilate(brain, 3.0, case.original.voxel_sizes)
    assert case.judge(case.raw(kept=kept), brain=brain, kept=kept)[1] == {'template_overlap'}


def test_a_kept_mask_that_takes_in_the_scalp_fails(case):
    kept = masks.dilate(case.brain, 14.0, case.original.voxel_sizes)
    assert case.judge(case.raw(kept=kept), kept=kept)[1] == {'kept_per_brain', 'kept_far_ml'}


@pytest.mark.parametrize('mm', [14, 16])  # the phantom's skin lies 17 mm and more from its brain
def test_a_brain_mask_that_has_swallowed_the_scalp_fails_however_well_it_aligns(case, mm):
    sizes = case.original.voxel_sizes
    brain = masks.dilate(case.brain, mm, sizes)
    kept = masks.dilate(brain, 3.0, sizes)
    shrunk = np.eye(4)  # the alignment fits the mask, and all that it holds, to the template's brain
    shrunk[:3, :3] *= np.cbrt(case.brain.sum() / brain.sum())
    shrunk[:3, 3] = (np.eye(3) - shrunk[:3, :3]) @ [0, -18, 8]
    raw = case.raw(kept=kept, world_to_template=shrunk)
    failed = case.judge(raw, brain=brain, kept=kept, world_to_template=shrunk)[1]
    assert {'kept_near_air_ml', 'volume_by_interior'} <= failed
    assert not {'template_overlap', 'stretch_max', 'kept_far_ml', 'kept_per_brain'} & failed


def test_scalp_in_the_shade_of_a_coil_is_no_air():
    shape, affine = phantom.grid((4.0, 4.0, 4.0))
    values, brain = phantom.head(shape, affine)
    shaded = values * np.exp(-0.06 * np.arange(shape[1]))[:, None]  # 1:35 from back to front
    scale = intensity.brain_scale(shaded[brain])
    near = []
    for mask in (brain, masks.dilate(brain, 16, (4, 4, 4))):
        outside = margin.Outside.of(shaded, affine, scale, mask)
        near.append(outside.near_ml(masks.dilate(mask, 2, (4, 4, 4)), affine))
    assert near[0] == 0
    assert near[1] > threshold('kept_near_air_ml').high


def test_a_brain_mask_that_has_grown_into_the_nose_fails(case):
    nose = np.argwhere(~case.kept & (case.original.values() > 0.3 * phantom.SCALE))
    world = nose @ case.original.affine[:3, :3].T + case.original.affine[:3, 3]
    tip = world[world[:, 1].argmax()]
    grown = np.zeros_like(case.kept)
    grown[tuple(nose[np.linalg.norm(world - tip, axis=1) < 15].T)] = True
    brain, kept = case.brain | grown, case.kept | grown
    assert 'kept_far_ml' in case.judge(case.raw(kept=kept), brain=brain, kept=kept)[1]


def test_a_brain_that_was_not_kept_fails(case, honest):
    brain = case.brain.copy()
    brain[tuple(np.argwhere(~case.kept)[len(honest) // 2])] = True
    assert case.judge(honest, brain=brain)[1] == {'brain_voxels_not_kept'}


def test_a_wrong_deface_mask_fails(case, honest):
    wrong = ~case.kept
    wrong[0, 0, 0] = False
    assert case.judge(honest, deface_mask=wrong)[1] == {'deface_mask_errors'}


def test_codes_of_the_original_fail(case, passed):
    found = metrics.code_agreement(case.original_codes, case.original_codes)
    assert found['code_agreement_0'] == 1
    assert found['code_chance_0'] < 0.1
    status, reasons = decision.decide({**passed, **found}, LIMITS)
    assert status == 'fail'
    assert len(reasons) == 1
    assert 'codes are those of the original' in reasons[0]


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
        'header_fields_changed': file_metrics.header_fields_changed(case.original, written),
        'header_fields_leaked': file_metrics.header_fields_leaked(written),
    }
    status, reasons = decision.decide({**passed, **found}, LIMITS)
    assert status == 'fail'
    assert len(reasons) == 1
    assert measure in reasons[0]


# What a broken part would give: several limits catch it


def test_a_model_that_gives_the_original_back_fails(case):
    assert {'detail_correlation', 'surface_moved_mm'} <= case.judge(case.raw(phantom.cube(0)))[1]


def test_a_model_that_gives_nothing_but_air_fails(case):
    failed = case.judge(case.raw(np.zeros((128, 128, 128), np.float16)))[1]
    assert {'head_per_brain', 'nose_share', 'vault_closed_share', 'face_distance_mm'} <= failed


def test_a_brain_mask_that_covers_the_whole_head_fails(case):
    inside = case.original.values() > 60
    whole = ndimage.binary_fill_holes(masks.largest_component(inside))
    kept = masks.dilate(whole, 3.0, case.original.voxel_sizes)
    assert {'brain_ml', 'template_overlap'} <= case.judge(case.raw(kept=kept), brain=whole, kept=kept)[1]


def test_an_empty_brain_mask_fails(case):
    nothing = np.zeros(SHAPE, bool)
    failed = case.judge(case.raw(kept=nothing), brain=nothing, kept=nothing)[1]
    assert {'brain_ml', 'template_overlap', 'template_correlation', 'kept_per_brain'} <= failed


def test_a_registration_turned_by_a_right_angle_fails(case, honest):
    failed = case.judge(honest, world_to_template=turned(0, 0, -90))[1]
    assert {'rotation_deg', 'template_overlap', 'template_correlation'} <= failed


def test_another_data_type_fails(case, honest):
    path = phantom.write(case.folder / 'float.nii', honest.astype(np.float32), AFFINE, '<f4')
    status, failed, _ = case.judge(path=path)
    assert status == 'fail'
    assert {'header_fields_changed', 'kept_voxels_changed'} <= failed  # what cannot be measured fails too


# The limits themselves


def test_every_limit_can_fail_and_missing_measures_fail():
    good = {limit.metric: float(np.clip(1, limit.low, limit.high)) for limit in LIMITS}
    assert decision.decide(good, LIMITS) == ('pass', [])
    for limit in LIMITS:
        for bad in (limit.low - 1, limit.high + 1, np.nan):
            if np.isfinite(bad) or np.isnan(bad):
                status, reasons = decision.decide({**good, limit.metric: bad}, LIMITS)
                assert status == 'fail'
                assert len(reasons) == 1
                assert limit.metric in reasons[0]
                assert '\n' not in reasons[0]
        without = {name: value for name, value in good.items() if name != limit.metric}
        assert decision.decide(without, LIMITS)[0] == ('pass' if limit.optional else 'fail')


def test_the_documentation_has_every_measure_with_its_limit(passed):
    text = Path(__file__).parents[1].joinpath('docs', 'verdict.md').read_text().partition('<!-- limits')[0]
    cells = [[cell.strip() for cell in line.split('|')[1:-1]] for line in text.splitlines() if '|' in line]
    rows = {name: row for row in cells for name in re.findall(r'`([\w<>]+)`', row[0])}
    assert {re.sub(r'_\d$', '_<level>', name) for name in passed} <= set(rows)
    for limit in LIMITS:
        _, meaning, said, published = rows[limit.metric]
        assert published == ('●' if limit.public else '○')
        bounds = [f'{bound:g}' for bound in (limit.low, limit.high) if np.isfinite(bound)]
        natural = {'≤ ': bounds[-1:], '≥ ': bounds[:1]}.get(said[:2], bounds)  # such as 0 of a share
        assert [number.replace('−', '-') for number in re.findall(r'[−\d.]+', said)] == natural, limit.metric
        assert ('*if*' in meaning) == limit.optional


def test_agreement_of_unrelated_codes_is_chance():
    rng = np.random.default_rng(1)
    common = rng.dirichlet(np.ones(20))
    a, b = (rng.choice(20, (16, 16, 16), p=common) for _ in range(2))
    measures = metrics.code_agreement([a], [b])
    assert measures['code_agreement'] == pytest.approx(measures['code_chance_0'], abs=0.03)
    assert metrics.code_agreement([a], [a])['code_agreement'] == 1


def test_air_does_not_count_as_agreement():
    a, b = (np.zeros((16, 16, 16), int) for _ in range(2))
    a[4:12, 4:12, 4:12], b[4:12, 4:12, 4:12] = 1, 2
    assert metrics.code_agreement([a], [b])['code_agreement'] == 0


# The step


def write_files(case, folder, raw):
    nifti.write(folder / 'refaced.nii.gz', raw, case.original)
    nifti.write_mask(folder / 'deface_mask.nii.gz', ~case.kept, case.original)
    nifti.write_mask(folder / 'brain_mask.nii.gz', case.brain, case.original)
    nifti.write_mask(folder / 'kept_mask.nii.gz', case.kept, case.original)
    np.savetxt(folder / 'affine.txt', case.world_to_template)
    np.savez(folder / 'brain.npz', scale=phantom.SCALE)
    (folder / 'noise_model.json').write_text('{"Air": {"Sigma": 1.5}}')
    volumes.write_codes(folder / 'original.npz', case.original_codes)
    volumes.write_codes(folder / 'generated.npz', case.generated_codes)
    names = ('refaced.nii.gz', 'deface_mask.nii.gz', 'brain_mask.nii.gz', 'kept_mask.nii.gz', 'affine.txt')
    return [
        case.original.path,
        *(folder / name for name in (*names, 'brain.npz', 'noise_model.json', 'verdict.json')),
    ]


@pytest.mark.parametrize('passes', [True, False])
def test_the_step_writes_the_verdict(case, honest, tmp_path, passes, monkeypatch):
    monkeypatch.setattr('cpmae_bids.steps.verdict.find_template', lambda: case.template)
    files = write_files(case, tmp_path, honest if passes else case.original.raw)
    np.save(tmp_path / 'table.npy', np.full((2, 3), 0.05, np.float32))
    found = judge_files(
        *files,
        table=tmp_path / 'table.npy',
        generated_codes=tmp_path / 'generated.npz',
        original_codes=tmp_path / 'original.npz',
        scan='sub-01/anat/sub-01_T1w.nii.gz',
        preset='128',
        seed=7,
        steps=4,
        model_hash='abc',
    )
    written = json.loads((tmp_path / 'verdict.json').read_text())
    assert written == found
    assert written['status'] == ('pass' if passes else 'fail')
    assert bool(written['reasons']) != passes
    assert written['scan'] == 'sub-01/anat/sub-01_T1w.nii.gz'
    assert (written['seed'], written['steps'], written['preset']) == (7, 4, '128')
    # what the sidecar will list is what was used
    assert written['head_statistics'] == {'Air': {'Sigma': 1.5}, 'Contrast': [[0.05] * 3] * 2}
    assert str(tmp_path) not in (tmp_path / 'verdict.json').read_text()


def test_what_cannot_be_read_cannot_be_judged(case, honest, tmp_path):
    files = write_files(case, tmp_path, honest)
    (tmp_path / 'refaced.nii.gz').write_bytes(b'\x1f\x8bnonsense')
    with pytest.raises(InputError, match=r'refaced\.nii\.gz'):
        judge_files(*files, fill='air', by=files[0], by_brain=files[3], by_kept=files[4], by_affine=files[5])
    assert not (tmp_path / 'verdict.json').exists()


@pytest.mark.parametrize('given', [{}, {'fill': 'head'}])
def test_nothing_is_judged_without_what_it_has_to_be_compared_with(case, honest, tmp_path, given):
    files = write_files(case, tmp_path, honest)
    with pytest.raises(TypeError, match='is judged with'):
        judge_files(*files, **given)
    assert not (tmp_path / 'verdict.json').exists()


def test_nothing_is_judged_as_what_no_threshold_is_for(case, honest, tmp_path):
    files = write_files(case, tmp_path, honest)
    with pytest.raises(ValueError, match='Head'):
        judge_files(*files, fill='Head', by=files[0], by_brain=files[3], by_kept=files[4], by_affine=files[5])
    assert not (tmp_path / 'verdict.json').exists()
