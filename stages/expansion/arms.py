"""Arms of the comparison: what the student learns from, what guides inversion, and the hosts that are guided."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from stages.lib.inversion.objective import Objective

GUIDES = ("none", "conditional", "unconditional", "moments")
CONDENSATIONS = ("dm", "dc", "random", "herding", "rded")


@dataclass(frozen=True, kw_only=True)
class Host(Objective):
    """A method of inversion that fills a pool. Weights are those of its public code where they are known.

    fresh_start  the generator starts anew each round (CMI); contrast: weight of CMI's contrast with earlier images
    """

    balance: float = 0.0
    activation: float = 0.0
    statistics: float = 1.0
    adversary: str = "agreed"
    fresh_start: bool = False
    contrast: float = 0.0


HOSTS: Mapping[str, Host] = {
    "fast": Host(statistics=10.0, one_hot=0.5),
    # its authors published a one-hot weight of 1 (Fast-Datafree, which has the other hosts too) and of 0.5 (their earlier
    # code): 1, so that all hosts are of one source, and the same here as in stages/replay
    "cmi": Host(adversary_weight=0.5, fresh_start=True, contrast=0.8),
    # PRE-DFKD's generator; its images go to a pool as those of the others do
    "pre": Host(statistics=0.0, balance=5.0, activation=0.1, adversary="released"),
}


@dataclass(frozen=True, kw_only=True)
class Arm:
    """inverted     the student learns from a pool of inverted images
    condensed    the student learns from the condensed set
    guide        what draws made features to those of the condensed set
    augmented    the guide sees augmented images
    condensation of the set; empty: the study's
    """

    inverted: bool = True
    condensed: bool = True
    guide: str = "none"
    augmented: bool = True
    condensation: str = ""

    def __post_init__(self) -> None:
        if self.guide not in GUIDES:
            raise ValueError(f"guide is {self.guide!r}: choose from {', '.join(GUIDES)}")


_GUIDED = Arm(guide="conditional")

ARMS: Mapping[str, Arm] = {
    "condensed-only": Arm(inverted=False),
    "inversion-only": Arm(condensed=False),
    "naive": Arm(),
    "guided": _GUIDED,
    "guided-unconditional": replace(_GUIDED, guide="unconditional"),
    "guided-moments": replace(_GUIDED, guide="moments"),
    "guided-plain": replace(_GUIDED, augmented=False),
    "guided-random": replace(_GUIDED, condensation="random"),
    "guided-herding": replace(_GUIDED, condensation="herding"),
    "guided-rded": replace(_GUIDED, condensation="rded"),
}
