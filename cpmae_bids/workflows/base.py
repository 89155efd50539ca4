"""The workflow of a whole run: one workflow per subject, and in it one per scan."""

import logging
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from nipype.pipeline import engine as pe

from cpmae_bids.bids.scan import Scan
from cpmae_bids.config import RunConfig
from cpmae_bids.workflows.also import OF_T1W, init_also_wf
from cpmae_bids.workflows.anatomical import (
    BRAIN_FIELDS,
    PLACE_FIELDS,
    RESULT_FIELDS,
    fields,
    init_brain_wf,
    init_head_wf,
    init_reface_wf,
)
from cpmae_bids.workflows.outputs import init_outputs_wf
from cpmae_bids.workflows.progress import node_name

logger = logging.getLogger(__name__)
# Polling for finished nodes each 2 s, nipype's default, would cost a scan half a minute. `SturdyMultiProc` is
# told of each at once, and looks as often only where there is none to wait for.
POLL_SECONDS = 0.02
# What a scan takes from the workflow of its reference, and how it is called there.
_OF_REFERENCE = fields(brain_mask='reference_mask', affine='reference_affine')
_OF_HEAD = fields(head_codes='generated_codes', head='generated')


def init_cpmae_bids_wf(scans: Sequence[Scan], config: RunConfig) -> pe.Workflow:
    """Build the workflow of a run, after the pre-flight.

    It holds ``sub-<label>_wf`` for each subject, which holds ``<scan>_wf`` for each scan, and for the
    reference scan of the subject.
    """
    work_dir = config.work_folder.absolute()
    workflow = pe.Workflow(name='cpmae_bids_wf', base_dir=str(work_dir))
    workflow.config['execution'] = {
        'crashdump_dir': str(work_dir / 'crash'),
        'crashfile_format': 'txt',
        'stop_on_first_crash': str(config.stop_on_first_crash).lower(),
        # A work folder may outlive a copy or a re-download of the dataset: contents count, not dates.
        'hash_method': 'content',
        'poll_sleep_duration': str(POLL_SECONDS),
        'check_version': 'false',
        'get_linked_libs': 'false',
        'create_report': 'false',
    }
    by_subject = sorted(scans, key=lambda scan: (scan.subject, scan.name))
    for subject, subject_scans in groupby(by_subject, key=lambda scan: scan.subject):
        workflow.add_nodes([init_single_subject_wf(subject, list(subject_scans), config)])
    return workflow


def write_graph(scans: Sequence[Scan], config: RunConfig) -> None:
    """Draw the workflow of a run into the work folder: graph.dot, and graph.svg if graphviz is there."""
    workflow = init_cpmae_bids_wf(scans, config)
    drawing = Path(workflow.base_dir, workflow.name, 'graph.dot')
    try:
        drawing = workflow.write_graph(graph2use='colored', format='svg', simple_form=True)
    except Exception as err:
        logger.warning('graph: was not drawn (%s)', ' '.join(str(err).split()))
    logger.info('graph: %s', drawing)


def init_single_subject_wf(subject: str, scans: Sequence[Scan], config: RunConfig) -> pe.Workflow:
    """Build the workflow of one subject, ``sub-<label>_wf``, from the workflows of its scans.

    All scans get the head of the reference scan. If that scan is complete or not part of the run, its
    workflow ends with the head; likewise that of a T1w scan that locates the brain of another contrast ends
    with the brain. A contrast is published after its T1w scan, and only if that passes.
    """
    workflow = pe.Workflow(name=f'sub-{node_name(subject)}_wf')
    needed = {*scans, *(scan.t1w for scan in scans if scan.t1w is not None)}
    needed |= {scan.first_echo for scan in needed if scan.first_echo is not None}
    needed |= {scan.reference or scan for scan in needed}
    heads = {scan.reference or scan for scan in scans if scan.t1w is None or scan.reference is not None}
    scan_wfs = {
        scan: init_scan_wf(scan, config, head=scan in heads, outputs=scan in scans) for scan in needed
    }
    workflow.add_nodes([scan_wfs[scan] for scan in sorted(scan_wfs, key=lambda scan: scan.name)])
    for scan, scan_wf in scan_wfs.items():
        if scan.t1w is not None:
            taken = _between('brain_wf.outputnode', 'reface_wf.inputnode', fields(**OF_T1W))
            if scan.t1w in scans:
                taken.append(('outputs_wf.sink.published', 'outputs_wf.sink.after'))
            workflow.connect([(scan_wfs[scan.t1w], scan_wf, taken)])
        elif scan.first_echo is not None:
            taken = _between('brain_wf.outputnode', 'brain_wf.inputnode', fields(*PLACE_FIELDS))
            workflow.connect([(scan_wfs[scan.first_echo], scan_wf, taken)])
        elif scan.reference is not None:
            taken = _between('brain_wf.outputnode', 'brain_wf.inputnode', _OF_REFERENCE)
            workflow.connect([(scan_wfs[scan.reference], scan_wf, taken)])
        if scan.reference is not None and scan in scans:
            head = _OF_HEAD if scan.t1w is None else fields(head='generated')
            taken = _between('head_wf.outputnode', 'reface_wf.inputnode', head)
            workflow.connect([(scan_wfs[scan.reference], scan_wf, taken)])
    return workflow


def init_scan_wf(scan: Scan, config: RunConfig, *, head: bool = True, outputs: bool = True) -> pe.Workflow:
    """Build the workflow of one scan, ``<scan>_wf``: its brain, the head around it, the refaced scan.

    ``docs/graph.svg`` draws it. A scan with a reference has coregister in place of register, and no head of
    its own (encode_brain, remodel, decode_head): that is to be connected. An echo that is not the first has
    none of skullstrip and register either. Another contrast has locate, contrast and recolour. Without
    `head`, the head is left out, of which no scan has need; without `outputs`, the workflow ends before the
    refaced scan.
    """
    workflow = pe.Workflow(name=f'{node_name(scan.name)}_wf')
    if scan.t1w is not None:
        also_wf, outputs_wf = init_also_wf(scan, config), init_outputs_wf(scan, config)
        workflow.connect([(also_wf, outputs_wf, _between('outputnode', 'inputnode', fields(*RESULT_FIELDS)))])
        return workflow
    brain_wf = init_brain_wf(scan, config)
    workflow.add_nodes([brain_wf])
    if scan.reference is None and head:
        head_wf = init_head_wf(scan, config)
        workflow.connect(brain_wf, 'outputnode.brain', head_wf, 'inputnode.brain')
    if not outputs:
        return workflow
    reface_wf = init_reface_wf(scan, config)
    outputs_wf = init_outputs_wf(scan, config)
    workflow.connect([
        (brain_wf, reface_wf, _between('outputnode', 'inputnode', fields(*BRAIN_FIELDS))),
        (reface_wf, outputs_wf, _between('outputnode', 'inputnode', fields(*RESULT_FIELDS))),
    ])  # fmt: skip
    if scan.reference is None:
        workflow.connect([(head_wf, reface_wf, _between('outputnode', 'inputnode', _OF_HEAD))])
    return workflow


def _between(source: str, target: str, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Connections of two workflows: those of their nodes `source` and `target`."""
    return [(f'{source}.{a}', f'{target}.{b}') for a, b in pairs]
