"""Nipype's plugins for batch systems, made fit for runs that others rely on: each node is a job."""

import getpass
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from traceback import format_exception
from typing import Any

from cpmae_bids.exceptions import UsageError
from cpmae_bids.workflows.progress import Progress

# Plugin argument with options of `sbatch` for jobs on a GPU only, such as ``--gres=gpu:1``
GPU_ARGS = 'gpu_sbatch_args'
# Each poll is a call of squeue for each job, and a file of a job may take a while to show on this machine.
EXECUTION = {'poll_sleep_duration': '5', 'job_finished_timeout': '30'}
_SUBMITS_WITH = {'SLURM': 'sbatch', 'SGE': 'qsub', 'PBS': 'qsub', 'LSF': 'bsub', 'OAR': 'oarsub'}
_LOST = (
    'StepError: its job ended without a result, killed or out of time or memory; the batch folder in the '
    'work folder has what it wrote\n'
)
_PLAIN_PATH = re.compile(r'[\w./+@:,=-]+')  # Nipype writes paths into scripts and command lines as they are


def is_batch(plugin: str) -> bool:
    """Whether a plugin of nipype hands its nodes to a batch system."""
    return plugin in _SUBMITS_WITH


def check_batch(plugin: str, work_dir: Path | None) -> None:
    """Reject a plugin that cannot do what a run needs, and a `work_dir` that it cannot work with.

    Raises
    ------
    UsageError
    """
    from nipype.pipeline import plugins
    from nipype.pipeline.plugins.base import GraphPluginBase

    found = getattr(plugins, f'{plugin}Plugin', None)
    if found is None:
        raise UsageError(f'--nipype-plugin-file: nipype has no plugin {plugin!r}')
    if issubclass(found, GraphPluginBase):
        raise UsageError(
            f'--nipype-plugin-file: the plugin {plugin} returns before its jobs have ended, so that nobody '
            f'would judge them; use {plugin.removesuffix("Graph")} or an array of jobs (docs/hpc.md)'
        )
    if not is_batch(plugin):
        return
    if shutil.which(_SUBMITS_WITH[plugin]) is None:
        raise UsageError(
            f'--nipype-plugin-file: the plugin {plugin} needs {_SUBMITS_WITH[plugin]}, which is not here; '
            'start the run on a machine that can submit jobs'
        )
    if work_dir is None:
        raise UsageError(
            f'--nipype-plugin-file: the jobs of {plugin} run on other machines; give a --work-dir that all '
            'of them see'
        )
    if not _PLAIN_PATH.fullmatch(f'{work_dir}{sys.executable}'):
        raise UsageError(
            f'--nipype-plugin-file: the plugin {plugin} cannot handle blanks and quotes in the path of '
            f'--work-dir ({work_dir}) or of Python; choose another'
        )


def make_runner(plugin: str, plugin_args: dict) -> Any:
    """Return an instance of nipype's batch plugin that outlives lost jobs and leaves none behind."""
    from nipype.pipeline import plugins

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user that the machine does not know, as in containers
        user = str(os.getuid())
    os.environ.setdefault('LOGNAME', user)  # part of the names of jobs
    # Named like the one that it is, since nipype derives the plugin's name from the class.
    name = f'{plugin}Plugin'
    return type(name, (_SlurmJobs if plugin == 'SLURM' else _Jobs, getattr(plugins, name)), {})(
        plugin_args=plugin_args
    )


class _Jobs:
    """What nipype's plugins for batch systems lack. Mixed into one of them."""

    _status_callback: Progress  # of nipype's plugin

    def _get_result(self, taskid):
        self._status_callback.check()  # jobs may wait for hours until the next event
        return super()._get_result(taskid)

    def _clean_queue(self, jobid, graph, result=None):
        # Nipype hands over the traceback as text and then takes it for a list of lines: that would end the
        # run with the first job that was killed.
        if result is None:
            result = {'result': None, 'traceback': format_exception(*sys.exc_info())}
        elif isinstance(result['traceback'], str):  # the job left no result
            result = {**result, 'traceback': [*result['traceback'].splitlines(keepends=True), _LOST]}
        return super()._clean_queue(jobid, graph, result=result)


class _SlurmJobs(_Jobs):
    """Jobs that ask for what their node takes, and are cancelled with the run."""

    plugin_args: dict  # of nipype's plugin
    _sbatch_args: str

    def run(self, graph, config, updatehash=False):
        """Execute a graph; however this ends, no job outlives it."""
        for node in graph.nodes():
            node.plugin_args = {'sbatch_args': self._sbatch_args_of(node), 'overwrite': True}
        try:
            super().run(graph, config, updatehash=updatehash)
        except BaseException:
            if self._pending:
                subprocess.run(['scancel', *map(str, self._pending)], check=False)
            raise

    def _sbatch_args_of(self, node) -> str:
        """Arguments of sbatch for one node; what the plugin file says comes last, and counts."""
        out = Path(node.base_dir, node.fullname.split('.')[0], 'batch', 'slurm-%j.out')
        asked = f'--cpus-per-task={node.n_procs} --mem={round(node.mem_gb * 1024)}M -o {out} -e {out}'
        gpu = self.plugin_args.get(GPU_ARGS) if node.is_gpu_node() else None
        return ' '.join(filter(None, (asked, self._sbatch_args, gpu)))
