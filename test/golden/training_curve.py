"""Golden training curves: twenty updates in PyTorch on the tiny models, for test/engine/training-curve.test.ts.

LoRAs are PEFT's, on diffusers' UNet and transformers' text encoder; gates stand on the literal mixture of mole.py. Noise is added by
diffusers' DDPMScheduler, its targets and min-SNR weights are diffusers' get_velocity and compute_snr, updates are torch.optim's.
One torch.Generator draws every batch in the order of drawBatch: the first picture, the others of its size, timesteps, then for each
picture which of its latents, noise, and whether its caption is dropped. Latents are randn of seed 200 + 10 k + variant, caption k is token ids
of seed 300 + k, the empty one of seed 299. LoRAs start at the draws of seed SEED, gates at zero over the experts of mole.py.
torch 2.13.0 (CPU), diffusers 0.42.1, peft 0.21.2, transformers 5.24, float32. Run: python test/golden/training_curve.py
Writes data/training/curves.json: cases, modules, the loss of every update, and of every parameter after the last one its norm and its
inner products with directions of seed 8000 + j, j < 4, which see any difference as large as it is.
"""
import json
import math
import re

import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from peft import LoraConfig, inject_adapter_in_model

from mole import N, Drawn, Tiny, here, randn, run

out = here / "training"
torch.set_num_threads(1)
SEED, UPDATES = 4, 20
# Height and width of the latents and how many variants (the picture, its mirror image) each picture has.
PICTURES = [(16, 16, 1), (16, 16, 2), (8, 16, 2), (16, 16, 1), (8, 16, 1)]

lora = {"kind": "lora", "rank": 2, "alpha": 1.0, "targets": "transformer", "textEncoder": False, "rate": 1e-2, "warmup": 5, "clip": 1.0,
        "weightDecay": 0.01, "batch": 2, "accumulate": 1, "captionDropout": 0.3, "minSnr": None}
gates = {"kind": "gate", "granularity": "block", "form": "pooled", "amplitude": "convex", "timestep": False, "textGates": False,
         "weights": [0.8, 1.0, -0.6], "balance": 0.5, "rate": 2e-2, "warmup": 5, "clip": 1.0, "weightDecay": 0.01, "batch": 2,
         "accumulate": 1, "captionDropout": 0.0, "minSnr": None}
cases = {
    "LoRA in the UNet": {**lora, "model": "tiny-sd1"},
    "LoRA in both networks, convolutions too": {**lora, "model": "tiny-sd1", "targets": "all", "textEncoder": True, "accumulate": 2},
    "LoRA, v-prediction, min-SNR": {**lora, "model": "tiny-sd2", "minSnr": 5.0, "weightDecay": 0.0, "batch": 3},
    "gates of blocks": {**gates, "model": "tiny-sd1"},
    "gates of both networks": {**gates, "model": "tiny-sd1", "granularity": "layer", "amplitude": "free", "timestep": True, "textGates": True,
                               "weightDecay": 0.0, "minSnr": 5.0},
    "gates in the paper's form": {**gates, "model": "tiny-sd1", "form": "paper", "textGates": True, "rate": 1e-3, "accumulate": 2},
}


def optimised(parameters, case):
    options = {"lr": case["rate"]}
    if case["weightDecay"] > 0:
        return torch.optim.AdamW(parameters, weight_decay=case["weightDecay"], **options)
    return torch.optim.Adam(parameters, **options)


def token_ids(k):
    return torch.randint(0, 510, (77,), generator=torch.Generator().manual_seed(300 + k))


class Batches:
    def __init__(self, case):
        self.case, self.random = case, torch.Generator().manual_seed(SEED)
        self.scheduler = DDPMScheduler.from_pretrained(here / "networks" / case["model"] / "scheduler")
        # The paper's gates are for one size.
        self.pictures = [k for k, (h, _, _) in enumerate(PICTURES) if case.get("form") != "paper" or h == 16]

    def randint(self, high, count):
        return torch.randint(0, high, (count,), generator=self.random)

    def draw(self):
        case, batch = self.case, self.case["batch"]
        first = self.pictures[self.randint(len(self.pictures), 1)]
        alike = [k for k in self.pictures if PICTURES[k][:2] == PICTURES[first][:2]]
        chosen = [first] + [alike[i] for i in self.randint(len(alike), batch)[1:]]
        t = self.randint(1000, batch)
        x0, noise, captions = [], [], []
        for k in chosen:
            height, width, variants = PICTURES[k]
            x0.append(randn(200 + 10 * k + int(self.randint(variants, 1)), 4, height, width))
            noise.append(torch.randn(4, height, width, generator=self.random))
            captions.append(-1 if torch.rand(1, generator=self.random) < case["captionDropout"] else k)
        x0, noise = torch.stack(x0), torch.stack(noise)
        v = self.scheduler.config.prediction_type == "v_prediction"
        target = self.scheduler.get_velocity(x0, noise, t) if v else noise
        weight = torch.ones(batch)
        if case["minSnr"]:
            snr = compute_snr(self.scheduler, t)
            weight = snr.clamp(max=case["minSnr"]) / (snr + 1 if v else snr)
        ids = torch.stack([token_ids(k) for k in captions])
        return self.scheduler.add_noise(x0, noise, t), t, ids, target, weight[:, None, None, None]


def denoise(prediction, target, weight):
    return ((prediction - target) ** 2 * weight).mean()


def summary(parameter):
    values = parameter.detach().flatten().double()
    along = [values @ randn(8000 + j, values.numel()).double() for j in range(4)]
    return [float(f"{value:.8g}") for value in [values.norm(), *along]]


def walk(case, loss_of, parameters):
    """Losses of UPDATES updates. `parameters` is asked after the first loss, since gates are made when they are first needed."""
    batches, optimizer, losses = Batches(case), None, []
    for _ in range(UPDATES):
        parts = []
        for _ in range(case["accumulate"]):
            loss = loss_of(*batches.draw())
            if optimizer is None:
                optimizer = optimised(parameters(), case)
                warm_up = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: min(1, (k + 1) / case["warmup"]))
            (loss / case["accumulate"]).backward()
            parts.append(float(loss))
        torch.nn.utils.clip_grad_norm_(parameters(), case["clip"])
        optimizer.step()
        warm_up.step()
        optimizer.zero_grad()
        losses.append(sum(parts) / len(parts))
    return losses


def train_lora(case, tiny):
    wanted = {"transformer": r"\.attentions\.", "all": r"\.attentions\.|\.resnets\.|samplers\."}[case["targets"]]
    layers = [("unet", name, tiny.net) for name, _ in tiny.unet_modules if re.search(wanted, name)]
    if case["textEncoder"]:
        layers += [("text_encoder", name, tiny.text) for name, _ in tiny.text_modules]
    own = lambda name, net: name if net is tiny.net or hasattr(net, "text_model") else name.removeprefix("text_model.")
    for net in {id(net): net for _, _, net in layers}.values():
        names = [own(name, n) for _, name, n in layers if n is net]
        inject_adapter_in_model(LoraConfig(r=case["rank"], lora_alpha=case["alpha"], target_modules=names), net)
    random, trained = torch.Generator().manual_seed(SEED), {}
    for network, name, net in layers:
        layer = net.get_submodule(own(name, net))
        down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        rank, fan = down.shape[0], down[0].numel()
        drawn = (2 * torch.rand(rank * fan, generator=random) - 1) / math.sqrt(fan)
        # Ours holds linear layers as [in, r].
        start = drawn.view(down.shape) if down.ndim == 4 else drawn.view(fan, rank).T
        with torch.no_grad():
            down.copy_(start)
            up.zero_()
        trained[f"{network}/{name}.down"], trained[f"{network}/{name}.up"] = down, up
    for parameter in [*tiny.net.parameters(), *tiny.text.parameters()]:
        parameter.requires_grad_(any(parameter is p for p in trained.values()))
    loss_of = lambda x, t, ids, target, weight: denoise(tiny.net(x, t, tiny.text(ids).last_hidden_state).sample, target, weight)
    losses = walk(case, loss_of, lambda: list(trained.values()))
    return losses, trained


class Zeros(Drawn):
    """The experts of mole.py under gates that start at zero."""

    trained = True

    def __init__(self, modules, groups):
        super().__init__(modules)
        self.weights, self.timesteps = {}, {}
        self.log_tau, self.log_gain = torch.zeros(groups, requires_grad=True), torch.zeros(groups, requires_grad=True)

    def e(self, k, *shape):
        return self.weights.setdefault(k, torch.zeros(*shape, requires_grad=True))

    def timestep(self, k):
        return self.timesteps.setdefault(k, torch.zeros(32, N, requires_grad=True))

    def tau(self, k):
        return self.log_tau[k].exp()

    def gain(self, k):
        return self.log_gain[k].exp()

    def parameters(self, case):
        free = [self.log_gain] if case["amplitude"] == "free" else []
        return [*self.weights.values(), *self.timesteps.values(), self.log_tau, *free]

    def named(self, network, groups, case):
        for k, group in enumerate(groups):
            yield f"{network}/{group}.weight", self.weights[k]
            if case["timestep"]:
                yield f"{network}/{group}.timestep", self.timesteps[k]
        yield f"{network}/log_temperature", self.log_tau
        if case["amplitude"] == "free":
            yield f"{network}/log_gain", self.log_gain


def balance(gates):
    softmax = gates / gates.sum(dim=2, keepdim=True)
    return -softmax.mean(dim=(0, 1)).log().sum()


def train_gate(case, tiny):
    networks = {"unet": (tiny.net, tiny.unet_modules, tiny.unet_call)}
    if case["textGates"]:
        networks["text_encoder"] = (tiny.text, tiny.text_modules, tiny.text_call)
    specs, drawn, groups = {}, {}, {}
    for network, (net, modules, call) in networks.items():
        specs[network] = {**case, "network": network, "mask": [1.0] * N, "timestep": case["timestep"] and network == "unet", "t": tiny.t}
        groups[network] = run(network, net, modules, call, specs[network])[2]
        drawn[network] = Zeros(modules, len(groups[network]))

    def loss_of(x, t, ids, target, weight):
        total, states = 0.0, tiny.text(ids).last_hidden_state
        if case["textGates"]:
            call = lambda net: net(ids).last_hidden_state
            states, gates, _ = run("text_encoder", tiny.text, tiny.text_modules, call, specs["text_encoder"], drawn["text_encoder"])
            total = case["balance"] * balance(gates)
        call = lambda net: net(x, t, states).sample
        prediction, gates, _ = run("unet", tiny.net, tiny.unet_modules, call, {**specs["unet"], "t": t.float()}, drawn["unet"])
        return total + denoise(prediction, target, weight) + case["balance"] * balance(gates)

    losses = walk(case, loss_of, lambda: [p for network in networks for p in drawn[network].parameters(specs[network])])
    return losses, dict(pair for network in networks for pair in drawn[network].named(network, groups[network], specs[network]))


if __name__ == "__main__":
    listed = {}
    for name, case in cases.items():
        tiny = Tiny(case["model"])
        listed[case["model"]] = {"unet": [n for n, _ in tiny.unet_modules], "text_encoder": [n for n, _ in tiny.text_modules]}
        case["losses"], trained = (train_lora if case["kind"] == "lora" else train_gate)(case, tiny)
        case["end"] = {key: summary(value) for key, value in trained.items()}
        print(name, [round(loss, 4) for loss in case["losses"]])
    text = json.dumps({"seed": SEED, "updates": UPDATES, "pictures": PICTURES, "modules": listed, "cases": cases}, indent=1)
    # A list of numbers on one line.
    (out / "curves.json").write_text(re.sub(r"\[[-+.e\d,\s]*\]", lambda found: re.sub(r"\s+", " ", found.group(0)), text) + "\n")
