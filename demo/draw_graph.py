"""Draw the graph of one scan, as nipype would execute it, for the documentation; needs graphviz.

Usage: draw_graph.py docs/graph.svg
"""

import argparse
import subprocess
import tempfile
from copy import deepcopy
from pathlib import Path

from nipype.pipeline.engine.utils import generate_expanded_graph

from cpmae_bids.bids.scan import Scan
from cpmae_bids.config import RunConfig
from cpmae_bids.workflows.base import init_cpmae_bids_wf

STYLE = """\
  rankdir=TB; nodesep=0.5; ranksep=0.45; bgcolor=white;
  node [shape=box, style="rounded,filled", fillcolor="#f2f2f2", color="#555555"];
  node [fontname="Helvetica", fontsize=12];
  edge [color="#555555", fontcolor="#555555", fontname="Helvetica", fontsize=9];
"""
INPUT_STYLE = 'shape=folder, style=filled, fillcolor="#fde9c9"'
GPU_STYLE = 'fillcolor="#d6e6fb"'


def graph_of_a_scan() -> str:
    """Return the graph of one scan in the DOT language.

    Nodes that use a GPU where there is one are blue. Dashed arrows from ``T1w`` lead to those that read the
    original.
    """
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


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('drawing', type=Path, help='file to write, in a format of graphviz, such as .svg')
    drawing = parser.parse_args().drawing
    command = ['dot', f'-T{drawing.suffix.removeprefix(".")}', '-o', drawing]
    subprocess.run(command, input=graph_of_a_scan(), text=True, check=True)
