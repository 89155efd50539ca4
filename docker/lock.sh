#!/bin/sh
# Pin what setup.cfg allows: requirements.lock (run time), requirements-dev.lock (what tests, linters, documentation and
# demo add to it), and torch-cpu.lock and torch-cuda.lock (the builds of PyTorch, with the CUDA libraries that the latter
# adds).
#
#   lock.sh UV [further options of `uv pip compile`, such as --upgrade]
#
# Pip must be able to find the CPU build of PyTorch here, see install_torch.sh.
set -eu
cd "$(dirname "$0")"
torch=2.13.0
uv=$1
shift
pin() {
    "$uv" pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url \
        --no-emit-find-links --python-version 3.11 --python-platform x86_64-manylinux_2_28 "$@"
}
compile() {
    pin ../setup.cfg --constraint torch-cpu.txt --no-emit-package torch "$@"
}
trap 'rm -f torch-cpu.txt torch-cuda.txt' EXIT
echo "torch==$torch+cpu" >torch-cpu.txt
echo "torch==$torch,!=$torch+cpu" >torch-cuda.txt

compile --output-file requirements.lock "$@"
runtime=$(sed -n 's/^\([a-z0-9._-]*\)==.*/--no-emit-package \1/p' requirements.lock)
# shellcheck disable=SC2086  # one option per locked package
compile --extra test --extra lint --extra docs --extra demo --constraint requirements.lock $runtime \
    --output-file requirements-dev.lock "$@"
for build in cpu cuda; do
    # shellcheck disable=SC2086
    pin "torch-$build.txt" --constraint requirements.lock $runtime --output-file "torch-$build.lock" "$@"
done
