"""Methods of data-free distillation: where a student's images come from, how they are made, and what is rehearsed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from stages.lib.inversion.objective import Objective

SOURCES = ("generator", "pool", "real", "noise", "untrained")
MEMORIES = ("none", "bank", "vae", "average")


@dataclass(frozen=True, kw_only=True)
class Method(Objective):
    """Defaults are PRE-DFKD's own generator and student, without rehearsal (its notes, section 2).

    source          of the student's images: a generator that learns beside it; a pool that rounds of inversion fill;
                    real images without labels; Gaussian noise; a generator that never learns, a new one each time
    temperature     of the student's loss; 0: mean absolute difference of logits
    student_steps   for each step of the generator
    shared          the student learns from the batch that the generator learned from, in place of fresh images
    memory          rehearsed beside new images: none; bank, the newest images; vae, a VAE's images (pseudo replay);
                    average, images of the generator's moving average (MAD)
    replay          rehearsed images for each new one
    teacher_response, balanced
                    parts of pseudo replay: the VAE matches the teacher's logits of its reconstructions; codes take one
                    step towards classes that are as likely
    inversion_steps of a round that fills the pool; fresh_start: the generator starts anew each round (CMI)
    contrast        weight of the contrast between images and those that were made before (CMI)
    """

    source: str = "generator"
    temperature: float = 0.0
    student_steps: int = 10
    shared: bool = False
    memory: str = "none"
    replay: float = 1 / 8
    teacher_response: bool = True
    balanced: bool = True
    inversion_steps: int = 0
    fresh_start: bool = False
    contrast: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, known in (("source", SOURCES), ("memory", MEMORIES)):
            if getattr(self, key) not in known:
                raise ValueError(f"{key} is {getattr(self, key)!r}: choose from {', '.join(known)}")
        if self.student_steps < 1:
            raise ValueError(f"student_steps is {self.student_steps}: choose 1 or more")
        if self.source == "pool" and self.inversion_steps < 1:
            raise ValueError("a pool needs inversion_steps of 1 or more")


_DAFL = Method(
    activation=0.001, balance=20.0, decimal=False, adversary="none", temperature=20.0, student_steps=5
)
_DFAD = Method(one_hot=0.0, balance=0.0, activation=0.0, adversary="difference", student_steps=5)
_PRE = Method(memory="vae")
_POOL = Method(
    source="pool",
    balance=0.0,
    activation=0.0,
    statistics=1.0,
    adversary="agreed",
    temperature=20.0,
    inversion_steps=5,
)

METHODS: Mapping[str, Method] = {
    "dafl": _DAFL,
    "dfad": _DFAD,
    "dfq": replace(_DAFL, activation=0.0, statistics=1.0, adversary="agreed", student_steps=10),
    # 200 steps and a pool of all in the paper; here short rounds, hence "lite". Its one-hot weight is Fast-Datafree's 1,
    # as in stages/expansion; the authors' earlier code has 0.5
    "cmi-lite": replace(_POOL, inversion_steps=40, fresh_start=True, adversary_weight=0.5, contrast=0.8),
    "fast-lite": replace(_POOL, statistics=10.0, one_hot=0.5),
    "mb": replace(_PRE, memory="bank"),
    "mad": replace(_DFAD, memory="average"),
    "pre": _PRE,
    "pre-none": replace(_PRE, memory="none"),
    "pre-quarter": replace(_PRE, replay=1 / 4),
    "pre-pixel": replace(_PRE, teacher_response=False),
    "pre-plain-codes": replace(_PRE, balanced=False),
    "pre-fixed": replace(_PRE, adversary="fixed"),
    "pre-dfad": replace(_DFAD, memory="vae"),
    "real": Method(source="real"),
    "noise": Method(source="noise"),
    "untrained": Method(source="untrained"),
}
