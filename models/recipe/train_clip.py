"""A CLIP for the bundled model: which caption a drawing fits. `train-gate --loss clip` guides gates with it, as the MoLE paper does with
OpenAI's. It knows the base model's subjects and those that teach gates, in every style; no subject that the composition
benchmark judges by, in any drawing (test/bench/compose/pairs.json), so that it is no relative of the benchmark's judge.
  npx tsx evaluator-drawings.ts
  python train_clip.py --steps 1500 --out ../atelier-mini-clip
"""
import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

import common
from composition_evaluator import BENCH, judged_subjects, load, round_trip, warp

SIDE, TOKENS = 64, 20


def config():
    shared = {"intermediate_size": 512, "num_attention_heads": 4, "num_hidden_layers": 4, "hidden_size": 128, "hidden_act": "quick_gelu"}
    return CLIPConfig(
        text_config={**shared, "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "vocab_size": 49408, "max_position_embeddings": 77,
                     "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407, "projection_dim": 128},
        vision_config={**shared, "image_size": SIDE, "patch_size": 8, "projection_dim": 128},
        projection_dim=128,
    )


def with_article(subject):
    return f"{'an' if subject[0] in 'aeiou' else 'a'} {subject}"


def captions_of(entry, base_styles):
    """The captions that fit: with the styles in the order of the lessons, and without."""
    plain = with_article(entry["subject"])
    named = entry["styles"] or ([entry["set"]] if entry["set"] in base_styles else [])
    return [", ".join([plain, *(f"{s} style" for s in named)]), plain]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawings", type=Path, default=common.HERE / "data/evaluator")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--subjects", type=int, default=24, help="of a batch")
    parser.add_argument("--each", type=int, default=5, help="drawings of each")
    parser.add_argument("--warp", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=common.HERE.parent / "atelier-mini-clip")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    common.seed_everything(6)
    tokenizer = CLIPTokenizer.from_pretrained(common.HERE.parent / "atelier-mini/tokenizer")
    pairs = json.loads((BENCH / "pairs.json").read_text())
    taught = pairs["taught"] + pairs["lessons"]
    known_subjects = {*judged_subjects(), *taught} - {*pairs["subjects"], *pairs["judged"]}
    entries, pixels = load(args.drawings)
    trips = round_trip(entries, args.drawings, args.drawings / "round-trip.pt")
    kept = [i for i, e in enumerate(entries) if e["subject"] in known_subjects]
    holdout = common.load_holdout()
    held = {(s, x) for s, x in holdout["pairs"]}
    asked = [i for i in kept if entries[i]["subject"] not in taught and (entries[i]["subject"], entries[i]["set"]) in held]
    unseen = set(asked)
    learnt = [i for i in kept if i not in unseen]
    by_subject = {}
    for i in learnt:
        by_subject.setdefault(entries[i]["subject"], []).append(i)
    names = sorted(by_subject)
    said = [captions_of(e, holdout["baseStyles"]) for e in entries]
    print(f"{len(learnt)} drawings of {len(names)} subjects, {len(asked)} to be asked about", flush=True)
    net = CLIPModel(config())
    # Plain answers beside the contrast: without them the image encoder learns styles and no subjects for a long time.
    heads = torch.nn.ModuleDict({"subject": torch.nn.Linear(128, len(names)), "style": torch.nn.Linear(128, 5)})
    styled = torch.tensor([[float(s in e["styles"]) for s in pairs["styles"]] for e in entries])
    number = torch.tensor([names.index(e["subject"]) if e["subject"] in by_subject else -1 for e in entries])
    known = {}

    def ids(text):
        if text not in known:
            known[text] = tokenizer(text, padding="max_length", max_length=TOKENS, truncation=True).input_ids
        return known[text]

    def embed_text(texts):
        x = net.get_text_features(input_ids=torch.tensor([ids(t) for t in texts]))
        return F.normalize(getattr(x, "pooler_output", x), dim=-1)

    def embed_images(x):
        x = net.get_image_features(pixel_values=x)
        return F.normalize(getattr(x, "pooler_output", x), dim=-1)

    def soften(x):
        """As an estimate out of noise looks: less sharp, some of it noise."""
        n = len(x)
        for _ in range(2):
            flat = F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)
            x = torch.where(torch.rand(n, 1, 1, 1) < 0.25, flat, x)
        return (x + torch.rand(n, 1, 1, 1) * 0.1 * torch.randn_like(x)).clamp(-1, 1)

    optimizer = torch.optim.AdamW([*net.parameters(), *heads.parameters()], lr=1e-3, weight_decay=0.05, betas=(0.9, 0.98))
    start = time.time()
    for step in range(args.steps):
        net.train()
        rate = 1e-3 * min(1, (step + 1) / 100) * 0.5 * (1 + torch.cos(torch.tensor(step / args.steps * torch.pi)).item())
        for group in optimizer.param_groups:
            group["lr"] = rate
        chosen = [names[i] for i in torch.randperm(len(names))[: args.subjects]]
        # What teaches gates is asked about most.
        chosen = [*{*chosen[: args.subjects - 6], *(taught[i] for i in torch.randperm(len(taught))[:6])}]
        picks = [pool[i] for s in chosen for pool in [by_subject[s]] for i in torch.randperm(len(pool))[: args.each]]
        rows = torch.tensor(picks)
        trip = torch.rand(len(rows), 1, 1, 1) < 0.5
        x = soften(warp(torch.where(trip, trips[rows], pixels[rows]).float() / 127.5 - 1, args.warp))
        plain = torch.rand(()) < 0.25
        texts = [said[i][1 if plain else 0] for i in picks]
        unique = sorted(set(texts))
        place = torch.tensor([unique.index(t) for t in texts])
        a, b = embed_images(x), embed_text(unique)
        logits = net.logit_scale.exp().clamp(max=50) * a @ b.T
        target = F.one_hot(place, len(unique)).float()
        back = (target / target.sum(0)).T
        loss = F.cross_entropy(logits, place) - (back * F.log_softmax(logits.T, 1)).sum(1).mean()
        # Same captions, different drawings: near each other, far from the rest.
        alike = net.logit_scale.exp().clamp(max=50) * a @ a.T - 1e4 * torch.eye(len(a))
        same = (place[:, None] == place[None]) & ~torch.eye(len(a), dtype=torch.bool)
        some = same.any(1)
        if some.any():
            loss = loss - ((F.log_softmax(alike, 1) * same).sum(1) / same.sum(1).clamp(min=1))[some].mean() * 0.5
        loss = loss + 2 * F.cross_entropy(10 * heads["subject"](a), number[rows]) + 2 * F.binary_cross_entropy_with_logits(10 * heads["style"](a), styled[rows])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 100 == 0 or step + 1 == args.steps:
            net.eval()
            with torch.no_grad():
                all_names = [with_article(n) for n in names]
                image = embed_images(pixels[torch.tensor(asked)].float() / 127.5 - 1)
                found = (image @ embed_text(all_names).T).argmax(1)
                right = sum(names[f] == entries[i]["subject"] for f, i in zip(found, asked)) / max(1, len(asked))
                lessons = [i for i in learnt if entries[i]["subject"] in taught and len(entries[i]["styles"]) == 1]
                image = embed_images(trips[torch.tensor(lessons)].float() / 127.5 - 1)
                texts = sorted({said[i][0] for i in lessons})
                hit = (image @ embed_text(texts).T).argmax(1)
                hits = sum(texts[h] == said[i][0] for h, i in zip(hit, lessons)) / len(lessons)
            print(step + 1, round(loss.item(), 3), f"held-out pairs {right:.0%} of {len(names)} subjects, lessons {hits:.0%} of {len(texts)} captions",
                  f"{time.time() - start:.0f} s", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    used = torch.zeros(49408, 1)
    used[sorted({t for i in known.values() for t in i})] = 1
    net.text_model.embeddings.token_embedding.weight.data *= used  # words of no caption take no room
    net.config.save_pretrained(args.out)
    save_file({k: v.detach().half().contiguous() for k, v in net.state_dict().items() if not k.endswith("position_ids")}, args.out / "model.safetensors",
              metadata={"format": "pt"})
    (args.out / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}) + "\n")


if __name__ == "__main__":
    main()
