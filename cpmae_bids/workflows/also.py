"""Scans of other contrasts: a T1w scan locates the brain and gives the head around it."""

from __future__ import annotations

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
from cpmae_bids.steps.verdict import verdict
from cpmae_bids.workflows.anatomical import RESULT_FIELDS, make_node

T1W_FIELDS = ('t1w_brain_mask', 't1w_kept_mask', 't1w_affine', 't1w_brain', 't1w_head', 't1w_statistics')
"""What a scan of another contrast takes from the T1w scan by which its brain is found."""


def init_also_wf(scan: Scan, config: RunConfig, *, name: str = 'reface_wf') -> pe.Workflow:
    """Build the graph that puts the generated head, or noise, around a brain in another contrast.

    Inputs
    ------
    t1w_brain_mask, t1w_kept_mask, t1w_affine, t1w_brain, t1w_head, t1w_statistics
        Of the T1w scan: see `cpmae_bids.workflows.anatomical.init_brain_wf`.
    generated
        The generated head of the reference scan; not used where noise is filled in.

    Outputs
    -------
    refaced, deface_mask, kept_mask, verdict
        See `cpmae_bids.workflows.anatomical.init_reface_wf`.
    """
    if scan.t1w is None:
        raise ValueError(f'{scan.name} has no T1w scan to find its brain by')
    path, t1w = str(scan.path), str(scan.t1w.path)
    inputnode = pe.Node(IdentityInterface(fields=[*T1W_FIELDS, 'generated']), name='inputnode')
    outputnode = pe.Node(IdentityInterface(fields=list(RESULT_FIELDS)), name='outputnode')
    located = make_node(Step(locate, image=path, t1w=t1w), 'locate', config)
    conformed = make_node(Step(conform, t1w=path), 'conform', config)
    blended = make_node(Step(blend, t1w=path, seed=scan.noise_seed), 'blend', config)
    judge = Step(
        verdict,
        t1w=path,
        scan=scan.relative_path,
        reference=scan.reference_path,
        model_hash=config.model_hash,
        preset=config.preset,
        seed=scan.seed,
        steps=config.steps,
        by=t1w,
        by_scan=scan.t1w.relative_path,
        fill=config.also_fill,
    )
    judged = make_node(judge, 'verdict', config)
    workflow = pe.Workflow(name=name)
    workflow.connect([
        (inputnode, located, [
            ('t1w_brain_mask', 't1w_brain'),
            ('t1w_kept_mask', 't1w_kept'),
            ('t1w_affine', 't1w_affine'),
        ]),
        (inputnode, judged, [
            ('t1w_brain_mask', 'by_brain'),
            ('t1w_kept_mask', 'by_kept'),
            ('t1w_affine', 'by_affine'),
        ]),
        (located, conformed, [('brain_mask', 'brain_mask'), ('affine', 'affine')]),
        (located, blended, [('kept_mask', 'kept_mask'), ('affine', 'affine')]),
        (located, judged, [
            ('brain_mask', 'brain_mask'),
            ('kept_mask', 'kept_mask'),
            ('affine', 'affine'),
        ]),
        (located, outputnode, [('kept_mask', 'kept_mask')]),
        (conformed, blended, [('brain', 'conformed')]),
        (conformed, judged, [('brain', 'conformed')]),
        (blended, judged, [(field, field) for field in ('refaced', 'deface_mask', 'noise_model')]),
        (blended, outputnode, [('refaced', 'refaced'), ('deface_mask', 'deface_mask')]),
        (judged, outputnode, [('verdict', 'verdict')]),
    ])  # fmt: skip
    if config.also_fill == 'head':
        learned = make_node(Step(contrast, image=path), 'contrast', config)
        recoloured = make_node(Step(recolour, seed=scan.seed), 'recolour', config)
        workflow.connect([
            (inputnode, learned, [('t1w_head', 't1w_head')]),
            (conformed, learned, [('head', 'head')]),
            (learned, recoloured, [('table', 'table')]),
            (learned, judged, [('table', 'table')]),
            (inputnode, recoloured, [
                ('generated', 'generated'),
                ('t1w_brain', 'conformed'),
                ('t1w_statistics', 'statistics'),
            ]),
            (recoloured, blended, [('head', 'head')]),
        ])  # fmt: skip
    return workflow
