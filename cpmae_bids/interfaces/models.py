"""The two VQ-VAEs and the masked autoencoder."""

from __future__ import annotations

from nipype.interfaces.base import Directory, File, Str, TraitedSpec, traits

from cpmae_bids.interfaces.base import DeviceStepInputSpec, Step


class ModelInputSpec(DeviceStepInputSpec):
    """Inputs of a step that loads weights."""

    weights = Directory(exists=True, nohash=True, argstr='--weights %s', desc='folder of the weights')
    model_hash = Str(desc='hash of the weights: where they lie does not matter, what they are does')


class _EncodeInputSpec(ModelInputSpec):
    conformed = File(
        exists=True, mandatory=True, argstr='--conformed %s', desc='brain or head on the template grid'
    )
    which = traits.Enum('brain', 'head', mandatory=True, argstr='--which %s', desc='which VQ-VAE')
    codes = File('codes.npz', usedefault=True, argstr='--codes %s', desc='file to write')


class _EncodeOutputSpec(TraitedSpec):
    codes = File(exists=True, desc='integer volumes, one per level')


class Encode(Step):
    """Compress a brain or a head into integer codes."""

    step = 'encode'
    input_spec = _EncodeInputSpec
    output_spec = _EncodeOutputSpec


class _RemodelInputSpec(ModelInputSpec):
    brain_codes = File(exists=True, mandatory=True, argstr='--brain-codes %s', desc='the condition')
    seed = traits.Int(mandatory=True, argstr='--seed %d', desc='seed of the sampling noise')
    steps = traits.Int(mandatory=True, argstr='--steps %d', desc='refinement steps')
    head_codes = File('head_codes.npz', usedefault=True, argstr='--head-codes %s', desc='file to write')


class _RemodelOutputSpec(TraitedSpec):
    head_codes = File(exists=True, desc='codes of the generated head')


class Remodel(Step):
    """Generate the codes of a head around a brain, from the codes of the brain and a seed alone."""

    step = 'remodel'
    input_spec = _RemodelInputSpec
    output_spec = _RemodelOutputSpec


class _DecodeInputSpec(ModelInputSpec):
    head_codes = File(
        exists=True, mandatory=True, argstr='--head-codes %s', desc='codes of the generated head'
    )
    conformed = File(
        exists=True, mandatory=True, argstr='--conformed %s', desc='the brain on the template grid'
    )
    preset = traits.Enum(
        '256', '128', mandatory=True, argstr='--preset %s', desc='voxels along an edge of the template grid'
    )
    seed = traits.Int(mandatory=True, argstr='--seed %d', desc='seed of the detail')
    head = File('head.npz', usedefault=True, argstr='--head %s', desc='file to write')


class _DecodeOutputSpec(TraitedSpec):
    head = File(exists=True, desc='generated head on the template grid')


class Decode(Step):
    """Decode the generated head."""

    step = 'decode'
    input_spec = _DecodeInputSpec
    output_spec = _DecodeOutputSpec
