"""Learned words in the text encoder of tiny-sd1: transformers' CLIPTextModel with its vocabulary resized by three random rows.

Witness for clipText's extra_embeddings: torch 2.13.0 (CPU), transformers 5.24, seed 5, float32. Needs the models of networks.py.
Run: python test/golden/embeddings.py
"""
import pathlib

import torch
from safetensors.torch import save_file
from transformers import CLIPTextModel

here = pathlib.Path(__file__).parent / "data"
out_folder = here / "embeddings"
out_folder.mkdir(exist_ok=True)

torch.manual_seed(5)
text = CLIPTextModel.from_pretrained(here / "networks" / "tiny-sd1" / "text_encoder", torch_dtype=torch.float32).eval()
size = text.config.vocab_size
rows = 0.1 * torch.randn(3, text.config.hidden_size)
text.resize_token_embeddings(size + 3, mean_resizing=False)
with torch.no_grad():
    text.get_input_embeddings().weight[size:] = rows
    ids = torch.randint(0, 510, (2, 77))
    ids[:, 0], ids[0, 12:], ids[1, 40:] = 510, 511, 511
    # A word of two vectors, and one of one vector twice; the last id of the vocabulary stands beside them.
    ids[0, 3:5], ids[1, 5], ids[1, 6], ids[1, 39] = torch.tensor([size, size + 1]), size + 2, size - 1, size + 2
    states = text(ids, output_hidden_states=True)
    encoder = getattr(text, "text_model", text)
    out = {
        "extra_embeddings": rows,
        "input_ids": ids,
        "last_hidden_state": states.last_hidden_state,
        "penultimate": encoder.final_layer_norm(states.hidden_states[-2]),
    }
save_file({k: v.contiguous() for k, v in out.items()}, out_folder / "tiny-sd1.safetensors")
