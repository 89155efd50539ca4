"""How scans share processors and workflows."""

from collections.abc import Sequence

from cpmae_bids.bids.scan import Scan, by_subject
from cpmae_bids.config import RunConfig
from cpmae_bids.runtime import memory
from cpmae_bids.workflows.resources import MEM_GB

MAX_DEFAULT_THREADS = 8  # more of them take processors from other scans, and hardly any time from this one


def share_processors(n_scans: int, config: RunConfig, size: float = 1.0) -> RunConfig:
    """Return the settings with a number of threads, if none was asked for.

    Scans in parallel with one thread each take less time than one after another in several, since a part of
    each step runs in one. As many as processors and memory allow share the processors. `size` is that of the
    largest scan (`cpmae_bids.workflows.resources.size_factor`).
    """
    if config.omp_nthreads:
        return config
    at_a_time = 1
    if config.nipype_plugin_file is None:
        fitting = int((config.mem_gb or memory.usable_gb()) / (size * max(MEM_GB.values())))
        at_a_time = max(1, min(config.nprocs, n_scans, fitting))
    return config.replace(omp_nthreads=min(config.nprocs // at_a_time, MAX_DEFAULT_THREADS))


def make_batches(scans: Sequence[Scan], config: RunConfig) -> list[list[Scan]]:
    """Return the scans, in their order, in groups that share a workflow; those of a subject stay together."""
    size = batch_size(config) or max(1, len(scans))
    batches: list[list[Scan]] = []
    for of_subject in by_subject(scans).values():
        if not batches or len(batches[-1]) >= size:
            batches.append([])
        batches[-1] += of_subject
    return batches


def batch_size(config: RunConfig) -> int | None:
    """Return about how many scans share a workflow; None means all.

    Nipype runs the first stage of all scans before the second of any. With all scans in one workflow none
    would be finished before the end: nothing to resume from, and the intermediate files of all on the disk.
    """
    if config.nipype_plugin_file is not None:  # a cluster schedules the jobs, the more the better
        return None
    side_by_side = config.nprocs // config.omp_nthreads
    return 4 * side_by_side if side_by_side > 1 else 1
