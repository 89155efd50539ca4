"""A generated head in another contrast."""

from __future__ import annotations

from nipype.interfaces.base import File, TraitedSpec, traits

from cpmae_bids.interfaces.base import Step, StepInputSpec


class _LearnContrastInputSpec(StepInputSpec):
    image = File(exists=True, mandatory=True, argstr='--image %s', desc='the scan, for its name')
    t1w_head = File(exists=True, mandatory=True, argstr='--t1w-head %s', desc='T1w head on the template grid')
    head = File(exists=True, mandatory=True, argstr='--head %s', desc='head of the scan on the template grid')
    table = File('contrast.npy', usedefault=True, argstr='--table %s', desc='file to write')


class _LearnContrastOutputSpec(TraitedSpec):
    table = File(exists=True, desc='intensities of the contrast by those of the T1w; no positions')


class LearnContrast(Step):
    """Learn how a contrast looks where the T1w looks so and so."""

    step = 'contrast'
    input_spec = _LearnContrastInputSpec
    output_spec = _LearnContrastOutputSpec


class _RecolourInputSpec(StepInputSpec):
    generated = File(exists=True, mandatory=True, argstr='--generated %s', desc='generated head, as a T1w')
    conformed = File(
        exists=True, mandatory=True, argstr='--conformed %s', desc='brain of the T1w on the template grid'
    )
    statistics = File(
        exists=True, mandatory=True, argstr='--statistics %s', desc='what is known of the tissue of the T1w'
    )
    table = File(exists=True, mandatory=True, argstr='--table %s', desc='from LearnContrast')
    seed = traits.Int(mandatory=True, argstr='--seed %d', desc='of what a T1w intensity leaves open')
    head = File('head.npz', usedefault=True, argstr='--head %s', desc='file to write')


class _RecolourOutputSpec(TraitedSpec):
    head = File(exists=True, desc='generated head in the contrast')


class Recolour(Step):
    """Give a generated head another contrast. No original is an input but a table of intensities."""

    step = 'recolour'
    input_spec = _RecolourInputSpec
    output_spec = _RecolourOutputSpec
