"""Mixture of LoRA Experts written out literally (arXiv:2404.13628, Eq. 9-13) as hooks on diffusers' UNet and transformers' text encoder.

Witness for mole/: no rank space, no folding: every expert's output E_i is made in full, concatenated, normalised, flattened and
multiplied by e. Experts and gate parameters are not stored: both sides draw them from torch's CPU generator by the seeds below.
torch 2.13.0 (CPU), diffusers 0.42.1, transformers 5.24, float32. Run: python test/golden/mole.py
"""
import json
import math
import pathlib
import re

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

here = pathlib.Path(__file__).parent / "data"
out_folder = here / "mole"
N, RANKS = 3, (2, 3, 4)


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def targeted(expert, name):
    """Expert 0 targets all listed layers, 1 no feed-forward and no convolution of a residual block, 2 attention alone."""
    if expert == 0:
        return True
    if expert == 1:
        return not re.search(r"\.ff\.|\.mlp\.|resnets|samplers", name)
    return bool(re.search(r"attn", name))


def experts_of(modules):
    """name -> list over experts of (down, up) or None. Seeds: 1000 + 10 m + i for down, 40000 + 10 m + i for up; m counts in run order."""
    made = {}
    for m, (name, layer) in enumerate(modules):
        w = layer.weight
        made[name] = []
        for i in range(N):
            if not targeted(i, name):
                made[name].append(None)
                continue
            fan = math.prod(w.shape[1:])
            down = randn(1000 + 10 * m + i, RANKS[i], *w.shape[1:]) / math.sqrt(fan)
            up = 0.3 * randn(40000 + 10 * m + i, w.shape[0], RANKS[i])
            made[name].append((down, up))
    return made


def delta(layer, pair, x):
    """E_i = B_i A_i h in full: [B, T, out] or [B, out, H, W]."""
    if pair is None:
        return None
    down, up = pair
    if isinstance(layer, torch.nn.Conv2d):
        return F.conv2d(F.conv2d(x, down, stride=layer.stride, padding=layer.padding), up[:, :, None, None])
    return F.linear(F.linear(x, down), up)


def tokens(e):
    """-> [B, T, out]."""
    return e.flatten(2).transpose(1, 2) if e.ndim == 4 else e if e.ndim == 3 else e[:, None]


def group_name(name, granularity, network):
    if granularity == "matrix":
        return name
    if granularity == "network":
        return network
    if granularity == "layer":
        found = re.match(r".*\.(?:attn[12]|ff|self_attn|mlp|resnets\.\d+)(?=\.)", name)
        return found.group(0) if found else name
    found = re.match(r"(.*\.attentions\.\d+)\.(?:transformer_blocks|proj_out)", name)
    if found:
        return found.group(1)
    found = re.match(r".*\.(?:encoder\.layers\.\d+|resnets\.\d+)(?=\.)", name)
    return found.group(0) if found else name


class Drawn:
    """Experts and gate parameters by their seeds. autodiff_networks.py makes leaves of them that torch differentiates."""

    trained = False

    def __init__(self, modules):
        self.experts = experts_of(modules)

    def e(self, k, *shape):
        return 2.0 * randn(5000 + k, *shape)

    def timestep(self, k):
        return 0.3 * randn(7000 + k, 32, N)

    def tau(self, k):
        return 1.0 + 0.25 * (k % 3)

    def gain(self, k):
        return 0.5 + 0.5 * (k % 4)


def run(network, net, modules, call, case, drawn=None):
    """One forward pass under hooks; returns the output and the effective gates [B, G, N]."""
    drawn = drawn or Drawn(modules)
    made = drawn.experts
    layers = dict(modules)
    groups = {}
    for name, _ in modules:
        groups.setdefault(group_name(name, case["granularity"], network), []).append(name)
    index = {g: k for k, g in enumerate(groups)}
    owner = {name: g for g, names in groups.items() for name in names}
    weights, mask = torch.tensor(case["weights"]), torch.tensor(case["mask"])
    gates, fed = {}, {}

    def open_gate(g, x):
        names = groups[g]
        # Readers: the members that are fed the very tensor that the first one is fed.
        readers = [n for n in names if fed_by[n] == fed_by[names[0]]]
        k = index[g]
        per_expert = []
        for i in range(N):
            parts = []
            for n in readers:
                e = delta(layers[n], made[n][i], x)
                like = layers[n](x)
                parts.append(tokens(e if e is not None else torch.zeros_like(like)))
            per_expert.append(torch.cat(parts, dim=2))  # [B, T, D]
        said = torch.stack(per_expert, dim=1)  # [B, N, T, D]
        if case["form"] == "pooled":
            said = said.mean(dim=2)
            e = drawn.e(k, N, said.shape[1] * said.shape[2])
        else:
            e = drawn.e(k, N, math.prod(said.shape[1:]))
        flat = F.normalize(said.flatten(1), dim=1, eps=1e-30)
        logits = flat @ e.T
        if case["timestep"]:
            half = 16
            angle = case["t"][:, None] * torch.exp(-math.log(10000) * torch.arange(half) / half)[None]
            logits = logits + torch.cat([angle.cos(), angle.sin()], dim=1) @ drawn.timestep(k)
        g_all = torch.softmax(logits / drawn.tau(k), dim=1)
        kept = g_all * mask
        effective = kept / kept.sum(dim=1, keepdim=True)
        if case["amplitude"] == "free":
            left = mask.sum()
            effective = effective * (1 + (drawn.gain(k) - 1) * (left - 1) / (N - 1))
        gates[g] = effective

    def hook(name):
        def add(layer, args, output):
            x, g = args[0], owner[name]
            if g not in gates:
                handles_off()
                open_gate(g, x)
                handles_on()
            for i in range(N):
                e = delta(layer, made[name][i], x)
                if e is not None:
                    c = weights[i] * gates[g][:, i]
                    output = output + c.reshape(-1, *[1] * (e.ndim - 1)) * e
            return output
        return add

    handles = []

    def handles_off():
        for h in handles:
            h.remove()
        handles.clear()

    def handles_on():
        handles.extend(layer.register_forward_hook(hook(name)) for name, layer in modules)

    # Which layers are fed the same tensor object, seen in a plain pass.
    fed_by = {}
    keep = []
    def watch(name):
        def see(layer, args):
            keep.append(args[0])
            fed_by[name] = id(args[0])
        return see
    watching = [layer.register_forward_pre_hook(watch(name)) for name, layer in modules]
    with torch.no_grad():
        call(net)
        for h in watching:
            h.remove()
    with torch.set_grad_enabled(drawn.trained):
        handles_on()
        result = call(net)
        handles_off()
    return result, torch.stack([gates[g] for g in groups], dim=1), list(groups)


def in_run_order(net, call, wanted):
    order = []
    handles = [m.register_forward_pre_hook(lambda mod, a, name=name: order.append((name, mod)))
               for name, m in net.named_modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d)) and wanted(name)]
    with torch.no_grad():
        call(net)
    for h in handles:
        h.remove()
    return order


class Tiny:
    """A tiny model of data/networks with its inputs, and the layers that experts target in run order."""

    def __init__(self, model):
        folder = here / "networks" / model
        self.net = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32).eval().requires_grad_(False)
        self.text = CLIPTextModel.from_pretrained(folder / "text_encoder", torch_dtype=torch.float32).eval().requires_grad_(False)
        known = load_file(folder / "expected.safetensors")
        self.x, self.t, self.c, self.ids = known["sample"], known["timestep"], known["encoder_hidden_states"], known["input_ids"]
        self.unet_modules = in_run_order(
            self.net, self.unet_call, lambda n: ".attentions." in n or ".resnets." in n or "samplers" in n)
        prefix = "" if any(n.startswith("text_model.") for n, _ in self.text.named_modules()) else "text_model."
        self.text_modules = [(prefix + n, m) for n, m in in_run_order(self.text, self.text_call, lambda n: ".layers." in n)]

    def unet_call(self, net):
        return net(self.x, self.t, self.c).sample

    def text_call(self, text):
        return text(self.ids).last_hidden_state


if __name__ == "__main__":
    tiny = Tiny("tiny-sd1")
    plain = {"weights": [1.0, 1.0, 1.0], "mask": [1.0, 1.0, 1.0], "amplitude": "convex", "timestep": False}
    cases = {}
    for granularity in ("matrix", "layer", "block", "network"):
        for form in ("pooled", "paper"):
            cases[f"unet-{granularity}-{form}"] = {**plain, "network": "unet", "granularity": granularity, "form": form}
    cases["unet-masked"] = {**plain, "network": "unet", "granularity": "block", "form": "pooled", "mask": [1.0, 0.0, 1.0], "weights": [0.8, 1.0, -0.6]}
    cases["unet-alone"] = {**plain, "network": "unet", "granularity": "layer", "form": "paper", "amplitude": "free", "mask": [0.0, 1.0, 0.0], "weights": [1.0, 0.7, 1.0]}
    cases["unet-free"] = {**plain, "network": "unet", "granularity": "block", "form": "pooled", "amplitude": "free"}
    cases["unet-timestep"] = {**plain, "network": "unet", "granularity": "block", "form": "pooled", "timestep": True}
    for form in ("pooled", "paper"):
        cases[f"text-block-{form}"] = {**plain, "network": "text_encoder", "granularity": "block", "form": form}
    cases["text-layer"] = {**plain, "network": "text_encoder", "granularity": "layer", "form": "pooled"}

    results = {}
    for name, case in cases.items():
        case["t"] = tiny.t
        args = ("unet", tiny.net, tiny.unet_modules, tiny.unet_call) if case["network"] == "unet" else ("text_encoder", tiny.text, tiny.text_modules, tiny.text_call)
        output, gates, groups = run(*args, case)
        results[f"{name}.output"], results[f"{name}.gates"] = output.contiguous(), gates.contiguous()
        case["groups"] = groups
        del case["t"]
        print(name, tuple(gates.shape), float(gates.min()), float(gates.max()))
    out_folder.mkdir(exist_ok=True)
    save_file(results, out_folder / "outputs.safetensors")
    (out_folder / "cases.json").write_text(json.dumps({
        "modules": {"unet": [n for n, _ in tiny.unet_modules], "text_encoder": [n for n, _ in tiny.text_modules]}, "cases": cases}, indent=1) + "\n")
