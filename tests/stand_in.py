"""The command ``cpmae-bids`` with one small node in place of the models, to test what is around them.

``python tests/stand_in.py DATASET OUTPUT participant ...`` takes seconds for a scan; the "refaced" image is
the scan, back to front. Jobs of a batch system import this module, by way of PYTHONPATH.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, traits
from nipype.pipeline import engine as pe

import cpmae_bids.workflows.base
from cpmae_bids.bids.verdict_records import identify
from cpmae_bids.cli import preflight
from cpmae_bids.cli.run import main
from cpmae_bids.interfaces.bids import Publish
from cpmae_bids.interfaces.step import Step
from cpmae_bids.steps.private_report import private_report

FIELDS = ('refaced', 'deface_mask', 'kept_mask', 'verdict')


def verdict(t1w: Path, refaced: Path, deface_mask: Path, kept_mask: Path, **more) -> dict:
    """A verdict that passes, on the files that are there."""
    files = identify(t1w, {'refaced': refaced, 'defacemask': deface_mask, 'brainmask': kept_mask})
    return {'status': 'pass', 'reasons': [], 'measures': {}, 'template': 'none', **files, **more}


class _StandInInputSpec(BaseInterfaceInputSpec):
    t1w = File(exists=True, mandatory=True)
    seconds = traits.Float(0, usedefault=True)
    judged = traits.Dict(usedefault=True, desc='status, reasons and measures; a pass if there are none')
    behaviour = traits.Str(desc='crash, "terminate PROCESS SIGNAL", or "touch FILE"')


class _StandInOutputSpec(TraitedSpec):
    refaced = File()
    deface_mask = File()
    kept_mask = File()
    verdict = File()


class StandIn(SimpleInterface):
    """Does in one node what all steps do, or breaks."""

    input_spec = _StandInInputSpec
    output_spec = _StandInOutputSpec

    def _run_interface(self, runtime):
        time.sleep(self.inputs.seconds)
        behaviour, *words = self.inputs.behaviour.split(maxsplit=2) or ['pass']
        if behaviour == 'crash':
            raise RuntimeError(f'no brain in {self.inputs.t1w}')
        if behaviour == 'terminate':
            os.kill(int(words[0]), signal.Signals[words[1]])
            time.sleep(0.5)
        if behaviour == 'touch':
            Path(*words).touch()
        image = nib.load(self.inputs.t1w)
        data = np.asanyarray(image.dataobj)
        kept = np.zeros(data.shape, bool)
        kept[tuple(slice(n // 3, 2 * n // 3) for n in data.shape)] = True
        images = {
            'refaced': np.where(kept, data, data[::-1]),
            'deface_mask': (~kept).astype(np.uint8),
            'kept_mask': kept.astype(np.uint8),
        }
        paths = {name: Path(runtime.cwd, f'{name}.nii.gz') for name in images}
        for name, values in images.items():
            nib.save(nib.Nifti1Image(values, image.affine, image.header), paths[name])
        judged = verdict(Path(self.inputs.t1w), **paths, **self.inputs.judged)
        paths['verdict'] = Path(runtime.cwd, 'verdict.json')
        paths['verdict'].write_text(json.dumps(judged))
        self._results.update({name: str(path) for name, path in paths.items()})
        return runtime


def draw_private_page(scan, page):
    """The interface that writes the page before/after, as in the real workflow."""
    return Step(private_report, original=str(scan.path), title=scan.name, page=str(page))


def init_wf(
    scans,
    config,
    seconds: float = 2.0,
    judge=lambda scan: {},
    behaviour=lambda scan: '',
    private=draw_private_page,
    stage: str = 'skullstrip',
) -> pe.Workflow:
    """Build the workflow of a run as the app does, with one node and what publishes for each scan.

    ``judge(scan)`` gives status, reasons and measures of a scan, nothing for a pass; ``behaviour(scan)`` what
    goes wrong; ``private(scan, page)`` the interface that writes its private page.
    """
    workflow = pe.Workflow('cpmae_bids_wf', base_dir=str(config.work_dir))
    workflow.config['execution'] = {
        'crashdump_dir': str(config.work_dir / 'crash'),
        'crashfile_format': 'txt',
        'hash_method': 'content',
        'stop_on_first_crash': str(config.stop_on_first_crash).lower(),
        'poll_sleep_duration': '0.05',
    }
    for scan in scans:
        made = StandIn(t1w=str(scan.path), seconds=seconds, judged=judge(scan), behaviour=behaviour(scan))
        node = pe.Node(made, stage)
        sink = pe.Node(Publish(scan=scan, config=config), 'sink', run_without_submitting=True)
        scan_wf = pe.Workflow(f'{scan.name}_wf')
        scan_wf.connect([(node, sink, [(name, name) for name in FIELDS])])
        if (page := config.private_page(scan.name)) is not None:
            report = private(scan, page)
            fields = [name for name in ('refaced', 'kept_mask', 'verdict') if hasattr(report.inputs, name)]
            fields = [(name, name) for name in fields] or [('refaced', 't1w')]
            scan_wf.connect([(node, pe.Node(report, 'private_report'), fields)])
        subject_wf = pe.Workflow(f'sub-{scan.subject}_{scan.name}_wf')
        subject_wf.add_nodes([scan_wf])
        workflow.add_nodes([subject_wf])
    return workflow


if __name__ == '__main__':
    import stand_in  # pickled nodes name this module, and not __main__

    cpmae_bids.workflows.base.init_cpmae_bids_wf = stand_in.init_wf
    preflight.find_model_hash = lambda config: 'none'
    preflight.check_template = lambda config: None
    sys.exit(main())
