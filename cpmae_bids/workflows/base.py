"""The workflow of a whole run: one workflow per subject, and in it one per scan."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from nipype.pipeline import engine as pe

from cpmae_bids.bids.layout import Scan
from cpmae_bids.config import RunConfig
from cpmae_bids.workflows.anatomical import init_deidentify_wf
from cpmae_bids.workflows.outputs import init_outputs_wf

# Polling for finished nodes each 2 s, nipype's default, would cost a scan half a minute.
POLL_SECONDS = 0.2


def init_cpmae_bids_wf(
    scans: Sequence[Scan], config: RunConfig, *, name: str = 'cpmae_bids_wf'
) -> pe.Workflow:
    """Build the workflow of a run.

    Parameters
    ----------
    scans : sequence of Scan
        The scans to de-identify.
    config : RunConfig
        Settings of the run, after the pre-flight: ``work_dir`` set and ``device`` settled.
    name : str
        Name of the workflow, and of its folder under ``work_dir``.

    Returns
    -------
    workflow : nipype.Workflow
        Holds ``sub-<label>_wf`` for each subject, which holds ``<scan>_wf`` for each scan.
    """
    work_dir = config.work_folder.absolute()
    workflow = pe.Workflow(name=name, base_dir=str(work_dir))
    workflow.config['execution'] = {
        'crashdump_dir': str(work_dir / 'crash'),
        'crashfile_format': 'txt',
        'stop_on_first_crash': str(config.stop_on_first_crash).lower(),
        # A work folder may outlive a copy or a re-download of the dataset: contents count, not dates.
        'hash_method': 'content',
        'poll_sleep_duration': str(POLL_SECONDS),
        # Nothing will be resumed from a folder that is removed at the end; it need not grow with each scan.
        'remove_node_directories': str(config.temporary_work_dir).lower(),
        'check_version': 'false',
        'get_linked_libs': 'false',
        'create_report': 'false',
    }
    by_subject = sorted(scans, key=lambda scan: (scan.subject, scan.name))
    for subject, subject_scans in groupby(by_subject, key=lambda scan: scan.subject):
        workflow.add_nodes([init_single_subject_wf(subject, list(subject_scans), config)])
    return workflow


def init_single_subject_wf(subject: str, scans: Sequence[Scan], config: RunConfig) -> pe.Workflow:
    """Build the workflow of one subject, ``sub-<label>_wf``, from the workflows of its scans."""
    workflow = pe.Workflow(name=f'sub-{_valid(subject)}_wf')
    workflow.add_nodes([init_scan_wf(scan, config) for scan in scans])
    return workflow


def init_scan_wf(scan: Scan, config: RunConfig) -> pe.Workflow:
    """Build the workflow of one scan, ``<scan>_wf``: de-identification, then the outputs.

    Workflow Graph
        skullstrip, register, conform, encode_brain and encode_head, remodel, decode_head, blend, verdict,
        report, sink: see ``docs/graph.svg``, which is drawn from this graph.
    """
    workflow = pe.Workflow(name=f'{_valid(scan.name)}_wf')
    deidentify_wf = init_deidentify_wf(scan, config)
    outputs_wf = init_outputs_wf(scan, config)
    fields = ('refaced', 'deface_mask', 'kept_mask', 'verdict')
    workflow.connect(
        [(deidentify_wf, outputs_wf, [(f'outputnode.{field}', f'inputnode.{field}') for field in fields])]
    )
    return workflow


def _valid(name: str) -> str:
    """Name without the characters that nipype refuses in names of workflows."""
    return re.sub(r'[^\w-]', '-', name)
