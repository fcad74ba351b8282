"""Pictures with settings as A1111 and ComfyUI write them, and pictures that are awkward to decode, as Pillow sees them.

Witness for src-main/formats/{png,png-text,exif,picture-containers,picture-metadata}.ts.
Versions: Python 3.11, Pillow 13.0.0, piexif 1.1.3 (pip install piexif; A1111 pins the same). No random numbers.
Run from the repository root: python test/golden/pictures.py
The way of writing follows AUTOMATIC1111 modules/images.py save_image_with_geninfo (PngInfo.add_text; piexif.dump with
UserComment.dump(..., encoding="unicode"), piexif.insert) and ComfyUI nodes.py SaveImage / SaveAnimatedWEBP.
"""

import io
import json
from pathlib import Path

import numpy as np
import piexif
import piexif.helper
from PIL import Image, ImageOps, PngImagePlugin

out = Path(__file__).parent / "data" / "pictures"
out.mkdir(parents=True, exist_ok=True)

SETTINGS = (
    "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1234567890, Size: 16x8, "
    "Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, Clip skip: 2, RNG: CPU, "
    'Lora hashes: "ink: 0123456789ab, wash: ba9876543210", Version: v1.10.1'
)
LATIN1 = f"a café, (red:1.2) fox\nin the snow\nNegative prompt: blurry, bad\n{SETTINGS}"
UNICODE = f"雪の中の狐 🦊, café\nNegative prompt: ぼやけた\n{SETTINGS}"

y, x = np.mgrid[0:8, 0:16]
pixels = np.stack([x * 16, y * 32, 255 - x * 8 - y * 8], axis=-1).astype(np.uint8)
picture = Image.fromarray(pixels, "RGB")


def png(name, *texts, image=picture, zip=False, after_idat=False):
    info = PngImagePlugin.PngInfo()
    for keyword, text in texts:
        if after_idat:
            info.add(b"tEXt", keyword.encode() + b"\0" + text.encode("latin-1"), after_idat=True)
        else:
            info.add_text(keyword, text, zip=zip)
    image.save(out / name, pnginfo=info)


def user_comment(text, encoding="unicode"):
    value = piexif.helper.UserComment.dump(text, encoding=encoding)
    return piexif.dump({"Exif": {piexif.ExifIFD.UserComment: value}})


def with_exif(name, exif, **options):
    picture.save(out / name, **options)
    piexif.insert(exif, str(out / name))


png("a1111-latin1.png", ("parameters", LATIN1))
png("a1111-unicode.png", ("parameters", UNICODE))
png("a1111-ztxt.png", ("parameters", LATIN1), zip=True)
png("a1111-compressed-itxt.png", ("parameters", UNICODE), zip=True)
png("a1111-after-idat.png", ("parameters", LATIN1), after_idat=True)
with_exif("a1111.jpg", user_comment(UNICODE), quality=80)
with_exif("a1111-ascii.jpg", user_comment(SETTINGS, "ascii"), quality=80)
with_exif("a1111-lossy.webp", user_comment(UNICODE), quality=80, lossless=False)
with_exif("a1111-lossless.webp", user_comment(UNICODE), lossless=True)
picture.save(out / "plain.png")
# The same pixels before piexif put the text in: ours put in must give the same bytes.
for name, options in [("plain.jpg", {"quality": 80}), ("plain-lossy.webp", {"quality": 80}), ("plain-lossless.webp", {"lossless": True})]:
    picture.save(out / name, **options)
# No character code, and UTF-8 in its place: A1111 falls back to reading all bytes as UTF-8.
raw = piexif.dump({"Exif": {piexif.ExifIFD.UserComment: UNICODE.encode("utf-8")}})
with_exif("utf8-comment.jpg", raw, quality=80)
# Pillow's own EXIF writer: little-endian TIFF, and UTF-16 in that order.
exif = Image.Exif()
exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + UNICODE.encode("utf-16-le")
picture.save(out / "little-endian.jpg", exif=exif.tobytes(), quality=80)

prompt = {
    "3": {
        "inputs": {
            "seed": 18446744073709551557, "steps": 25, "cfg": 6.5, "sampler_name": "dpmpp_2m_sde_gpu", "scheduler": "karras",
            "denoise": 1.0, "model": ["11", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0],
        },
        "class_type": "KSampler", "_meta": {"title": "KSampler"},
    },
    "4": {"inputs": {"ckpt_name": "sd15/dreamshaper_8.safetensors"}, "class_type": "CheckpointLoaderSimple"},
    "5": {"inputs": {"width": 512, "height": 768, "batch_size": 1}, "class_type": "EmptyLatentImage"},
    "6": {"inputs": {"text": "a fox, 雪", "clip": ["12", 0]}, "class_type": "CLIPTextEncode"},
    "7": {"inputs": {"text": "blurry", "clip": ["12", 0]}, "class_type": "CLIPTextEncode"},
    "8": {"inputs": {"samples": ["3", 0], "vae": ["4", 2]}, "class_type": "VAEDecode"},
    "9": {"inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}, "class_type": "SaveImage", "is_changed": [float("nan")]},
    "10": {
        "inputs": {"lora_name": "ink.safetensors", "strength_model": 0.8, "strength_clip": 0.7, "model": ["4", 0], "clip": ["4", 1]},
        "class_type": "LoraLoader",
    },
    "11": {
        "inputs": {"lora_name": "wash.safetensors", "strength_model": 0.5, "strength_clip": 0.5, "model": ["10", 0], "clip": ["10", 1]},
        "class_type": "LoraLoader",
    },
    "12": {"inputs": {"stop_at_clip_layer": -2, "clip": ["11", 1]}, "class_type": "CLIPSetLastLayer"},
}
workflow = {
    "last_node_id": 9, "last_link_id": 9,
    "nodes": [
        {"id": 4, "type": "CheckpointLoaderSimple", "mode": 0, "inputs": [], "widgets_values": ["v1-5-pruned-emaonly.ckpt"]},
        {"id": 5, "type": "EmptyLatentImage", "mode": 0, "inputs": [], "widgets_values": [512, 512, 1]},
        {"id": 6, "type": "CLIPTextEncode", "mode": 0, "inputs": [{"name": "clip", "type": "CLIP", "link": 3}],
         "widgets_values": ["beautiful scenery nature glass bottle landscape"]},
        {"id": 7, "type": "CLIPTextEncode", "mode": 0, "inputs": [{"name": "clip", "type": "CLIP", "link": 5}],
         "widgets_values": ["text, watermark"]},
        {"id": 3, "type": "KSampler", "mode": 0,
         "inputs": [{"name": "model", "type": "MODEL", "link": 1}, {"name": "positive", "type": "CONDITIONING", "link": 4},
                    {"name": "negative", "type": "CONDITIONING", "link": 6}, {"name": "latent_image", "type": "LATENT", "link": 2}],
         "widgets_values": [156680208700286, "randomize", 20, 8, "euler", "normal", 1]},
    ],
    "links": [[1, 4, 0, 3, 0, "MODEL"], [2, 5, 0, 3, 3, "LATENT"], [3, 4, 1, 6, 0, "CLIP"],
              [4, 6, 0, 3, 1, "CONDITIONING"], [5, 4, 1, 7, 0, "CLIP"], [6, 7, 0, 3, 2, "CONDITIONING"]],
    "version": 0.4,
}  # fmt: skip
png("comfyui.png", ("prompt", json.dumps(prompt)), ("workflow", json.dumps(workflow)))
png("comfyui-workflow.png", ("workflow", json.dumps(workflow)))
exif = picture.getexif()
exif[0x0110] = "prompt:{}".format(json.dumps(prompt))
exif[0x010F] = "workflow:{}".format(json.dumps(workflow))
picture.save(out / "comfyui.webp", exif=exif, lossless=True)

# Awkward to decode: what Pillow makes of each, as RGB.
decoded = {}


def awkward(name, image, expected, **options):
    image.save(out / name, **options)
    expected = expected.convert("RGB")
    decoded[name] = {"width": expected.width, "height": expected.height, "rgb": expected.tobytes().hex()}


rotated = Image.Exif()
rotated[0x0112] = 6
buffer = io.BytesIO()
big = picture.resize((64, 32), Image.Resampling.BILINEAR)
big.save(buffer, "PNG", exif=rotated)
awkward("rotated.png", big, ImageOps.exif_transpose(Image.open(buffer)), exif=rotated)
alpha = np.dstack([pixels, (x * 17).astype(np.uint8)])
rgba = Image.fromarray(alpha, "RGBA")
white = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
awkward("alpha.png", rgba, white)
grey = Image.fromarray((x * 16).astype(np.uint8), "L")
awkward("grey.png", grey, grey)
awkward("sixteen-bit-grey.png", Image.fromarray((x * 4096).astype(np.uint16)), Image.fromarray((x * 16).astype(np.uint8), "L"))
palette = picture.quantize(8)
awkward("palette.gif", palette, palette)
cover = {
    f"{w}x{h}": ImageOps.fit(big, (w, h), Image.Resampling.LANCZOS).tobytes().hex() for w, h in [(16, 16), (24, 8), (32, 16)]
}

(out / "expected.json").write_text(
    json.dumps(
        {
            "settings": SETTINGS, "latin1": LATIN1, "unicode": UNICODE,
            "pixels": {"width": 16, "height": 8, "rgb": pixels.tobytes().hex()},
            "piexif": user_comment(UNICODE)[6:].hex(),
            "decoded": decoded,
            "cover": {"from": {"width": 64, "height": 32, "rgb": big.tobytes().hex()}, "to": cover},
        },
        indent=1,
    )
    + "\n"
)  # fmt: skip
