"""The critical path of a finished run, by hand."""

from workflow.lib.bench_overhead import Run, critical_path


def test_the_path_goes_back_through_the_jobs_that_others_waited_for():
    #  a 0-4   c 4-9      e 9-10
    #  b 0-3   d 3.5-6
    runs = [Run(name=n, start_s=s, end_s=e) for n, s, e in
            [("a", 0, 4), ("b", 0, 3), ("c", 4, 9), ("d", 3.5, 6), ("e", 9, 10)]]  # fmt: skip
    assert [run.name for run in critical_path(runs)] == ["a", "c", "e"]
