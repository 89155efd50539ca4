#!/bin/sh
# Pin what setup.cfg allows: requirements.lock (run time) and requirements-dev.lock (what tests, linters,
# documentation and demo add to it).
#
#   lock.sh UV [further options of `uv pip compile`, such as --upgrade]
#
# PyTorch is left out, see install_torch.sh; pip must be able to find its CPU build here, otherwise the CUDA libraries
# of the default build would be pinned too.
set -eu
cd "$(dirname "$0")"
uv=$1
shift
compile() {
    "$uv" pip compile ../setup.cfg --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url \
        --no-emit-find-links --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
        --constraint torch-cpu.txt --no-emit-package torch "$@"
}
trap 'rm -f torch-cpu.txt' EXIT
echo "torch==$(sed -n 's/^version=//p' install_torch.sh)+cpu" >torch-cpu.txt

compile --output-file requirements.lock "$@"
runtime=$(sed -n 's/^\([a-z0-9._-]*\)==.*/--no-emit-package \1/p' requirements.lock)
# shellcheck disable=SC2086  # one option per locked package
compile --extra test --extra lint --extra docs --extra demo --constraint requirements.lock $runtime \
    --output-file requirements-dev.lock "$@"
