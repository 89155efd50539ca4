#!/bin/sh
# Install PyTorch into the environment of the given Python.
#
#   install_torch.sh PYTHON [cpu | cuda | REQUIREMENT]
#
# PyTorch is not in requirements.lock because its builds differ by hardware; torch-cpu.lock and torch-cuda.lock pin
# them, by hash. Without a choice the CPU build is taken where pip can find it (PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL
# may point to PyTorch's CPU wheels), else the CUDA build, the default on Linux: several GB more, the same results.
# Any other pip requirement is installed as it is, without a lock.
set -eu
here=$(dirname "$0")
python=$1
choice=${2:-}

install_locked() {
    "$python" -m pip install --quiet --no-deps --require-hashes -r "$here/torch-$1.lock"
}

case $choice in
    cuda) install_locked cuda ;;
    cpu)
        install_locked cpu || {
            echo "install_torch.sh: pip sees no CPU build of PyTorch; set PIP_EXTRA_INDEX_URL (docs/hpc.md, 'PyTorch for the CPU')" >&2
            exit 1
        }
        ;;
    '')
        if ! install_locked cpu; then
            echo "install_torch.sh: pip sees no CPU build of PyTorch; taking the CUDA build (docs/hpc.md, 'PyTorch for the CPU')" >&2
            install_locked cuda
        fi
        ;;
    *) "$python" -m pip install --quiet "$choice" ;;
esac
