"""Witnesses of the checkpoint reader: every element type as torch stores it, and the tensor names and shapes of full-size models.

torch 2.13.0, diffusers 0.42.1, transformers 5.23.0, safetensors; no randomness.
Run: python test/golden/checkpoints.py [path of sd15_manifest.json]
"""
import gzip
import json
import pathlib
import sys

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint, convert_open_clip_checkpoint
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

here = pathlib.Path(__file__).parent / "data" / "checkpoints"
here.mkdir(parents=True, exist_ok=True)


def dtypes():
    floats = torch.tensor([0.0, 1.0, -2.5, 448.0, 1e-3, 57344.0, float("inf"), float("nan"), 6e-8, -0.1])
    out = {str(d).removeprefix("torch."): floats.to(d) for d in (
        torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e5m2)}
    # All bit patterns of the two 8-bit floats.
    out["e4m3_all"] = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn)
    out["e5m2_all"] = torch.arange(256, dtype=torch.uint8).view(torch.float8_e5m2)
    for d in (torch.int64, torch.int32, torch.int16, torch.int8):
        out[str(d).removeprefix("torch.")] = torch.tensor([torch.iinfo(d).min, -1, 0, 1, 100], dtype=d)
    out["uint8"] = torch.tensor([0, 1, 255], dtype=torch.uint8)
    out["bool"] = torch.tensor([True, False])
    out["scalar"] = torch.tensor(3.5)
    save_file(out, here / "dtypes.safetensors", metadata={"format": "pt", 'ünïcode "quoted"': "line\nbreak"})
    # As text: JSON has no NaN, and no integers beyond 2^53. JavaScript's Number() reads these.
    values = {k: [str(x).replace("inf", "Infinity").replace("nan", "NaN").replace("True", "1").replace("False", "0")
                  for x in (v.float() if v.is_floating_point() else v).flatten().tolist()] for k, v in out.items()}
    (here / "dtypes.json").write_text(json.dumps(values))


def write_names(name, table):
    with gzip.GzipFile(here / name, "wb", 9, mtime=0) as f:
        f.write(json.dumps(table, separators=(",", ":")).encode())


def sd2(sd15):
    """Full-size SD 2.1 as diffusers builds it, and how diffusers reads the LDM file: diffusers name -> [LDM key, third of it or -1]."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=96, cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True)
        vae = AutoencoderKL(latent_channels=4, block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=768,
                            down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4)
        text = CLIPTextModel(CLIPTextConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=23,
                                            num_attention_heads=16, hidden_act="gelu", vocab_size=49408))
    shapes = lambda model: {k: list(v.shape) for k, v in model.state_dict().items()}
    # SD 2's file has the LDM names of SD 1's UNet and VAE. Each tensor holds its own number, to be recognised after conversion.
    tag = lambda keys: {k: torch.tensor([float(i)]).reshape(1, 1, 1, 1) for i, k in enumerate(keys)}
    keys = list(sd15["ldm"]["unet"]) + list(sd15["ldm"]["vae"])
    tagged = tag(keys)
    find = lambda out: {k: [keys[int(v.flatten()[0])], -1] for k, v in out.items()}
    blocks = [f"cond_stage_model.model.transformer.resblocks.{i}.{part}.{end}" for i in range(24)
              for part in ("ln_1", "ln_2", "attn.out_proj", "mlp.c_fc", "mlp.c_proj") for end in ("weight", "bias")]
    fused = [f"cond_stage_model.model.transformer.resblocks.{i}.attn.in_proj_{end}" for i in range(24) for end in ("weight", "bias")]
    rest = ["cond_stage_model.model." + k for k in (
        "positional_embedding", "token_embedding.weight", "ln_final.weight", "ln_final.bias")]
    texts = blocks + fused + rest
    state = {k: torch.tensor([float(i)]) for i, k in enumerate(texts)}
    state |= {k: torch.tensor([[j * 1e4 + texts.index(k)] for j in range(3)]) for k in fused}
    model = CLIPTextModel(CLIPTextConfig(hidden_size=2, intermediate_size=2, num_hidden_layers=1, num_attention_heads=1, vocab_size=2))
    model.config.hidden_size = 1
    clip = {k: v.flatten() for k, v in convert_open_clip_checkpoint(model, state).items()}
    return {"diffusers": {"unet": shapes(unet), "vae": shapes(vae), "text_encoder": shapes(text)},
            "ldm": {"unet": find(convert_ldm_unet_checkpoint(tagged, dict(unet.config))),
                    "vae": find(convert_ldm_vae_checkpoint(tagged, dict(vae.config))),
                    "text_encoder": {k: [texts[int(v[0]) % 10000], int(v[0]) // 10000 if ".self_attn." in k and "out_proj" not in k else -1]
                                     for k, v in clip.items()}}}


if __name__ == "__main__":
    dtypes()
    if len(sys.argv) > 1:
        write_names("sd15-names.json.gz", json.loads(pathlib.Path(sys.argv[1]).read_text()))
        write_names("sd2-names.json.gz", sd2(json.loads(pathlib.Path(sys.argv[1]).read_text())))
