"""Golden updates of torch.optim.Adam and AdamW with clip_grad_norm_ and a linear warm-up, for test/training/optimizer.test.ts.

Parameters and gradients are uniform draws of torch.Generator('cpu'), which both sides draw alike: seed 11 for parameters, seed 100 + k for
the gradients of update k, arrays in the order of SIZES, gradients scaled by 10^(k mod 5 - 3) so that some updates are clipped and some
are not. torch 2.13.0 (CPU), float32. Run: python test/golden/optimizer.py
Writes test/golden/data/training/optimizer.safetensors: per case the parameters after every update [20, size] and the norms [20].
"""
import json
import pathlib

import torch
from safetensors.torch import save_file

out = pathlib.Path(__file__).parent / "data" / "training"
out.mkdir(parents=True, exist_ok=True)
SIZES = {"matrix": 24, "vector": 5}
UPDATES = 20


def drawn(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    return {name: scale * (2 * torch.rand(size, generator=generator) - 1) for name, size in SIZES.items()}


cases = {
    "Adam": {"rate": 1e-2, "warmup": 1, "clip": None, "betas": [0.9, 0.999], "epsilon": 1e-8, "weightDecay": 0},
    "Adam, clipped, warmed up": {"rate": 3e-2, "warmup": 6, "clip": 1, "betas": [0.9, 0.999], "epsilon": 1e-8, "weightDecay": 0},
    "AdamW": {"rate": 1e-2, "warmup": 1, "clip": None, "betas": [0.9, 0.999], "epsilon": 1e-8, "weightDecay": 0.01},
    "AdamW of other constants, clipped, warmed up": {
        "rate": 5e-2, "warmup": 10, "clip": 0.05, "betas": [0.8, 0.95], "epsilon": 1e-4, "weightDecay": 0.3},
}
results = {}
for name, case in cases.items():
    parameters = {key: value.requires_grad_() for key, value in drawn(11, 1).items()}
    options = {"lr": case["rate"], "betas": case["betas"], "eps": case["epsilon"]}
    optimizer = (torch.optim.AdamW(parameters.values(), weight_decay=case["weightDecay"], **options) if name.startswith("AdamW")
                 else torch.optim.Adam(parameters.values(), **options))
    warm_up = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: min(1, (k + 1) / case["warmup"]))
    walk, norms = {key: [] for key in parameters}, []
    for k in range(UPDATES):
        for key, gradient in drawn(100 + k, 10.0 ** (k % 5 - 3)).items():
            parameters[key].grad = gradient
        norms.append(torch.nn.utils.clip_grad_norm_(parameters.values(), case["clip"] or float("inf")))
        optimizer.step()
        warm_up.step()
        for key, value in parameters.items():
            walk[key].append(value.detach().clone())
    results[f"{name}.norms"] = torch.stack(norms)
    results.update({f"{name}.{key}": torch.stack(values) for key, values in walk.items()})
save_file(results, out / "optimizer.safetensors")
(out / "optimizer.json").write_text(json.dumps({"sizes": SIZES, "updates": UPDATES, "cases": cases}, indent=1) + "\n")
