"""How unevenly tokens use experts, and how well it can be foreseen: counts and router logits in, shares out."""

import numpy as np

Array = np.ndarray


def counts_of(chosen: Array, experts: int) -> Array:
    """(..., experts) how often each expert was chosen; chosen (..., tokens, top_k)."""
    flat = chosen.reshape(-1, chosen.shape[-2] * chosen.shape[-1])
    found = np.stack([np.bincount(row, minlength=experts) for row in flat])
    return found.reshape(*chosen.shape[:-2], experts)


def top_share(counts: Array, k: int) -> Array:
    """(...,) share of the choices that the k most used experts took; counts (..., experts)."""
    ordered = np.sort(counts, axis=-1)[..., ::-1]
    return ordered[..., :k].sum(-1) / ordered.sum(-1)


def top_share_of_noise(counts: Array, k: int, generator: np.random.Generator) -> Array:
    """top_share of as many choices, drawn from the mean over axis 0: how uneven chance alone makes a short text.

    counts  (sequences, layers, experts)
    """
    shares = counts.sum(0) / counts.sum(0).sum(-1, keepdims=True)
    totals = counts.sum(-1)
    drawn = [
        [generator.multinomial(totals[s, layer], shares[layer]) for layer in range(counts.shape[1])]
        for s in range(len(counts))
    ]
    return top_share(np.array(drawn), k)


def cosine(a: Array, b: Array) -> Array:
    """Cosine similarity over the last axis."""
    a, b = a.astype(float), b.astype(float)
    return (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
