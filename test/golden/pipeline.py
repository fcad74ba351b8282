"""Whole pictures of the bundled model by diffusers' own pipeline: prompt, tokenizer, text encoder, guidance, sampler, decoder.

Witness for engine/generate-image.ts. torch 2.13.0, diffusers 0.42.1, transformers 5.23.0; seeds below; float32.
To be run again whenever models/atelier-mini changes. Run: python test/golden/pipeline.py
"""
import json
import pathlib

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler, StableDiffusionPipeline
from safetensors.numpy import save_file

root = pathlib.Path(__file__).parents[2]
out = pathlib.Path(__file__).parent / "data" / "pipeline"
out.mkdir(parents=True, exist_ok=True)
pipe = StableDiffusionPipeline.from_pretrained(root / "models/atelier-mini", safety_checker=None, torch_dtype=torch.float32)
pipe.set_progress_bar_config(disable=True)
config = pipe.scheduler.config

euler = lambda: EulerDiscreteScheduler.from_config(config, timestep_spacing="linspace")
karras = lambda: DPMSolverMultistepScheduler.from_config(
    config, use_karras_sigmas=True, timestep_spacing="linspace", final_sigmas_type="zero")
cases = [
    dict(name="euler", sampler="euler", schedule="normal", scheduler=euler, prompt="a red apple, twemoji style", negative="", seed=7, cfg=5.0),
    dict(name="karras", sampler="dpmpp-2m", schedule="karras", scheduler=karras, prompt="a dog, noto style", negative="blue", seed=100, cfg=4.0),
    dict(name="no-guidance", sampler="euler", schedule="normal", scheduler=euler, prompt="a yellow star", negative="", seed=0, cfg=1.0),
    dict(name="tall", sampler="euler", schedule="normal", scheduler=euler, prompt="a green tree, fluent style", negative="", seed=3, cfg=5.0, width=96, height=136),
]
tensors, texts = {}, []
for case in cases:
    pipe.scheduler = case.pop("scheduler")()
    width, height = case.setdefault("width", 128), case.setdefault("height", 128)
    latents = torch.randn((1, 4, height // 8, width // 8), generator=torch.Generator("cpu").manual_seed(case["seed"]))
    image = pipe(case["prompt"], negative_prompt=case["negative"], num_inference_steps=20, guidance_scale=case["cfg"],
                 latents=latents, width=width, height=height, output_type="np").images[0]
    tensors[case["name"]] = np.ascontiguousarray((image * 255).round().astype(np.uint8))
    texts.append(case)

save_file(tensors, out / "pictures.safetensors")
(out / "cases.json").write_text(json.dumps(texts, indent=1) + "\n")
