"""Segment slides on a SLURM cluster: jobs of workers that come and go, one wsinuc command.

    pip install dask-jobqueue
    python slurm.py /shared/out /shared/slides/*.svs

Run it where ``sbatch`` works, on a machine that the jobs can reach. Adapt queue, time and size of a job.
"""

from __future__ import annotations

import subprocess
import sys

from dask_jobqueue import SLURMCluster

ALLOCATOR = "export MALLOC_ARENA_MAX=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=268435456"
"""Freed memory is used again; with Dask's own settings a CPU spends almost half of its time on asking for it."""


def main(out: str, slides: list[str]) -> int:
    """Start between 2 and 20 jobs of 8 worker processes each, and run wsinuc on them."""
    cluster = SLURMCluster(
        queue="normal",
        walltime="04:00:00",
        cores=8,
        processes=8,  # one block at a time in each
        memory="32GB",
        job_script_prologue=[ALLOCATOR],
        # Workers leave before their job's time is up, one after another, so that no block is lost to it.
        worker_extra_args=["--lifetime", "225m", "--lifetime-stagger", "10m"],
        # for a GPU job instead: cores=4, processes=1, job_extra_directives=["--gres=gpu:1"],
        # and "--resources", "accelerator=4" among worker_extra_args
    )
    with cluster:
        cluster.adapt(minimum_jobs=2, maximum_jobs=20)
        cluster.wait_for_workers(1)  # however long the queue is; wsinuc itself waits a minute
        command = ["wsinuc", "segment", *slides, "-o", out, "--scheduler", cluster.scheduler_address]
        return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
