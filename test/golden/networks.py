"""Tiny Stable Diffusion 1-like and 2-like models with random weights, and what diffusers and transformers compute with them.

Witness for networks/: torch 2.13.0, diffusers and transformers as named in README.md, seed 0, float32.
Weights are stored as float16 (the numbers are exactly representable, so both sides compute on the same values).
Run: python test/golden/networks.py
"""
import json
import pathlib
import shutil

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

here = pathlib.Path(__file__).parent / "data" / "networks"


def halve(model):
    """Random weights with some life in every layer, rounded to float16 values and kept in float32."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 1:
                p.add_(0.1 * torch.randn_like(p))
            p.copy_(p.half().float())
    return model.eval()


def make(name, *, unet, act, prediction):
    torch.manual_seed(0)
    folder = here / name
    shutil.rmtree(folder, ignore_errors=True)
    text = halve(CLIPTextModel(CLIPTextConfig(
        vocab_size=512, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=77, hidden_act=act, bos_token_id=510, eos_token_id=511, pad_token_id=511)))
    net = halve(UNet2DConditionModel(sample_size=16, cross_attention_dim=32, norm_num_groups=8, **unet))
    vae = halve(AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(16, 24, 32), layers_per_block=1, norm_num_groups=8,
        down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3, sample_size=32))
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                              set_alpha_to_one=False, steps_offset=1, prediction_type=prediction)
    out = {}
    ids = torch.randint(0, 510, (2, 77))
    ids[:, 0], ids[0, 9:], ids[1, 40:] = 510, 511, 511
    with torch.no_grad():
        states = text(ids, output_hidden_states=True)
        out["input_ids"] = ids
        out["last_hidden_state"] = states.last_hidden_state
        # "Clip skip 2": the hidden state before the last layer, through the final layer norm.
        encoder = getattr(text, "text_model", text)
        out["penultimate"] = encoder.final_layer_norm(states.hidden_states[-2])
        # An odd size too: 18x14 halves to 9x7, then to 5x4, and must come back.
        for tag, (h, w) in {"": (16, 16), "_odd": (18, 14)}.items():
            x, t, c = torch.randn(2, 4, h, w), torch.tensor([801.0, 13.0]), torch.randn(2, 77, 32)
            out["sample" + tag], out["timestep" + tag], out["encoder_hidden_states" + tag] = x, t, c
            out["out_sample" + tag] = net(x, t, c).sample
        image = torch.rand(1, 3, 32, 48) * 2 - 1
        moments = vae.encode(image).latent_dist
        out["image"], out["mean"], out["logvar"] = image, moments.mean, moments.logvar
        latent = torch.randn(1, 4, 8, 12)
        out["latent"], out["decoded"] = latent, vae.decode(latent).sample
    text.half().save_pretrained(folder / "text_encoder")
    net.half().save_pretrained(folder / "unet")
    vae.half().save_pretrained(folder / "vae")
    scheduler.save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({
        "_class_name": "StableDiffusionPipeline", "text_encoder": ["transformers", "CLIPTextModel"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"]}, indent=2) + "\n")
    save_file({k: v.contiguous() for k, v in out.items()}, folder / "expected.safetensors")


make("tiny-sd1", act="quick_gelu", prediction="epsilon", unet=dict(
    block_out_channels=(16, 32, 32), layers_per_block=1, attention_head_dim=4,
    down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D")))
make("tiny-sd2", act="gelu", prediction="v_prediction", unet=dict(
    block_out_channels=(16, 32), layers_per_block=2, attention_head_dim=(2, 4), use_linear_projection=True,
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D")))
