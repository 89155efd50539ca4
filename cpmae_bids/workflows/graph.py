"""Draw the workflow of a run."""

import logging
from collections.abc import Sequence
from pathlib import Path

from cpmae_bids.bids.scan import Scan
from cpmae_bids.config import RunConfig

logger = logging.getLogger(__name__)


def write_graph(scans: Sequence[Scan], config: RunConfig) -> None:
    """Draw the workflow of a run into the work folder: graph.dot, and graph.svg if graphviz is there."""
    from cpmae_bids.workflows.base import init_cpmae_bids_wf

    workflow = init_cpmae_bids_wf(scans, config)
    drawing = Path(workflow.base_dir, workflow.name, 'graph.dot')
    try:
        drawing = workflow.write_graph(graph2use='colored', format='svg', simple_form=True)
    except Exception as err:
        logger.warning('graph: was not drawn (%s)', ' '.join(str(err).split()))
    logger.info('graph: %s', drawing)
