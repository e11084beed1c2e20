"""What DAOP's approximations cost: a model answers with wrong experts, or with right ones on old inputs.

Texts and approximations are one batch, each row with its own experts and its own experts on the GPU. Texts are given
(teacher forcing); prompts are exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.lib.nets.moe import Choice, KeyValueCache, MoeLM


@dataclass(frozen=True, kw_only=True)
class Approximation:
    """What is done in the layers that are predicted; all False: nothing.

    predict  the gate's choice is that of the next gate, asked one layer early, with its shares
    stale    experts that are not on the GPU get the input of the layer before
    degrade  where no chosen expert is on the GPU, the last is replaced by the best that is
    top      experts that are kept of the top k; 0: all
    drop     no expert's output is added (control)
    random   experts drawn at random, with equal shares (control)
    ratio    share of all experts on the GPU, where it matters
    """

    name: str
    predict: bool = False
    stale: bool = False
    degrade: bool = False
    top: int = 0
    drop: bool = False
    random: bool = False
    ratio: float = 0.5


def approximations(ratios: Sequence[float]) -> list[Approximation]:
    """DAOP's parts one after another, at each ratio, and controls that say how much there is to lose."""
    found = [
        Approximation(name="exact"),
        Approximation(name="predicted routing", predict=True),
        Approximation(name="best expert alone", top=1),
        Approximation(name="random experts", random=True),
        Approximation(name="no experts", drop=True),
    ]
    for ratio in ratios:
        found += [
            Approximation(name="stale input", stale=True, ratio=ratio),
            Approximation(name="degraded routing", degrade=True, ratio=ratio),
            Approximation(name="predicted, stale", predict=True, stale=True, ratio=ratio),
            Approximation(name="predicted, degraded", predict=True, degrade=True, ratio=ratio),
            Approximation(name="DAOP", predict=True, stale=True, degrade=True, ratio=ratio),
        ]
    return found


@torch.inference_mode()
def answer_losses(
    model: MoeLM, windows: Tensor, ways: Sequence[Approximation], resident: Tensor, *, prompt: int, first: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Each (ways, texts): mean negative log-likelihood of the answer in nats, and share of tokens of which the likeliest
    next one is the exact model's.

    windows   (texts, prompt + answer) int64
    resident  (ways, texts, layers, experts) bool
    first     layer from which the approximations hold
    """
    texts, length = windows.shape
    device = windows.device
    rows = torch.arange(texts, device=device).repeat(len(ways))
    flags = {
        key: torch.tensor([bool(getattr(way, key)) for way in ways], device=device).repeat_interleave(texts)
        for key in ("predict", "stale", "degrade", "top", "drop", "random")
    }
    on_gpu = resident.flatten(0, 1)
    whole = KeyValueCache()
    logits = model(windows[:, :prompt], whole)[:, -1]
    cache = whole.of_rows(rows)
    logits = logits[rows]
    losses, agree = torch.zeros(len(rows), device=device), torch.zeros(len(rows), device=device)
    exact = [i for i, way in enumerate(ways) if way.name == "exact"]
    for at in range(prompt, length):
        losses += F.cross_entropy(logits, windows[rows, at], reduction="none")
        best = logits.argmax(-1).view(len(ways), texts)
        agree += (best == best[exact[0]]).flatten()
        logits = _step(model, windows[rows, at, None], cache, flags, on_gpu, first, generator)
    answer = length - prompt
    return (losses / answer).view(len(ways), texts).cpu(), (agree / answer).view(len(ways), texts).cpu()


def _step(
    model: MoeLM, tokens: Tensor, cache: KeyValueCache, flags: dict[str, Tensor], on_gpu: Tensor, first: int,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """(rows, vocabulary) logits after one more token of each row."""
    x, turn = model.embed(tokens, cache.length)
    before = ahead = torch.empty(0)
    for index, layer in enumerate(model.layers):
        x, h = layer.attend(x, turn, cache, index)
        choice = layer.moe.route(h)
        if index >= first:
            there = on_gpu[:, index]
            choice = _approximated(choice, ahead, there, flags, generator)
            old = flags["stale"][:, None] & ~there.gather(1, choice.experts)
            fresh = layer.moe.mix(h, Choice(choice.logits, choice.shares * ~old, choice.experts))
            late = layer.moe.mix(before, Choice(choice.logits, choice.shares * old, choice.experts))
            mixed = fresh + late
        else:
            mixed = layer.moe.mix(h, choice)
        x = x + mixed.view_as(x)
        if index + 1 < len(model.layers):
            before, ahead = h, model.layers[index + 1].moe.router(h).float()
    return model.read_out(x)[:, 0]


def _approximated(
    choice: Choice, ahead: Tensor, there: Tensor, flags: dict[str, Tensor], generator: torch.Generator
) -> Choice:
    """Experts and shares of each row as its approximation has them; there (rows, experts) bool, those on the GPU."""
    k = choice.experts.shape[1]
    logits = torch.where(flags["predict"][:, None], ahead, choice.logits.float())
    experts = logits.topk(k).indices
    lost = flags["degrade"] & ~there.gather(1, experts).any(1) & there.any(1)
    spare = logits.masked_fill(~there, -torch.inf).argmax(1)
    experts = experts.clone()
    experts[:, -1] = torch.where(lost, spare, experts[:, -1])
    shares = logits.gather(1, experts).softmax(1)
    # what is neither predicted nor degraded has the gate's own shares, whatever its rule
    own = ~(flags["predict"] | lost)[:, None]
    experts, shares = torch.where(own, choice.experts, experts), torch.where(own, choice.shares, shares)
    drawn = torch.rand(there.shape, generator=generator).topk(k).indices.to(there.device)
    experts = torch.where(flags["random"][:, None], drawn, experts)
    shares = torch.where(flags["random"][:, None], torch.full_like(shares, 1 / k), shares)
    alone = torch.zeros_like(shares)
    alone[:, 0] = 1
    shares = torch.where(flags["top"][:, None], alone, shares)
    return Choice(logits, shares * ~flags["drop"][:, None], experts)
