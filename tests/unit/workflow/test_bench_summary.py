"""The table of benchmarks holds what the bench files say, and their spread over runs."""

import json

import pytest

from stages.lib.core.errors import InputError
from workflow.lib import bench_summary
from workflow.lib.bench_overhead import Run, WholeRun

LINE = {
    "id": "sparse-fp32",
    "ours": 12.345,
    "peer": 4.1,
    "peer_name": "torch | dense",
    "peer_version": "2.13.0",
    "ratio": 3.011,
    "ratio_runs": [2.5, 3.011, 3.75],
    "unit": "GFLOP/s",
    "runs": 3,
    "device": {"device": "cpu", "cpu": "A CPU", "threads": 1},
}
NO_VERSION = LINE | {"id": "threads", "peer_name": "ours with one thread", "peer_version": ""}


def test_a_row_has_the_peer_with_its_version_and_the_spread_over_runs():
    rows = [
        line for line in bench_summary.summary([LINE, NO_VERSION], None).splitlines() if "GFLOP/s" in line
    ]
    assert rows == [
        "| sparse-fp32 | 12.3 GFLOP/s | 4.1, torch \\| dense 2.13.0 | 3.01 | 2.50 to 3.75 | 3 | cpu, A CPU, 1 threads |",
        "| threads | 12.3 GFLOP/s | 4.1, ours with one thread | 3.01 | 2.50 to 3.75 | 3 | cpu, A CPU, 1 threads |",
    ]


def test_the_workflow_s_own_cost_stands_below_where_a_run_s_records_are_here():
    whole = WholeRun(wall_s=100, cores=2, jobs=[Run(name="a", start_s=0, end_s=90)])
    last = bench_summary.summary([LINE], whole).splitlines()[-1]
    assert last.startswith("The workflow itself: 10.0% of a run of 1 jobs on 2 cores (100 s)")


def test_the_command_reads_every_file_of_a_scale_and_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_summary, "ROOT", tmp_path)
    with pytest.raises(InputError, match="results/smoke/bench holds no benchmark"):
        bench_summary.main(["--scale", "smoke"])
    folder = tmp_path / "results" / "smoke" / "bench"
    folder.mkdir(parents=True)
    for name, lines in (("b", [NO_VERSION]), ("a", [LINE])):
        (folder / f"{name}.json").write_text(json.dumps(lines))
    bench_summary.main(["--scale", "smoke"])
    page = (tmp_path / "results" / "smoke" / "bench.md").read_text()
    assert capsys.readouterr().out == page
    assert page.index("| sparse-fp32 |") < page.index("| threads |")
