"""What a generator is to learn, as weights. Settings are checked without torch, which takes seconds to load."""

from dataclasses import dataclass

ADVERSARIES = ("none", "difference", "agreed", "released", "fixed")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Weights of the generator's losses, see losses.py; those of PRE-DFKD stand here (its notes, section 2.1).

    one_hot, balance, activation, statistics
               statistics needs batch norms; decimal: the balance of classes with log10 (PRE), else ln (DAFL)
    adversary  what sets generator and student against each other, and adversary_weight
    """

    one_hot: float = 1.0
    balance: float = 5.0
    activation: float = 0.1
    statistics: float = 0.0
    decimal: bool = True
    adversary: str = "released"
    adversary_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.adversary not in ADVERSARIES:
            raise ValueError(f"adversary is {self.adversary!r}: choose from {', '.join(ADVERSARIES)}")
