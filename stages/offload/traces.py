"""Recorded routing: what a model's gates said of real texts, from which every policy can be replayed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stages.lib.core.artifacts import read_arrays, write_arrays
from stages.lib.core.errors import InputError
from stages.offload.routing import counts_of

Array = np.ndarray
PREDICTORS = ("next_gate", "previous_token", "frequency", "oracle")


@dataclass(frozen=True, kw_only=True)
class RoutingTrace:
    """Texts side by side; each has a prompt that is read at once and tokens that follow one at a time.

    prompt   (texts, layers, experts) int64, tokens of the prompt that each expert gets
    logits   (texts, tokens, layers, experts) float32 of the gates
    ahead    likewise: gate l + 1, asked with layer l's input; of the last layer 0
    domain   (texts,) index into `domains`
    top_k    experts of a token
    prefill  tokens of a prompt
    """

    prompt: Array
    logits: Array
    ahead: Array
    domain: Array
    domains: Sequence[str]
    top_k: int
    prefill: int

    @property
    def layers(self) -> int:
        return self.logits.shape[2]

    @property
    def experts(self) -> int:
        return self.logits.shape[3]

    @property
    def tokens(self) -> int:
        return self.logits.shape[1]

    def chosen(self) -> Array:
        """(texts, tokens, layers, top_k) int64, the best first."""
        return top_experts(self.logits, self.top_k)

    def shares(self) -> Array:
        """(texts, tokens, layers, top_k) float32 weights of the chosen experts, which add up to 1."""
        best = np.take_along_axis(self.logits, self.chosen(), -1)
        weights = np.exp(best - best.max(-1, keepdims=True))
        return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)

    def decode_counts(self) -> Array:
        """(texts, layers, experts) int64, choices of each expert after the prompt."""
        return counts_of(self.chosen().swapaxes(1, 2), self.experts)

    def of(self, texts: Array) -> "RoutingTrace":
        """Some of the texts, by index or mask."""
        one_each = ("prompt", "logits", "ahead", "domain")
        return replace(self, **{key: getattr(self, key)[texts] for key in one_each})

    def foreseen_by(self, predictor: str, counts: Array) -> "RoutingTrace":
        """The same routing with another prediction in `ahead`; counts (layers, experts) of calibration.

        next_gate as recorded; previous_token: what the layer's gate said of it; frequency: the most used of calibration;
        oracle: what the gate will say. Raises InputError for another name.
        """
        below = np.zeros_like(self.ahead)
        if predictor == "next_gate":
            below = self.ahead
        elif predictor == "previous_token":
            below[:, 1:, :-1] = self.logits[:, :-1, 1:]
        elif predictor == "frequency":
            below[:, :, :-1] = np.log(np.maximum(counts[1:], 0.5))
        elif predictor == "oracle":
            below[:, :, :-1] = self.logits[:, :, 1:]
        else:
            raise InputError(f"there is no predictor {predictor!r}: choose from {', '.join(PREDICTORS)}")
        return replace(self, ahead=below)

    def stretched(self, layers: int) -> "RoutingTrace":
        """As if from a model of `layers` layers: each takes the routing of the layer at its share of the depth.

        Layers that take the same one read it at tokens as far apart as the text allows, so that they are not equal;
        every layer keeps its own text's prompt, skew and quality of prediction. What is lost is how the choices of
        neighbouring layers depend on each other.
        """
        source = np.arange(layers) * self.layers // layers
        copies = np.bincount(source)[source]
        number = np.arange(layers) - np.searchsorted(source, source)
        token = (np.arange(self.tokens)[:, None] + number * self.tokens // copies) % self.tokens
        ahead = np.zeros((len(self.logits), self.tokens, layers, self.experts), np.float32)
        # a layer's prediction is the one made for the layer and token that it takes; none was made for the first
        predicted = source[1:] > 0
        ahead[:, :, :-1][:, :, predicted] = self.ahead[
            :, token[:, 1:][:, predicted], source[1:][predicted] - 1
        ]
        return replace(self, prompt=self.prompt[:, source], logits=self.logits[:, token, source], ahead=ahead)


def top_experts(logits: Array, top_k: int) -> Array:
    """(..., top_k) int64, the best first, equal ones in their order; logits (..., experts)."""
    return np.argsort(-logits, axis=-1, kind="stable")[..., :top_k]


def write_trace(path: str | Path, trace: RoutingTrace) -> None:
    """NPZ; logits in float16, whose order is what counts."""
    write_arrays(
        path,
        {
            "prompt": trace.prompt.astype(np.int32),
            "logits": trace.logits.astype(np.float16),
            "ahead": trace.ahead.astype(np.float16),
            "domain": trace.domain.astype(np.int32),
            "domains": np.array(trace.domains),
            "top_k": np.array(trace.top_k),
            "prefill": np.array(trace.prefill),
        },
    )


def read_trace(path: str | Path) -> RoutingTrace:
    """Raises InputError where the file is no trace."""
    found = read_arrays(path)
    wanted = {"prompt", "logits", "ahead", "domain", "domains", "top_k", "prefill"}
    if missing := wanted - found.keys():
        raise InputError(f"{path} is no routing trace: it lacks {min(missing)}; record it again")
    texts, _, layers, experts = found["logits"].shape
    if found["ahead"].shape != found["logits"].shape or found["prompt"].shape != (texts, layers, experts):
        raise InputError(f"{path}: the arrays of the trace do not fit each other; record it again")
    return RoutingTrace(
        prompt=found["prompt"].astype(np.int64),
        logits=found["logits"].astype(np.float32),
        ahead=found["ahead"].astype(np.float32),
        domain=found["domain"],
        domains=tuple(str(name) for name in found["domains"]),
        top_k=int(found["top_k"]),
        prefill=int(found["prefill"]),
    )


def seed_of(path: str | Path) -> int:
    """The seed of the model behind a file in a folder NAME-sN; 0 where the folder names none."""
    found = re.fullmatch(r".*-s(\d+)", Path(path).parent.name)
    return int(found[1]) if found else 0
