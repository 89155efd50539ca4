"""Draw the workflow of a run, or the graph of one scan as nipype would execute it.

``python -m cpmae_bids.workflows.graph docs/graph.svg`` makes the drawing of the documentation.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

from cpmae_bids.bids.scan import Scan
from cpmae_bids.config import RunConfig

logger = logging.getLogger(__name__)

STYLE = """\
  rankdir=TB; nodesep=0.5; ranksep=0.45; bgcolor=white;
  node [shape=box, style="rounded,filled", fillcolor="#f2f2f2", color="#555555"];
  node [fontname="Helvetica", fontsize=12];
  edge [color="#555555", fontcolor="#555555", fontname="Helvetica", fontsize=9];
"""
INPUT_STYLE = 'shape=folder, style=filled, fillcolor="#fde9c9"'
GPU_STYLE = 'fillcolor="#d6e6fb"'


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


def scan_graph_dot() -> str:
    """Return the graph of one scan in the DOT language.

    Nodes that use a GPU where there is one are blue. Dashed arrows from ``T1w`` lead to those that read the
    original.
    """
    from nipype.pipeline.engine.utils import generate_expanded_graph

    from cpmae_bids.workflows.base import init_cpmae_bids_wf

    with tempfile.TemporaryDirectory() as folder:
        t1w = Path(folder) / 'sub-01_T1w.nii.gz'
        t1w.touch()
        scan = Scan(t1w, 'sub-01/anat/sub-01_T1w.nii.gz', '01', None, {'sub': '01'}, {}, 0)
        config = RunConfig(Path(folder), Path(folder), work_dir=Path(folder), device='cuda')
        workflow = init_cpmae_bids_wf([scan], config)
        graph = generate_expanded_graph(deepcopy(workflow._create_flat_graph()))

    lines = ['digraph scan {', STYLE, f'  "T1w" [{INPUT_STYLE}];']
    for node in graph.nodes():
        lines.append(f'  "{node.name}" [{GPU_STYLE if node.is_gpu_node() else ""}];')
        if str(t1w) in node.inputs.get().values():
            lines.append(f'  "T1w" -> "{node.name}" [style=dashed];')
    for source, target, data in graph.edges(data=True):
        label = r'\n'.join(field.replace('_', ' ') for field, _ in data['connect'])
        lines.append(f'  "{source.name}" -> "{target.name}" [label="{label}"];')
    return '\n'.join([*lines, '}', ''])


def main(argv: list[str] | None = None) -> int:
    """Write the drawing; as DOT text where the suffix says so, else by graphviz."""
    parser = argparse.ArgumentParser(prog='python -m cpmae_bids.workflows.graph', description=__doc__)
    parser.add_argument(
        'drawing', type=Path, help='file to write: .dot, or a format of graphviz such as .svg'
    )
    drawing = parser.parse_args(argv).drawing
    dot = scan_graph_dot()
    if drawing.suffix == '.dot':
        drawing.write_text(dot, encoding='utf-8')
        return 0
    if shutil.which('dot') is None:
        print('graphviz is not installed: write a .dot file instead', file=sys.stderr)
        return 1
    command = ['dot', f'-T{drawing.suffix.removeprefix(".")}', '-o', str(drawing)]
    return subprocess.run(command, input=dot, text=True, check=False).returncode


if __name__ == '__main__':
    sys.exit(main())
