"""In continuous integration nothing may skip: a check that does not run is not a check."""

import os

# one thread, as in every job: two OpenMP threads wait for each other where another process takes a core
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also run what takes half an hour")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes half an hour; only with --long")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which is a failure where CI=true: {report.longrepr}"
