"""The critical path of a finished run, by hand; and which run's records are whole."""

import os

import pytest

from workflow.lib.bench_overhead import Run, critical_path, last_run

LOG = """  Command: /x/snakemake/__main__.py --cores 2 --config scale=smoke device=auto -- all
Provided cores: 2 (use --cores to define parallelism)
Finished jobid: 3 (Rule: train_teacher)
Finished jobid: 2 (Rule: plot)
Finished jobid: 0 (Rule: all)
3 of 3 steps (100%) done
Elapsed time: 0:01:40.000000
"""


def test_the_path_goes_back_through_the_jobs_that_others_waited_for():
    #  a 0-4   c 4-9      e 9-10
    #  b 0-3   d 3.5-6
    runs = [Run(name=n, start_s=s, end_s=e) for n, s, e in
            [("a", 0, 4), ("b", 0, 3), ("c", 4, 9), ("d", 3.5, 6), ("e", 9, 10)]]  # fmt: skip
    assert [run.name for run in critical_path(runs)] == ["a", "c", "e"]


@pytest.fixture
def checkout(tmp_path):
    """A checkout in which a run of 100 s ended at 10,000 s: 60 s of training, then 30 s of plotting."""
    for name, text, end_s in (
        ("results/smoke/benchmarks/train_teacher/a.tsv", "s\tmax_rss\n60.0\t1\n", 9960),
        ("results/smoke/benchmarks/plot.tsv", "s\tmax_rss\n30.0\t1\n", 9990),
        (".snakemake/log/1.snakemake.log", LOG, 10_000),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (end_s, end_s))
    return tmp_path


def test_overhead_of_a_run_whose_records_are_here(checkout):
    whole = last_run(checkout, "smoke")
    assert (whole.wall_s, whole.cores, len(whole.jobs)) == (100, 2, 2)
    assert whole.overhead == pytest.approx(0.1)
    assert last_run(checkout, "laptop") is None


def test_a_run_of_which_a_job_ran_again_later_says_nothing(checkout):
    os.utime(checkout / "results/smoke/benchmarks/plot.tsv", (20_000, 20_000))
    assert last_run(checkout, "smoke") is None
