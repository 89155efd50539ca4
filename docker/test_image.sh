#!/usr/bin/env bash
# Build the image and run it the ways users run it: as any user, without a network, on a dataset that it cannot write.
#
#   docker/test_image.sh [BIDS_DIR]
#
# BIDS_DIR is de-identified inside the container, by default the averaged head of the demo (made with `make venv`'s
# environment). Environment:
#   ENGINE        docker, podman or buildah (default: the first that is there); buildah works without a daemon and
#                 inside other containers (chroot isolation)
#   IMAGE         name of the image (default cpmae-bids)
#   BUILD_ARGS    further arguments of the build, such as "--build-arg BASE=... --volume DIR:DIR:ro"
#   RUN_ARGS      further arguments of the runs
#   APP_ARGS      further arguments of the app, such as "--preset 128"
set -euo pipefail
cd "$(dirname "$0")/.."

image=${IMAGE:-cpmae-bids}
engine=${ENGINE:-}
if [ -z "$engine" ]; then
    for engine in docker podman buildah none; do
        # a client of docker without a daemon is of no use
        [ "$engine" = docker ] && ! docker info >/dev/null 2>&1 && continue
        command -v "$engine" >/dev/null && break
    done
fi
version=$(sed -n "s/^__version__ = '\(.*\)'/\1/p" cpmae_bids/_version.py)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
read -ra build_args <<<"${BUILD_ARGS:-}"
read -ra run_args <<<"${RUN_ARGS:-}"
read -ra app_args <<<"${APP_ARGS:-}"
build_args+=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision"
    --build-arg "CREATED=$(date -u +%Y-%m-%dT%H:%M:%SZ)")

scratch=$(mktemp -d)
chmod a+rx "$scratch"
container=
# shellcheck disable=SC2329  # called by the trap
clean_up() {
    [ -z "$container" ] || buildah rm "$container" >/dev/null
    rm -rf "$scratch"
}
trap clean_up EXIT

case $engine in
    docker | podman)
        "$engine" build "${build_args[@]}" -t "$image" .
        # in_image USER MOUNTS... -- ARGUMENTS...: run the entry point, or the script of the image named in $script
        in_image() {
            local user=$1 mounts=() entry=()
            shift
            while [ "$1" != -- ]; do mounts+=(-v "$1"); shift; done
            shift
            [ -z "${script:-}" ] || entry=(--entrypoint "/opt/cpmae-bids/bin/$script")
            "$engine" run --rm --network none --read-only --tmpfs /tmp -u "$user" "${mounts[@]}" "${run_args[@]}" \
                "${entry[@]}" "$image" "$@"
        }
        ;;
    buildah)
        buildah bud --isolation chroot --layers "${build_args[@]}" -t "$image" .
        container=$(buildah from "$image")
        # buildah run knows no entry point, and chroot isolation no network of its own: both are given here.
        in_image() {
            local user=$1 mounts=()
            shift
            while [ "$1" != -- ]; do mounts+=(--volume "$1"); shift; done
            shift
            unshare --net buildah run --isolation chroot --user "$user" "${mounts[@]}" "${run_args[@]}" \
                "$container" -- "/opt/cpmae-bids/bin/${script:-cpmae-bids}" "$@"
        }
        ;;
    *)
        echo 'test_image.sh: neither docker nor podman nor buildah is here' >&2
        exit 1
        ;;
esac

say() { printf '\n== %s\n' "$*"; }

say 'size'
case $engine in
    buildah) buildah images --format '{{.Size}}' "$image" | head -n 1 ;;
    *) "$engine" image inspect --format '{{.Size}} bytes' "$image" ;;
esac

say 'version, as the user of the image and as one that the image does not know'
[ "$(in_image 1000:1000 -- --version)" = "cpmae-bids $version" ]
[ "$(in_image 12345:12345 -- --version)" = "cpmae-bids $version" ]
[ "$(script=cpmae-bids-file in_image 12345:12345 -- --version)" = "cpmae-bids $version" ]

say 'self-check'
in_image 12345:12345 -- --self-check

say 'wrong use is exit code 64'
code=0
in_image 12345:12345 -- /nowhere /tmp/out participant || code=$?
[ "$code" -eq 64 ]

say 'a dataset, read-only, by a user unknown to the image'
data=${1:-}
if [ -z "$data" ]; then
    data=$scratch/data
    .venv/bin/python demo/make_dataset.py "$data"
fi
mkdir -m 0777 "$scratch/out"
in_image 12345:12345 "$(realpath "$data"):/data:ro" "$scratch/out:/out" -- \
    /data /out/derivatives participant --seed 2 "${app_args[@]}"
find "$scratch/out/derivatives" -name '*_desc-refaced_T1w.nii.gz' -size +0 -uid 12345 | grep -q .

say 'the output is valid BIDS'
script=bids-validator-deno in_image 12345:12345 "$scratch/out:/out:ro" -- /out/derivatives --ignoreWarnings

say "$image: all passed"
