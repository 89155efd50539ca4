"""Memory that a step keeps."""

import subprocess
import sys

import pytest

VOLUMES = """
import resource, sys
from cpmae_bids.runtime.allocation import keep_freed_memory
if sys.argv[1] == 'keep':
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray(2**26)
before = faults()
for _ in range(20):
    bytearray(b'x') * 2**26
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='the GNU C library')
def test_freed_volumes_are_used_again_without_page_faults():
    kept, mapped = (
        int(subprocess.run([sys.executable, '-c', VOLUMES, how], check=True, capture_output=True).stdout)
        for how in ('keep', 'map')
    )
    assert kept < mapped / 4
