"""The interface of a step has the fields of its function, and what a failing step leaves behind."""

import json
import pickle
import pkgutil
import signal
from copy import deepcopy
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Annotated

import pytest
from nipype.interfaces.base import isdefined, traits

import cpmae_bids.steps
from cpmae_bids.interfaces import process
from cpmae_bids.interfaces.step import Step, StepError, failure_message, specifications
from cpmae_bids.runtime import threads
from cpmae_bids.steps import Output, conform, encode, private_report, register, remodel, report
from cpmae_bids.steps.__main__ import call

HELPERS = ('__main__', 'chain', 'tone')
STEPS = [
    getattr(import_module(f'cpmae_bids.steps.{info.name}'), info.name)
    for info in pkgutil.iter_modules(cpmae_bids.steps.__path__)
    if info.name not in HELPERS
]


def filled(function, folder, **inputs):
    """An interface with all its mandatory inputs set, files existing."""
    step = Step(function)
    for name, trait in step.inputs.traits(mandatory=True).items():
        if isinstance(trait.trait_type, traits.Enum):
            value = trait.trait_type.values[0]
        elif isinstance(trait.trait_type, traits.Int):
            value = 7
        else:
            value = str(folder / f'a file; {name}')
            (folder / f'a file; {name}').touch()
        step.inputs.trait_set(**{name: value})
    step.inputs.trait_set(**inputs)
    return step


def own_fields(function):
    return set(Step(function).inputs.copyable_trait_names()) - {'num_threads', 'version'}


@pytest.mark.parametrize('function', STEPS, ids=lambda step: step.__name__)
def test_a_step_is_called_with_the_inputs_of_its_interface(function, tmp_path, monkeypatch):
    seen = {}

    def run(arguments, environment, folder):
        name, inputs = arguments
        assert name == function.__module__.rpartition('.')[2] == function.__name__
        seen.update(json.loads((folder / inputs).read_text()))
        return 0, '', ''

    monkeypatch.setattr(process, 'run', run)
    step = filled(function, tmp_path)
    for name in step._list_outputs():
        (tmp_path / getattr(step.inputs, name)).touch()
    monkeypatch.chdir(tmp_path)
    step.run(cwd=str(tmp_path))
    signature(function).bind(**seen)
    given = {name: value for name, value in step.inputs.get().items() if isdefined(value)}
    assert seen.items() <= given.items()
    assert given.keys() - seen.keys() <= {'num_threads', 'version', 'use_gpu', 'device', 'weights'}


def test_values_of_json_become_paths_where_the_signature_says_so():
    def step(
        t1w: Path, given: Path | None, brain: Annotated[Path, Output('brain.npz')], which: str, seed: int
    ):
        called.append((t1w, given, brain, which, seed))

    called: list[tuple] = []
    call(step, {'t1w': 'a.nii', 'given': None, 'brain': 'b.npz', 'which': 'c', 'seed': 1})
    assert called == [(Path('a.nii'), None, Path('b.npz'), 'c', 1)]


@pytest.mark.parametrize('function', STEPS, ids=lambda step: step.__name__)
def test_interfaces_and_their_results_survive_copies(function, tmp_path):
    """Nipype copies nodes, and pickles them for workers, jobs and resumed runs."""
    step = filled(function, tmp_path)
    (tmp_path / 'a file').touch()
    outputs = step.output_spec(**dict.fromkeys(step._list_outputs(), str(tmp_path / 'a file')))
    for copy in (lambda thing: pickle.loads(pickle.dumps(thing)), deepcopy):
        assert copy(step).inputs.get() == step.inputs.get()
        assert copy(step).inputs.get_hashval() == step.inputs.get_hashval()
        assert copy(outputs).get() == outputs.get()
        assert copy(outputs).traits().keys() == outputs.traits().keys()


@pytest.mark.parametrize('function', STEPS, ids=lambda step: step.__name__)
def test_where_and_how_fast_it_runs_does_not_change_the_hash(function, tmp_path):
    (tmp_path / 'weights').mkdir()
    plain, other = filled(function, tmp_path), filled(function, tmp_path, num_threads=8)
    elsewhere = {'device': 'cuda', 'use_gpu': True, 'weights': str(tmp_path / 'weights')}
    elsewhere = {name: value for name, value in elsewhere.items() if hasattr(other.inputs, name)}
    other.inputs.trait_set(**elsewhere)
    assert plain.inputs.get_hashval() == other.inputs.get_hashval()


def test_version_weights_and_seed_change_the_hash(tmp_path):
    changes = [{}, {'version': '0.0'}, {'model_hash': 'abc'}, {'seed': 8}]
    hashes = [filled(remodel.remodel, tmp_path, **change).inputs.get_hashval()[1] for change in changes]
    assert len(set(hashes)) == len(hashes)


def test_the_generator_has_no_input_for_the_original_head():
    settings = {'seed', 'steps', 'weights', 'model_hash'}
    assert own_fields(remodel.remodel) - settings == {'brain_codes', 'head_codes'}  # the last one is written


def test_the_shared_report_has_no_input_for_the_original():
    assert own_fields(report.report) == {'refaced', 'kept_mask', 'verdict', 'slices', 'face'}


def test_a_step_takes_a_gpu_if_it_has_a_device():
    assert {function.__name__ for function in STEPS if 'use_gpu' in own_fields(function)} == {
        function.__name__ for function in STEPS if 'device' in signature(function).parameters
    }
    with pytest.raises(traits.TraitError):
        Step(encode.encode, which='face')


def test_a_result_outside_of_the_work_folder_is_made_anew(tmp_path):
    assert not Step(report.report).always_run
    assert Step(private_report.private_report, page=str(tmp_path / 'page.html')).always_run


def test_a_parameter_of_an_unknown_kind_is_refused():
    def step(volumes: list):
        """No file and no setting."""

    with pytest.raises(TypeError, match='no trait'):
        specifications(step)


def test_threads_reach_the_environment(tmp_path, monkeypatch):
    found = {}

    def run(arguments, environment, folder):
        found.update(environment)
        return 3, '', ''

    monkeypatch.setattr(process, 'run', run)
    with pytest.raises(StepError, match='exit code 3'):
        filled(register.register, tmp_path, num_threads=5).run(cwd=str(tmp_path))
    assert {found[name] for name in threads.VARIABLES} == {'5'}


def test_a_bad_input_fails_with_the_words_of_the_step(tmp_path):
    scan = tmp_path / "it's; a scan.nii.gz"
    scan.write_bytes(b'this is no NIfTI file')
    inputs = dict.fromkeys(('t1w', 'brain_mask', 'affine'), str(scan))
    with pytest.raises(StepError, match='not a NIfTI') as caught:
        Step(conform.conform, **inputs).run(cwd=str(tmp_path))
    assert str(scan) in str(caught.value)
    assert '\n' not in str(caught.value)
    assert not list(tmp_path.glob('*.npz'))
    assert json.loads((tmp_path / 'inputs.json').read_text())['t1w'] == str(scan)  # to run it by hand


def test_a_killed_step_speaks_of_memory():
    assert 'memory' in failure_message('encode', -signal.SIGKILL, '')


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
