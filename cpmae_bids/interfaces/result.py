"""The refaced scan, and the verdict on it."""

from __future__ import annotations

from nipype.interfaces.base import File, Str, TraitedSpec, traits

from cpmae_bids.interfaces.base import Step, StepInputSpec


class _BlendInputSpec(StepInputSpec):
    t1w = File(exists=True, mandatory=True, argstr='--t1w %s', desc='the scan')
    kept_mask = File(exists=True, mandatory=True, argstr='--kept-mask %s', desc='what stays as it is')
    affine = File(exists=True, mandatory=True, argstr='--affine %s', desc='scan to template')
    head = File(
        exists=True, argstr='--head %s', desc='generated head on the template grid; without it, noise'
    )
    conformed = File(
        exists=True, mandatory=True, argstr='--conformed %s', desc='the brain: gives the intensity scale'
    )
    statistics = File(exists=True, argstr='--statistics %s', desc='what is known of the tissue of the scan')
    seed = traits.Int(mandatory=True, argstr='--seed %d', desc='seed of the noise in the air')
    refaced = File('refaced.nii.gz', usedefault=True, argstr='--refaced %s', desc='file to write')
    deface_mask = File('deface_mask.nii.gz', usedefault=True, argstr='--deface-mask %s', desc='file to write')


class _BlendOutputSpec(TraitedSpec):
    refaced = File(exists=True, desc='the scan with the generated head')
    deface_mask = File(exists=True, desc='1 where the scan was replaced')


class Blend(Step):
    """Put the generated head around the kept part of the scan, on its own grid."""

    step = 'blend'
    input_spec = _BlendInputSpec
    output_spec = _BlendOutputSpec


class _JudgeInputSpec(StepInputSpec):
    t1w = File(exists=True, mandatory=True, argstr='--t1w %s', desc='the scan')
    refaced = File(exists=True, mandatory=True, argstr='--refaced %s', desc='the result, as written')
    deface_mask = File(exists=True, mandatory=True, argstr='--deface-mask %s', desc='what was replaced')
    brain_mask = File(exists=True, mandatory=True, argstr='--brain-mask %s', desc='brain of the scan')
    kept_mask = File(exists=True, mandatory=True, argstr='--kept-mask %s', desc='what had to stay as it is')
    affine = File(exists=True, mandatory=True, argstr='--affine %s', desc='scan to template')
    conformed = File(exists=True, mandatory=True, argstr='--conformed %s', desc='brain on the template grid')
    scan = Str(mandatory=True, argstr='--scan %s', desc='path of the scan in its dataset')
    reference = Str(
        argstr='--reference %s', desc='path of the scan around whose brain the head was generated'
    )
    preset = traits.Enum(
        '256', '128', mandatory=True, argstr='--preset %s', desc='voxels along an edge of the template grid'
    )
    statistics = File(exists=True, argstr='--statistics %s', desc='of the tissue of the scan, for the record')
    seed = traits.Int(mandatory=True, argstr='--seed %d', desc='seed of the scan, for the record')
    model_hash = Str(argstr='--model-hash %s', desc='hash of the weights, for the record')
    steps = traits.Int(mandatory=True, argstr='--steps %d', desc='refinement steps, for the record')
    verdict = File('verdict.json', usedefault=True, argstr='--verdict %s', desc='file to write')


class _VerdictInputSpec(_JudgeInputSpec):
    generated_codes = File(exists=True, mandatory=True, argstr='--generated-codes %s', desc='of the new head')
    original_codes = File(
        exists=True, mandatory=True, argstr='--original-codes %s', desc='of the original head'
    )


class _ContrastVerdictInputSpec(_JudgeInputSpec):
    by = File(exists=True, mandatory=True, argstr='--by %s', desc='T1w scan by which the brain was found')
    by_brain = File(exists=True, mandatory=True, argstr='--by-brain %s', desc='its brain')
    by_kept = File(exists=True, mandatory=True, argstr='--by-kept %s', desc='what of it is kept')
    by_affine = File(exists=True, mandatory=True, argstr='--by-affine %s', desc='T1w to template')
    by_scan = Str(mandatory=True, argstr='--by-scan %s', desc='path of the T1w scan in its dataset')
    fill = traits.Enum('head', 'air', mandatory=True, argstr='--fill %s', desc='around the brain')


class _VerdictOutputSpec(TraitedSpec):
    verdict = File(exists=True, desc='status, reasons and measures')


class Verdict(Step):
    """Judge the refaced scan. A fail is a result too; an error means that nothing could be measured."""

    step = 'verdict'
    input_spec = _VerdictInputSpec
    output_spec = _VerdictOutputSpec


class ContrastVerdict(Step):
    """Judge a refaced scan of another contrast, with the T1w scan by which its brain was found."""

    step = 'verdict'
    input_spec = _ContrastVerdictInputSpec
    output_spec = _VerdictOutputSpec
