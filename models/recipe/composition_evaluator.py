"""The judge of the composition benchmark: which subject a picture shows, and which of the bundled styles it is in.

Two small CNNs over 64 x 64 pixels. The subject network is trained on drawings of 85 subjects in every set, with heavy
changes of colour, shape and sharpness, so that it looks at shapes; the style network, with changes of shape alone, answers yes
or no for each style, so that two styles at once can be found. Neither sees an evaluated subject in an evaluated style
(test/bench/compose/pairs.json), nor a generated picture. Its accuracy on the true drawings of those pairs is the ceiling of every method.
With --teacher: two networks like these for the search of gates (search.ts), that know the lessons and no judged subject at all.
  npx tsx evaluator-drawings.ts
  python composition_evaluator.py --part subject --steps 2000
  python composition_evaluator.py --part style --steps 2400
  python composition_evaluator.py --teacher --part subject --steps 1500
  python composition_evaluator.py --teacher --part style --steps 1300
"""
import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import common

SIDE = 64
BENCH = common.HERE.parent.parent / "test/bench/compose"


class Block(nn.Module):
    def __init__(self, width_in, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.skip = nn.Conv2d(width_in, width, 1, stride, bias=False)

    def forward(self, x):
        return F.relu(self.skip(x) + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


class Network(nn.Module):
    """Images [B, 3, 64, 64] in [-1, 1] -> logits [B, classes], features [B, 4 or 1 x width]."""

    def __init__(self, classes, widths, cells, dropout):
        super().__init__()
        self.cells = cells
        self.stem = nn.Conv2d(3, widths[0], 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        self.blocks = nn.ModuleList(Block(a, b, 1 if i == 0 else 2) for i, (a, b) in enumerate(zip((widths[0], *widths), widths)))
        self.head = nn.Linear(widths[-1] * cells * cells, classes)
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        features = F.adaptive_avg_pool2d(x, self.cells).flatten(1)
        return self.head(self.drop(features)), features


def folded(net, prefix):
    """Weights with every batch normalisation folded into the convolution before it."""

    def fold(conv, norm):
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        return conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale

    out = {}
    out["stem.weight"], out["stem.bias"] = fold(net.stem, net.norm)
    for i, block in enumerate(net.blocks):
        out[f"blocks.{i}.conv1.weight"], out[f"blocks.{i}.conv1.bias"] = fold(block.conv1, block.norm1)
        out[f"blocks.{i}.conv2.weight"], out[f"blocks.{i}.conv2.bias"] = fold(block.conv2, block.norm2)
        out[f"blocks.{i}.skip.weight"] = block.skip.weight
    out["head.weight"], out["head.bias"] = net.head.weight, net.head.bias
    return {f"{prefix}.{k}": v.detach().half().contiguous() for k, v in out.items()}


def warp(x, strength=1.0):
    """Shift, scale, rotation, mirror and a smooth bend; white or the corner's colour outside."""
    n = len(x)
    border = x[:, :, :2, :2].mean((2, 3), keepdim=True)
    angle, scale = (torch.rand(n) - 0.5) * 0.5 * strength, 1 + (torch.rand(n) - 0.5) * 0.45 * strength
    flip = torch.where(torch.rand(n) < 0.5, -1.0, 1.0)
    theta = torch.stack([torch.stack([scale * angle.cos() * flip, -scale * angle.sin(), (torch.rand(n) - 0.5) * 0.3], 1),
                         torch.stack([scale * angle.sin() * flip, scale * angle.cos(), (torch.rand(n) - 0.5) * 0.3], 1)], 1)
    grid = F.affine_grid(theta, x.shape, align_corners=False)
    bend = F.interpolate(torch.randn(n, 2, 5, 5) * 0.045 * strength, x.shape[2:], mode="bicubic").permute(0, 2, 3, 1)
    return F.grid_sample(x - border, grid + bend, align_corners=False) + border


def recolour(x):
    """Each picture keeps its shapes: grey, a map of brightness to random colours, its edges, jittered channels, or as it is."""
    n = len(x)
    grey = (x * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    place = ((grey + 1) / 2).clamp(0, 1)
    low, middle, high = (torch.rand(3, n, 3, 1, 1) * 2 - 1).unbind(0)
    mapped = torch.where(place < 0.5, low + (middle - low) * place * 2, middle + (high - middle) * (place * 2 - 1))
    gx = x - torch.roll(x, 1, 3)
    gy = x - torch.roll(x, 1, 2)
    edges = ((gx**2 + gy**2).sum(1, keepdim=True).sqrt() * 1.5).clamp(0, 1)
    drawn = low + (high - low) * F.avg_pool2d(F.pad(edges, (1, 1, 1, 1)), 3, 1).mul(1.6).clamp(0, 1)
    hard = torch.tanh((grey - (torch.rand(n, 1, 1, 1) - 0.5)) * 6).expand(-1, 3, -1, -1)
    jitter = 1 - (1 - x) * (1 + (torch.rand(n, 3, 1, 1) - 0.5) * 0.8)
    mixed = torch.einsum("nchw,ndc->ndhw", x, torch.eye(3) + torch.randn(n, 3, 3) * 0.25)
    kinds = torch.stack([x, grey.expand(-1, 3, -1, -1), mapped, drawn, hard, jitter, mixed, x])
    return kinds[torch.randint(len(kinds), (n,)), torch.arange(n)]


def blur(x):
    if torch.rand(()) < 0.35:
        x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    elif torch.rand(()) < 0.2:
        x = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2, mode="bilinear")
    return x + torch.rand(len(x), 1, 1, 1) * 0.08 * torch.randn_like(x)


def load(folder):
    """index.json of evaluator-drawings.ts, and its pictures [n, 3, 64, 64] in bytes."""
    entries = json.loads((folder / "index.json").read_text())
    pixels = torch.empty(len(entries), 3, SIDE, SIDE, dtype=torch.uint8)
    for i, e in enumerate(entries):
        picture = Image.open(folder / e["file"]).convert("RGB").resize((SIDE, SIDE), Image.BOX)
        pixels[i] = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    return entries, pixels


@torch.no_grad()
def round_trip(entries, folder, cache):
    """The drawings as the bundled model's autoencoder gives them back."""
    if cache.exists():
        return torch.load(cache)
    from diffusers import AutoencoderKL
    vae = AutoencoderKL.from_pretrained(common.HERE.parent / "atelier-mini/vae", torch_dtype=torch.float32).eval()
    out = []
    for i in range(0, len(entries), 32):
        x = torch.stack([torch.from_numpy(np.array(Image.open(folder / e["file"]).convert("RGB"))).permute(2, 0, 1) for e in entries[i : i + 32]])
        y = vae(x.float() / 127.5 - 1).sample.clamp(-1, 1)
        out.append(((F.interpolate(y, (SIDE, SIDE), mode="area") + 1) * 127.5).round().byte())
    out = torch.cat(out)
    torch.save(out, cache)
    return out


@torch.no_grad()
def answers(net, pixels):
    net.eval()
    return torch.cat([net(p.float() / 127.5 - 1)[0] for p in pixels.split(128)])


def judged_subjects():
    """The held-out subjects and those that judge, and 42 others spread over the vocabulary: 85 in all."""
    held = common.load_holdout()["subjects"]
    more = [s for s in json.loads((BENCH / "pairs.json").read_text())["judged"] if s not in held]
    others = [s["name"] for s in json.loads((common.HERE / "vocabulary.json").read_text())["subjects"] if s["core"] and s["name"] not in held]
    count = 60 - len(held)
    return held + more + [others[i * len(others) // count] for i in range(count)]


def taught_subjects():
    """What the teacher knows: the subjects that teach gates, and 46 others that nothing is judged by: 60 in all."""
    pairs = json.loads((BENCH / "pairs.json").read_text())
    taught = pairs["taught"] + pairs["lessons"]
    barred = {*taught, *pairs["subjects"], *pairs["judged"]}
    others = [s["name"] for s in json.loads((common.HERE / "vocabulary.json").read_text())["subjects"] if s["core"] and s["name"] not in barred]
    count = 60 - len(taught)
    return taught + [others[(2 * i + 1) * len(others) // (2 * count)] for i in range(count)]


def train(net, batches, loss_of, steps, rate, log):
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.05)
    start = time.time()
    for step in range(steps):
        progress = step / steps
        net.train()
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * progress))
        loss = loss_of(*batches())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 300 == 0:
            print(step + 1, round(loss.item(), 3), f"{time.time() - start:.0f} s", flush=True)
            log()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["subject", "style"], required=True)
    parser.add_argument("--drawings", type=Path, default=common.HERE / "data/evaluator")
    parser.add_argument("--teacher", action="store_true", help="train the teacher of gates instead, which sees nothing of any judged subject")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    common.seed_everything(9 if args.teacher else 5)
    subjects = taught_subjects() if args.teacher else judged_subjects()
    weights = BENCH / ("teacher.safetensors" if args.teacher else "evaluator.safetensors")
    pairs = json.loads((BENCH / "pairs.json").read_text())
    styles = pairs["styles"]
    entries, pixels = load(args.drawings)
    trips = round_trip(entries, args.drawings, args.drawings / "round-trip.pt")
    known = [e["subject"] in subjects for e in entries]
    if args.part == "subject" or args.teacher:
        barred = {*pairs["subjects"], *pairs["judged"]} if args.teacher and args.part == "style" else set()
        if barred:
            known = [e["subject"] not in barred for e in entries]
        entries, pixels, trips = [e for e, k in zip(entries, known) if k], pixels[known], trips[known]
    learnt = torch.tensor([i for i, e in enumerate(entries) if not e["evaluated"]])
    judged = [i for i, e in enumerate(entries) if e["evaluated"] and len(e["styles"]) == 1]
    double = [i for i, e in enumerate(entries) if e["evaluated"] and [e["subject"], *e["styles"]] in [*pairs["validation"]["triples"], *pairs["test"]["triples"]]]
    print(f"{len(learnt)} drawings to learn from, {len(judged)} + {len(double)} to be judged on", flush=True)

    def pick(pool, size):
        picks = pool[torch.randint(len(pool), (size,))]
        trip = torch.rand(size, 1, 1, 1) < 0.5
        return picks, torch.where(trip, trips[picks], pixels[picks]).float() / 127.5 - 1

    if args.part == "style":
        truth = torch.tensor([[s in e["styles"] for s in styles] for e in entries])
        # Half of the batch is in a style, so that none is rare. Black and white sets have no answer, nor has the blueprint of an
        # ink drawing, which is like any other.
        clear = [[x] for x in styles] + [[], *(t[1:] for h in ("validation", "test") for t in pairs[h]["triples"])]
        answered = torch.tensor([i for i in learnt.tolist() if entries[i]["set"] != "emojione-mono" and entries[i]["styles"] in clear])
        styled = torch.tensor([i for i in answered.tolist() if entries[i]["styles"]])
        net = Network(len(styles), (24, 40, 64, 80), 1, 0.1)

        def batch():
            (a, x), (b, y) = pick(answered, 28), pick(styled, 28)
            x = torch.cat([x, y])
            return blur(1 - (1 - warp(x)) * (1 + (torch.rand(len(x), 1, 1, 1) - 0.5) * 0.2)), truth[torch.cat([a, b])].float()

        def right(logits, picks):
            return {"style": round(((logits > 0) == truth[picks]).all(1).float().mean().item(), 3)}

        def loss(x, t):
            return F.binary_cross_entropy_with_logits(net(x)[0], t)
    else:
        truth = torch.tensor([subjects.index(e["subject"]) for e in entries])
        net = Network(len(subjects), (24, 56, 112, 176), 2, 0.2)

        def batch():
            picks, x = pick(learnt, 64)
            return blur(recolour(warp(x))), truth[picks]

        def right(logits, picks):
            own = truth[picks]
            return {"subjectTop1": round((logits.argmax(1) == own).float().mean().item(), 3),
                    "subjectTop5": round((logits.topk(5, 1).indices == own[:, None]).any(1).float().mean().item(), 3)}

        def loss(x, t):
            return F.cross_entropy(net(x)[0], t, label_smoothing=0.05)

    def report_on(images, picks):
        return {"pictures": len(picks), **right(answers(net, images[picks]), picks)}

    groups = {"pairs": judged, "triples": double, "learnt": learnt.tolist()[:: max(1, len(learnt) // 400)]}
    groups |= {f"pairs in {x}": [i for i in judged if entries[i]["styles"] == [x]] for x in styles}
    groups = {name: picks for name, picks in groups.items() if picks}

    def log():
        print({kind: list(report_on(pixels, picks).values())[1] for kind, picks in groups.items()}, flush=True)

    train(net, batch, loss, args.steps, {"style": 4e-3, "subject": 2e-3}[args.part], log)
    report = {kind: {name: report_on(images, picks) for name, picks in groups.items()}
              for kind, images in (("drawings", pixels), ("after the autoencoder", trips))}
    print(json.dumps(report), flush=True)
    # The other part stays as it is.
    old, metadata = {}, {}
    if weights.exists():
        with safe_open(weights, "pt") as f:
            metadata = f.metadata()
            old = {k: f.get_tensor(k) for k in f.keys() if not k.startswith(args.part)}
    metadata |= {"subjects": json.dumps(subjects), "styles": json.dumps(styles)}
    save_file({**old, **folded(net, args.part)}, weights, metadata=metadata)
    if args.teacher:
        return
    path = BENCH / "evaluator.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**kept, args.part: {"steps": args.steps, **report}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
