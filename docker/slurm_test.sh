#!/usr/bin/env bash
# Run the app the two ways of docs/hpc.md on a SLURM cluster of one node, and compare with a serial run.
#
#   docker/slurm_test.sh [BIDS_DIR]
#
# Root on Debian (a container will do); slurm-wlm and munge are installed if they are missing. The cluster lives in a
# temporary folder and ends with the script; no file of the system is changed. BIDS_DIR has at least six T1w scans, one
# for each subject; by default six phantoms of 2 mm are made. Environment:
#   PYTHON     interpreter with the app (default .venv/bin/python)
#   APP        command to run instead of the app, such as "python tests/stand_in.py" (with PYTHONPATH=tests:.), which
#              does all but the models and takes some minutes
#   APP_ARGS   further arguments of the app (default --preset 128)
#   SLOTS      jobs at the same time, whatever the number of processors (default 6)
#   SCRATCH    folder for the outputs and logs, kept (default: a temporary one, removed)
set -euo pipefail
cd "$(dirname "$0")/.."

python=$(realpath -s "${PYTHON:-.venv/bin/python}")
read -ra app <<<"${APP:-$(dirname "$python")/cpmae-bids}"
slots=${SLOTS:-6}
read -ra app_args <<<"${APP_ARGS:---preset 128}"
app_args+=(participant --seed 1 --device cpu --nprocs 1 --omp-nthreads 1 --skip-bids-validation)

if ! command -v slurmctld sbatch munged >/dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q slurm-wlm munge
fi

cluster=$(mktemp -d)
scratch=${SCRATCH:-$cluster/scratch}
mkdir -p "$scratch"
pids=()
clean_up() {
    [ "${#pids[@]}" -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
    wait
    rm -rf "$cluster"
}
trap clean_up EXIT
say() { printf '\n== %s: %s\n' "$(date +%T)" "$*"; }
fail() {
    echo "slurm_test.sh: $*" >&2
    exit 1
}

say 'a cluster of one node'
chmod 755 "$cluster"
install -d -o munge -g munge -m 755 "$cluster/munge"
dd if=/dev/urandom of="$cluster/munge/key" bs=1024 count=1 status=none
chown munge:munge "$cluster/munge/key"
chmod 400 "$cluster/munge/key"
host=$(hostname -s)
mkdir "$cluster/state" "$cluster/spool"
cat >"$cluster/slurm.conf" <<EOF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${SLURM_PORT:-16817}
SlurmdPort=$((${SLURM_PORT:-16817} + 1))
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$cluster/munge/socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=2
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc=$cluster/jobs
StateSaveLocation=$cluster/state
SlurmdSpoolDir=$cluster/spool
SlurmctldPidFile=$cluster/slurmctld.pid
SlurmdPidFile=$cluster/slurmd.pid
NodeName=$host NodeAddr=127.0.0.1 CPUs=$slots RealMemory=$((slots * 3072))
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
EOF
export SLURM_CONF=$cluster/slurm.conf
munge=(runuser -u munge -- munged --foreground --key-file "$cluster/munge/key" --socket "$cluster/munge/socket"
    --pid-file "$cluster/munge/pid" --log-file "$cluster/munge/log" --seed-file "$cluster/munge/seed")
"${munge[@]}" >"$cluster/munged.log" 2>&1 &
pids+=($!)
for _ in $(seq 60); do [ -S "$cluster/munge/socket" ] && break; sleep 1; done
slurmctld -D >"$cluster/slurmctld.log" 2>&1 &
pids+=($!)
slurmd -D >"$cluster/slurmd.log" 2>&1 &
pids+=($!)
for _ in $(seq 120); do
    [ "$(sinfo -h -o %T 2>/dev/null)" = idle ] && break
    sleep 1
done
[ "$(sinfo -h -o %T)" = idle ] || { tail "$cluster"/*.log >&2; fail 'the node does not come up'; }
sinfo

if [ $# -gt 0 ]; then
    data=$(realpath -s "$1")
else
    say 'six phantoms'
    data=$cluster/data
    "$python" docker/make_phantoms.py "$data" 6
fi
subjects=$(find "$data" -maxdepth 1 -name 'sub-*' -printf '%f\n' | sort)
count=$(wc -l <<<"$subjects")
[ "$count" -ge 6 ] || fail "$data has $count subjects, and six are needed"

say "through nipype's plugin: each step of each of $count scans is a job"
cat >"$scratch/slurm.yml" <<EOF
plugin: SLURM
plugin_args:
  sbatch_args: --time=02:00:00
  max_jobs: 40
EOF
"${app[@]}" "$data" "$scratch/plugin" "${app_args[@]}" -w "$scratch/work" --nipype-plugin-file "$scratch/slurm.yml"
steps=$(grep -c 'JobState=COMPLETED' "$cluster/jobs")
echo "$steps jobs completed"
[ "$steps" -ge "$count" ] && [ $((steps % count)) -eq 0 ] || fail 'jobs are missing'
! grep -v 'JobState=COMPLETED' "$cluster/jobs" || fail 'a job failed'

say "as an array: $count jobs of one subject each, into the same output at the same time"
cat >"$scratch/array.sh" <<EOF
#!/bin/bash
#SBATCH --cpus-per-task=1 --mem=3G --array=1-$count --output=$scratch/array-%a.log
subject=\$(sed -n "\${SLURM_ARRAY_TASK_ID}p" "$scratch/subjects.txt")
exec ${app[*]} "$data" "$scratch/array" ${app_args[*]} --participant-label "\$subject"
EOF
echo "$subjects" >"$scratch/subjects.txt"
sbatch --wait "$scratch/array.sh" || { tail -n 5 "$scratch"/array-*.log >&2; fail 'a job of the array failed'; }
overlap=$(
    grep 'Name=array.sh' "$cluster/jobs" | grep -o '\(Start\|End\)Time=[^ ]*' | sort -t = -k 2 -s |
        awk -F Time= '$1 == "Start" { if (++n > most) most = n } $1 == "End" { n-- } END { print most + 0 }'
)
echo "up to $overlap jobs at the same time"
[ "$overlap" -ge 2 ] || fail 'the jobs of the array ran one after another: give more SLOTS'

say 'serially'
"${app[@]}" "$data" "$scratch/serial" "${app_args[@]}"

say 'the same result'
images=$(cd "$scratch/serial" && find . -name '*.nii.gz' | wc -l)
[ "$images" -eq $((3 * count)) ] || fail "$images images instead of three for each scan"
for way in plugin array; do
    # the settings that were written down last may be those of one subject alone
    diff -r --exclude config.toml "$scratch/serial" "$scratch/$way" || fail "$way: differs from the serial run"
done
[ "$(grep -c $'\tpass\t' "$scratch/array/logs/verdicts.tsv")" -eq "$count" ] || fail 'verdicts.tsv is not complete'
[ "$(find "$scratch/array" -maxdepth 1 -name 'sub-*.html' | wc -l)" -eq "$count" ] || fail 'a report is missing'
[ -z "$(find "$scratch" -path '*/work' -prune -o -name '*.tmp' -print)" ] || fail 'temporary files were left'

say 'a job that is killed fails its scan, and no other'
mkdir "$cluster/two"
cp "$data/dataset_description.json" "$cluster/two"
first=$(head -n 1 <<<"$subjects")
ln -s "$data/$first" "$cluster/two/$first"
mkdir -p "$cluster/two/sub-broken/anat"
echo 'this is no image' >"$cluster/two/sub-broken/anat/sub-broken_T1w.nii.gz"
code=0
"${app[@]}" "$cluster/two" "$scratch/killed" "${app_args[@]}" -w "$scratch/work-killed" \
    --nipype-plugin-file "$scratch/slurm.yml" &
run=$!
for _ in $(seq 2000); do
    job=$(squeue -h -t running -o '%i %j' | grep "skullstrip.*${first//[^[:alnum:]]/.}" | cut -d ' ' -f 1 || true)
    [ -z "$job" ] || break
    sleep 0.3
done
[ -n "$job" ] || fail 'there is no job to kill'
scancel "$job"
wait "$run" || code=$?
[ "$code" -eq 1 ] || fail "exit code $code instead of 1"
cut -f 1-3 "$scratch/killed/logs/verdicts.tsv"
grep -q "^$first/.*its job ended without a result" "$scratch/killed/logs/verdicts.tsv" || fail 'no reason is given'
! grep '^sub-broken.*its job ended' "$scratch/killed/logs/verdicts.tsv" || fail 'another scan has the same fate'
[ -z "$(find "$scratch/killed" -name '*.nii.gz')" ] || fail 'there is an image of a scan that failed'

say "$count scans: plugin, array and serial run have the same $images images, all passed"
