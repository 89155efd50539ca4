"""The command ``cpmae-bids`` with one small node in place of the models, to test what is around them.

``python tests/stand_in.py DATASET OUTPUT participant ...`` takes seconds for a scan; the "refaced" image is
the scan, inverted. Jobs of a batch system import this module, by way of PYTHONPATH.
"""

import json
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


class _InvertInputSpec(BaseInterfaceInputSpec):
    t1w = File(exists=True, mandatory=True)
    seconds = traits.Float(0, usedefault=True)
    judged = traits.Dict(desc='status, reasons and measures; a pass if there are none')


class _InvertOutputSpec(TraitedSpec):
    refaced = File()
    deface_mask = File()
    kept_mask = File()
    verdict = File()


class Invert(SimpleInterface):
    """Does in one node what all steps do."""

    input_spec = _InvertInputSpec
    output_spec = _InvertOutputSpec

    def _run_interface(self, runtime):
        time.sleep(self.inputs.seconds)
        image = nib.load(self.inputs.t1w)
        data = np.asanyarray(image.dataobj)
        kept = np.zeros(data.shape, np.uint8)
        kept[tuple(size // 2 for size in data.shape)] = 1
        for name, values in (
            ('refaced', np.where(kept, data, data.max() - data)),
            ('deface_mask', 1 - kept),
            ('kept_mask', kept),
        ):
            path = Path(runtime.cwd, f'{name}.nii.gz')
            nib.save(nib.Nifti1Image(values, image.affine, image.header), path)
            self._results[name] = str(path)
        judged = {'status': 'pass', 'reasons': [], 'measures': {}} | self.inputs.judged
        images = ('refaced', 'refaced'), ('defacemask', 'deface_mask'), ('brainmask', 'kept_mask')
        files = identify(Path(self.inputs.t1w), {kind: Path(self._results[name]) for kind, name in images})
        verdict = files | judged | {'template': 'none'}
        path = Path(runtime.cwd, 'verdict.json')
        path.write_text(json.dumps(verdict))
        self._results['verdict'] = str(path)
        return runtime


def init_wf(scans, config, seconds: float = 2.0, judge=lambda scan: {}) -> pe.Workflow:
    """Build the workflow of a run as the app does, with one node and what publishes for each scan.

    ``judge(scan)`` gives status, reasons and measures of a scan; nothing for a pass.
    """
    workflow = pe.Workflow('cpmae_bids_wf', base_dir=str(config.work_dir))
    workflow.config['execution'] = {
        'crashdump_dir': str(config.work_dir / 'crash'),
        'crashfile_format': 'txt',
        'hash_method': 'content',
    }
    for scan in scans:
        invert = pe.Node(Invert(t1w=str(scan.path), seconds=seconds, judged=judge(scan)), 'skullstrip')
        sink = pe.Node(Publish(scan=scan, config=config), 'sink', run_without_submitting=True)
        scan_wf = pe.Workflow(f'{scan.name}_wf')
        scan_wf.connect([(invert, sink, [(name, name) for name in FIELDS])])
        if (page := config.private_page(scan.name)) is not None:
            report = Step(private_report, original=str(scan.path), title=scan.name, page=str(page))
            fields = [(name, name) for name in ('refaced', 'kept_mask', 'verdict')]
            scan_wf.connect([(invert, pe.Node(report, 'private_report'), fields)])
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
