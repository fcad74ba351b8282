"""Golden factorisations: what LAPACK (through numpy, float64) says of small matrices, for test/tensor/linear-algebra.test.ts.

Versions: torch 2.13.0+cpu, numpy 2. Matrices come from torch.Generator('cpu').manual_seed(7) and are rounded to float32 before they
are factorised. Run from the repository's root:
    python test/golden/linear_algebra.py
Writes test/golden/data/linear-algebra/cases.safetensors: per case a, |r| of qr, s, and the leading part of rank 3 as a product.
"""
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

out = Path(__file__).parent / "data" / "linear-algebra"
out.mkdir(parents=True, exist_ok=True)
generator = torch.Generator().manual_seed(7)


def randn(*shape):
    return torch.randn(*shape, generator=generator).double().numpy()


tall, wide = randn(19, 7), randn(6, 17)
graded = np.linalg.qr(randn(24, 12))[0] @ np.diag(10.0 ** -np.arange(12)) @ np.linalg.qr(randn(12, 12))[0]
cases = {
    "tall": tall,
    "wide": wide,
    "square": randn(9, 9),
    "row": randn(1, 5),
    # Singular values 1, 0.1, ... 1e-11: the last are below the rounding of float32.
    "graded": graded,
    # Rank 3 of 8, with a column of zeros and one column twice.
    "deficient": np.insert(randn(12, 3) @ randn(3, 6), [2, 5], 0, axis=1),
}
cases["deficient"][:, 6] = cases["deficient"][:, 0]
tensors = {}
for name, matrix in cases.items():
    a = np.float32(matrix)
    exact = a.astype(np.float64)
    u, s, vh = np.linalg.svd(exact, full_matrices=False)
    r = np.linalg.qr(exact)[1]
    tensors[f"{name}/a"] = a
    tensors[f"{name}/s"] = s
    tensors[f"{name}/r"] = np.sign(np.where(np.diag(r) == 0, 1, np.diag(r)))[:, None] * r
    tensors[f"{name}/rank3"] = (u[:, :3] * s[:3]) @ vh[:3]
up, down = np.float32(randn(30, 5)), np.float32(randn(5, 21))
tensors["product/up"], tensors["product/down"] = up, down
dense = up.astype(np.float64) @ down.astype(np.float64)
tensors["product/dense"], tensors["product/s"] = dense, np.linalg.svd(dense)[1][:5]
factor = np.float32(randn(8, 20))
gram = np.float32(factor.astype(np.float64) @ factor.T.astype(np.float64))
right = np.float32(randn(8, 3))
tensors["solve/g"], tensors["solve/b"] = gram, right
for ridge in (0.0, 0.5):
    tensors[f"solve/x/{ridge}"] = np.linalg.solve(gram.astype(np.float64) + ridge * np.eye(8), right.astype(np.float64))
save_file({k: torch.tensor(np.float32(v)).contiguous() for k, v in tensors.items()}, out / "cases.safetensors")
