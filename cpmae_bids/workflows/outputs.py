"""Reports and sinks: what leaves the work folder."""

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe

from cpmae_bids.bids.scan import Scan
from cpmae_bids.config import RunConfig
from cpmae_bids.interfaces.bids import Publish
from cpmae_bids.interfaces.step import Step
from cpmae_bids.steps.private_report import private_report
from cpmae_bids.steps.report import report
from cpmae_bids.workflows.anatomical import RESULT_FIELDS, fields
from cpmae_bids.workflows.resources import MEM_GB, size_factor


def init_outputs_wf(scan: Scan, config: RunConfig) -> pe.Workflow:
    """Build the graph that draws the refaced scan and publishes it if it passed, from `RESULT_FIELDS`."""
    inputnode = pe.Node(IdentityInterface(fields=list(RESULT_FIELDS)), name='inputnode')
    size = size_factor(scan.path)
    drawn = pe.Node(Step(report), name='report', n_procs=config.omp_nthreads, mem_gb=MEM_GB['report'] * size)
    # In the main process, one after another: sinks share the tables of the output folder.
    sink = pe.Node(
        Publish(scan=scan, config=config), name='sink', run_without_submitting=True, mem_gb=MEM_GB['sink']
    )

    workflow = pe.Workflow(name='outputs_wf')
    workflow.connect([
        (inputnode, drawn, fields('refaced', 'kept_mask', 'verdict')),
        (inputnode, sink, fields(*RESULT_FIELDS)),
        (drawn, sink, fields('slices', 'face')),
    ])  # fmt: skip
    page = config.private_page(scan.name)
    if page is not None:
        private = pe.Node(
            Step(private_report, original=str(scan.path), title=scan.name, page=str(page)),
            name='private_report',
            n_procs=1,
            mem_gb=MEM_GB['private_report'] * size,
        )
        workflow.connect([(inputnode, private, fields('refaced', 'kept_mask', 'verdict'))])
    return workflow
