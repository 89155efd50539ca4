"""What all steps have in common: a command line, and a process of its own.

A model in the process of a nipype worker would take the whole pool with it when the kernel kills it for want
of memory, and the run would wait for ever. A killed child is an ordinary failure of one node.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path

from nipype.interfaces.base import CommandLine, CommandLineInputSpec, Str, traits
from nipype.interfaces.base.traits_extension import BasePath

from cpmae_bids import __version__
from cpmae_bids.interfaces import forks
from cpmae_bids.runtime import lifeline

THREAD_VARIABLES = (
    'OMP_NUM_THREADS',
    'MKL_NUM_THREADS',
    'OPENBLAS_NUM_THREADS',
    'ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS',
)
STEPS = 'cpmae_bids.steps'
ERROR_PREFIX = 'cpmae-bids: '  # how a step marks the one line that says what went wrong


class StepError(RuntimeError):
    """A step that ended without its result; the text is one line."""


class StepInputSpec(CommandLineInputSpec):
    """Inputs of every step."""

    num_threads = traits.Int(1, usedefault=True, nohash=True, desc='threads of the numerical libraries')
    version = Str(
        __version__, usedefault=True, desc='results of another version are not taken from the work folder'
    )


class DeviceStepInputSpec(StepInputSpec):
    """Inputs of a step that can run on a GPU. Where it runs does not make its cached result another one."""

    device = Str('cpu', usedefault=True, nohash=True, argstr='--device %s', desc='cpu, cuda or cuda:N')
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc='take a GPU slot of the scheduler')


class Step(CommandLine):
    """Run ``python -m cpmae_bids.steps <name>`` in a process of its own.

    Every field of ``output_spec`` is also an input with a file name as default: the path that the step is to
    write, relative to the folder of the node.
    """

    input_spec = StepInputSpec
    step = ''  # name of the step, set by subclasses
    _terminal_output = 'file_split'

    def __init__(self, **inputs):
        command = shlex.join([sys.executable, '-m', STEPS, self.step])
        super().__init__(command=command, **inputs)

    @property
    def cmdline(self) -> str:
        # Without a shell in between that would outlive the worker and keep the step from noticing
        return f'exec {super().cmdline}'

    def _format_arg(self, name, trait_spec, value):
        # The command goes through a shell; nipype quotes paths, but no other text.
        if isinstance(value, str) and not trait_spec.is_trait_type(BasePath):
            value = shlex.quote(value)
        return super()._format_arg(name, trait_spec, value)

    def _get_environ(self):
        threads = dict.fromkeys(THREAD_VARIABLES, str(self.inputs.num_threads))
        return {**threads, lifeline.VARIABLE: str(os.getpid()), **self.inputs.environ}

    def _run_interface(self, runtime, correct_return_codes=(0,)):
        if forks.are_possible():
            runtime.cmdline, runtime.success_codes = self.cmdline, correct_return_codes
            words = shlex.split(runtime.cmdline)
            arguments = words[words.index(STEPS) + 1 :]
            runtime.returncode, runtime.stdout, runtime.stderr = forks.run(
                arguments, self._get_environ(), Path(runtime.cwd)
            )
        else:
            runtime = super()._run_interface(runtime, correct_return_codes)
        if runtime.returncode not in correct_return_codes:
            raise StepError(failure_message(self.step, runtime.returncode, runtime.stderr))
        return runtime

    def _list_outputs(self):
        return {
            name: str(Path(getattr(self.inputs, name)).absolute())
            for name in self.output_spec().copyable_trait_names()
        }


def failure_message(step: str, returncode: int, stderr: str | None) -> str:
    """Say in one line why the process of a step ended.

    Parameters
    ----------
    step : str
        Name of the step.
    returncode : int
        Exit code; negative, or above 128 where a shell stood between, for a signal.
    stderr : str or None
        What the process wrote on its standard error stream.

    Returns
    -------
    str
        The step's own words where it left some, else the most likely reason.
    """
    lines = [line.strip() for line in (stderr or '').splitlines() if line.strip()]
    own = [line.removeprefix(ERROR_PREFIX) for line in lines if line.startswith(ERROR_PREFIX)]
    if own:
        return own[-1]
    number = -returncode if returncode < 0 else returncode - 128
    if number == signal.SIGKILL:
        return f'{step} was killed (SIGKILL), most likely for want of memory: use fewer --nprocs'
    if number in set(signal.Signals):
        return f'{step} was ended by {signal.Signals(number).name}'
    last = f': {lines[-1]}' if lines else ''
    return f'{step} ended with exit code {returncode}{last}'
