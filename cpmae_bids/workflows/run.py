"""Execute a workflow and report which scans failed."""

import json
import logging
import os
import re
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import UsageError
from cpmae_bids.runtime import memory
from cpmae_bids.runtime.pool import NO_SEMAPHORES
from cpmae_bids.workflows import cluster
from cpmae_bids.workflows.progress import Progress, scan_and_stage

if TYPE_CHECKING:
    from nipype.pipeline import engine as pe

logger = logging.getLogger(__name__)
# What nipype adds to a traceback if a batch system's job left no result, or it has put that aside itself
_POSTSCRIPTS = ('When creating this crashfile,', 'During the creation of this crashfile')


@dataclass(frozen=True)
class Failure:
    """A node that ended with an error."""

    scan: str  # name of the scan, such as ``sub-01_T1w``
    stage: str  # name of the node
    message: str  # what went wrong, in one line
    crash_file: Path  # Nipype's crash file. It names files of the input, so it stays in the work folder.


class WorkflowError(Exception):
    """A workflow that ended before all of its nodes had run; `failures` are those that had failed."""

    def __init__(self, cause: Exception, failures: list[Failure]):
        super().__init__(str(cause) or type(cause).__name__)
        self.failures = failures


def run_workflow(
    workflow: 'pe.Workflow', config: RunConfig, progress: Progress | None = None
) -> list[Failure]:
    """Run a workflow to its end; the failure of one scan stops the others only if the settings say so.

    `progress` is told of each stage; by default it writes to standard error. Returns the nodes that failed.
    Raises UsageError if the plugin file cannot be read, WorkflowError if anything but a node kept the
    workflow from getting to its end.
    """
    plugin, plugin_args = plugin_settings(config)
    progress = progress or Progress()
    crash_root = Path(workflow.config['execution']['crashdump_dir'])
    OutputFolder(crash_root.parent).make(crash_root.name, mode=0o700)
    crash_dir = Path(tempfile.mkdtemp(prefix='run-', dir=crash_root))
    workflow.config['execution']['crashdump_dir'] = str(crash_dir)
    plugin_args['status_callback'] = progress
    runner: Any = plugin
    if cluster.is_batch(plugin):
        workflow.config['execution'].update(cluster.EXECUTION)
        runner = cluster.make_runner(plugin, plugin_args)
    elif plugin == 'MultiProc':
        from cpmae_bids.workflows.processes import SturdyMultiProc

        # Nothing will be resumed from a folder that is removed at the end; it need not grow with each scan
        workflow.config['execution']['remove_node_directories'] = str(config.temporary_work_dir).lower()
        try:
            runner = SturdyMultiProc(plugin_args)
        except NO_SEMAPHORES as error:
            logger.warning('no processes side by side (%s; check /dev/shm): one step after another', error)
            runner = 'Linear'
    try:
        workflow.run(plugin=runner, plugin_args=plugin_args)
    except Exception as error:
        failures = read_failures(crash_dir)
        # Nipype raises the error of a node once more when all others have had their turn
        if not failures or not (config.stop_on_first_crash or _is_through(runner)):
            raise WorkflowError(error, failures) from error
        return failures
    finally:
        progress.close()
        workflow.config['execution']['crashdump_dir'] = str(crash_root)
        for crash_file in crash_dir.iterdir():
            crash_file.chmod(0o600)  # it names files of the input
        if not any(crash_dir.iterdir()):
            crash_dir.rmdir()
    return read_failures(crash_dir)


def _is_through(runner: Any) -> bool:
    """Whether one of nipype's plugins has given each node its turn, as far as it keeps account of them."""
    done = getattr(runner, 'proc_done', None)
    return done is None or bool(done.all() and not runner.proc_pending.any())


def plugin_settings(config: RunConfig) -> tuple[str, dict]:
    """Return name and arguments of the nipype plugin of a run.

    A plugin file may change both. The GPU slots are always given: nipype would count the GPUs of the machine,
    visible or not. Nodes with little memory go first: the first stage of a scan needs the most, so that scans
    are finished before others begin, and an interrupted run leaves finished ones.
    """
    plugin_args = {
        'n_procs': config.nprocs,
        'n_gpu_procs': max(1, config.n_gpu_procs),
        'raise_insufficient': False,
        'scheduler': 'mem_thread',
        'memory_gb': config.mem_gb or memory.usable_gb(),
    }
    plugin = 'MultiProc'
    if config.nipype_plugin_file is not None:
        chosen = _read_plugin_file(Path(config.nipype_plugin_file))
        plugin = chosen.get('plugin', plugin)
        plugin_args.update(chosen.get('plugin_args') or {})
    return plugin, plugin_args


def _read_plugin_file(path: Path) -> dict:
    try:
        text = path.read_text(encoding='utf-8')
        if path.suffix == '.toml':
            chosen = tomllib.loads(text)
        elif path.suffix == '.json':
            chosen = json.loads(text)
        else:
            import yaml

            chosen = yaml.safe_load(text)
    except Exception as error:  # each format has its own errors
        raise UsageError(f'cannot read the nipype plugin file {path}: {error}') from error
    if not (isinstance(chosen, dict) and isinstance(chosen.get('plugin_args') or {}, dict)):
        raise UsageError(f'the nipype plugin file {path} must hold "plugin" and "plugin_args"')
    return chosen


def read_failures(crash_dir: str | os.PathLike) -> list[Failure]:
    """Read nipype's crash files of one run, oldest first; on a full disk there are empty ones."""
    crash_files = sorted(
        (path for path in Path(crash_dir).glob('crash-*.txt') if path.stat().st_size),
        key=lambda path: (path.stat().st_mtime, path.name),
    )
    return [_read_crash_file(path) for path in crash_files]


def _read_crash_file(path: Path) -> Failure:
    lines = [line.strip() for line in path.read_text(encoding='utf-8', errors='replace').splitlines()]
    lines = [line for line in lines if line]
    for number, line in enumerate(lines):
        if line.startswith(_POSTSCRIPTS):
            lines = lines[:number]
            break
    fullname = lines[0].removeprefix('Node: ')
    # The last line of a traceback: the class of the error, without or with its module, and the message.
    message = re.sub(r'^(\w+\.)*\w*(Error|Exception)\w*: ', '', lines[-1])
    return Failure(*scan_and_stage(fullname), message, path)
