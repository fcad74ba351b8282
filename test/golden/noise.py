"""Golden noise: what torch.Generator('cpu') draws, for test/tensor/random.test.ts.

Versions: torch 2.13.0+cpu. Seeds: the table below. Variation noise is mixed by AUTOMATIC1111's own slerp, loaded from a
copy of stable-diffusion-webui's modules/rng.py (commit 0d5dc9a6e7f6362e423a06bf0e75dd5854025394).
Run from the repository's root:
    python test/golden/noise.py PATH/TO/rng.py
Writes test/golden/data/random/noise.safetensors (float32) and integers.json.
"""
import ast
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

out = Path(__file__).parent / "data" / "random"
out.mkdir(parents=True, exist_ok=True)
seeds = {"0": 0, "42": 42, "1234567890123": 1234567890123, "4294967301": 2**32 + 5, "-1": -1}
tensors = {}
for name, seed in seeds.items():
    for size in (1, 5, 15, 16, 17, 1000):
        tensors[f"one/{name}/{size}"] = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed)
    # Two and more calls in a row: odd small draws leave a cached normal that a large draw must not touch.
    tensors[f"row/{name}"] = torch.cat([torch.randn(n, generator=generator) for n in (3, 17, 2, 16, 1, 33)])
tensors["image/42"] = torch.randn(4, 64, 64, generator=torch.Generator().manual_seed(42))
tensors["rand/42"] = torch.rand(100, generator=torch.Generator().manual_seed(42))

source = ast.parse(Path(sys.argv[1]).read_text())
slerp_source = ast.Module([n for n in source.body if isinstance(n, ast.FunctionDef) and n.name == "slerp"], [])
scope = {"torch": torch}
exec(compile(slerp_source, "rng.py", "exec"), scope)
noise = [torch.randn(4, 8, 6, generator=torch.Generator().manual_seed(seed)) for seed in (42, 7)]
for strength in (0.05, 0.5, 0.9):
    tensors[f"slerp/{strength}"] = scope["slerp"](strength, *noise)
save_file({k: v.contiguous() for k, v in tensors.items()}, out / "noise.safetensors")

integers = []
for low, high in ((0, 1000), (-5, 3), (0, 2**28 - 1), (0, 2**28), (0, 2**40)):
    generator = torch.Generator().manual_seed(42)
    integers.append({"low": low, "high": high, "values": torch.randint(low, high, (8,), generator=generator).tolist()})
permutation = torch.randperm(50, generator=torch.Generator().manual_seed(42)).tolist()
(out / "integers.json").write_text(json.dumps({"randint": integers, "randperm": permutation}) + "\n")
