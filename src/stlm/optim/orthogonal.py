"""The nearest matrices with all singular values about one, by odd polynomials of fifth order: products of matrices are all that
it takes.

Muon's polynomial is the same in each iteration; it leaves singular values between about 0.7 and 1.2 (Jordan et al. 2024,
kellerjordan.github.io/posts/muon). Polar Express has another polynomial in each iteration: the one with the least largest error
on the interval in which the singular values may be by then (Amsel et al. 2025, arXiv 2505.16932, algorithm 1). It converges to
one.
"""

from __future__ import annotations

import itertools
from typing import Literal

from jaxtyping import Float
from torch import Tensor

Coefficients = Literal["muon", "polar_express"]
Precision = Literal["auto", "fp32", "bf16"]
Polynomial = tuple[float, float, float]  # of x, x^3 and x^5

SAFETY = 1.01  # singular values that rounding has made larger than allowed by less than this still converge
MUON: Polynomial = (3.4445, -4.7750, 2.0315)
POLAR_EXPRESS: list[Polynomial] = [  # for singular values from 1e-3 of the norm on; further iterations repeat the last one
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
    (1.875, -1.25, 0.375)]


def polynomials(coefficients: Coefficients, iterations: int) -> list[Polynomial]:
    """The polynomial of each iteration."""
    if coefficients == "muon":
        return [MUON] * iterations
    safe = [(a / SAFETY, b / SAFETY**3, c / SAFETY**5) for a, b, c in POLAR_EXPRESS[:-1]]
    return list(itertools.islice(itertools.chain(safe, itertools.repeat(POLAR_EXPRESS[-1])), iterations))


def orthogonal(matrices: Float[Tensor, "n rows columns"], iterations: int = 5, coefficients: Coefficients = "muon",
               precision: Precision = "auto", blocks: int = 1) -> Float[Tensor, "n rows columns"]:
    """The matrices with all singular values about one. precision: auto is bf16 on CUDA GPUs and fp32 elsewhere. blocks: into
    how many parts each matrix is cut along its shorter side; then this holds for each part.

    bfloat16 is precise enough. On GPUs it is much faster, but on CPUs it isn't always faster, least of all for small batched
    products.
    """
    half = precision == "bf16" or (precision == "auto" and matrices.is_cuda)
    x = matrices.bfloat16() if half else matrices.float()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    n, short, long = x.shape
    x = x.reshape(n * blocks, short // blocks, long)
    # Polar Express needs them at most one, also in bfloat16; Muon's polynomial doesn't
    x = x / ((SAFETY if coefficients == "polar_express" else 1.0) * x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for a, b, c in polynomials(coefficients, iterations):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    x = x.reshape(n, short, long)
    return x.mT if tall else x
