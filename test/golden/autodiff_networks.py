"""Gradients of whole networks by torch autograd: the literal mixtures of mole.py, with experts and gate parameters as leaves.

The loss is mean((output - target)^2), the target drawn with seed 9000. Factors of all experts of a layer are stored side by side, as the
graph has them. The paper form's e is as large as the activations: of its gradient only the inner products with
directions drawn by seed 8000 + 100 k + j are stored, j < 8. torch 2.13.0 (CPU), diffusers 0.42.1, transformers 5.24, float32.
Run: python test/golden/autodiff_networks.py
"""
import json
import math

import torch
from safetensors.torch import save_file

from mole import N, Drawn, Tiny, here, randn, run

out_folder = here / "autodiff"
PROJECTIONS = 8


class Trained(Drawn):
    """Every parameter a leaf; temperatures and gains through their logarithms, as the graph has them."""

    trained = True

    def __init__(self, modules, groups):
        super().__init__(modules)
        self.weights, self.timesteps = {}, {}
        self.log_tau = torch.tensor([math.log(super(Trained, self).tau(k)) for k in range(groups)]).requires_grad_()
        self.log_gain = torch.tensor([math.log(super(Trained, self).gain(k)) for k in range(groups)]).requires_grad_()
        for pairs in self.experts.values():
            for pair in pairs:
                for factor in pair or ():
                    factor.requires_grad_()

    def e(self, k, *shape):
        return self.weights.setdefault(k, super().e(k, *shape).requires_grad_())

    def timestep(self, k):
        return self.timesteps.setdefault(k, super().timestep(k).requires_grad_())

    def tau(self, k):
        return self.log_tau[k].exp()

    def gain(self, k):
        return self.log_gain[k].exp()

    def factors(self):
        """Gradients by the names of the graph's inputs: linear [in, R] and [R, out], convolutions [R, in, k, k] and [out, R, 1, 1]."""
        for name, pairs in self.experts.items():
            pairs = [pair for pair in pairs if pair]
            if pairs[0][0].ndim == 4:
                yield f"{name}.lora_down", torch.cat([down.grad for down, _ in pairs])
                yield f"{name}.lora_up", torch.cat([up.grad for _, up in pairs], 1)[:, :, None, None]
            else:
                yield f"{name}.lora_down", torch.cat([down.grad.T for down, _ in pairs], 1)
                yield f"{name}.lora_up", torch.cat([up.grad.T for _, up in pairs])

    def gates(self, groups, case):
        for k, group in enumerate(groups):
            g = self.weights[k].grad
            if case["form"] == "pooled":
                yield f"{group}.gate.weight", g.T
            else:
                yield f"{group}.gate.projections", torch.stack([(g * randn(8000 + 100 * k + j, *g.shape)).sum() for j in range(PROJECTIONS)])
            if case["timestep"]:
                yield f"{group}.gate.timestep", self.timesteps[k].grad
        yield "gate.log_temperature", self.log_tau.grad
        if case["amplitude"] == "free":
            yield "gate.log_gain", self.log_gain.grad


everything = {"weights": [0.8, 1.0, -0.6], "mask": [1.0, 1.0, 1.0], "granularity": "block", "form": "pooled", "amplitude": "free", "timestep": True}
paper = {**everything, "form": "paper", "mask": [1.0, 0.0, 1.0]}
without_time = {**everything, "granularity": "layer", "timestep": False}
cases = {
    "unet of SD 1": {"model": "tiny-sd1", "network": "unet", "factors": True, **everything},
    "unet of SD 1, paper": {"model": "tiny-sd1", "network": "unet", "factors": False, **paper},
    "unet of SD 2": {"model": "tiny-sd2", "network": "unet", "factors": False, **everything, "granularity": "matrix"},
    "text encoder of SD 1": {"model": "tiny-sd1", "network": "text_encoder", "factors": True, **without_time},
    "text encoder of SD 1, paper": {"model": "tiny-sd1", "network": "text_encoder", "factors": False, **paper, "timestep": False},
    "text encoder of SD 2": {"model": "tiny-sd2", "network": "text_encoder", "factors": True, **without_time, "amplitude": "convex"},
}

models = {name: Tiny(name) for name in ("tiny-sd1", "tiny-sd2")}
results = {}


def groups_of(case, tiny):
    args = ("unet", tiny.net, tiny.unet_modules, tiny.unet_call) if case["network"] == "unet" else (
        "text_encoder", tiny.text, tiny.text_modules, tiny.text_call)
    return args, run(*args, {**case, "t": tiny.t})[2]


def loss_of(output):
    return ((output - randn(9000, *output.shape)) ** 2).mean()


def store(name, pairs):
    for key, value in pairs:
        results[f"{name}.{key}"] = value.detach().clone(memory_format=torch.contiguous_format)


for name, case in cases.items():
    tiny = models[case["model"]]
    tiny.x = tiny.x.detach().requires_grad_()
    tiny.c = tiny.c.detach().requires_grad_()
    args, case["groups"] = groups_of(case, tiny)
    drawn = Trained(args[2], len(case["groups"]))
    loss = loss_of(run(*args, {**case, "t": tiny.t}, drawn)[0])
    loss.backward()
    store(name, [("loss", loss)])
    if case["network"] == "unet":
        store(name, [("sample", tiny.x.grad), ("encoder_hidden_states", tiny.c.grad)])
    if case["factors"]:
        store(name, drawn.factors())
    store(name, drawn.gates(case["groups"], case))

# End to end: the text encoder's experts and gates through the UNet, whose own experts stand under gates too.
tiny = models["tiny-sd1"]
ends = {"unet": {"network": "unet", **everything}, "text_encoder": {"network": "text_encoder", **without_time}}
(unet_args, unet_groups), (text_args, text_groups) = (groups_of(case, tiny) for case in ends.values())
unet_drawn, text_drawn = Trained(unet_args[2], len(unet_groups)), Trained(text_args[2], len(text_groups))
tiny.c = run(*text_args, {**ends["text_encoder"], "t": tiny.t}, text_drawn)[0]
loss = loss_of(run(*unet_args, {**ends["unet"], "t": tiny.t}, unet_drawn)[0])
loss.backward()
store("end to end", [("loss", loss)])
store("end to end", text_drawn.factors())
store("end to end", text_drawn.gates(text_groups, ends["text_encoder"]))

save_file(results, out_folder / "networks.safetensors")
listed = {model: {"unet": [n for n, _ in t.unet_modules], "text_encoder": [n for n, _ in t.text_modules]} for model, t in models.items()}
(out_folder / "networks.json").write_text(json.dumps({"modules": listed, "cases": cases, "ends": ends}, indent=1) + "\n")
print({name: float(results[f"{name}.loss"]) for name in [*cases, "end to end"]})
