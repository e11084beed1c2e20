"""Settings of the stage `claims`, and the claims themselves (config/claims.yaml)."""

from dataclasses import dataclass

PAPERS = ("egogestvid", "pre_dfkd", "condensed_expansion", "crisp", "minifloats", "halo", "daop")
CLASSES = ("exact", "trend", "paper value")
OPERATORS = ("==", ">=", "<=", ">", "<")


@dataclass(frozen=True, kw_only=True)
class ClaimsConfig:
    """The stage `claims`."""

    confidence: float = 0.95  # of every interval, 0..1

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence}: choose 0.5 or more, and less than 1")


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The measured value must stand in this relation to `value`."""

    relation: str  # ==, >=, <=, > or <
    value: float  # in the measurement's unit

    def __post_init__(self) -> None:
        if self.relation not in OPERATORS:
            raise ValueError(f"relation is {self.relation!r}: choose one of {' '.join(OPERATORS)}")


@dataclass(frozen=True, kw_only=True)
class Published:
    """What the paper reports, as far as it was seen."""

    value: str  # number with its unit
    evidence: str  # where it was seen: paper abstract, second-hand summary, authors' code, ...


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim."""

    id: str  # as in the papers' specifications
    paper: str  # target that measures it
    kind: str  # exact, trend or paper value
    statement: str  # what is claimed
    decided_by: str  # measurement that decides it
    controls: str = ""  # what is run beside it
    origin: str = "paper"  # paper, or ours where the paper does not claim it
    published: Published | None = None  # None where no value was seen
    bound: Bound | None = None  # None until a stage measures it
    datasets: tuple[str, ...] = ()  # sets that the measurement needs

    def __post_init__(self) -> None:
        if self.paper not in PAPERS:
            raise ValueError(f"paper is {self.paper!r}: choose one of {', '.join(PAPERS)}")
        if self.kind not in CLASSES:
            raise ValueError(f"kind is {self.kind!r}: choose one of {', '.join(CLASSES)}")


@dataclass(frozen=True, kw_only=True)
class ClaimList:
    """config/claims.yaml."""

    claims: tuple[Claim, ...]  # in the order of the papers

    def __post_init__(self) -> None:
        ids = [claim.id for claim in self.claims]
        if doubled := sorted({id for id in ids if ids.count(id) > 1}):
            raise ValueError(f"the claim {doubled[0]} is listed twice")
