"""Memory that a run may take."""

import os

import pytest

from cpmae_bids.runtime import memory

GIB = 2**30
MACHINE = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / GIB


@pytest.fixture
def limited(tmp_path):
    """Write the control groups of a process, and return their root."""

    def write(cgroup, limits):
        for path, text in {'proc/self/cgroup': cgroup, **limits}.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path

    return write


V2 = 'sys/fs/cgroup/{}memory.max'
V1 = 'sys/fs/cgroup/memory/{}memory.limit_in_bytes'


@pytest.mark.parametrize(
    ('cgroup', 'limits'),
    [
        ('0::/\n', {V2.format(''): f'{GIB}\n'}),  # in a container
        (
            '0::/slurm/job_1/step_0\n',
            {V2.format('slurm/job_1/step_0/'): 'max\n', V2.format('slurm/job_1/'): f'{GIB}'},
        ),
        ('0::/a\n', {V2.format('a/'): f'{GIB}', V2.format(''): f'{64 * 2**40}'}),
        ('3:cpu,cpuacct:/a\n2:memory:/docker/1\n', {V1.format(''): f'{GIB}'}),  # its path is the host's
        ('2:memory:/job\n', {V1.format('job/'): f'{GIB}', V1.format(''): '9223372036854771712'}),
    ],
)
def test_the_least_limit_counts(limited, cgroup, limits):
    assert memory.usable_gb(limited(cgroup, limits)) == pytest.approx(memory.SHARE)


@pytest.mark.parametrize(
    ('cgroup', 'limits'),
    [
        ('0::/\n', {}),
        ('0::/\n', {V2.format(''): 'max\n'}),
        ('2:cpu:/\n', {'sys/fs/cgroup/cpu/memory.limit_in_bytes': '1'}),
        ('2:memory:/\n', {V1.format(''): '9223372036854771712'}),
    ],
)
def test_without_a_limit_the_machine_counts(limited, tmp_path, cgroup, limits):
    assert memory.usable_gb(tmp_path) == pytest.approx(memory.SHARE * MACHINE)  # no such files
    assert memory.usable_gb(limited(cgroup, limits)) == pytest.approx(memory.SHARE * MACHINE)
