"""diffusers and transformers on the CPU: one measurement in a fresh process, as one line of JSON.

Usage: baseline.py unet|unet16|peft|gate|vae|text FOLDER ROUNDS THREADS, or baseline.py evict FILE, which drops FILE from the page cache (Linux).
"""
import json
import os
import pathlib
import resource
import sys
import time

if sys.argv[1] == "evict":
    handle = os.open(sys.argv[2], os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)
    sys.exit()
what, folder, rounds, threads = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])

import diffusers
import torch
import transformers

torch.set_num_threads(threads)
start = time.perf_counter()
if what in ("unet", "unet16"):
    # The half-precision file is computed in float32, as diffusers does on a CPU unless told otherwise.
    net = diffusers.UNet2DConditionModel.from_pretrained(folder / what, torch_dtype=torch.float32).eval()
    x, t, c = torch.randn(1, 4, 64, 64), torch.tensor([500.0]), torch.randn(1, 77, 768)
    step = lambda: net(x, t, c)
elif what == "peft":
    # The same layers and ranks as measure-experts.ts: plain steps first, then three adapters, unfused, weight 1/3 each.
    from peft import LoraConfig

    net = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32).eval()
    x, t, c = torch.randn(1, 4, 64, 64), torch.tensor([500.0]), torch.randn(1, 77, 768)
    step = lambda: net(x, t, c)
    plain = []
    with torch.no_grad():
        for _ in range(rounds + 1):
            begin = time.perf_counter()
            step()
            plain.append((time.perf_counter() - begin) * 1000)
    for name in ("a", "b", "c"):
        net.add_adapter(LoraConfig(r=16, lora_alpha=16, init_lora_weights=False, target_modules=[
            "to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"]), adapter_name=name)
    net.set_adapters(["a", "b", "c"], [1 / 3] * 3)
    net.eval()
    mixed = []
    with torch.no_grad():
        for _ in range(rounds + 1):
            begin = time.perf_counter()
            step()
            mixed.append((time.perf_counter() - begin) * 1000)
    print(json.dumps({"plain": plain[1:], "peft3": mixed[1:]}))
    sys.exit()
elif what == "gate":
    # A gate step at 256x256 as measure-gradient.ts takes it: three rank-16 experts on the same layers, one softmax gate of three
    # parameters per transformer block, backward for the gates alone. E_i = B_i A_i h is formed as PyTorch programs do.
    net = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32).eval().requires_grad_(False)
    x, t, c = torch.randn(1, 4, 32, 32), torch.tensor([500.0]), torch.randn(1, 77, 768)
    gates = {}

    def hook(block, layer):
        w = layer.weight
        pairs = [(torch.randn(16, *w.shape[1:]) / w[0].numel() ** 0.5, 0.02 * torch.randn(w.shape[0], 16)) for _ in range(3)]

        def add(_, args, out):
            g = torch.softmax(gates[block], 0)
            for i, (down, up) in enumerate(pairs):
                if isinstance(layer, torch.nn.Conv2d):
                    e = torch.nn.functional.conv2d(torch.nn.functional.conv2d(args[0], down), up[:, :, None, None])
                else:
                    e = args[0] @ down.T @ up.T
                out = out + g[i] * e
            return out

        layer.register_forward_hook(add)

    for name, layer in net.named_modules():
        if ".attentions." in name and isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)):
            block = name.split(".transformer_blocks")[0].removesuffix(".proj_in").removesuffix(".proj_out")
            gates.setdefault(block, torch.zeros(3, requires_grad=True))
            hook(block, layer)
    times = {"forward": [], "gradient": []}
    for _ in range(rounds + 1):
        with torch.no_grad():
            begin = time.perf_counter()
            net(x, t, c)
            times["forward"].append((time.perf_counter() - begin) * 1000)
        begin = time.perf_counter()
        net(x, t, c).sample.square().mean().backward()
        times["gradient"].append((time.perf_counter() - begin) * 1000)
    print(json.dumps({"runsMs": {k: v[1:] for k, v in times.items()}, "peakBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
    sys.exit()
elif what == "vae":
    vae = diffusers.AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()
    z = torch.randn(1, 4, 64, 64)
    step = lambda: vae.decode(z)
else:
    text = transformers.CLIPTextModel.from_pretrained(folder / "text_encoder", torch_dtype=torch.float32).eval()
    ids = torch.full((1, 77), 49407)
    step = lambda: text(ids)
opened = time.perf_counter() - start
times = []
with torch.no_grad():
    for _ in range(rounds):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
print(json.dumps({
    "openMs": opened * 1000, "firstMs": (opened + times[0]) * 1000, "runsMs": [t * 1000 for t in times[1:] or times],
    "peakBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "versions": f"torch {torch.__version__}, diffusers {diffusers.__version__}, transformers {transformers.__version__}"}))
