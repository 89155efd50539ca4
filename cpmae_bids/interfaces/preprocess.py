"""Skull stripping, registration and resampling."""

from __future__ import annotations

from nipype.interfaces.base import File, TraitedSpec, traits

from cpmae_bids.interfaces.base import DeviceStepInputSpec, Step, StepInputSpec


class _SkullStripInputSpec(DeviceStepInputSpec):
    t1w = File(exists=True, mandatory=True, argstr='--t1w %s', desc='the scan')
    given = File(exists=True, argstr='--given %s', desc='brain mask of another pipeline to use')
    guard_mm = traits.Float(argstr='--guard-mm %g', desc='rim kept around the brain, mm')
    brain_mask = File('brain_mask.nii.gz', usedefault=True, argstr='--brain-mask %s', desc='file to write')
    kept_mask = File('kept_mask.nii.gz', usedefault=True, argstr='--kept-mask %s', desc='file to write')


class _SkullStripOutputSpec(TraitedSpec):
    brain_mask = File(exists=True, desc='brain, on the grid of the scan')
    kept_mask = File(exists=True, desc='brain and guard rim: what stays as it is')


class SkullStrip(Step):
    """Find the brain, and what of the scan is kept."""

    step = 'skullstrip'
    input_spec = _SkullStripInputSpec
    output_spec = _SkullStripOutputSpec


class _RegisterInputSpec(StepInputSpec):
    t1w = File(exists=True, mandatory=True, argstr='--t1w %s', desc='the scan')
    brain_mask = File(
        exists=True, mandatory=True, argstr='--brain-mask %s', desc='the only part that is looked at'
    )
    fetch_template = traits.Bool(
        argstr='--fetch-template', nohash=True, desc='allow TemplateFlow to download'
    )
    affine = File('affine.txt', usedefault=True, argstr='--affine %s', desc='file to write')


class _RegisterOutputSpec(TraitedSpec):
    affine = File(exists=True, desc='world of the scan to world of the template, RAS mm, 4x4')


class _SingleThreadedAnts:
    def _get_environ(self):
        # With two threads ANTs sums in an order that changes from run to run, and so does its result.
        return {**super()._get_environ(), 'ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS': '1'}


class Register(_SingleThreadedAnts, Step):
    """Align the brain to the template by an affine map."""

    step = 'register'
    input_spec = _RegisterInputSpec
    output_spec = _RegisterOutputSpec


class _CoregisterInputSpec(StepInputSpec):
    t1w = File(exists=True, mandatory=True, argstr='--t1w %s', desc='the scan')
    brain_mask = File(
        exists=True, mandatory=True, argstr='--brain-mask %s', desc='the only part that is looked at'
    )
    reference = File(exists=True, mandatory=True, argstr='--reference %s', desc='another scan of the subject')
    reference_mask = File(exists=True, mandatory=True, argstr='--reference-mask %s', desc='its brain')
    reference_affine = File(
        exists=True, mandatory=True, argstr='--reference-affine %s', desc='reference to template'
    )
    affine = File('affine.txt', usedefault=True, argstr='--affine %s', desc='file to write')


class Coregister(_SingleThreadedAnts, Step):
    """Align the brain to the template by a rigid map to another scan and the affine map of that."""

    step = 'coregister'
    input_spec = _CoregisterInputSpec
    output_spec = _RegisterOutputSpec


class _LocateInputSpec(StepInputSpec):
    image = File(exists=True, mandatory=True, argstr='--image %s', desc='a scan of another contrast')
    t1w = File(exists=True, mandatory=True, argstr='--t1w %s', desc='a T1w scan of the same person')
    t1w_brain = File(exists=True, mandatory=True, argstr='--t1w-brain %s', desc='its brain')
    t1w_kept = File(exists=True, mandatory=True, argstr='--t1w-kept %s', desc='its brain and guard rim')
    t1w_affine = File(exists=True, mandatory=True, argstr='--t1w-affine %s', desc='T1w to template')
    brain_mask = File('brain_mask.nii.gz', usedefault=True, argstr='--brain-mask %s', desc='file to write')
    kept_mask = File('kept_mask.nii.gz', usedefault=True, argstr='--kept-mask %s', desc='file to write')
    affine = File('affine.txt', usedefault=True, argstr='--affine %s', desc='file to write')


class _LocateOutputSpec(_SkullStripOutputSpec):
    affine = File(exists=True, desc='world of the scan to world of the template, RAS mm, 4x4')


class Locate(_SingleThreadedAnts, Step):
    """Find the brain of a scan of another contrast by way of a T1w scan."""

    step = 'locate'
    input_spec = _LocateInputSpec
    output_spec = _LocateOutputSpec


class _ConformInputSpec(StepInputSpec):
    t1w = File(exists=True, mandatory=True, argstr='--t1w %s', desc='the scan')
    brain_mask = File(exists=True, mandatory=True, argstr='--brain-mask %s', desc='brain of the scan')
    affine = File(exists=True, mandatory=True, argstr='--affine %s', desc='scan to template')
    preset = traits.Enum(
        '256', '128', mandatory=True, argstr='--preset %s', desc='voxels along an edge of the template grid'
    )
    brain = File('brain.npz', usedefault=True, argstr='--brain %s', desc='file to write')
    head = File('head.npz', usedefault=True, argstr='--head %s', desc='file to write')
    statistics = File('statistics.json', usedefault=True, argstr='--statistics %s', desc='file to write')


class _ConformOutputSpec(TraitedSpec):
    brain = File(exists=True, desc='brain on the template grid, and the intensity scale that it gives')
    head = File(exists=True, desc='original head without brain on the template grid')
    statistics = File(exists=True, desc='how bright the tissue of the original is, in 36 numbers')


class Conform(Step):
    """Bring brain and head onto the template grid, each into a file of its own.

    Two files, because nothing on the way to the generated head may open the original one.
    """

    step = 'conform'
    input_spec = _ConformInputSpec
    output_spec = _ConformOutputSpec
