"""Witnesses of the checkpoint reader: every element type as torch stores it, and the tensor names and shapes of full-size models.

torch 2.13.0, diffusers 0.42.1, transformers 5.23.0, safetensors; no randomness.
Run: python test/golden/checkpoints.py [path of sd15_manifest.json]
"""
import gzip
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file

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


if __name__ == "__main__":
    dtypes()
    if len(sys.argv) > 1:
        write_names("sd15-names.json.gz", json.loads(pathlib.Path(sys.argv[1]).read_text()))
