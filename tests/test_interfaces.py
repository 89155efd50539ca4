"""Command lines of the interfaces, and what a failing step leaves behind."""

import argparse
import importlib
import shlex
import signal

import pytest
from nipype.interfaces.base import isdefined, traits

from cpmae_bids.interfaces import contrast, models, preprocess, reports, result
from cpmae_bids.interfaces.base import Step, StepError, StepInputSpec, failure_message

STEPS = [
    cls
    for module in (contrast, models, preprocess, reports, result)
    for cls in vars(module).values()
    if isinstance(cls, type) and issubclass(cls, Step) and cls is not Step
]
WORDS = {
    'which': 'brain',
    'preset': '128',
    'scan': 'sub-01/anat/it is; $(a).nii',
    'title': "it's",
    'fill': 'air',
}


def filled(cls, folder):
    """An interface with all its mandatory inputs set, files existing."""
    interface = cls()
    for name, trait in interface.inputs.traits(mandatory=True).items():
        if name in WORDS:
            value = WORDS[name]
        elif isinstance(trait.trait_type, traits.Int):
            value = 7
        else:
            value = str(folder / f'a file; {name}')
            (folder / f'a file; {name}').touch()
        interface.inputs.trait_set(**{name: value})
    return interface


@pytest.mark.parametrize('cls', STEPS, ids=lambda cls: cls.__name__)
def test_the_step_understands_its_command_line(cls, tmp_path):
    interface = filled(cls, tmp_path)
    command = shlex.split(interface.cmdline.removeprefix('exec '))
    assert command[1:4] == ['-m', 'cpmae_bids.steps', cls.step]
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(f'cpmae_bids.steps.{cls.step.replace("-", "_")}').add_arguments(parser)
    args = parser.parse_args(command[4:])
    given = {name: value for name, value in interface.inputs.get().items() if isdefined(value)}
    for name in interface.inputs.traits(argstr=lambda argstr: argstr is not None):
        if name in given:
            assert str(given[name]) in {str(value) for value in vars(args).values()}


@pytest.mark.parametrize('cls', STEPS, ids=lambda cls: cls.__name__)
def test_resources_do_not_change_the_hash(cls, tmp_path):
    plain, other = filled(cls, tmp_path), filled(cls, tmp_path)
    other.inputs.num_threads = 8
    other.inputs.environ = {'SOME': 'thing'}
    if hasattr(other.inputs, 'device'):
        other.inputs.trait_set(device='cuda', use_gpu=True)
    assert plain.inputs.get_hashval() == other.inputs.get_hashval()


def test_version_weights_and_seed_change_the_hash(tmp_path):
    def hash_with(**inputs):
        interface = filled(models.Remodel, tmp_path)
        interface.inputs.trait_set(**inputs)
        return interface.inputs.get_hashval()[1]

    hashes = [hash_with(), hash_with(version='0.0'), hash_with(model_hash='abc'), hash_with(seed=8)]
    assert len(set(hashes)) == len(hashes)


def test_the_generator_has_no_input_for_the_original_head():
    own = set(models.Remodel().inputs.copyable_trait_names()) - set(
        models.ModelInputSpec().copyable_trait_names()
    )
    assert own == {'brain_codes', 'seed', 'steps', 'head_codes'}  # the last one is the file to write


def test_the_shared_report_has_no_input_for_the_original():
    own = set(reports.Report().inputs.copyable_trait_names()) - set(StepInputSpec().copyable_trait_names())
    assert own == {'refaced', 'kept_mask', 'verdict', 'slices', 'face'}


def test_threads_reach_the_environment():
    interface = preprocess.Register(num_threads=3, environ={'OTHER': 'x'})
    environment = interface._get_environ()
    assert environment['OMP_NUM_THREADS'] == environment['MKL_NUM_THREADS'] == '3'
    assert environment['OTHER'] == 'x'
    assert environment['ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS'] == '1'  # for equal results


def test_a_bad_input_fails_with_the_words_of_the_step(tmp_path):
    scan = tmp_path / "it's; a scan.nii.gz"
    scan.write_bytes(b'this is no NIfTI file')
    interface = preprocess.Conform(
        t1w=str(scan), brain_mask=str(scan), affine=str(scan), preset='128', num_threads=1
    )
    with pytest.raises(StepError, match='not a NIfTI') as caught:
        interface.run(cwd=str(tmp_path))
    assert str(scan) in str(caught.value)
    assert '\n' not in str(caught.value)
    assert not list(tmp_path.glob('*.npz'))


@pytest.mark.parametrize('returncode', [-signal.SIGKILL, 128 + signal.SIGKILL])
def test_a_killed_step_speaks_of_memory(returncode):
    assert 'memory' in failure_message('encode', returncode, '')


@pytest.mark.parametrize(
    ('returncode', 'stderr', 'expected'),
    [
        (1, 'a warning\ncpmae-bids: a.nii: 4D\n', 'a.nii: 4D'),
        (-signal.SIGTERM, '', 'blend was ended by SIGTERM'),
        (3, 'Traceback\n  File x\nValueError: odd\n', 'blend ended with exit code 3: ValueError: odd'),
        (3, None, 'blend ended with exit code 3'),
    ],
)
def test_failure_messages(returncode, stderr, expected):
    assert failure_message('blend', returncode, stderr) == expected
