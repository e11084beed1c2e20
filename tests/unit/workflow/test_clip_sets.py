"""Sets of clips without the panoramas that nobody has here."""

from dataclasses import replace

from stages.hands.clip_config import ClipSet
from stages.hands.config import HandsConfig
from workflow.lib.catalogue import MORE_PANORAMAS, Catalogue
from workflow.lib.settings import load_registry, load_settings


def catalogue(*, unavailable: frozenset[str], more: bool = True) -> Catalogue:
    hands = HandsConfig(
        more_panoramas=more,
        sets={
            "mixed": ClipSet(panoramas=("city", "pmndrs_hall")),
            "far": ClipSet(panoramas=("pmndrs_hall",)),
        },
    )
    settings = replace(load_settings("smoke"), hands=hands)
    return Catalogue(scale="smoke", settings=settings, registry=load_registry(), unavailable=unavailable)


def test_panoramas_that_no_source_has_are_left_out_where_others_are() -> None:
    there, away = catalogue(unavailable=frozenset()), catalogue(unavailable=frozenset({MORE_PANORAMAS}))
    assert there.clip_set("mixed").panoramas == ("city", "pmndrs_hall")
    assert MORE_PANORAMAS in there.wanted()
    assert away.clip_set("mixed").panoramas == ("city",)
    # a set that has no others fails by its name, instead of becoming another set
    assert away.clip_set("far").panoramas == ("pmndrs_hall",)
    assert MORE_PANORAMAS not in catalogue(unavailable=frozenset(), more=False).wanted()
