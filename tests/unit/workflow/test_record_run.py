"""What counts as the same run: everything but when, where and how fast."""

import json

from workflow.lib.record_run import differences, digests_of, verdict_changes


def made(folder, *, accuracy="0.9", cpu_s=1.0):
    (folder / "logs").mkdir(parents=True)
    (folder / "logs/a.log").write_text(f"{cpu_s} s")
    (folder / "table.csv").write_text(f"format,accuracy,cpu_s\nINT4,{accuracy},{cpu_s}\n")
    (folder / "metrics.json").write_text(json.dumps([{"cpu_s": cpu_s, "accuracy": float(accuracy)}]))
    (folder / "weights.safetensors").write_bytes(b"weights")
    return digests_of(folder)


def test_time_makes_no_difference_and_anything_else_does(tmp_path):
    first, slower, other = (
        made(tmp_path / "a"),
        made(tmp_path / "b", cpu_s=2.0),
        made(tmp_path / "c", accuracy="0.8"),
    )
    assert sorted(first) == ["metrics.json", "table.csv", "weights.safetensors"]
    assert differences(slower, first) == ["3 of 3 outputs are the recorded ones to the last bit"]
    assert differences(other, first) == [
        "1 of 3 outputs are the recorded ones to the last bit",
        "  differs: metrics.json",
        "  differs: table.csv",
    ]
    assert differences({"new": "0"}, {"old": "0"})[1:] == ["  not recorded: new", "  not made: old"]


def test_claims_with_another_verdict_are_named():
    kept = [{"id": "A1", "verdict": "reproduced"}, {"id": "A2", "verdict": "inconclusive"}]
    ours = [{"id": "A1", "verdict": "reproduced"}, {"id": "A2", "verdict": "not reproduced"}]
    assert verdict_changes(ours, kept) == [
        "1 of 2 verdicts are the recorded ones",
        "  A2: inconclusive -> not reproduced",
    ]
