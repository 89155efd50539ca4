"""Pictures for the report that can be shared, and the page before/after that cannot."""

from __future__ import annotations

from nipype.interfaces.base import File, Str, TraitedSpec

from cpmae_bids.interfaces.base import Step, StepInputSpec


class _ReportInputSpec(StepInputSpec):
    refaced = File(
        exists=True, mandatory=True, argstr='--refaced %s', desc='the scan with the generated head'
    )
    kept_mask = File(exists=True, mandatory=True, argstr='--kept-mask %s', desc='places the slices')
    verdict = File(
        exists=True, mandatory=True, argstr='--verdict %s', desc='no picture is made of a failed scan'
    )
    slices = File('slices.png', usedefault=True, argstr='--slices %s', desc='file to write')
    face = File('face.png', usedefault=True, argstr='--face %s', desc='file to write')


class _ReportOutputSpec(TraitedSpec):
    slices = File(desc='sagittal, coronal and axial slices; absent for a failed scan')
    face = File(desc='3D renderings of the generated head; absent for a failed scan')


class Report(Step):
    """Draw the refaced scan. The original is not among the inputs."""

    step = 'report'
    input_spec = _ReportInputSpec
    output_spec = _ReportOutputSpec


class _PrivateReportInputSpec(StepInputSpec):
    original = File(exists=True, mandatory=True, argstr='--original %s', desc='the scan')
    refaced = File(
        exists=True, mandatory=True, argstr='--refaced %s', desc='the scan with the generated head'
    )
    kept_mask = File(exists=True, mandatory=True, argstr='--kept-mask %s', desc='places the slices')
    verdict = File(exists=True, mandatory=True, argstr='--verdict %s', desc='measures and settings')
    title = Str(mandatory=True, argstr='--title %s', desc='heading of the page')
    page = File(mandatory=True, argstr='--page %s', desc='file to write, in the private folder')


class _PrivateReportOutputSpec(TraitedSpec):
    page = File(exists=True, desc='the page')


class PrivateReport(Step):
    """Write the page before/after. It shows the original face."""

    step = 'private-report'
    input_spec = _PrivateReportInputSpec
    output_spec = _PrivateReportOutputSpec
    _always_run = True  # the page lies outside the work folder and may have been removed since
