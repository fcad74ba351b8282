"""A LoRA that `atelier train-lora` wrote, loaded by diffusers: the witness that other tools read our files. For test/engine/trained-lora.test.ts.

The file, data/training/lora-by-atelier.safetensors, was made by (alpha is half the rank, so that its scale counts):
    npm run atelier -- train-lora --images test/golden/data/pictures/plain.png --images test/golden/data/pictures/rotated.png \
      --caption "a test picture" --trigger sks --rank 2 --alpha 1 --targets all --text-encoder --steps 20 --batch 1 --warmup 1 \
      --lr 1e-2 --seed 1 --device cpu --out test/golden/data/training/lora-by-atelier.safetensors
Here StableDiffusionPipeline.load_lora_weights opens it on models/atelier-mini, at strengths 1 and 0.6, and both networks are run.
torch 2.13.0 (CPU), diffusers 0.42.1, peft 0.21.2, transformers 5.24, float32. Run: python test/golden/trained_lora.py
Writes data/training/lora-outputs.safetensors. To be run again, with the command above, whenever models/atelier-mini changes.
"""
import pathlib

import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import save_file

torch.set_num_threads(1)
here = pathlib.Path(__file__).parent / "data" / "training"
file = here / "lora-by-atelier.safetensors"
pipe = StableDiffusionPipeline.from_pretrained(
    here.parents[3] / "models/atelier-mini", torch_dtype=torch.float32, safety_checker=None, feature_extractor=None)
random = torch.Generator().manual_seed(12)
inputs = {"sample": torch.randn(1, 4, 16, 16, generator=random), "timestep": torch.tensor([401.0])}
ids = pipe.tokenizer("a test picture, sks", padding="max_length", max_length=77, return_tensors="pt").input_ids
results = {**inputs, "input_ids": ids.int()}


@torch.no_grad()
def outputs(name):
    states = pipe.text_encoder(ids).last_hidden_state
    results[f"{name}.last_hidden_state"] = states
    results[f"{name}.out_sample"] = pipe.unet(inputs["sample"], inputs["timestep"], states).sample


outputs("without")
pipe.load_lora_weights(file, adapter_name="trained")
carried = [layer for network in (pipe.unet, pipe.text_encoder) for layer in network.modules() if hasattr(layer, "lora_A")]
with safe_open(file, "pt") as held:
    written = [key for key in held.keys() if key.endswith(".alpha")]
assert len(carried) == len(written), (len(carried), len(written))
# Every number of the file is in a layer of diffusers.
assert sum(p.numel() for layer in carried for p in (layer.lora_A["trained"].weight, layer.lora_B["trained"].weight)) == 253376
assert {layer.scaling["trained"] for layer in carried} == {0.5}
outputs("strength 1")
pipe.set_adapters("trained", 0.6)
outputs("strength 0.6")
save_file({name: tensor.contiguous() for name, tensor in results.items()}, here / "lora-outputs.safetensors")
print(len(carried), "layers;", {n: float((results[f"{n}.out_sample"] - results["without.out_sample"]).norm()) for n in ("strength 1", "strength 0.6")})
