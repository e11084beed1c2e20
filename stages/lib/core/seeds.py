"""Seeds: one number from the configuration, one independent stream for every use of chance."""

import hashlib

import numpy as np


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one use of chance, named by `names`: `derive_seed(0, "augment", epoch)`.

    Streams with different names are independent, so an added use of chance never shifts another one.
    """
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """The numpy generator of the stream that `derive_seed` names."""
    return np.random.default_rng(derive_seed(seed, *names))
