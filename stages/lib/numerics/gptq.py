"""GPTQ: round a layer's weight column by column and make up for each error in the columns still to come.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers" (ICLR 2023),
algorithm 1. The code book is a function of the caller's, so that integers, minifloats and non-uniform sets, with
any granularity of scales, share this one loop.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from stages.lib.core.errors import InputError

RoundColumns = Callable[[Tensor, Tensor], Tensor]
DAMPING_TRIES = 4


def gptq(
    weight: Tensor,
    gram: Tensor,
    round_columns: RoundColumns,
    *,
    damping: float = 0.01,
    order: Literal["natural", "activation"] = "natural",
    block: int = 128,
    factor: Tensor | None = None,
) -> Tensor:
    """(O, K) float32: values of the code book that nearly minimise the squared error of the layer's outputs.

    weight         (O, K) float32, not changed
    gram           (K, K) = X X^T over the layer's inputs X (K, columns), in any scaling
    round_columns  (values (O, b), columns (b,) int64) -> (O, b): values of the code book nearest to `values`, which
                   stand in the weight's columns `columns`; one column a call
    damping        share of the Gram matrix's mean diagonal that is added to the diagonal; tenfold after each
                   factorisation that fails
    order          "activation": columns with the largest inputs first (act-order), wherever they stand
    block          columns whose errors reach the rest of the weight in one matrix product
    factor         inverse_factor(gram, damping), where it is at hand: several weights may read the same inputs

    A column whose input is always 0 is rounded to the nearest. (The published code sets it to 0; data unlike the
    calibration set would then miss it.) Raises InputError where the Gram matrix is not finite.
    """
    columns = torch.arange(len(gram), device=gram.device)
    if order == "activation":
        columns = gram.diagonal().argsort(descending=True, stable=True)
    if factor is None:
        factor = inverse_factor(gram[columns][:, columns], damping)
    elif order != "natural":
        raise ValueError("a factor that is at hand is of the natural order")
    factor = factor.to(weight.dtype)
    rest = weight.T[columns]  # transposed: a column of the weight lies in one piece
    rounded, errors = torch.empty_like(rest), torch.empty_like(rest)
    for start in range(0, len(rest), block):
        end = min(start + block, len(rest))
        for i in range(start, end):
            rounded[i] = round_columns(rest[i].unsqueeze(1), columns[i : i + 1]).squeeze(1)
            errors[i] = (rest[i] - rounded[i]) / factor[i, i]
            rest[i + 1 : end].addr_(factor[i, i + 1 : end], errors[i], alpha=-1)
        rest[end:].addmm_(factor[start:end, end:].T, errors[start:end], alpha=-1)
    result = torch.empty_like(rest)
    result[columns] = rounded
    return result.T.contiguous()


def inverse_factor(gram: Tensor, damping: float = 0.01) -> Tensor:
    """Upper triangular U, float64, with U^T U = (gram + damping * mean diagonal)^-1.

    The lower factor L of the matrix in reverse order gives it in one step: U is L^-1, reversed again.
    """
    hessian = gram.double()
    diagonal = hessian.diagonal()
    dead = diagonal == 0
    mean = diagonal.mean() if not dead.all() else torch.ones_like(diagonal[0])
    for attempt in range(DAMPING_TRIES):
        damped = hessian + torch.diag(mean * (damping * 10**attempt + dead))
        lower, failed = torch.linalg.cholesky_ex(damped.flip(0, 1))
        if not failed:
            eye = torch.eye(len(gram), dtype=lower.dtype, device=lower.device)
            return torch.linalg.solve_triangular(lower, eye, upper=False).flip(0, 1)
    raise InputError(
        "the Gram matrix of a layer's inputs cannot be factorised, even with a damping of"
        f" {damping * 10 ** (DAMPING_TRIES - 1):g}: look for NaN or infinity in the network or its calibration images,"
        " and keep damping above 0"
    )
