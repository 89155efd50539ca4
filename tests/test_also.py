"""Other contrasts beside the T1w: which, whose head they get, what their outputs are called."""

from copy import copy, deepcopy
from dataclasses import replace

import networkx as nx
import numpy as np
import phantom
import pytest
from nipype.pipeline.engine.utils import generate_expanded_graph
from test_verdict import AFFINE, SHAPE, Case

from cpmae_bids.bids.atomic import crc32_of
from cpmae_bids.bids.completeness import is_complete, verified_records
from cpmae_bids.bids.layout import collect_scans
from cpmae_bids.bids.metadata import output_sidecar
from cpmae_bids.bids.patterns import output_path
from cpmae_bids.bids.publish import publish_scan
from cpmae_bids.bids.source_checks import checked_sources
from cpmae_bids.bids.verdict_records import identify, settings_of
from cpmae_bids.cli.parser import parse_config
from cpmae_bids.cli.process import process_scans
from cpmae_bids.config import RunConfig
from cpmae_bids.deid.images import masks, nifti
from cpmae_bids.deid.qc import decision, metrics
from cpmae_bids.deid.qc.thresholds import is_public, thresholds_of
from cpmae_bids.deid.synthesis import air as air_model
from cpmae_bids.deid.synthesis import blending
from cpmae_bids.exceptions import InputError
from cpmae_bids.interfaces.step import Step, StepError
from cpmae_bids.sharing.faces.promises import Promises
from cpmae_bids.workflows.base import init_cpmae_bids_wf
from cpmae_bids.workflows.progress import scan_and_stage

DATASET = [
    'sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz',
    'sub-01/ses-a/anat/sub-01_ses-a_T2w.nii.gz',
    'sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz',
    'sub-01/ses-b/anat/sub-01_ses-b_FLAIR.nii.gz',
    'sub-01/ses-c/anat/sub-01_ses-c_T2w.nii.gz',
    'sub-02/anat/sub-02_T2w.nii.gz',
]


@pytest.fixture
def config(make_bids, tmp_path):
    return RunConfig(
        make_bids(DATASET),
        tmp_path / 'out',
        seed=1,
        work_dir=tmp_path / 'work',
        device='cpu',
        model_hash='abc',
        also=('T2w', 'FLAIR'),
    )


def by_name(config):
    return {scan.name: scan for scan in collect_scans(config)}


# Which scans


def test_without_also_there_are_t1w_scans_alone(config):
    assert {scan.suffix for scan in collect_scans(config.replace(also=()))} == {'T1w'}


def test_each_contrast_has_the_brain_of_its_session_and_the_head_of_its_subject(config):
    scans = by_name(config)
    assert list(scans) == [path.rpartition('/')[2].removesuffix('.nii.gz') for path in sorted(DATASET)]
    first = scans['sub-01_ses-a_T1w']
    for name, t1w in (
        ('sub-01_ses-a_T2w', 'sub-01_ses-a_T1w'),
        ('sub-01_ses-b_FLAIR', 'sub-01_ses-b_T1w'),
        ('sub-01_ses-c_T2w', 'sub-01_ses-a_T1w'),  # which has none of its own
    ):
        assert scans[name].t1w == scans[t1w]
        assert scans[name].reference == first
        assert scans[name].seed == first.seed
        assert not scans[name].problem
    assert all(scan.t1w is None for scan in scans.values() if scan.suffix == 'T1w')


def test_a_subject_without_t1w_is_told(config):
    assert 'no T1w scan to find its brain by' in by_name(config)['sub-02_T2w'].problem


def test_a_t1w_that_cannot_be_read_fails_what_needs_it(config):
    (config.bids_dir / DATASET[2]).write_bytes(b'')
    scans = by_name(config)
    assert 'sub-01_ses-b_T1w.nii.gz, which cannot be used' not in scans['sub-01_ses-a_T2w'].problem
    assert not scans['sub-01_ses-b_FLAIR'].problem  # there is the reference still
    (config.bids_dir / DATASET[0]).write_bytes(b'')
    scans = by_name(config)
    for name in ('sub-01_ses-a_T2w', 'sub-01_ses-b_FLAIR', 'sub-01_ses-c_T2w'):
        assert 'cannot be used (the file is empty' in scans[name].problem


def test_filters_are_by_contrast(config, tmp_path):
    (tmp_path / 'filter.json').write_text('{"t2w": {"session": "a"}, "flair": {"session": "z"}}')
    scans = by_name(config.replace(bids_filter_file=tmp_path / 'filter.json'))
    assert [name for name in scans if not name.endswith('T1w')] == ['sub-01_ses-a_T2w']


def test_the_command_line_takes_known_contrasts(tmp_path, capsys):
    args = [str(tmp_path), str(tmp_path / 'out'), 'participant']
    config = parse_config([*args, '--also', 'T2w', 'FLAIR', 'T2w', '--also-fill', 'air'])
    assert (config.also, config.also_fill) == (('T2w', 'FLAIR'), 'air')
    with pytest.raises(SystemExit):
        parse_config([*args, '--also', 'UNIT1'])
    assert 'UNIT1' in capsys.readouterr().err


# The graph


def edges_between(workflow):
    graph = generate_expanded_graph(deepcopy(workflow._create_flat_graph()))
    return graph, {
        (scan_and_stage(source.fullname), scan_and_stage(target.fullname), pair)
        for source, target, data in graph.edges(data=True)
        for pair in data['connect']
    }


@pytest.mark.parametrize('together', [True, False])
def test_brain_and_head_come_from_the_t1w_whether_or_not_it_is_in_the_run(config, together):
    scans = by_name(config)
    wanted = [scans['sub-01_ses-b_FLAIR']]
    if together:
        wanted += [scans['sub-01_ses-a_T1w'], scans['sub-01_ses-b_T1w']]
    workflow = init_cpmae_bids_wf([replace(scan, crc32='0') for scan in wanted], config)
    graph, edges = edges_between(workflow)
    flair, first, own = 'sub-01_ses-b_FLAIR', 'sub-01_ses-a_T1w', 'sub-01_ses-b_T1w'
    into = {(source, target[1], pair) for source, target, pair in edges if target[0] == flair != source[0]}
    assert into == {
        ((own, 'skullstrip'), 'locate', ('brain_mask', 't1w_brain')),
        ((own, 'skullstrip'), 'locate', ('kept_mask', 't1w_kept')),
        ((own, 'coregister'), 'locate', ('affine', 't1w_affine')),
        ((own, 'skullstrip'), 'verdict', ('brain_mask', 'by_brain')),
        ((own, 'skullstrip'), 'verdict', ('kept_mask', 'by_kept')),
        ((own, 'coregister'), 'verdict', ('affine', 'by_affine')),
        ((own, 'conform'), 'contrast', ('head', 't1w_head')),
        ((first, 'decode_head'), 'recolour', ('head', 'generated')),
        ((own, 'conform'), 'recolour', ('brain', 'conformed')),
        ((own, 'conform'), 'recolour', ('statistics', 'statistics')),
        *([((own, 'sink'), 'sink', ('published', 'after'))] if together else []),
    }
    stages = {stage for scan, stage in (scan_and_stage(node.fullname) for node in graph) if scan == own}
    assert ('blend' in stages) == together

    # No original head reaches the generated one but through tables of intensities
    nodes = {scan_and_stage(node.fullname): node for node in graph}
    for scan in (own, first):
        heads = {
            target[1] for source, target, pair in edges if source == (scan, 'conform') and pair[0] == 'head'
        }
        assert heads <= {'encode_head', 'contrast'}
    without = graph.copy()
    without.remove_node(nodes[flair, 'contrast'])
    sources = nx.ancestors(without, nodes[flair, 'recolour'])
    assert {scan_and_stage(node.fullname)[1] for node in sources} == {
        *('skullstrip', 'register', 'coregister', 'conform', 'encode_brain', 'remodel', 'decode_head'),
    }
    assert {source[1] for source, target, _ in edges if target == (flair, 'recolour')} == {
        *('contrast', 'decode_head', 'conform'),
    }


def test_noise_needs_no_head(config):
    config = config.replace(also_fill='air')
    scan = by_name(config)['sub-01_ses-a_T2w']
    graph, _ = edges_between(init_cpmae_bids_wf([scan], config))
    nodes = {scan_and_stage(node.fullname): node for node in graph}
    stages = {stage for name, stage in nodes if name == scan.name}
    assert stages == {'locate', 'conform', 'blend', 'verdict', 'report', 'sink'}
    assert nodes[scan.name, 'verdict'].inputs.fill == 'air'
    assert not any(stage in ('encode_brain', 'remodel', 'decode_head') for _, stage in nodes)


def test_a_t1w_without_brain_fails_its_contrasts_with_a_reason(config, tmp_path, monkeypatch):
    def find_none(self, runtime):
        raise StepError('no brain found: check the orientation')

    monkeypatch.setattr(Step, '_run_interface', find_none)
    (tmp_path / 'plugin.json').write_text('{"plugin": "Linear"}')
    scans = [scan for scan in collect_scans(config) if scan.name.startswith('sub-01_ses-a')]
    process_scans(scans, config.replace(nipype_plugin_file=tmp_path / 'plugin.json'))
    records = {record['scan']: record for record in verified_records(config.output_dir)}
    assert {record['status'] for record in records.values()} == {'error'}
    (reason,) = records[DATASET[1]]['reasons']
    assert f'its brain and head are those of {DATASET[0]}' in reason
    assert 'skullstrip: no brain found: check the orientation' in reason
    assert not list(config.output_dir.glob('**/*.nii.gz'))


# Outputs


def test_outputs_of_contrasts_have_names_of_their_own():
    t1w, t2w = (f'sub-01/anat/sub-01_{suffix}.nii.gz' for suffix in ('T1w', 'T2w'))
    kinds = ('refaced', 'defacemask', 'brainmask')
    names = [output_path(t2w, kind).name for kind in kinds]
    assert names == [
        'sub-01_desc-refaced_T2w.nii.gz',
        'sub-01_mod-T2w_desc-refaced_defacemask.nii.gz',
        'sub-01_desc-brainT2w_mask.nii.gz',
    ]
    assert not set(names) & {output_path(t1w, kind).name for kind in kinds}
    assert (
        output_path('sub-01_echo-1_PDw.nii.gz', 'defacemask').name
        == 'sub-01_echo-1_desc-refacedPDw_mask.nii.gz'
    )


def publish(config, scan, finished, status='pass'):
    files = finished(scan)
    reasons = [] if status == 'pass' else ['too near to the original']
    judged = {'status': status, 'reasons': reasons, 'measures': {}, **settings_of(scan, config)}
    return publish_scan(scan, config, files, judged | identify(scan.path, files))


@pytest.fixture
def published(config, finished):
    """A FLAIR and the two T1w scans that it needs, all passed."""
    scans = by_name(config)
    for name in ('sub-01_ses-a_T1w', 'sub-01_ses-b_T1w'):
        publish(config, scans[name], finished)
    *_, image = publish(config, scans['sub-01_ses-b_FLAIR'], finished)
    return scans['sub-01_ses-b_FLAIR'], image


def statuses(config):
    return {record['scan']: record['status'] for record in verified_records(config.output_dir)}


def test_a_contrast_is_published_vouched_for_and_complete(config, published):
    scan, image = published
    assert image.name == 'sub-01_ses-b_desc-refaced_FLAIR.nii.gz'
    assert is_complete(scan, config)
    (config.output_dir / 'dataset_description.json').write_text('{"GeneratedBy": [{"Name": "cpmae-bids"}]}')
    assert Promises().about(image).is_refaced
    assert set(statuses(config).values()) == {'pass'}
    image.with_name('sub-01_ses-a_desc-refaced_T2w.nii.gz').write_bytes(b'someone')
    assert sorted(set(statuses(config).values())) == ['error', 'pass']


def test_another_fill_is_another_image(config, published):
    noise = config.replace(also_fill='air')
    assert not is_complete(by_name(noise)[published[0].name], noise)


@pytest.mark.parametrize('t1w', [None, 'fail'])
def test_no_contrast_is_published_beside_a_t1w_that_has_not_passed(config, finished, t1w):
    """Not judged at all, as in a run over another session, or failed: its masks may hold a face."""
    scan = by_name(config)['sub-01_ses-b_FLAIR']
    if t1w:
        publish(config, scan.t1w, finished, t1w)
    assert publish(config, scan, finished) == []
    assert statuses(config)[scan.relative_path] == 'fail'
    assert not list(config.output_dir.glob('**/*.nii.gz'))


def test_a_t1w_that_fails_later_takes_its_contrasts_along(config, published, finished):
    scan, image = published
    publish(config, scan.t1w, finished, 'fail')
    assert not image.exists()
    assert statuses(config) == {DATASET[0]: 'pass', DATASET[2]: 'fail', scan.relative_path: 'error'}
    assert not is_complete(scan, config)


@pytest.mark.parametrize('needed', ['t1w', 'reference'])
def test_what_a_contrast_was_made_from_may_not_change(config, published, needed):
    scan, _ = published
    assert is_complete(scan, config)
    begun = replace(
        scan, **{needed: replace(getattr(scan, needed), crc32=crc32_of(getattr(scan, needed).path))}
    )
    with getattr(scan, needed).path.open('ab') as file:
        file.write(b'\0')
    assert not is_complete(scan, config)
    with pytest.raises(InputError, match='was changed while it was processed'):
        checked_sources(begun, config, {'status': 'pass'})


def test_the_sidecar_says_what_it_is(config):
    scan = by_name(config)['sub-01_ses-b_FLAIR']
    record = {**settings_of(scan, config), 'status': 'pass'}
    content = output_sidecar('refaced', scan.relative_path, {}, record)
    assert content['Description'] == 'FLAIR scan with its original brain in a generated head'
    assert content['Sources'] == [f'bids:raw:{DATASET[n]}' for n in (3, 0, 2)]
    content = output_sidecar('refaced', scan.relative_path, {}, record | {'fill': 'air'})
    assert content['Description'] == 'FLAIR scan with its original brain in noise'
    assert content['SkullStripped'] is True
    assert 'head' not in content['DeidentificationMethod'][0].partition('replaced by')[2]


# The verdict


class T2Case(Case):
    """The phantom in another contrast, refaced; and the T1w by which its brain was found."""

    def __init__(self, folder):
        super().__init__(folder)
        self.t1w = self.original
        values = self.t1w.values() / phantom.SCALE
        seen = np.where(self.brain, 1.5 - 0.8 * values, 0.6 * values) + 0.02
        values = np.clip(seen * phantom.SCALE, 0, None).astype(np.float32)
        self.original = nifti.read(phantom.write(folder / 'T2w.nii', values, AFFINE))
        self.air = air_model.estimate(values, self.kept, self.original.voxel_sizes, phantom.SCALE)
        self.head = (0.6 * self.head).astype(np.float16)

    def judge_as(self, fill, raw=None, **changes):
        return noticed(self.measure(raw, **changes), fill)

    def measure(self, raw=None, from_scan=None, **changes):
        refaced = nifti.read(changes.pop('path', None) or self.write(raw))
        kept = changes.pop('kept', self.kept)
        original = changes.pop('original', self.original)
        parts = {'brain': self.brain, 'preserved': kept, 'deface_mask': ~kept, **changes}
        from_scan = np.eye(4) if from_scan is None else from_scan
        return metrics.measure(
            original,
            refaced,
            world_to_template=np.eye(4),
            scale=phantom.SCALE,
            template=self.template,
            t1w=metrics.T1w(self.t1w.values(), self.brain, self.kept, self.t1w.affine, from_scan),
            **parts,
        )

    def in_noise(self, kept=None):
        nothing = np.zeros((64,) * 3, np.float32)
        generated = phantom.synthesize(nothing, phantom.SCALE, AFFINE, np.eye(4), SHAPE, self.air, 1)
        return blending.blend(self.original, self.kept if kept is None else kept, generated)


def noticed(measures, fill):
    """Metrics beyond their thresholds."""
    limits = thresholds_of(fill)
    _, reasons = decision.decide(measures, limits)
    return {limit.metric for limit in limits if f'({limit.metric} ' in ' '.join(reasons)}


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    return T2Case(tmp_path_factory.mktemp('t2w'))


@pytest.fixture(scope='module')
def honest(case):
    return case.raw()


@pytest.fixture(scope='module')
def passed(case, honest):
    """Measures of the honest result."""
    return case.measure(honest)


def test_an_honest_result_passes(passed):
    assert noticed(passed, 'head') == set()


def test_what_is_public_does_not_depend_on_the_original_head(case, honest, passed):
    of_another = case.measure(honest, original=case.without_its_head())
    changed = {name for name, value in of_another.items() if value != passed[name]}
    # what lies around the preserved region is private too, and the same here
    assert changed | {'kept_near_air_ml'} == {name for name in passed if not is_public(name)}
    assert {'t1w_sharpness', 'head_contrast_change'} <= changed


def test_noise_passes_as_noise_and_not_as_a_head(case):
    measures = case.measure(case.in_noise())
    assert noticed(measures, 'air') == set()
    assert {'head_per_brain', 'nose_share'} <= noticed(measures, 'head')


def test_noise_passes_where_software_removed_the_air(case, tmp_path):
    values = case.original.values()
    values[~masks.head_mask(values, 0.1 * phantom.SCALE, sigma=0, fill=True)] = 0
    quiet = copy(case)
    quiet.original = nifti.read(phantom.write(tmp_path / 'T2w.nii', values, AFFINE))
    quiet.air = air_model.estimate(values, case.kept, case.original.voxel_sizes, phantom.SCALE)
    measures = quiet.measure(quiet.in_noise())
    assert noticed(measures, 'air') == set()
    assert 'head_per_brain' in noticed(measures, 'head')


def test_an_original_passes_as_nothing(case):
    measures = case.measure(case.original.raw)
    for fill in ('head', 'air'):
        assert {'unchanged_tissue_share', 'unchanged_region_share'} <= noticed(measures, fill)


def front(y):
    """All of the head in front of a plane."""
    return (AFFINE[1, :3] @ np.indices(SHAPE).reshape(3, -1) + AFFINE[1, 3]).reshape(SHAPE) > y


def test_a_part_of_the_original_in_noise_is_noticed(case):
    failed = case.judge_as('air', case.in_noise(case.kept | front(62)))
    assert {'unchanged_region_share', 'head_per_brain'} <= failed


def test_masks_that_reach_into_the_face_are_noticed(case):
    wrong = case.kept | front(62)
    assert 'masks_not_carried' in case.judge_as('air', case.in_noise(wrong), kept=wrong)
    moved = {name: np.roll(getattr(case, name), (0, -15, -12), (0, 1, 2)) for name in ('brain', 'kept')}
    failed = case.judge_as('air', case.in_noise(moved['kept']), **moved)
    assert {'masks_not_carried', 'template_overlap'} <= failed


@pytest.mark.parametrize('share', [0.05, 0.1])
def test_a_ghost_of_the_original_in_noise_is_noticed(case, share):
    raw = case.in_noise().astype(np.float32)
    ghost = share * case.original.raw.astype(np.float32)
    raw[~case.kept] += ghost[~case.kept]
    raw = np.clip(raw, case.original.raw.min(), case.original.raw.max()).astype(case.original.raw.dtype)
    assert 'detail_correlation' in case.judge_as('air', raw)


@pytest.mark.parametrize('shift', [(0, 3, 0), (0, 0, -4), (30, 0, 0)])
def test_a_brain_found_beside_its_place_is_noticed(case, honest, shift):
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    measures = case.measure(honest, matrix)
    for fill in ('head', 'air'):
        assert noticed(measures, fill) & {'t1w_sharpness', 't1w_peak'}


def test_a_head_in_another_contrast_is_noticed(case):
    assert 'head_contrast_change' in case.judge_as('head', case.raw(head=case.head * 3))


def test_changed_voxels_of_the_brain_are_noticed(case, honest):
    raw = honest.copy()
    raw[tuple(np.argwhere(case.brain)[0])] += 1
    assert case.judge_as('head', raw) == {'kept_voxels_changed'}


def test_a_contrast_cannot_be_judged_as_a_t1w(passed):
    """A verdict without its T1w misses what must be there."""
    by_t1w = ('t1w_sharpness', 't1w_peak', 'masks_not_carried')
    measures = {name: value for name, value in passed.items() if name not in by_t1w}
    for fill in ('head', 'air'):
        assert decision.decide(measures, thresholds_of(fill))[0] == 'fail'
