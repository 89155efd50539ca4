#!/bin/sh
# Install PyTorch into the environment of the given Python.
#
#   install_torch.sh PYTHON [REQUIREMENT]
#
# PyTorch is not in requirements.lock because its builds differ by hardware. Without REQUIREMENT the CPU build is
# taken where pip can find it (PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL may point to PyTorch's CPU wheels), else the
# default build, which on Linux brings the CUDA libraries along: several GB more, the same results.
set -eu
version=2.13.0
python=$1
requirement=${2:-}

if [ -n "$requirement" ]; then
    exec "$python" -m pip install --quiet "$requirement"
fi
if "$python" -m pip install --quiet "torch==$version+cpu"; then
    exit 0
fi
echo "install_torch.sh: pip sees no CPU build of PyTorch; taking the default build (README, 'PyTorch for the CPU')" >&2
exec "$python" -m pip install --quiet "torch==$version"
