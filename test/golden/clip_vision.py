"""A tiny CLIP with random weights, and what transformers and torch compute with it: embeddings, and the clip loss's gradient.

Witness for networks/clip-vision.ts, networks/clip-text-embeds.ts and mole/clip-loss.ts: torch 2.13.0, diffusers 0.42.1,
transformers 5.24, seed 0, float32. Weights are stored as float16 (the numbers are exactly representable, so both sides compute
on the same values). The autoencoder is the one of networks.py's tiny-sd1. Run after it: python test/golden/clip_vision.py
"""
import pathlib
import shutil

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

data = pathlib.Path(__file__).parent / "data"
here = data / "clip-vision"
shutil.rmtree(here, ignore_errors=True)
torch.manual_seed(0)

size, patch = 24, 8
config = CLIPConfig(
    projection_dim=24,
    text_config=dict(
        vocab_size=512, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, hidden_act="quick_gelu",
        max_position_embeddings=77, bos_token_id=510, eos_token_id=2, pad_token_id=511),
    vision_config=dict(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, hidden_act="quick_gelu",
        image_size=size, patch_size=patch))
clip = CLIPModel(config)
with torch.no_grad():
    for p in clip.parameters():
        # transformers starts so small that every picture would look alike.
        p.add_((0.1 if p.ndim <= 1 else 0.15) * torch.randn_like(p))
        p.copy_(p.half().float())
clip.eval()
vae = AutoencoderKL.from_pretrained(data / "networks" / "tiny-sd1" / "vae", torch_dtype=torch.float32).eval()
for p in [*clip.parameters(), *vae.parameters()]:
    p.requires_grad_(False)

mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
out = {}


def embedded_text(ids):
    return clip.text_projection(clip.text_model(input_ids=ids).pooler_output)


def embedded_image(pixels):
    return clip.visual_projection(clip.vision_model(pixel_values=pixels).pooler_output)


def seen(image):
    """What CLIP sees of a picture in [-1, 1]: the shorter side scaled to its size with antialiasing, the middle cut out."""
    image = (image / 2 + 0.5).clamp(0, 1)
    h, w = image.shape[2:]
    to = (size, size * w // h) if h <= w else (size * h // w, size)
    image = F.interpolate(image, size=to, mode="bilinear", antialias=True, align_corners=False)
    top, left = (to[0] - size) // 2, (to[1] - size) // 2
    return (image[:, :, top:top + size, left:left + size] - mean) / std


ids = torch.randint(0, 509, (2, 77))
ids[:, 0], ids[0, 9:], ids[1, 40:] = 510, 511, 511
out["input_ids"] = ids
# The largest id is the end of text in configs from before transformers 4.31 (eos_token_id 2).
out["text_embeds"] = embedded_text(ids)
# With another eos_token_id it is the first of its kind, though 510 is larger.
later = ids.clone()
later[0, 5], later[1, 8], later[1, 30] = 509, 509, 509
later[later == 511] = 509
clip.text_model.eos_token_id = 509
out["later_ids"], out["later_text_embeds"] = later, embedded_text(later)
clip.text_model.eos_token_id = 2

pixels = torch.randn(2, 3, size, size)
out["pixels"], out["image_embeds"] = pixels, embedded_image(pixels)

for h, w in [(32, 48), (50, 33), (16, 20)]:
    image = torch.randn(1, 3, h, w)
    out[f"image_{h}x{w}"], out[f"seen_{h}x{w}"] = image, seen(image)

# The loss of a prediction, at two noise levels, and its gradient: latents 8x12 are pictures of 32x48.
batch, shape = 2, (2, 4, 8, 12)
alpha_bar = torch.tensor([0.9, 0.45]).view(batch, 1, 1, 1)
signal, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
sample, reference = torch.randn(shape), torch.randn(shape) * vae.config.scaling_factor
out["alpha_bar"], out["sample"], out["reference"] = alpha_bar.flatten(), sample, reference


def look(x0):
    return embedded_image(seen(vae.decode(x0 / vae.config.scaling_factor).sample))


text_embeds, reference_embeds = out["text_embeds"], look(reference)
out["reference_embeds"] = reference_embeds
for kind in ["epsilon", "v_prediction"]:
    prediction = torch.randn(shape).requires_grad_()
    x0 = (sample - sigma * prediction) / signal if kind == "epsilon" else signal * sample - sigma * prediction
    embeds = look(x0)
    over_text = (1 - F.cosine_similarity(embeds, text_embeds)).mean()
    over_image = (1 - F.cosine_similarity(embeds, reference_embeds)).mean()
    loss = 1.0 * over_text + 0.5 * over_image
    loss.backward()
    out[f"{kind}_prediction"], out[f"{kind}_grad"] = prediction.detach(), prediction.grad
    out[f"{kind}_losses"] = torch.stack([loss, over_text, over_image]).detach()

# The same with each picture's caption told from the others, under CLIP's own scale.
captions = torch.cat([out["text_embeds"], out["later_text_embeds"]])
for kind in ["epsilon", "v_prediction"]:
    prediction = out[f"{kind}_prediction"].clone().requires_grad_()
    x0 = (sample - sigma * prediction) / signal if kind == "epsilon" else signal * sample - sigma * prediction
    logits = clip.logit_scale.exp() * F.normalize(look(x0), dim=1) @ F.normalize(captions, dim=1).T
    contrast = F.cross_entropy(logits, torch.tensor([0, 1]))
    (0.7 * contrast).backward()
    out[f"{kind}_contrast"], out[f"{kind}_contrast_grad"] = contrast.detach(), prediction.grad

clip.half().save_pretrained(here)
save_file({k: v.detach().contiguous() for k, v in out.items()}, here / "expected.safetensors")
