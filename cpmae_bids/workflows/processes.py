"""Processes that end with the one that started them, and a pool that outlives the death of a worker."""

import contextlib
import multiprocessing
import os
import re
import shutil
import signal
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from traceback import format_exception
from typing import Any

import numpy as np
from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer
from nipype.utils.misc import str2bool

from cpmae_bids.interfaces.step import StepError
from cpmae_bids.runtime.lifeline import end_with_parent


class SturdyMultiProc(MultiProcPlugin):
    """Nipype's plugin for one machine, for runs in which processes are killed.

    Nipype waits for ever for a killed worker; here its node fails, and the others go on with new workers. If
    the run itself is interrupted or killed, its workers and their steps end at once. Missing folders of nodes
    that never ran do not stop the removal of intermediate files.
    """

    def __init__(self, plugin_args=None):
        super().__init__(plugin_args=plugin_args)
        self.pool.shutdown()  # no process has been started yet
        self.pool = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.processors,
            multiprocessing.get_context(self.plugin_args.get('mp_context')),
            initializer=_begin,
            initargs=(self._cwd,),
        )

    def run(self, graph: Any, config: dict, updatehash: bool = False) -> None:
        """Execute a graph; however this ends, no worker outlives it."""
        try:
            super().run(graph, config, updatehash=updatehash)
        except BaseException:
            # All nodes have ended where nodes failed; after an interrupt they have not
            for child in multiprocessing.active_children():
                child.kill()
            self.pool.shutdown(cancel_futures=True)
            raise

    def _send_procs_to_workers(self, updatehash=False, graph=None):
        """Start what can be, and return when the first of what runs has ended: nipype looks at intervals."""
        super()._send_procs_to_workers(updatehash=updatehash, graph=graph)
        if self.pending_tasks:
            wait([self._task_obj[task] for task, _ in self.pending_tasks], return_when=FIRST_COMPLETED)

    def _submit_job(self, node, updatehash=False):
        try:
            return super()._submit_job(node, updatehash)
        except BrokenProcessPool:
            self.pool = self._new_pool()
            return super()._submit_job(node, updatehash)

    def _async_callback(self, args):
        if not args.cancelled() and args.exception() is None:
            super()._async_callback(args)

    def _remove_node_dirs(self):
        """Remove the folders of nodes whose results are no longer needed."""
        if not str2bool(self._config['execution']['remove_node_directories']):
            return
        unneeded = self.proc_done & ~self.proc_pending & (np.asarray(self.refidx.sum(axis=1)).ravel() == 0)
        for number in np.flatnonzero(unneeded):
            self.refidx[number, number] = -1  # not again
            shutil.rmtree(self.procs[number].output_dir(), ignore_errors=True)

    def _get_result(self, taskid):
        future = self._task_obj[taskid]
        if future.done() and (cause := future.exception()) is not None:
            error = StepError('its worker was killed, most likely out of memory: use fewer --nprocs')
            if not isinstance(cause, BrokenProcessPool):
                error = StepError(f'its worker broke: {_first_raised(cause)}')
            return {'result': None, 'traceback': format_exception(error), 'taskid': taskid}
        return super()._get_result(taskid)


def _first_raised(error: BaseException) -> str:
    """What a worker raised first, in one line: the last that it raised may be that there is no result."""
    # Python sends tracebacks as one text, between lines of quotation marks
    told = re.split('\n\n(?:During handling of|The above exception)', str(error.__cause__ or repr(error)))[0]
    remedy = ': check space and permissions of the work folder' if '[Errno ' in told else ''
    return told.strip('"\n').rpartition('\n')[2] + remedy


def _begin(folder: str) -> None:
    """Set up a worker."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        end_with_parent(parent.pid)
    os.umask(0o077)  # what steps write shows the original, wherever it lies
    # The handlers of the main process are for the main process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or there is no telling how a step ended
    with contextlib.suppress(OSError):
        process_initializer(folder)
