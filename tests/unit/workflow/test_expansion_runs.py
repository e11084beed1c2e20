"""Studies of condensed expansion whose data no source has here."""

import json

from workflow.lib.catalogue import Catalogue
from workflow.lib.settings import load_registry, load_settings


def catalogue(unavailable: frozenset[str]) -> Catalogue:
    return Catalogue(
        scale="laptop",
        settings=load_settings("laptop"),
        registry=load_registry(),
        unavailable=unavailable,
    )


def test_the_workflow_is_planned_without_the_data_of_any_study() -> None:
    there, away = catalogue(frozenset()), catalogue(frozenset({"fashion-mnist"}))
    # a study without arms is the chain's
    studies = {name for name, study in there.settings.expansion.studies.items() if study.arms}
    assert set(json.loads(there.expansion_differences())) == studies != set()
    assert json.loads(away.expansion_differences()) == {}
    assert away.expansion_runs() == []
