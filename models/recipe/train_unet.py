"""Trains the text encoder and the UNet of the bundled model jointly, from scratch, on cached latents.

CLIPTextModel (the real CLIP vocabulary) and UNet2DConditionModel, as in Stable Diffusion 1.x, only smaller.
v-prediction on SD's noise schedule, loss weights clipped as in min-SNR, EMA weights are what is saved.
The learning rate follows the wall clock: warm-up, then cosine to the deadline. Resumable.
A short text warm-up (the text encoder regresses the mean latent of what a caption names) makes cross-attention useful
from the first step; its head is thrown away.
  python train_unet.py --bpe bpe_simple_vocab_16e6.txt.gz --encoder VAElight-encoder.onnx --minutes 90
"""
import argparse
import copy
import json
import math
import signal
import threading
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

import common

SCHEDULER = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                 prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False, steps_offset=1)


def build_models(size, channels, text_width, text_layers, device):
    text = CLIPTextModel._from_config(CLIPTextConfig(
        vocab_size=49408, hidden_size=text_width, intermediate_size=4 * text_width, projection_dim=text_width,
        num_hidden_layers=text_layers, num_attention_heads=4, max_position_embeddings=common.MAX_TOKENS,
        hidden_act="quick_gelu", bos_token_id=49406, eos_token_id=49407, pad_token_id=49407),
        attn_implementation="eager" if device.type == "cpu" else "sdpa")  # at this size, plain attention is quicker on a CPU
    levels = len(channels)
    unet = UNet2DConditionModel(
        sample_size=size // 8, in_channels=4, out_channels=4, block_out_channels=channels, layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * levels, up_block_types=("CrossAttnUpBlock2D",) * levels,
        cross_attention_dim=text_width, attention_head_dim=4, norm_num_groups=32)
    if device.type == "cpu":
        unet.set_attn_processor(AttnProcessor())
    return text.to(device), unet.to(device)


class Ema:
    """Exponential moving average of parameters, with the usual warm-up of the decay."""

    def __init__(self, modules, decay):
        self.decay, self.steps = decay, 0
        self.live = [p for m in modules for p in m.parameters()]
        self.mean = [p.detach().clone() for p in self.live]

    @torch.no_grad()
    def update(self):
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.mean, [p.detach() for p in self.live], 1 - decay)

    def swap(self):
        """Exchanges the live and the mean weights; call twice to undo."""
        for p, m in zip(self.live, self.mean):
            p.data, m.data = m.data, p.data


def text_warmup(text, ids_of, drawings, latents, seconds, device, rng, batch=96, tokens=24):
    """The text encoder learns which picture a caption names: every position from the last word on regresses the latent.

    The encoder is causal, so the first 24 positions of the 77 can be computed alone.
    """
    head = torch.nn.Linear(text.config.hidden_size, latents[0].numel()).to(device)
    optimizer = torch.optim.AdamW([*text.parameters(), *head.parameters()], lr=1e-3, weight_decay=0.01)
    start, steps, loss_mean = time.time(), 0, None
    while (left := 1 - (time.time() - start) / seconds) > 0:
        picks = rng.sample(range(len(drawings)), min(batch, len(drawings)))
        ids = torch.stack([ids_of[common.caption(drawings[i], rng)] for i in picks])[:, :tokens].to(device)
        target = latents[picks].flatten(1).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            states = text(ids).last_hidden_state.float()
        end = (ids == 49407).int().argmax(1)
        where = (end + (torch.rand(len(picks), device=device) * (tokens - end)).long()).clamp(max=tokens - 1)
        rows = torch.arange(len(picks), device=device)
        loss = F.mse_loss(head(states[rows, where]), target) + F.mse_loss(head(states[rows, end]), target)
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, steps / 50) * max(0.05, left)
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
        loss_mean = loss.item() / 2 if loss_mean is None else 0.98 * loss_mean + 0.01 * loss.item()
        if steps % 100 == 0:
            print(f"text warm-up {steps}: regression error {loss_mean:.4f}", flush=True)


@torch.no_grad()
def sample(text, unet, tokenizer, prompts, seeds, cfg, steps, device):
    """Latents for prompts: DPM++ 2M with classifier-free guidance, one noise generator per picture."""
    scheduler = DPMSolverMultistepScheduler(**{k: v for k, v in SCHEDULER.items() if k not in ("clip_sample", "set_alpha_to_one")})
    scheduler.set_timesteps(steps)
    size = unet.config.sample_size
    x = torch.stack([torch.randn(4, size, size, generator=torch.Generator().manual_seed(s)) for s in seeds]).to(device)
    ids = common.tokenize(tokenizer, list(prompts) + [""] * len(prompts)).to(device)
    states = text(ids).last_hidden_state
    for t in scheduler.timesteps:
        v_text, v_empty = unet(torch.cat([x, x]), t, encoder_hidden_states=states).sample.float().chunk(2)
        x = scheduler.step(v_empty + cfg * (v_text - v_empty), t, x).prev_sample
    return x


def save_pipeline(folder, text, unet):
    """Half-precision weights in diffusers layout; the VAE is written by train_vae.py, the tokenizer by build_tokenizer."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in (("text_encoder", text), ("unet", unet)):
        half = type(model).from_config(model.config) if name == "unet" else type(model)(model.config)
        half.load_state_dict(model.state_dict())
        half.half().save_pretrained(folder / name, safe_serialization=True)
    # transformers 5 drops the prefix every published Stable Diffusion text encoder has; write it back
    weights = folder / "text_encoder/model.safetensors"
    tensors = {name if name.startswith("text_model.") else f"text_model.{name}": t for name, t in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    DDIMScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    index = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.35.0", "feature_extractor": [None, None],
             "image_encoder": [None, None], "requires_safety_checker": False, "safety_checker": [None, None],
             "scheduler": ["diffusers", "DDIMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
             "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
             "vae": ["diffusers", "AutoencoderKL"]}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=common.HERE / "data/128")
    parser.add_argument("--out", type=Path, default=common.HERE.parent / "atelier-mini", help="the model folder")
    parser.add_argument("--work", type=Path, default=common.HERE / "runs/unet", help="checkpoints, samples, log")
    parser.add_argument("--bpe", type=Path, required=True, help="OpenAI's bpe_simple_vocab_16e6.txt.gz")
    parser.add_argument("--encoder", type=Path, required=True, help="teacher encoder (.onnx) or a vae folder")
    parser.add_argument("--decoder", type=Path, help="a vae folder, to look at samples while training")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--vocabulary", choices=["core", "all"], default="core", help="core: what a CPU has time for")
    parser.add_argument("--channels", type=int, nargs="+", default=[64, 160, 256])
    parser.add_argument("--text-width", type=int, default=128)
    parser.add_argument("--text-layers", type=int, default=4)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--ema", type=float, default=0.997)
    parser.add_argument("--cfg", type=float, default=3.0, help="guidance of the samples")
    parser.add_argument("--text-warmup", type=float, default=100, help="seconds")
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--save-minutes", type=float, default=5)
    parser.add_argument("--sample-minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="asynchronous workers, one thread each: on a busy CPU quicker than threads")
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))  # save, then end

    begin = time.time()
    device = torch.device(args.device)
    rng = common.seed_everything(args.seed)
    args.work.mkdir(parents=True, exist_ok=True)
    drawings = [d for d in common.load_drawings(args.data) if d["core"] or args.vocabulary == "all"]
    tokenizer = common.build_tokenizer(args.bpe, args.out / "tokenizer")
    every = {""} | {c for d in drawings for kind in d["captions"].values() for c in kind}
    ids_of = dict(zip(sorted(every), common.tokenize(tokenizer, sorted(every))))
    images = common.to_float(common.load_pixels(drawings))
    assert images.shape[-1] == args.size, f"drawings are {images.shape[-1]} px, --size is {args.size}"
    if args.encoder.suffix == ".onnx":
        latents = common.teacher_latents(args.encoder, images)
    else:
        latents = common.vae_latents(args.encoder, images, device)
    del images
    print(f"{len(drawings)} drawings, latents mean {latents.mean():.3f} std {latents.std():.3f}, {len(every)} captions", flush=True)

    text, unet = build_models(args.size, tuple(args.channels), args.text_width, args.text_layers, device)
    print("parameters: text", sum(p.numel() for p in text.parameters()), "unet", sum(p.numel() for p in unet.parameters()), flush=True)
    checkpoint = args.work / "checkpoint.pt"
    state = torch.load(checkpoint, map_location=device) if args.resume and checkpoint.exists() else None
    if state is None and args.text_warmup > 0:
        text_warmup(text, ids_of, drawings, latents, args.text_warmup, device, rng)
    ema = Ema([text, unet], args.ema)
    parameters = [p for m in (text, unet) for p in m.parameters()]
    decays = [p for m in (text, unet) for p in m.parameters() if p.ndim > 1]
    others = [p for m in (text, unet) for p in m.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW([{"params": decays, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}],
                                  lr=args.lr, betas=(0.9, 0.99), fused=True)
    step, progress_before, log = 0, 0.0, []
    if state is not None:
        text.load_state_dict(state["text"]), unet.load_state_dict(state["unet"]), optimizer.load_state_dict(state["optimizer"])
        ema.mean, ema.steps = [m.to(device) for m in state["ema"]], state["ema_steps"]
        step, progress_before, log = state["step"], state["progress"], state["log"]
        print(f"resumed at step {step}, {progress_before:.0%} of the schedule", flush=True)

    alphas = DDIMScheduler(**SCHEDULER).alphas_cumprod.to(device)
    snr = alphas / (1 - alphas)
    # Weight of the v loss: min-SNR's clip, but no decay towards pure noise. Most of it is put into how often a timestep is
    # drawn instead, or a fifth of the steps would train on noise levels that hardly count.
    weight = (snr.clamp(max=5) + 1) / (snr + 1)
    density = weight.clamp(min=0.2) / weight.clamp(min=0.2).sum()
    weight = weight / (density * len(density))
    cumulative = density.cumsum(0)
    latents = latents.to(device)
    watch = ["a red apple, noto style", "cat, twemoji style", "an airplane, fluent style", "a house, emojione style",
             "a banana, twemoji style", "a dolphin, noto style", "coffee", "car, emojione style", "a rose, fluent style",
             "grinning face, noto style", "a balloon, twemoji style", "duck, noto style", "tulip, twemoji style",
             "snake, fluent style", "a red heart, fluent style", "cherries, emojione style"]
    vae = None
    if args.decoder:
        from diffusers import AutoencoderKL, AutoencoderTiny
        tiny = json.loads((args.decoder / "config.json").read_text())["_class_name"] == "AutoencoderTiny"
        vae = (AutoencoderTiny if tiny else AutoencoderKL).from_pretrained(args.decoder).eval()
    seconds = args.minutes * 60 - (time.time() - begin)
    start = last_save = last_sample = time.time()
    order, last_print, loss_count, loss_sum = [], start, 0, 0.0

    def save(progress):
        torch.save({"text": text.state_dict(), "unet": unet.state_dict(), "optimizer": optimizer.state_dict(), "ema": ema.mean,
                    "ema_steps": ema.steps, "step": step, "progress": progress, "log": log}, checkpoint.with_suffix(".tmp"))
        checkpoint.with_suffix(".tmp").rename(checkpoint)
        ema.swap()
        save_pipeline(args.out, text, unet)
        ema.swap()
        (args.work / "log.json").write_text(json.dumps(log))

    lock, done = threading.Lock(), threading.Event()

    def next_batch():
        nonlocal order
        if len(order) < args.batch:  # epochs without replacement
            order += rng.sample(range(len(drawings)), len(drawings))
        picks, order = order[: args.batch], order[args.batch :]
        ids = torch.stack([ids_of[common.caption(drawings[i], rng)] for i in picks])
        # one timestep from each of `batch` equally likely bins: less variance than independent draws
        t = torch.searchsorted(cumulative, ((torch.randperm(args.batch) + torch.rand(args.batch)) / args.batch).to(device)).clamp(max=999)
        return latents[picks], ids.to(device), t, torch.randn(args.batch, *latents.shape[1:], device=device)

    def update(gradients, loss):
        """One optimizer step; everything that is shared happens here, under the lock."""
        nonlocal step, last_save, last_sample, last_print, loss_count, loss_sum
        elapsed = (time.time() - start) / seconds
        progress = progress_before + (1 - progress_before) * elapsed
        if elapsed >= 1 or stop:
            done.set()
        lr = args.lr * min(1, (step + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1, progress))))
        for group in optimizer.param_groups:
            group["lr"] = lr
        for p, g in zip(parameters, gradients):
            p.grad = g
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.update()
        step += 1
        loss_sum, loss_count = loss_sum + loss, loss_count + 1
        if step % 50 == 0:
            log.append({"step": step, "samples": step * args.batch, "loss": round(loss_sum / loss_count, 5), "lr": lr,
                        "minutes": round((time.time() - begin) / 60, 2)})
            print(f"step {step} loss {loss_sum / loss_count:.4f} norm {norm:.2f} lr {lr:.2e} {progress:.1%} "
                  f"{loss_count * args.batch / (time.time() - last_print):.1f} img/s", flush=True)
            last_print, loss_count, loss_sum = time.time(), 0, 0.0
        if time.time() - last_save > args.save_minutes * 60 or done.is_set():
            save(progress)
            last_save = time.time()
        if vae is not None and (time.time() - last_sample > args.sample_minutes * 60 or done.is_set()):
            ema.swap()
            z = sample(text, unet, tokenizer, watch, range(len(watch)), args.cfg, 16, device).cpu()
            ema.swap()
            with torch.no_grad():
                common.contact_sheet(vae.decode(z if tiny else z / common.LATENT_SCALE).sample, 8, args.work / f"sample-{step:06d}.png")
            last_sample = time.time()

    def work():
        """A worker computes gradients on its own view of the shared weights (gradients apart, storage shared)."""
        if args.workers > 1:
            torch.set_num_threads(1)
        views = [copy.deepcopy(m) for m in (text, unet)]
        mine = [p for m in views for p in m.parameters()]
        while not done.is_set():
            with lock:
                for p, shared in zip(mine, parameters):
                    p.data = shared.data
                x, ids, t, noise = next_batch()
            a, s = alphas[t].sqrt().view(-1, 1, 1, 1), (1 - alphas[t]).sqrt().view(-1, 1, 1, 1)
            with torch.autocast(device.type, torch.bfloat16):
                v = views[1](a * x + s * noise, t, encoder_hidden_states=views[0](ids).last_hidden_state).sample
            loss = (weight[t] * (v.float() - (a * noise - s * x)).square().mean((1, 2, 3))).mean()
            loss.backward()
            with lock:
                if not done.is_set():
                    update([p.grad for p in mine], loss.item())
            for p in mine:
                p.grad = None

    workers = [threading.Thread(target=work) for _ in range(args.workers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(f"done: {step} steps, {step * args.batch} samples", flush=True)


if __name__ == "__main__":
    main()
