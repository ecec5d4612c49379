#!/bin/sh
# A scheduler on this machine, a worker process per core on each host of a list, then wsinuc.
#
#     sh hosts.sh "host1 host2" /shared/slides/a.svs /shared/out
#
# Needs ssh without a password, the same environment on every host, and a shared file system.
set -eu
# Blocks leave a few hundred bytes behind, so there is nothing to spill, and a worker that pauses helps nobody.
memory=DASK_DISTRIBUTED__WORKER__MEMORY__
settings="${memory}TARGET=False ${memory}SPILL=False ${memory}PAUSE=False"
# Freed memory is used again; with Dask's own settings a CPU spends almost half of its time on asking for it.
settings="$settings MALLOC_ARENA_MAX=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=268435456"
hosts=$1 slide=$2 out=$3
mkdir -p "$out"
file=$out/scheduler.json
rm -f "$file"

dask scheduler --scheduler-file "$file" --no-dashboard &
scheduler=$!
trap 'kill $scheduler' EXIT # workers end by themselves when their scheduler is gone for --death-timeout seconds

# -1: as many processes as cores. Not "auto", which would start fewer of them with several threads each.
for host in $hosts; do
    ssh "$host" "env $settings dask worker --scheduler-file '$file' --nworkers -1 --nthreads 1 --death-timeout 60" &
done

wsinuc segment "$slide" -o "$out" --scheduler-file "$file"
