"""Golden merges of three experts of one layer, for test/mole/merging.test.ts: the papers' equations on dense matrices in float64.

Witness: numpy's SVD and least squares on whole deltas; no factored form, no router: SSR-Merge's optimum is the ordinary least-squares
map from A_cat x to the experts' own outputs (arXiv:2606.10617, theorem 3.1), NP-LoRA is Eq. 12 of arXiv:2511.11051.
Versions: torch 2.13.0+cpu, numpy 2.4. Seed 11, torch.Generator('cpu'). Run from the repository's root:
    python test/golden/merging.py
Writes test/golden/data/merging/cases.safetensors (float32).
"""
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

out = Path(__file__).parent / "data" / "merging"
out.mkdir(parents=True, exist_ok=True)
generator = torch.Generator().manual_seed(11)
IN, OUT, TOKENS, RANKS = 12, 10, 200, (3, 2, 4)
tensors = {}


def randn(*shape):
    return np.float32(torch.randn(*shape, generator=generator).numpy())


downs = [randn(r, IN) for r in RANKS]
ups = [randn(OUT, r) for r in RANKS]
# The second expert hears much of what the first hears.
downs[1] = np.float32(downs[0][:2] + 0.5 * downs[1])
for i in range(3):
    tensors[f"down/{i}"], tensors[f"up/{i}"] = downs[i], ups[i]
deltas = [u.astype(np.float64) @ d.astype(np.float64) for u, d in zip(ups, downs)]


def span(*matrices):
    """Projector on the joint span of the right singular vectors of all matrices."""
    rows = np.concatenate(matrices)
    _, s, vh = np.linalg.svd(rows, full_matrices=False)
    v = vh[s > 1e-9 * s[0]].T
    return v @ v.T


for mu in (0.5, 3.0, float("inf")):
    share = 1.0 if np.isinf(mu) else mu / (1 + mu)
    for i in (1, 2):
        tensors[f"np/{mu}/{i}"] = deltas[i] @ (np.eye(IN) - share * span(*deltas[:i]))

a_cat = np.concatenate(downs).astype(np.float64)
inputs = []
for i in range(3):
    # Inputs of each prompt: correlated, with a mean, as activations are.
    mix, mean = randn(IN, IN).astype(np.float64), 2 * randn(IN, 1).astype(np.float64)
    x = mix @ randn(IN, TOKENS).astype(np.float64) / np.sqrt(IN) + mean
    inputs.append(x)
    z = a_cat @ x
    tensors[f"ssr/moment/{i}"] = z @ z.T / TOKENS
z = np.concatenate([a_cat @ x for x in inputs], axis=1)
y = np.concatenate([deltas[i] @ inputs[i] for i in range(3)], axis=1)
g = z @ z.T / TOKENS
for ridge in (1e-4, 1e-2):
    rows = np.concatenate([z.T, np.sqrt(TOKENS * ridge * np.diag(g)) * np.eye(len(g))])
    wanted = np.concatenate([y.T, np.zeros((len(g), OUT))])
    tensors[f"ssr/folded/{ridge}"] = np.linalg.lstsq(rows, wanted, rcond=None)[0].T

coefficients = (0.7, -0.4, 1.5)
dense = sum(c * d for c, d in zip(coefficients, deltas))
u, s, vh = np.linalg.svd(dense)
tensors["bake/dense"] = dense
for rank in (2, 5):
    tensors[f"bake/{rank}"] = (u[:, :rank] * s[:rank]) @ vh[:rank]
    tensors[f"bake/residual/{rank}"] = np.array([np.sum(s[rank:] ** 2) / np.sum(s**2)])
save_file({k: torch.tensor(np.float32(v)).contiguous() for k, v in tensors.items()}, out / "cases.safetensors")
