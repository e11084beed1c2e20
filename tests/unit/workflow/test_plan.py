"""A plan's jobs and time."""

from workflow.lib.plan import Job, parse_jobs, wall_s

DRY_RUN = """
rule train_teacher:
    output: results/smoke/models/a/model.json
    benchmark: results/smoke/benchmarks/train_teacher/a.tsv

localrule all:
    input: results/smoke/report.html
"""


def test_jobs_are_those_with_a_benchmark():
    assert parse_jobs(DRY_RUN) == [
        Job(rule="train_teacher", benchmark="results/smoke/benchmarks/train_teacher/a.tsv")
    ]


def test_wall_time_is_bounded_by_the_longest_job_and_the_shared_sum():
    assert wall_s([10, 10, 10, 10], 2) == 20
    assert wall_s([30, 1], 2) == 30
    assert wall_s([], 2) == 0
