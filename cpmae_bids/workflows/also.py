"""Scans of other contrasts: a T1w scan locates the brain and gives the head around it."""

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe

from cpmae_bids.bids.scan import Scan
from cpmae_bids.config import RunConfig
from cpmae_bids.interfaces.step import Step
from cpmae_bids.steps.blend import blend
from cpmae_bids.steps.conform import conform
from cpmae_bids.steps.contrast import contrast
from cpmae_bids.steps.locate import locate
from cpmae_bids.steps.recolour import recolour
from cpmae_bids.workflows.anatomical import BRAIN_FIELDS, RESULT_FIELDS, fields, make_judge, make_node

# What a scan of another contrast takes from the T1w scan by which its brain is found, as it calls it
OF_T1W = {name: f't1w_{name}' for name in BRAIN_FIELDS}


def init_also_wf(scan: Scan, config: RunConfig) -> pe.Workflow:
    """Build the graph that puts the generated head, or noise, around a brain in another contrast.

    It takes `OF_T1W` and ``generated``, the head of the reference scan, which noise does not need, and gives
    `cpmae_bids.workflows.anatomical.RESULT_FIELDS`.
    """
    if scan.t1w is None:
        raise ValueError(f'{scan.name} has no T1w scan to find its brain by')
    path, t1w = str(scan.path), str(scan.t1w.path)
    inputnode = pe.Node(IdentityInterface(fields=[*OF_T1W.values(), 'generated']), name='inputnode')
    outputnode = pe.Node(IdentityInterface(fields=list(RESULT_FIELDS)), name='outputnode')
    located = make_node(Step(locate, image=path, t1w=t1w), 'locate', config)
    conformed = make_node(Step(conform, t1w=path), 'conform', config)
    blended = make_node(Step(blend, t1w=path, seed=scan.noise_seed), 'blend', config)
    judged = make_judge(scan, config, by=t1w, by_scan=scan.t1w.relative_path, fill=config.also_fill)
    by = {'t1w_brain_mask': 'by_brain', 't1w_kept_mask': 'by_kept', 't1w_affine': 'by_affine'}
    workflow = pe.Workflow(name='reface_wf')
    workflow.connect([
        (inputnode, located, fields('t1w_affine', t1w_brain_mask='t1w_brain', t1w_kept_mask='t1w_kept')),
        (inputnode, judged, fields(**by)),
        (located, conformed, fields('brain_mask', 'affine')),
        (located, blended, fields('kept_mask', 'affine')),
        (located, judged, fields('brain_mask', 'kept_mask', 'affine')),
        (located, outputnode, fields('kept_mask')),
        (conformed, blended, fields(brain='conformed')),
        (conformed, judged, fields(brain='conformed')),
        (blended, judged, fields('refaced', 'deface_mask', 'noise_model')),
        (blended, outputnode, fields('refaced', 'deface_mask')),
        (judged, outputnode, fields('verdict')),
    ])  # fmt: skip
    if config.also_fill == 'head':
        learned = make_node(Step(contrast, image=path), 'contrast', config)
        recoloured = make_node(Step(recolour, seed=scan.seed), 'recolour', config)
        workflow.connect([
            (inputnode, learned, fields('t1w_head')),
            (conformed, learned, fields('head')),
            (learned, recoloured, fields('table')),
            (learned, judged, fields('table')),
            (inputnode, recoloured, fields('generated', t1w_brain='conformed', t1w_statistics='statistics')),
            (recoloured, blended, fields('head')),
        ])  # fmt: skip
    return workflow
