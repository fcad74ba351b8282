"""What the training scripts share: the drawings and their hold-outs, captions, the CLIP tokenizer, latents.

Every script reads drawings through `load_drawings`, which refuses an index that lets a held-out drawing into the
training split. Latents are in Stable Diffusion's latent space, scaled by 0.18215.
"""
import gzip
import json
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image

HERE = Path(__file__).resolve().parent
LATENT_SCALE = 0.18215
MAX_TOKENS = 77
CAPTION_KINDS = (("styled", 0.68), ("plain", 0.08), ("tagged", 0.14), ("empty", 0.10))


def load_holdout():
    return json.loads((HERE / "holdout.json").read_text())


def load_drawings(data, split="train"):
    """Entries of <data>/index.json of one split, each with its absolute path; asserts the hold-out for training."""
    data = Path(data)
    drawings = [d for d in json.loads((data / "index.json").read_text())["drawings"] if split is None or d["split"] == split]
    if split == "train":
        holdout = load_holdout()
        pairs = {tuple(p) for p in holdout["pairs"]}
        for d in drawings:
            assert d["subject"] not in holdout["subjects"], f"held-out subject in training data: {d['file']}"
            assert d["style"] in holdout["baseStyles"], f"held-out style in training data: {d['file']}"
            assert (d["subject"], d["style"]) not in pairs, f"held-out pair in training data: {d['file']}"
    for d in drawings:
        d["path"] = str(data / d["file"])
    return drawings


def load_pixels(drawings):
    """uint8 tensor [n, 3, size, size]."""
    return torch.stack([torch.from_numpy(np.array(Image.open(d["path"]).convert("RGB"))).permute(2, 0, 1) for d in drawings])


def to_float(pixels):
    return pixels.float() / 127.5 - 1


def caption(drawing, rng):
    """A caption for one training step; empty one time in ten, so that classifier-free guidance works."""
    kind = rng.choices([k for k, _ in CAPTION_KINDS], [w for _, w in CAPTION_KINDS])[0]
    if kind == "empty":
        return ""
    return rng.choice(drawing["captions"][kind] or drawing["captions"]["styled"])


def build_tokenizer(bpe_path, folder):
    """CLIP's tokenizer files (vocab.json, merges.txt, configs as in SD 1.5) from OpenAI's merges list."""
    from transformers import CLIPTokenizer

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lines = gzip.open(bpe_path).read().decode("utf-8").split("\n")
    merges = lines[1 : 49152 - 256 - 2 + 1]
    visible = list(range(ord("!"), ord("~") + 1)) + list(range(ord("¡"), ord("¬") + 1)) + list(range(ord("®"), ord("ÿ") + 1))
    letters = [chr(b) for b in visible] + [chr(256 + n) for n in range(256 - len(visible))]
    vocab = letters + [c + "</w>" for c in letters] + ["".join(m.split()) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    assert len(vocab) == 49408
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocab)}, ensure_ascii=False, separators=(",", ":")))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": MAX_TOKENS, "do_lower_case": True, "errors": "replace",
              "add_prefix_space": False, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    return tokenizer


def tokenize(tokenizer, captions):
    return tokenizer(captions, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt").input_ids


@torch.no_grad()
def teacher_latents(onnx_path, images, batch=16):
    """Scaled latents of images in [-1, 1] from an encoder in ONNX (VAElight: SD's latent space, unscaled output)."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = ort.InferenceSession(str(onnx_path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    out = [session.run(None, {name: images[i : i + batch].numpy()})[0] for i in range(0, len(images), batch)]
    return torch.from_numpy(np.concatenate(out)) * LATENT_SCALE


@torch.no_grad()
def vae_latents(vae_folder, images, device="cpu", batch=32):
    """Scaled latents from our own autoencoder."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(vae_folder, torch_dtype=torch.float32).to(device).eval()
    out = [vae.encode(images[i : i + batch].to(device)).latent_dist.mode().cpu() for i in range(0, len(images), batch)]
    return torch.cat(out) * LATENT_SCALE


def seed_everything(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)
    return random.Random(seed)


def contact_sheet(images, columns, path):
    """Images [n, 3, h, w] in [-1, 1] as one PNG."""
    n, _, h, w = images.shape
    rows = -(-n // columns)
    sheet = torch.ones(3, rows * h, columns * w)
    for i, image in enumerate(images.float().clamp(-1, 1).cpu()):
        y, x = i // columns * h, i % columns * w
        sheet[:, y : y + h, x : x + w] = image
    Image.fromarray(((sheet + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()).save(path)
