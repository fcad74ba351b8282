"""A full-size Stable Diffusion 1.5 with random weights, in diffusers layout: unet (float32), unet16 (the same in float16), vae, text_encoder.

Benchmarks load it on both sides, so that speed and memory are compared on the same tensors. Usage: make_sd15.py FOLDER
"""
import pathlib
import sys

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

folder = pathlib.Path(sys.argv[1])
done = folder / "complete"
if not done.exists():
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=64, cross_attention_dim=768, attention_head_dim=8, block_out_channels=(320, 640, 1280, 1280), layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3)
    unet.save_pretrained(folder / "unet", max_shard_size="10GB")
    unet.half().save_pretrained(folder / "unet16", max_shard_size="10GB")
    del unet
    AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4, latent_channels=4, sample_size=512, norm_num_groups=32).save_pretrained(folder / "vae")
    CLIPTextModel(CLIPTextConfig(
        vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, hidden_act="quick_gelu",
        bos_token_id=49406, eos_token_id=49407, pad_token_id=49407)).save_pretrained(folder / "text_encoder")
    done.write_text("ok")
