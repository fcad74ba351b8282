"""Trains the thin autoencoder of the bundled model so that its latents live in Stable Diffusion's latent space.

The decoder learns to draw icons from the teacher's latents (plus a little noise, because a UNet's latents are never
exact); the encoder is distilled to the teacher's latents. The teacher is any SD 1.x encoder in ONNX, e.g. VAElight.
The decoder starts on crops of the latent (cheap, and most of an icon's white can be skipped) and ends on whole pictures.
Each part is a run of its own; both write the same folder, and both can resume.
  python train_vae.py --part decoder --teacher VAElight-encoder.onnx --minutes 22
  python train_vae.py --part encoder --teacher VAElight-encoder.onnx --minutes 8
"""
import argparse
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

import common


def build(channels, size):
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, sample_size=size, scaling_factor=common.LATENT_SCALE,
        block_out_channels=channels, layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * len(channels), up_block_types=("UpDecoderBlock2D",) * len(channels))
    with torch.no_grad():  # a fixed, tiny posterior: log variance -12 everywhere
        vae.quant_conv.weight[4:] = 0
        vae.quant_conv.bias[4:] = -12
    return vae


def augment(images, generator):
    """Flips, shifts, colour changes: the autoencoder should not know only these very drawings."""
    out = []
    for image in images:
        r = torch.rand(8, generator=generator).tolist()
        if r[0] < 0.5:
            image = image.flip(-1)
        reach = image.shape[-1] // 10
        dy, dx = (int((v * 2 - 1) * reach) for v in r[1:3])
        h, w = image.shape[-2:]
        image = F.pad(image[None], (reach,) * 4, value=1.0)[0, :, reach - dy : reach - dy + h, reach - dx : reach - dx + w]
        if r[3] < 0.3:
            image = image[torch.randperm(3, generator=generator)]
        elif r[3] < 0.4:
            image = image.mean(0, keepdim=True).expand(3, -1, -1)
        elif r[3] < 0.5:
            background = torch.rand(3, 1, 1, generator=generator) * 2 - 1
            image = torch.minimum(image, background + (image < 0.98).any(0, keepdim=True) * 2)
        if r[4] < 0.2:
            image = -image
        out.append(image)
    return torch.stack(out).clamp(-1, 1)


def drawing_loss(y, x):
    """L1, its edges, and L1 at half and quarter size: flat colours and crisp contours."""
    d = y - x
    edges = d.diff(dim=-1).abs().mean() + d.diff(dim=-2).abs().mean()
    half = F.avg_pool2d(d, 2)
    return d.abs().mean() + 0.5 * edges + 0.5 * half.abs().mean() + 0.5 * F.avg_pool2d(half, 2).abs().mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["decoder", "encoder"], required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=common.HERE / "data/128")
    parser.add_argument("--out", type=Path, default=common.HERE.parent / "atelier-mini", help="the model folder")
    parser.add_argument("--work", type=Path, default=common.HERE / "runs/vae")
    parser.add_argument("--channels", type=int, nargs="+", default=[16, 32, 64, 96])
    parser.add_argument("--variants", type=int, default=1, help="augmented copies of each drawing")
    parser.add_argument("--share", type=float, default=0.3, help="share of augmented copies in a batch")
    parser.add_argument("--noise", type=float, default=0.08, help="latent noise for the decoder, on the scaled latent")
    parser.add_argument("--crop", type=int, default=8, help="side of the latent crop in the first part of the decoder run")
    parser.add_argument("--whole-from", type=float, default=0.6, help="share of the run after which whole pictures are used")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--minutes", type=float, default=22)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resume", action="store_true", help="start from the weights of an earlier run")
    args = parser.parse_args()

    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    rng = common.seed_everything(args.seed)
    args.work.mkdir(parents=True, exist_ok=True)
    drawings = common.load_drawings(args.data)
    images = common.to_float(common.load_pixels(drawings))
    n, size = len(images), images.shape[-1]
    generator = torch.Generator().manual_seed(args.seed)
    images = torch.cat([images] + [augment(images, generator) for _ in range(args.variants)])
    latents = common.teacher_latents(args.teacher, images)
    print(f"{len(images)} pictures, {n} of them as drawn", flush=True)

    vae = build(tuple(args.channels), size)
    weights = args.work / "vae.pt"
    if args.resume or (args.part == "encoder" and weights.exists()):
        vae.load_state_dict(torch.load(weights))
    vae.to(device)
    modules = [vae.decoder, vae.post_quant_conv] if args.part == "decoder" else [vae.encoder, vae.quant_conv]
    parameters = [p for m in modules for p in m.parameters()]
    print(f"{args.part}: {sum(p.numel() for p in parameters)} parameters", flush=True)
    mean = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=args.lr, weight_decay=0, betas=(0.9, 0.99), fused=True)
    # where there is something to draw, per latent cell: crops are aimed at it
    ink = F.avg_pool2d((images < 0.95).any(1, keepdim=True).float(), 8)[:, 0]

    def save():
        for p, m in zip(parameters, mean):
            p.data, m.data = m.data, p.data
        torch.save(vae.state_dict(), weights)
        half = AutoencoderKL.from_config(vae.config)
        half.load_state_dict(vae.state_dict())
        half.half().save_pretrained(args.out / "vae", safe_serialization=True)
        with torch.no_grad():
            picks = list(range(0, n, n // 16))[:16]
            vae.eval()
            z = latents[picks] if args.part == "decoder" else None
            z = vae.encode(images[picks].to(device)).latent_dist.mode() if z is None else z.to(device) / common.LATENT_SCALE
            common.contact_sheet(torch.cat([images[picks], vae.decode(z).sample.cpu()]), 16, args.work / f"{args.part}.png")
        for p, m in zip(parameters, mean):
            p.data, m.data = m.data, p.data

    start = last_save = time.time()
    step, total, count, log = 0, 0.0, 0, []
    while (progress := (time.time() - start) / (args.minutes * 60)) < 1:
        lr = args.lr * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimizer.param_groups:
            group["lr"] = lr
        crop = args.crop if args.part == "decoder" and progress < args.whole_from else 0
        batch = args.batch * 2 if crop else args.batch
        picks = [rng.randrange(n) + n * (rng.randrange(args.variants) + 1 if rng.random() < args.share and args.variants else 0) for _ in range(batch)]
        x, z = images[picks], latents[picks]
        if crop:
            xs, zs = [], []
            for i, pick in enumerate(picks):
                cells = z.shape[-1] - crop + 1
                weight = F.avg_pool2d(ink[pick][None, None], crop, stride=1).flatten() + 0.02
                y0, x0 = divmod(torch.multinomial(weight, 1).item(), cells)
                zs.append(z[i, :, y0 : y0 + crop, x0 : x0 + crop])
                xs.append(x[i, :, y0 * 8 : (y0 + crop) * 8, x0 * 8 : (x0 + crop) * 8])
            x, z = torch.stack(xs), torch.stack(zs)
        x, z = x.to(device), z.to(device)
        with torch.autocast(device.type, torch.bfloat16):
            if args.part == "decoder":
                noisy = z + args.noise * torch.rand(len(z), 1, 1, 1, device=device) * torch.randn_like(z)
                y = vae.decode(noisy / common.LATENT_SCALE).sample
            else:
                y = vae.encode(x).latent_dist.mean
        loss = drawing_loss(y.float(), x) if args.part == "decoder" else F.mse_loss(y.float() * common.LATENT_SCALE, z)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        with torch.no_grad():
            torch._foreach_lerp_(mean, [p.detach() for p in parameters], 1 - min(0.995, (1 + step) / (10 + step)))
        total, count = total + loss.item(), count + 1
        if step % 100 == 0:
            log.append({"step": step, "loss": round(total / count, 5), "minutes": round((time.time() - start) / 60, 2)})
            print(f"{args.part} step {step} loss {total / count:.4f} lr {lr:.1e} {progress:.0%}", flush=True)
            total, count = 0.0, 0
        if time.time() - last_save > 150:
            save()
            last_save = time.time()
    save()
    (args.work / f"log-{args.part}.json").write_text(json.dumps({"steps": step, "batch": args.batch, "log": log}))
    print(f"done: {step} steps", flush=True)


if __name__ == "__main__":
    main()
