"""A small CNN that names the subject and the style of a drawing, and the score it gives the bundled model.

It is trained on the real drawings, augmented, and on their round trip through the autoencoder. It never sees the
held-out pairs nor a held-out subject in a held-out style: its own accuracy is reported on those real drawings.
`score` asks the model for 200 fixed prompts (and for the held-out pairs, reported apart) and writes SCORE.json.
  python evaluator.py train --minutes 6
  python evaluator.py score
"""
import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

import common

SIDE = 64  # the evaluator looks at 64 x 64 pixels


class Block(nn.Module):
    def __init__(self, width_in, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.skip = nn.Conv2d(width_in, width, 1, stride, bias=False) if (width_in, stride) != (width, 1) else nn.Identity()

    def forward(self, x):
        return F.relu(self.skip(x) + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


class Evaluator(nn.Module):
    """Images in [-1, 1] of any size -> subject logits, style logits, features."""

    def __init__(self, subjects, styles, widths=(24, 56, 112, 160)):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
        self.blocks = nn.Sequential(*[Block(a, b, 1 if i == 0 else 2) for i, (a, b) in enumerate(zip((widths[0], *widths), widths))])
        self.subject = nn.Linear(widths[-1] * 4, subjects)
        self.style = nn.Linear(widths[-1], styles)
        self.drop = nn.Dropout(0.3)

    def forward(self, x):
        if x.shape[-1] != SIDE:
            x = F.interpolate(x, (SIDE, SIDE), mode="area")
        maps = self.blocks(self.stem(x))
        features = F.adaptive_avg_pool2d(maps, 2).flatten(1)
        return self.subject(self.drop(features)), self.style(self.drop(maps.mean((2, 3)))), features


def classes(data):
    """Subjects (all of the vocabulary) and styles (all ten), in a fixed order."""
    holdout = common.load_holdout()
    subjects = [s["name"] for s in json.loads((common.HERE / "vocabulary.json").read_text())["subjects"]]
    return subjects, holdout["baseStyles"] + holdout["styles"]


def splits(drawings):
    """Train on everything but the held-out pairs and held-out subject x held-out style."""
    holdout = common.load_holdout()
    kinds = {"train": [], "pairs": [], "subject x style": []}
    for d in drawings:
        if d["split"] == "heldout-pair":
            kinds["pairs"].append(d)
        elif d["subject"] in holdout["subjects"] and d["style"] in holdout["styles"]:
            kinds["subject x style"].append(d)
        else:
            kinds["train"].append(d)
    return kinds


def augment(x):
    """Shift, scale, small rotation, flip, colour jitter, blur, noise."""
    n = len(x)
    angle, scale = (torch.rand(n) - 0.5) * 0.4, 1 + (torch.rand(n) - 0.5) * 0.35
    flip = torch.where(torch.rand(n) < 0.5, -1.0, 1.0)
    theta = torch.stack([torch.stack([scale * angle.cos() * flip, -scale * angle.sin(), (torch.rand(n) - 0.5) * 0.3], 1),
                         torch.stack([scale * angle.sin() * flip, scale * angle.cos(), (torch.rand(n) - 0.5) * 0.3], 1)], 1)
    x = F.grid_sample(x - 1, F.affine_grid(theta, x.shape, align_corners=False), align_corners=False) + 1  # white outside
    x = 1 - (1 - x) * (1 + (torch.rand(n, 3, 1, 1) - 0.5) * 0.4)
    if torch.rand(()) < 0.4:
        x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return x + torch.rand(n, 1, 1, 1) * 0.08 * torch.randn_like(x)


@torch.no_grad()
def accuracy(net, images, subject, style, batch=64):
    net.eval()
    out = [net(images[i : i + batch])[:2] for i in range(0, len(images), batch)]
    s, t = torch.cat([o[0] for o in out]), torch.cat([o[1] for o in out])
    return {"subjectTop1": round((s.argmax(1) == subject).float().mean().item(), 4),
            "subjectTop5": round((s.topk(5, 1).indices == subject[:, None]).any(1).float().mean().item(), 4),
            "styleTop1": round((t.argmax(1) == style).float().mean().item(), 4),
            "styleTop1OfBase": round((t[:, :4].argmax(1) == style).float().mean().item(), 4), "pictures": len(images)}


def train(args):
    common.seed_everything(args.seed)
    subjects, styles = classes(args.data)
    kinds = splits(common.load_drawings(args.data, None))
    pictures, labels = {}, {}
    for kind, drawings in kinds.items():
        whole = common.to_float(common.load_pixels(drawings))
        pictures[kind] = F.interpolate(whole, (SIDE, SIDE), mode="area")
        labels[kind] = (torch.tensor([subjects.index(d["subject"]) for d in drawings]), torch.tensor([styles.index(d["style"]) for d in drawings]))
        if kind == "train" and (args.model / "vae/config.json").exists():
            from diffusers import AutoencoderKL
            vae = AutoencoderKL.from_pretrained(args.model / "vae", torch_dtype=torch.float32).eval()
            base = [i for i, d in enumerate(drawings) if d["split"] == "train"]  # the styles the model draws
            with torch.no_grad():
                trip = torch.cat([F.interpolate(vae.decode(common.teacher_latents(args.encoder, b) / common.LATENT_SCALE).sample if args.encoder
                                  else vae(b).sample, (SIDE, SIDE), mode="area") for b in whole[base].split(16)])
            pictures[kind] = torch.cat([pictures[kind], trip.clamp(-1, 1)])
            labels[kind] = tuple(torch.cat([l, l[base]]) for l in labels[kind])
    net = Evaluator(len(subjects), len(styles))
    print(f"evaluator: {sum(p.numel() for p in net.parameters())} parameters, {len(pictures['train'])} pictures", flush=True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)
    start, step, x, (subject, style) = time.time(), 0, pictures["train"], labels["train"]
    while (progress := (time.time() - start) / (args.minutes * 60)) < 1:
        net.train()
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * progress))
        picks = torch.randint(len(x), (64,))
        s, t, _ = net(augment(x[picks]))
        loss = F.cross_entropy(s, subject[picks], label_smoothing=0.05) + 0.5 * F.cross_entropy(t, style[picks])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if step % 200 == 0:
            print(step, round(loss.item(), 3), {k: accuracy(net, pictures[k], *labels[k]) for k in ("pairs", "subject x style")}, flush=True)
    report = {"steps": step, "batch": 64, "heldOutPairs": accuracy(net, pictures["pairs"], *labels["pairs"]),
              "heldOutSubjectInHeldOutStyle": accuracy(net, pictures["subject x style"], *labels["subject x style"]),
              "trainingDrawings": accuracy(net, pictures["train"][: len(kinds["train"])], *(l[: len(kinds["train"])] for l in labels["train"]))}
    print(json.dumps(report, indent=1))
    save_file({k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}, args.weights, metadata={"report": json.dumps(report)})


def score_prompts():
    """200 fixed prompts over the core vocabulary and the base styles, never a held-out pair; and the held-out pairs."""
    from_json = json.loads((common.HERE / "vocabulary.json").read_text())["subjects"]
    holdout = common.load_holdout()
    pairs = {tuple(p) for p in holdout["pairs"]}
    names = [s["name"] for s in from_json if s["core"] and s["name"] not in holdout["subjects"]]
    asked = [(name, style) for name in names for style in holdout["baseStyles"] if (name, style) not in pairs]
    prompts = [(name, style, 1000 + i) for i, (name, style) in enumerate(random.Random(200).sample(asked, 200))]
    return prompts, [(name, style, 2000 + i) for i, (name, style) in enumerate(holdout["pairs"])]


def score(args):
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
    from safetensors import safe_open

    subjects, styles = classes(args.data)
    net = Evaluator(len(subjects), len(styles))
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(args.weights).items()})
    net.eval()
    with safe_open(args.weights, "pt") as f:
        evaluator = json.loads(f.metadata()["report"])
    held = splits(common.load_drawings(args.data, None))["pairs"]
    evaluator["heldOutPairs"] = accuracy(net, common.to_float(common.load_pixels(held)), torch.tensor([subjects.index(d["subject"]) for d in held]),
                                         torch.tensor([styles.index(d["style"]) for d in held]))
    pipe = StableDiffusionPipeline.from_pretrained(args.model, safety_checker=None, torch_dtype=torch.float32).to(args.device)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    size = pipe.unet.config.sample_size * 8
    prompts, pairs = score_prompts()
    captions = {(d["subject"], d["style"]): d["captions"]["styled"][0] for d in common.load_drawings(args.data, None)}
    result, sheets = {}, {}
    for kind, asked in (("inVocabulary", prompts[: args.limit]), ("heldOutPairs", pairs[: args.limit])):
        images = []
        for i in range(0, len(asked), 20):
            part = asked[i : i + 20]
            seeds = [torch.Generator().manual_seed(seed) for _, _, seed in part]
            images.append(pipe([captions[(n, s)] for n, s, _ in part], num_inference_steps=args.steps, guidance_scale=args.cfg,
                               generator=seeds, height=size, width=size, output_type="pt").images.float().cpu() * 2 - 1)
        images = sheets[kind] = torch.cat(images)
        subject = torch.tensor([subjects.index(n) for n, _, _ in asked])
        style = torch.tensor([styles.index(s) for _, s, _ in asked])
        result[kind] = accuracy(net, images, subject, style)
        print(kind, result[kind], flush=True)
        if args.sheets:
            args.sheets.mkdir(parents=True, exist_ok=True)
            common.contact_sheet(images[:200], 20, args.sheets / f"{kind}.png")
            (args.sheets / f"{kind}.txt").write_text("\n".join(captions[(n, s)] for n, s, _ in asked))
    report = {"comment": "The evaluator's verdict on pictures drawn by models/atelier-mini; see models/recipe/evaluator.py. The evaluator was trained on the "
              "drawings the model was trained on, so heldOutPairs is the stricter figure. Its style head is poor (see evaluator.heldOutPairs): "
              "the style figures mean little.",
              "size": size, "sampler": "DPM++ 2M", "steps": args.steps, "cfg": args.cfg, "model": result, "evaluator": evaluator}
    args.report.write_text(json.dumps(report, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["train", "score"])
    parser.add_argument("--data", type=Path, default=common.HERE / "data/128")
    parser.add_argument("--model", type=Path, default=common.HERE.parent / "atelier-mini")
    parser.add_argument("--encoder", type=Path, help="teacher encoder for the round trip; the model's own without it")
    parser.add_argument("--weights", type=Path, default=common.HERE / "evaluator.safetensors")
    parser.add_argument("--report", type=Path, default=common.HERE / "SCORE.json")
    parser.add_argument("--sheets", type=Path, help="also write contact sheets here")
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=4.0)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    train(args) if args.command == "train" else score(args)


if __name__ == "__main__":
    main()
