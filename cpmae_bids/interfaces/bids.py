"""The sink: from files of the work folder to BIDS derivatives."""

import json
from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)


class _PublishInputSpec(BaseInterfaceInputSpec):
    scan = traits.Any(mandatory=True, nohash=True, desc='the scan, as the query found it')
    config = traits.Any(mandatory=True, nohash=True, desc='settings of the run')
    refaced = File(exists=True, mandatory=True, desc='the scan with the generated head')
    deface_mask = File(exists=True, mandatory=True, desc='what was replaced')
    kept_mask = File(exists=True, mandatory=True, desc='what was kept')
    slices = File(desc='slices of the refaced scan; none for a failed one')
    face = File(desc='renderings of the refaced scan; none for a failed one')
    verdict = File(exists=True, mandatory=True, desc='decides whether there is an image at all')
    after = traits.Any(nohash=True, desc='what had to be published before')


class _PublishOutputSpec(TraitedSpec):
    published = traits.List(traits.Str, desc='files written')


class Publish(SimpleInterface):
    """Publish one scan and its pictures, or record that it failed."""

    input_spec = _PublishInputSpec
    output_spec = _PublishOutputSpec
    _always_run = True  # its results lie outside the work folder and may have been removed since

    def _run_interface(self, runtime):
        from cpmae_bids.bids.publish import publish_scan
        from cpmae_bids.reports.figures import publish_figures

        inputs = self.inputs
        images = {
            'refaced': Path(inputs.refaced),
            'defacemask': Path(inputs.deface_mask),
            'brainmask': Path(inputs.kept_mask),
        }
        verdict = json.loads(Path(inputs.verdict).read_text(encoding='utf-8'))
        published = publish_scan(inputs.scan, inputs.config, images, verdict)
        if published:
            figures = {'slices': inputs.slices, 'face': inputs.face}
            drawn = {figure: Path(path) for figure, path in figures.items() if isdefined(path)}
            published = [*published, *publish_figures(inputs.config.output_dir, inputs.scan.name, drawn)]
        self._results['published'] = [str(path) for path in published]
        return runtime
