"""The nipype interface of every step: its fields are the parameters of the function, which runs in a process.

A model in a nipype worker would take the whole pool with it when the kernel kills it for want of memory, and
the run would wait for ever. A killed child is an ordinary failure of one node.
"""

import json
import os
import signal
from collections.abc import Callable
from functools import cache, partial
from inspect import signature
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from nipype.interfaces.base import (
    BaseInterface,
    BaseInterfaceInputSpec,
    File,
    Str,
    TraitedSpec,
    isdefined,
    traits,
)
from nipype.interfaces.base.traits_extension import BasePath

from cpmae_bids import __version__
from cpmae_bids.interfaces import process
from cpmae_bids.runtime import lifeline, threads
from cpmae_bids.steps import ERROR_PREFIX, Output, name_of

# Parameters that say where something is done or lies, which does not make a cached result another one
ELSEWHERE = ('device', 'weights', 'fetch_template')
# What a step was given, in the folder of its node: ``python -m cpmae_bids.steps NAME inputs.json``
INPUTS = 'inputs.json'


class StepError(RuntimeError):
    """A step that ended without its result; the text is one line."""


class StepInputSpec(BaseInterfaceInputSpec):
    """Inputs of every step, beside the parameters of its function."""

    num_threads = traits.Int(1, usedefault=True, nohash=True, desc='threads of the numerical libraries')
    version = Str(
        __version__, usedefault=True, desc='results of another version are not taken from the work folder'
    )


class StepOutputSpec(TraitedSpec):
    """Files that a step wrote. The class is made at run time, so it is pickled by the function's name."""

    function: Callable

    def __reduce_ex__(self, protocol):
        return partial(_outputs, self.function, **self.get_traitsfree()), ()


class Step(BaseInterface):
    """Run a step in a process of its own.

    Parameters
    ----------
    function : callable
        A step; see `cpmae_bids.steps`. Its parameters are the inputs of the interface, and those of them that
        are files to write also its outputs, relative to the folder of the node. A step with a ``device`` has
        the input ``use_gpu`` as well, by which nipype counts GPUs; one with ``weights`` has ``model_hash``,
        since what they are makes a result another one, and where they lie does not.
    """

    input_spec = StepInputSpec
    output_spec = StepOutputSpec

    def __init__(self, function: Callable, **inputs):
        self.function = function
        self.input_spec, self.output_spec = specifications(function)
        super().__init__(**inputs)

    def __reduce__(self):
        return partial(Step, self.function, **self.inputs.get_traitsfree()), ()

    @property
    def always_run(self) -> bool:
        """Whether a result lies outside of the work folder, where it may have been removed since."""
        return any(os.path.isabs(getattr(self.inputs, name)) for name in self._outputs_of_function())

    def _run_interface(self, runtime):
        parameters = signature(self.function).parameters
        given = {name: value for name, value in self.inputs.get().items() if name in parameters}
        given = {name: value for name, value in given.items() if isdefined(value)}
        Path(runtime.cwd, INPUTS).write_text(json.dumps(given, indent=2), encoding='utf-8')
        environment = threads.environment(self.inputs.num_threads)
        environment[lifeline.VARIABLE] = str(os.getpid())
        name = name_of(self.function)
        runtime.returncode, runtime.stdout, runtime.stderr = process.run(
            [name, INPUTS], environment, Path(runtime.cwd)
        )
        if runtime.returncode:
            raise StepError(failure_message(name, runtime.returncode, runtime.stderr))
        return runtime

    def _list_outputs(self):
        return {
            name: str(Path(getattr(self.inputs, name)).absolute()) for name in self._outputs_of_function()
        }

    def _outputs_of_function(self) -> list[str]:
        return list(self.output_spec().copyable_trait_names())


@cache
def specifications(function: Callable) -> tuple[type[StepInputSpec], type[StepOutputSpec]]:
    """Return inputs and outputs of a step as nipype describes them, from the signature of its function.

    Raises TypeError if no trait stands for the type of a parameter.
    """
    inputs: dict[str, Any] = {}
    outputs: dict[str, Any] = {'function': staticmethod(function)}
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in signature(function).parameters.items():
        output = next((m for m in getattr(hints[name], '__metadata__', ()) if isinstance(m, Output)), None)
        if output is not None:
            inputs[name] = File(output.file_name, usedefault=True, desc='file to write')
            outputs[name] = File(exists=not output.optional)
        else:
            mandatory = parameter.default is parameter.empty
            inputs[name] = _trait(hints[name], mandatory=mandatory, nohash=name in ELSEWHERE)
    if 'device' in inputs:
        inputs['use_gpu'] = traits.Bool(False, usedefault=True, nohash=True, desc='take a GPU slot')
    if 'weights' in inputs:
        inputs['model_hash'] = Str(desc='hash of the weights')
    title = name_of(function).title().replace('_', '')
    return (
        type(f'{title}InputSpec', (StepInputSpec,), inputs),
        type(f'{title}OutputSpec', (StepOutputSpec,), outputs),
    )


def _trait(hint: Any, *, mandatory: bool, nohash: bool) -> Any:
    """Trait of a parameter that is not a file to write."""
    # nipype distinguishes a trait without metadata from one that is not mandatory
    about = {key: True for key, value in (('mandatory', mandatory), ('nohash', nohash)) if value}
    if get_origin(hint) is Literal:
        return traits.Enum(*get_args(hint), **about)
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not NoneType]
    if kinds == [Path]:
        return BasePath(exists=True, **about) if nohash else File(exists=True, **about)
    simple = {str: Str, int: traits.Int, float: traits.Float, bool: traits.Bool}
    if len(kinds) != 1 or kinds[0] not in simple:
        raise TypeError(f'no trait for a parameter of type {hint}')
    return simple[kinds[0]](**about)


def _outputs(function: Callable, **files: str) -> StepOutputSpec:
    return specifications(function)[1](**files)


def failure_message(step: str, returncode: int, stderr: str | None) -> str:
    """Say in one line why the process of a step ended: in its own words, else by the likely reason.

    `returncode` is negative for a signal.
    """
    lines = [line.strip() for line in (stderr or '').splitlines() if line.strip()]
    own = [line.removeprefix(ERROR_PREFIX) for line in lines if line.startswith(ERROR_PREFIX)]
    if own:
        return own[-1]
    if returncode == -signal.SIGKILL:
        return f'{step} was killed (SIGKILL), most likely out of memory: use fewer --nprocs'
    if -returncode in set(signal.Signals):
        return f'{step} was ended by {signal.Signals(-returncode).name}'
    last = f': {lines[-1]}' if lines else ''
    return f'{step} ended with exit code {returncode}{last}'
