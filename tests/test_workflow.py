"""The graph of a run, and what becomes of it when something breaks."""

import contextlib
import errno
import io
import json
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import networkx as nx
import nibabel as nb
import numpy as np
import pytest
from nipype.pipeline import engine as pe
from nipype.pipeline.engine.utils import generate_expanded_graph

from cpmae_bids.bids.scan import Scan
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import UsageError
from cpmae_bids.interfaces.step import Step
from cpmae_bids.runtime import memory
from cpmae_bids.steps import coregister, report
from cpmae_bids.workflows.anatomical import make_node
from cpmae_bids.workflows.base import init_cpmae_bids_wf
from cpmae_bids.workflows.processes import _first_raised
from cpmae_bids.workflows.progress import Progress, scan_and_stage
from cpmae_bids.workflows.resources import MEM_GB, size_factor
from cpmae_bids.workflows.run import WorkflowError, plugin_settings, read_failures, run_workflow

STAGES = {
    'skullstrip',
    'register',
    'conform',
    'encode_brain',
    'encode_head',
    'remodel',
    'decode_head',
    'blend',
    'verdict',
    'report',
    'sink',
}
WEIGHTS_STAGES = {'encode_brain', 'encode_head', 'remodel', 'decode_head'}
GPU_STAGES = {'skullstrip', 'encode_brain', 'encode_head', 'decode_head'}


def make_scan(path, subject='01', session=None, seed=5):
    """Describe a scan as the query would."""
    return Scan(path, f'sub-{subject}/anat/{path.name}', subject, session, {'sub': subject}, {}, seed)


@pytest.fixture
def config(tmp_path):
    return RunConfig(
        tmp_path / 'raw', tmp_path / 'out', work_dir=tmp_path / 'work', device='cpu', model_hash='abc'
    )


@pytest.fixture
def scan(make_bids):
    return make_scan(make_bids(['sub-01/anat/sub-01_T1w.nii.gz']) / 'sub-01/anat/sub-01_T1w.nii.gz')


@pytest.fixture
def broken_scans(make_bids):
    """Two scans of two subjects that are no NIfTI files."""
    paths = [f'sub-{label}/anat/sub-{label}_T1w.nii.gz' for label in ('91', '92')]
    root = make_bids(paths)
    for path in paths:
        (root / path).write_bytes(b'this is no NIfTI file')
    return [make_scan(root / path, path[4:6]) for path in paths]


def expand(workflow):
    """Nodes by their names, and the graph of these names, as nipype would execute it."""
    graph = generate_expanded_graph(deepcopy(workflow._create_flat_graph()))
    nodes = {node.name: node for node in graph.nodes()}
    assert len(nodes) == len(graph)
    return nodes, nx.relabel_nodes(graph, {node: node.name for node in graph.nodes()})


def fields(graph, source, target):
    return set(graph.edges[source, target]['connect'])


# The graph


def test_each_scan_has_all_stages_in_a_workflow_of_its_own(config, make_bids):
    names = ['sub-02_T1w', 'sub-01_ses-b_T1w', 'sub-01_ses-a_run-1_T1w']
    root = make_bids([f'{name}.nii.gz' for name in names])
    scans = [make_scan(root / f'{name}.nii.gz', name[4:6]) for name in names]
    graph = generate_expanded_graph(deepcopy(init_cpmae_bids_wf(scans, config)._create_flat_graph()))
    stages = {}
    for node in graph.nodes():
        name, stage = scan_and_stage(node.fullname)
        assert node.fullname.split('.')[1] == f'{name.partition("_")[0]}_wf'
        stages.setdefault(name, set()).add(stage)
    assert stages == dict.fromkeys(names, STAGES)
    for source, target in graph.edges():
        assert scan_and_stage(source.fullname)[0] == scan_and_stage(target.fullname)[0]


def test_the_original_head_cannot_reach_the_generated_one(config, scan):
    nodes, graph = expand(init_cpmae_bids_wf([scan], config))
    assert set(graph.successors('encode_head')) == {'verdict'}
    assert set(graph.successors('verdict')) == {'report', 'sink'}
    for target in ('remodel', 'decode_head', 'blend'):
        assert not nx.has_path(graph, 'encode_head', target)

    # What generates the head has one source each, and these begin at the brain in the cube.
    assert set(graph.predecessors('decode_head')) == {'remodel', 'conform'}
    assert fields(graph, 'conform', 'decode_head') == {('brain', 'conformed')}
    assert set(graph.predecessors('remodel')) == {'encode_brain'}
    assert set(graph.predecessors('encode_brain')) == {'conform'}
    assert fields(graph, 'conform', 'encode_brain') == {('brain', 'conformed')}
    uses_of_the_head = {
        (target, field)
        for _, target, data in graph.out_edges('conform', data=True)
        for output, field in data['connect']
        if output == 'head'
    }
    assert uses_of_the_head == {('encode_head', 'conformed')}
    for name in ('encode_brain', 'remodel', 'decode_head'):
        assert str(scan.path) not in str(nodes[name].inputs.get())


@pytest.mark.parametrize('together', [True, False])
def test_all_scans_of_a_subject_get_the_head_of_one_brain(config, make_bids, together):
    """Whether or not the reference is worked on in the same run."""
    names = ['sub-01_ses-a_T1w', 'sub-01_ses-b_T1w']
    root = make_bids([f'{name}.nii.gz' for name in names])
    first, second = (make_scan(root / f'{name}.nii.gz') for name in names)
    second = replace(second, reference=first)
    begun = [replace(scan, crc32='0') for scan in ([first, second] if together else [second])]
    workflow = init_cpmae_bids_wf(begun, config)
    graph = generate_expanded_graph(deepcopy(workflow._create_flat_graph()))
    nodes = {scan_and_stage(node.fullname): node for node in graph.nodes()}
    stages = {name: {stage for scan, stage in nodes if scan == name} for name in names}
    generators = {'encode_brain', 'remodel', 'decode_head'}
    assert stages[names[0]] == (STAGES if together else generators | {'skullstrip', 'register', 'conform'})
    assert stages[names[1]] == STAGES - generators - {'register'} | {'coregister'}

    between = {
        (scan_and_stage(source.fullname)[1], scan_and_stage(target.fullname)[1], *data['connect'])
        for source, target, data in graph.edges(data=True)
        if scan_and_stage(source.fullname)[0] != scan_and_stage(target.fullname)[0]
    }
    assert between == {
        ('skullstrip', 'coregister', ('brain_mask', 'reference_mask')),
        ('register', 'coregister', ('affine', 'reference_affine')),
        ('decode_head', 'blend', ('head', 'head')),
        ('remodel', 'verdict', ('head_codes', 'generated_codes')),
    }
    # No original head on the way to the generated one, be it that of the scan or of the reference
    originals = [node for (_, stage), node in nodes.items() if stage == 'encode_head']
    assert all(
        set(graph.successors(node)) == {nodes[scan_and_stage(node.fullname)[0], 'verdict']}
        for node in originals
    )
    assert nodes[names[1], 'verdict'].inputs.reference == first.relative_path
    assert nodes[names[1], 'coregister'].inputs.reference == str(first.path)


def test_echoes_have_one_brain_and_one_head(config, make_bids):
    """Whether or not the first echo is worked on in the same run, and be it the reference or not."""
    names = [f'sub-01_run-{run}_echo-{echo}_T1w' for run in '12' for echo in '12']
    root = make_bids([f'{name}.nii.gz' for name in names])
    first, second, later, last = (make_scan(root / f'{name}.nii.gz') for name in names)
    second = replace(second, reference=first, first_echo=first)
    later = replace(later, reference=first)
    last = replace(last, reference=first, first_echo=later)
    for scans in ([first, second, later, last], [second, last]):
        workflow = init_cpmae_bids_wf([replace(scan, crc32='0') for scan in scans], config)
        graph = generate_expanded_graph(deepcopy(workflow._create_flat_graph()))
        nodes = {scan_and_stage(node.fullname): node for node in graph.nodes()}
        for scan, source, aligned in ((second, first, 'register'), (last, later, 'coregister')):
            stages = {stage for name, stage in nodes if name == scan.name}
            assert stages == {'conform', 'encode_head', 'blend', 'verdict', 'report', 'sink'}
            stripped, place = nodes[source.name, 'skullstrip'], nodes[source.name, aligned]
            for stage in ('conform', 'blend', 'verdict'):
                assert {stripped, place} <= set(graph.predecessors(nodes[scan.name, stage]))
            assert nodes[names[0], 'decode_head'] in graph.predecessors(nodes[scan.name, 'blend'])
            assert nodes[scan.name, 'conform'].inputs.t1w == str(scan.path)


def test_the_seed_reaches_the_generator_and_the_noise(config, scan):
    nodes, _ = expand(init_cpmae_bids_wf([scan], config))
    for name in ('remodel', 'blend', 'verdict'):
        assert nodes[name].inputs.seed == (scan.noise_seed if name == 'blend' else scan.seed)


def test_before_and_after_is_drawn_only_when_asked_for(config, scan, tmp_path):
    nodes, _ = expand(init_cpmae_bids_wf([scan], config))
    assert str(scan.path) not in str(nodes['report'].inputs.get())
    assert 'private_report' not in nodes
    nodes, graph = expand(init_cpmae_bids_wf([scan], config.replace(private_report_dir=tmp_path / 'private')))
    assert nodes['private_report'].inputs.page == str(tmp_path / 'private/sub-01_T1w.html')
    assert not set(graph.successors('private_report'))


def test_resources_on_the_cpu(config, scan):
    nodes, _ = expand(init_cpmae_bids_wf([scan], config.replace(omp_nthreads=3)))
    for name in STAGES - {'report', 'sink'}:
        assert nodes[name].n_procs == nodes[name].inputs.num_threads == 3
        assert nodes[name].mem_gb >= 0.5
    assert not any(node.is_gpu_node() for node in nodes.values())


def test_larger_scans_get_more_memory(config, scan, make_nifti):
    small, _ = expand(init_cpmae_bids_wf([scan], config))
    assert size_factor(scan.path) == size_factor(scan.path.with_name('gone.nii.gz')) == 1
    large = scan.path.with_name('sub-01_acq-large_T1w.nii.gz')
    make_nifti(large, np.zeros((704, 256, 256), np.uint8))
    nodes, _ = expand(init_cpmae_bids_wf([replace(scan, path=large)], config))
    for name in ('skullstrip', 'conform', 'blend', 'verdict', 'report'):
        assert nodes[name].mem_gb == pytest.approx(4 * small[name].mem_gb)
    step = Step(coregister.coregister, t1w=str(scan.path), reference=str(large))
    node = make_node(step, 'coregister', config)
    assert node.mem_gb == pytest.approx(4 * MEM_GB['coregister'])
    for name in ('remodel', 'decode_head'):  # which work in the cube
        assert nodes[name].mem_gb == small[name].mem_gb


def test_resources_on_a_gpu(config, scan):
    nodes, _ = expand(init_cpmae_bids_wf([scan], config.replace(omp_nthreads=3, device='cuda')))
    assert {name for name, node in nodes.items() if node.is_gpu_node()} == GPU_STAGES
    for name in GPU_STAGES:
        assert nodes[name].n_procs == 1  # a node takes as many GPU slots as it has processes
        assert nodes[name].inputs.device == 'cuda'
    assert nodes['remodel'].n_procs == 3  # on the CPU, for one head on all devices


def test_the_weights_of_the_run_reach_every_model(config, scan, tmp_path):
    nodes, _ = expand(init_cpmae_bids_wf([scan], config.replace(weights=tmp_path, model_hash='f00')))
    for name in WEIGHTS_STAGES:
        assert nodes[name].inputs.weights == str(tmp_path)
        assert nodes[name].inputs.model_hash == 'f00'


def test_plugin_settings(config, tmp_path):
    plugin, args = plugin_settings(config.replace(nprocs=4, mem_gb=6.5, n_gpu_procs=2))
    assert plugin == 'MultiProc'
    assert args == {
        'n_procs': 4,
        'n_gpu_procs': 2,
        'memory_gb': 6.5,
        'raise_insufficient': False,
        'scheduler': 'mem_thread',
    }
    assert plugin_settings(config)[1]['memory_gb'] == pytest.approx(memory.usable_gb())

    for name, text in {
        'plugin.json': '{"plugin": "SLURM", "plugin_args": {"n_procs": 9}}',
        'plugin.toml': 'plugin = "SLURM"\n[plugin_args]\nn_procs = 9\n',
        'plugin.yml': 'plugin: SLURM\nplugin_args:\n  n_procs: 9\n',
    }.items():
        (tmp_path / name).write_text(text)
        plugin, args = plugin_settings(config.replace(nipype_plugin_file=tmp_path / name))
        assert (plugin, args['n_procs'], args['raise_insufficient']) == ('SLURM', 9, False)


@pytest.mark.parametrize(
    ('name', 'text'), [('a.json', '{'), ('a.yml', '- 1'), ('b.yml', 'plugin_args: 5'), ('absent.toml', None)]
)
def test_an_unusable_plugin_file_is_refused(config, tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=name):
        plugin_settings(config.replace(nipype_plugin_file=tmp_path / name))


def test_the_drawing_in_the_docs_is_of_this_graph(config, scan):
    _, graph = expand(init_cpmae_bids_wf([scan], config))
    drawing = ElementTree.parse(Path(__file__).parents[1] / 'docs' / 'graph.svg')
    titles = {title.text for title in drawing.iter('{http://www.w3.org/2000/svg}title')}
    edges = {title for title in titles if '->' in title and not title.startswith('T1w->')}
    assert edges == {f'{source}->{target}' for source, target in graph.edges()}
    readers = {title.partition('->')[2] for title in titles if title.startswith('T1w->')}
    assert readers == {'skullstrip', 'register', 'conform', 'blend', 'verdict'}


# Runs


@pytest.fixture(params=['one process', 'two processes', 'Linear'])
def any_plugin(request, config, tmp_path):
    """Settings that run the workflow in one of three ways."""
    if request.param == 'Linear':
        (tmp_path / 'plugin.toml').write_text('plugin = "Linear"')
        return config.replace(nipype_plugin_file=tmp_path / 'plugin.toml')
    return config.replace(nprocs=1 if request.param == 'one process' else 2)


def test_a_failed_scan_does_not_stop_the_others(any_plugin, broken_scans):
    log, config = io.StringIO(), any_plugin
    failures = run_workflow(init_cpmae_bids_wf(broken_scans, config), config, Progress(log))
    assert {(failure.scan, failure.stage) for failure in failures} == {
        ('sub-91_T1w', 'skullstrip'),
        ('sub-92_T1w', 'skullstrip'),
    }
    for failure in failures:
        assert 'not a NIfTI file' in failure.message
        assert failure.crash_file.is_relative_to(config.work_dir)
        assert f'[{failure.scan}] skullstrip ... FAILED' in log.getvalue()
    assert not config.output_dir.exists()


def test_a_fault_of_the_run_is_not_taken_for_that_of_a_scan(config, broken_scans):
    class Faulty(Progress):
        def __call__(self, node, status):
            if list(config.work_dir.rglob('crash-*')):
                raise ArithmeticError('no more events')

    with pytest.raises(WorkflowError, match='no more events') as caught:
        run_workflow(init_cpmae_bids_wf(broken_scans, config), config, Faulty(io.StringIO()))
    assert len(caught.value.failures) == 1


def test_stop_on_first_crash(any_plugin, broken_scans):
    config = any_plugin.replace(stop_on_first_crash=True)
    failures = run_workflow(init_cpmae_bids_wf(broken_scans, config), config, Progress(io.StringIO()))
    assert len(failures) == 1


def test_a_killed_process_fails_its_scan_and_nothing_hangs(config, scan):
    config = config.replace(nprocs=2)
    with killing('skullstrip', config.work_dir):
        failures = run_workflow(init_cpmae_bids_wf([scan], config), config, Progress(io.StringIO()))
    assert [(failure.scan, failure.stage) for failure in failures] == [('sub-01_T1w', 'skullstrip')]
    assert 'killed' in failures[0].message


@contextlib.contextmanager
def killing(step, folder):
    """Kill the first process of a step in a work folder, as the kernel does when memory runs out."""
    over = threading.Event()

    def hunt():
        words = [b'cpmae_bids.steps', step.encode()]
        while not over.is_set():
            for process in Path('/proc').glob('[0-9]*'):
                with contextlib.suppress(OSError):
                    command = (process / 'cmdline').read_bytes().split(b'\0')
                    here = folder in Path(process, 'cwd').resolve().parents
                    if here and all(word in command for word in words):
                        os.kill(int(process.name), signal.SIGKILL)
                        return
            time.sleep(0.005)

    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        yield
    finally:
        over.set()
        hunter.join()


@pytest.fixture
def report_wf(tmp_path, phantom):
    """A workflow with one node that succeeds; it takes its names from the real one."""
    head, brain = phantom((40, 48, 44))
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    nb.save(nb.Nifti1Image(head, affine), tmp_path / 'refaced.nii.gz')
    nb.save(nb.Nifti1Image(brain.astype(np.uint8), affine), tmp_path / 'kept.nii.gz')
    (tmp_path / 'verdict.json').write_text(json.dumps({'status': 'pass'}))

    def make(config):
        workflow = init_cpmae_bids_wf([], config)
        subject_wf, scan_wf = pe.Workflow('sub-01_wf'), pe.Workflow('sub-01_T1w_wf')
        shown = Step(
            report.report,
            refaced=str(tmp_path / 'refaced.nii.gz'),
            kept_mask=str(tmp_path / 'kept.nii.gz'),
            verdict=str(tmp_path / 'verdict.json'),
        )
        scan_wf.add_nodes([pe.Node(shown, name='report')])
        subject_wf.add_nodes([scan_wf])
        workflow.add_nodes([subject_wf])
        return workflow

    return make


@pytest.fixture
def instant_steps(monkeypatch):
    """Steps that write something at once, up to a verdict that fails.

    The report, the sink and the steps on `broken_scans` are real.
    """
    run_interface = Step._run_interface

    def write_outputs(self, runtime):
        if self.function is report.report or 'sub-9' in str(self.inputs.get().get('t1w')):
            return run_interface(self, runtime)
        for name, path in self._list_outputs().items():
            verdict = json.dumps({'status': 'fail', 'reasons': ['no head'], 'measures': {}})
            Path(path).write_text(verdict if name == 'verdict' else name)
        runtime.returncode = 0
        return runtime

    monkeypatch.setattr(Step, '_run_interface', write_outputs)
    monkeypatch.setattr('cpmae_bids.workflows.base.POLL_SECONDS', 0.01)


@pytest.fixture
def many_scans(make_bids):
    paths = [f'sub-{label:02}/anat/sub-{label:02}_T1w.nii.gz' for label in range(1, 4)]
    root = make_bids(paths)
    return [make_scan(root / path, path[4:6]) for path in paths]


def test_scans_are_finished_before_others_are_begun(config, many_scans, instant_steps):
    log = io.StringIO()
    assert run_workflow(init_cpmae_bids_wf(many_scans, config), config, Progress(log)) == []
    lines = [line.split()[:2] for line in log.getvalue().splitlines()]
    assert len(lines) == len(many_scans) * len(STAGES)
    begun = [i for i, (_, stage) in enumerate(lines) if stage == 'skullstrip']
    done = [i for i, (_, stage) in enumerate(lines) if stage == 'sink']
    assert all(end < second_next for end, second_next in zip(done, begun[2:], strict=False))


@pytest.mark.parametrize('slots', [1, 2])
def test_gpu_slots_are_respected(config, many_scans, instant_steps, slots):
    class Watch(Progress):
        at_a_time, most = 0, 0

        def __call__(self, node, status):
            if node.is_gpu_node():
                self.at_a_time += 1 if status == 'start' else -1
                self.most = max(self.most, self.at_a_time)

    config = config.replace(device='cuda', nprocs=4, omp_nthreads=2, n_gpu_procs=slots)
    watch = Watch(io.StringIO())
    assert run_workflow(init_cpmae_bids_wf(many_scans, config), config, watch) == []
    assert watch.most == slots


def test_a_failed_verdict_is_recorded_and_nothing_published(config, scan, instant_steps):
    assert run_workflow(init_cpmae_bids_wf([scan], config), config, Progress(io.StringIO())) == []
    files = [path for path in config.output_dir.rglob('[!.]*') if path.is_file()]
    assert [path.name for path in files] == ['sub-01_T1w.json']
    assert json.loads(files[0].read_text())['reasons'] == ['no head']
    assert not any(config.work_dir.rglob('*.png'))


@pytest.mark.parametrize('temporary', [True, False])
def test_a_temporary_work_folder_does_not_grow(config, many_scans, broken_scans, instant_steps, temporary):
    """Nodes that never run, since an earlier one of their scan broke, have no folder to be removed."""
    log, config = io.StringIO(), config.replace(temporary_work_dir=temporary, nprocs=2)
    scans = [*many_scans, *broken_scans]
    failures = run_workflow(init_cpmae_bids_wf(scans, config), config, Progress(log))
    assert [failure.stage for failure in failures] == ['skullstrip'] * len(broken_scans)
    assert all(f'[{scan.name}] sink' in log.getvalue() for scan in many_scans)
    assert any(config.work_dir.rglob('head.npz')) is not temporary


def test_a_second_run_resumes(config, report_wf, tmp_path):
    config = config.replace(nprocs=2)

    def run():
        log = io.StringIO()
        assert run_workflow(report_wf(config), config, Progress(log)) == []
        (face,) = config.work_dir.rglob('report/face.png')
        return face.stat().st_mtime_ns

    first = run()
    os.utime(tmp_path / 'refaced.nii.gz', (1, 1))  # another date is not another content
    assert run() == first
    (tmp_path / 'verdict.json').write_text(json.dumps({'status': 'pass', 'measures': {'seam': 1.0}}))
    assert run() != first
    assert not any(config.work_dir.glob('crash/*'))


def test_failures_are_read_from_crash_files(tmp_path):
    (tmp_path / 'crash-20260101-000000-me-blend-0.txt').write_text(
        'Node: cpmae_bids_wf.sub-01_wf.sub-01_T1w_wf.reface_wf.blend\nWorking directory: /w\n\n'
        'Traceback:\n\tTraceback (most recent call last):\n'
        '\tcpmae_bids.interfaces.step.StepError: no space left: free some\n\n'
    )
    (failure,) = read_failures(tmp_path)
    assert (failure.scan, failure.stage) == ('sub-01_T1w', 'blend')
    assert failure.message == 'no space left: free some'


def test_a_crash_file_that_a_full_disk_left_empty_hides_no_failure(tmp_path):
    (tmp_path / 'crash-20260101-000000-me-blend-0.txt').touch()
    (tmp_path / 'crash-20260101-000000-me-blend-1.txt').write_text(
        'Node: wf.sub-01_wf.sub-01_T1w_wf.blend\n\nlost'
    )
    (failure,) = read_failures(tmp_path)
    assert (failure.scan, failure.message) == ('sub-01_T1w', 'lost')


def test_a_full_disk_is_told_where_no_result_can_be_written(config, scan, instant_steps, monkeypatch):
    def full(*arguments, **more):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr('nipype.pipeline.engine.nodes._save_resultfile', full)
    failure, *_ = run_workflow(init_cpmae_bids_wf([scan], config), config, Progress(io.StringIO()))
    assert failure.stage == 'skullstrip'
    assert 'No space left on device: check space and permissions' in failure.message


def _raise_alone():
    raise OSError(errno.ENOSPC, 'full')


def _raise_another():
    try:
        _raise_alone()
    finally:
        raise FileNotFoundError('no result')


def _raise_from():
    try:
        _raise_alone()
    except OSError as error:
        raise ValueError('no result') from error


@pytest.mark.parametrize('work', [_raise_alone, _raise_another, _raise_from])
def test_what_a_worker_raised_first_is_told(work):
    with ProcessPoolExecutor(1) as pool:
        error = pool.submit(work).exception()
    assert _first_raised(error).startswith('OSError: [Errno 28] full: check')
    assert _first_raised(ValueError('x')) == "ValueError('x')"


def test_the_reason_is_read_where_a_worker_left_no_result(tmp_path):
    (tmp_path / 'crash-20260101-000000-me-blend-0.txt').write_text(
        'Node: cpmae_bids_wf.sub-01_wf.sub-01_T1w_wf.deidentify_wf.blend\nWorking directory: /w\n\n'
        'cpmae_bids.interfaces.step.StepError: its worker was killed\n\n\n'
        'When creating this crashfile, the results file corresponding\nto the node could not be found.'
    )
    (failure,) = read_failures(tmp_path)
    assert failure.message == 'its worker was killed'
