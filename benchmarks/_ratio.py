"""Times of several jobs that may be compared with each other, on a machine whose speed varies.

Worker threads of OpenBLAS and OpenMP keep spinning for a while after a call and slow the other
library down.  So each job has blocks of its own, with a pause before each, and the jobs take
turns for several rounds.  The best sample counts, for others may use the machine meanwhile; a
sample lasts as long for every job, since short ones would find a quiet moment more often.
"""

import time
from collections.abc import Mapping
from typing import NamedTuple

from ._jobs import Job, matrix_product

PAUSE = 0.3
# A sample is the mean of as many calls as fit into this, about the time of a matrix product.
SAMPLE = 0.1
SAMPLES = 5
ROUNDS = 5
PRODUCT = "matrix product"


class Sample(NamedTuple):
    seconds: float
    # Processor time over time: fewer than threads when others had the processor.
    cores: float


def best_samples(
    jobs: Mapping[str, Job], rounds: int = ROUNDS, samples: int = SAMPLES, pause: float = PAUSE
) -> dict[str, Sample]:
    """The best sample of each job.  Without another library's threads among them, `pause` may be short."""
    found: dict[str, list[Sample]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            time.sleep(pause)
            job()  # wakes the threads
            found[name] += [_sample(job) for _ in range(samples)]
    return {name: min(of_job) for name, of_job in found.items()}


def in_products(job: Job, rounds: int = ROUNDS, samples: int = SAMPLES) -> float:
    """What a job takes, as a share of one float32 product of 2048 x 2048 matrices."""
    best = best_samples({PRODUCT: matrix_product(), "job": job}, rounds, samples)
    return best["job"].seconds / best[PRODUCT].seconds


def _sample(job: Job) -> Sample:
    began, used, total, calls = time.perf_counter(), time.process_time(), 0.0, 0
    while calls == 0 or time.perf_counter() - began < SAMPLE:
        total += job()
        calls += 1
    return Sample(total / calls, (time.process_time() - used) / (time.perf_counter() - began))
