"""From a scan to its refaced version and the verdict on it.

Three workflows: the brain of a scan, the head that is generated around a brain, and the scan with that head.
All scans of a subject get the head of its reference scan.
"""

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe

from cpmae_bids.bids.scan import Scan
from cpmae_bids.config import RunConfig
from cpmae_bids.interfaces.step import Step
from cpmae_bids.steps.blend import blend
from cpmae_bids.steps.conform import conform
from cpmae_bids.steps.coregister import coregister
from cpmae_bids.steps.decode import decode
from cpmae_bids.steps.encode import encode
from cpmae_bids.steps.register import register
from cpmae_bids.steps.remodel import remodel
from cpmae_bids.steps.skullstrip import skullstrip
from cpmae_bids.steps.verdict import verdict
from cpmae_bids.workflows.resources import CUDA_GB, MEM_GB, size_factor

# What it takes to generate a head: if one of them fails, no scan of the subject gets one
HEAD_STAGES = ('skullstrip', 'register', 'conform', 'encode_brain', 'remodel', 'decode_head')
# What it takes to find a brain: if one of them fails, no echo of the acquisition has one
BRAIN_STAGES = ('skullstrip', 'register', 'coregister')
# Of the scan: its brain and preserved region on its grid, and its affine map to the template
PLACE_FIELDS = ('brain_mask', 'kept_mask', 'affine')
# and the original brain and head on the template grid, with the brightness of its tissue
BRAIN_FIELDS = (*PLACE_FIELDS, 'brain', 'head', 'statistics')
# The generated head: its codes, and what they stand for on the template grid
HEAD_FIELDS = ('head_codes', 'head')
# On the grid of the scan: it with the generated head, what was replaced and preserved; and QC (JSON)
RESULT_FIELDS = ('refaced', 'deface_mask', 'kept_mask', 'verdict')


def init_brain_wf(scan: Scan, config: RunConfig) -> pe.Workflow:
    """Build the graph that finds the brain and conforms brain and head, separately, to the template grid.

    It gives `BRAIN_FIELDS`. A scan with a reference takes the ``reference_mask`` and ``reference_affine``,
    and an echo `PLACE_FIELDS` of the first one.
    """
    t1w = str(scan.path)
    workflow = pe.Workflow(name='brain_wf')
    inputs = ['reference_mask', 'reference_affine', *PLACE_FIELDS]
    inputnode = pe.Node(IdentityInterface(fields=inputs), name='inputnode')
    outputnode = pe.Node(IdentityInterface(fields=list(BRAIN_FIELDS)), name='outputnode')
    conformed = make_node(Step(conform, t1w=t1w), 'conform', config)
    workflow.connect([(conformed, outputnode, fields('brain', 'head', 'statistics'))])
    if scan.first_echo is not None:
        workflow.connect([
            (inputnode, conformed, fields('brain_mask', 'affine')),
            (inputnode, outputnode, fields(*PLACE_FIELDS)),
        ])  # fmt: skip
        return workflow
    given = {} if scan.brain_mask is None else {'given': str(scan.brain_mask)}
    stripped = make_node(Step(skullstrip, t1w=t1w, **given), 'skullstrip', config)
    if scan.reference is None:
        align = Step(register, t1w=t1w, fetch_template=config.fetch_template)
        aligned = make_node(align, 'register', config)
    else:
        align = Step(coregister, t1w=t1w, reference=str(scan.reference.path))
        aligned = make_node(align, 'coregister', config)
        workflow.connect([(inputnode, aligned, fields('reference_mask', 'reference_affine'))])
    workflow.connect([
        (stripped, aligned, fields('brain_mask')),
        (stripped, conformed, fields('brain_mask')),
        (aligned, conformed, fields('affine')),
        (stripped, outputnode, fields('brain_mask', 'kept_mask')),
        (aligned, outputnode, fields('affine')),
    ])  # fmt: skip
    return workflow


def init_head_wf(scan: Scan, config: RunConfig) -> pe.Workflow:
    """Build the graph that generates a head (`HEAD_FIELDS`) around a ``brain``, its only input."""
    models = _models(config)
    inputnode = pe.Node(IdentityInterface(fields=['brain']), name='inputnode')
    outputnode = pe.Node(IdentityInterface(fields=list(HEAD_FIELDS)), name='outputnode')
    encoded = make_node(Step(encode, which='brain', **models), 'encode_brain', config)
    remodelled = make_node(Step(remodel, seed=scan.seed, steps=config.steps, **models), 'remodel', config)
    decoded = make_node(Step(decode, seed=scan.seed, preset=config.preset, **models), 'decode_head', config)
    workflow = pe.Workflow(name='head_wf')
    workflow.connect([
        (inputnode, encoded, fields(brain='conformed')),
        (inputnode, decoded, fields(brain='conformed')),
        (encoded, remodelled, fields(codes='brain_codes')),
        (remodelled, decoded, fields('head_codes')),
        (remodelled, outputnode, fields('head_codes')),
        (decoded, outputnode, fields('head')),
    ])  # fmt: skip
    return workflow


def init_reface_wf(scan: Scan, config: RunConfig) -> pe.Workflow:
    """Build the graph that puts a generated head around the brain of a scan, and checks it.

    It takes `BRAIN_FIELDS` of the scan and the head as ``generated_codes`` and ``generated``, and gives
    `RESULT_FIELDS`. The codes of the original head go to the verdict alone.
    """
    inputs = [*BRAIN_FIELDS, 'generated_codes', 'generated']
    inputnode = pe.Node(IdentityInterface(fields=inputs), name='inputnode')
    outputnode = pe.Node(IdentityInterface(fields=list(RESULT_FIELDS)), name='outputnode')
    encoded = make_node(Step(encode, which='head', **_models(config)), 'encode_head', config)
    blended = make_node(Step(blend, t1w=str(scan.path), seed=scan.noise_seed), 'blend', config)
    judged = make_judge(scan, config)
    of_brain = fields('kept_mask', 'affine', 'statistics', brain='conformed')
    workflow = pe.Workflow(name='reface_wf')
    workflow.connect([
        (inputnode, encoded, fields(head='conformed')),
        (inputnode, blended, of_brain + fields(generated='head')),
        (inputnode, judged, of_brain + fields('brain_mask', 'generated_codes')),
        (encoded, judged, fields(codes='original_codes')),
        (blended, judged, fields('refaced', 'deface_mask', 'noise_model')),
        (inputnode, outputnode, fields('kept_mask')),
        (blended, outputnode, fields('refaced', 'deface_mask')),
        (judged, outputnode, fields('verdict')),
    ])  # fmt: skip
    return workflow


def fields(*same: str, **renamed: str) -> list[tuple[str, str]]:
    """Connections of two nodes: fields of the same name, and those that the second calls otherwise."""
    return [*((name, name) for name in same), *renamed.items()]


def make_judge(scan: Scan, config: RunConfig, **more: str) -> pe.Node:
    """Node of the verdict, with what the record says of a scan; `more` are inputs of another contrast."""
    judge = Step(
        verdict,
        t1w=str(scan.path),
        scan=scan.relative_path,
        reference=scan.reference_path,
        model_hash=config.model_hash,
        preset=config.preset,
        seed=scan.seed,
        steps=config.steps,
        **more,
    )
    return make_node(judge, 'verdict', config)


def _models(config: RunConfig) -> dict[str, str]:
    """Inputs of a step that loads weights."""
    models = {'model_hash': config.model_hash}
    if config.weights is not None:
        models['weights'] = str(config.weights)
    return models


def make_node(interface: Step, name: str, config: RunConfig) -> pe.Node:
    """Node of a step, with what the scheduler sets aside for it."""
    on_gpu = 'use_gpu' in interface.inputs.traits() and config.device != 'cpu'
    if on_gpu:
        interface.inputs.trait_set(device=config.device, use_gpu=True)
    # A node takes as many GPU slots as it has processes, so one on a GPU may have one only.
    n_procs = 1 if on_gpu else config.omp_nthreads
    given = interface.inputs.get_traitsfree()
    read = [given[field] for field in ('image', 't1w', 'by', 'reference') if given.get(field)]
    factor = max(map(size_factor, read), default=1.0)
    mem_gb = MEM_GB[name] * factor + (CUDA_GB if on_gpu else 0.0)
    return pe.Node(interface, name=name, n_procs=n_procs, mem_gb=mem_gb)
