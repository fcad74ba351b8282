"""Random infotexts, read by AUTOMATIC1111's own parser: the witness for src-main/formats/infotext.ts.

parse_generation_parameters, quote and unquote are loaded from a copy of stable-diffusion-webui's
modules/infotext_utils.py (commit 036500223de0a3caaa86360a8ad3ed301e4367b0, Python 3.11), with styles ignored. The values
it fills in for absent fields are left out, except clip skip, which is part of the format.
Seed 2. Run from the repository root: python test/golden/infotext.py PATH/TO/infotext_utils.py
Writes test/golden/data/infotext/read-by-a1111.json: a list of {text, fields}.
"""

import ast
import contextlib
import io
import json
import random
import re
import sys
from pathlib import Path
from types import SimpleNamespace

wanted = {"re_param_code", "re_param", "re_imagesize", "quote", "unquote", "parse_generation_parameters"}
source = ast.parse(Path(sys.argv[1]).read_text())


def is_wanted(node):
    names = [node.name] if isinstance(node, ast.FunctionDef) else [t.id for t in getattr(node, "targets", []) if isinstance(t, ast.Name)]
    return bool(wanted & set(names))


opts = SimpleNamespace(infotext_styles="Ignore", infotext_skip_pasting=[], use_old_hires_fix_width_height=False)
a1111 = {
    "re": re, "json": json, "shared": SimpleNamespace(opts=opts), "restore_old_hires_fix_params": lambda res: None,
    "infotext_versions": SimpleNamespace(backcompat=lambda res: None),
}  # fmt: skip
exec(compile(ast.Module([n for n in source.body if is_wanted(n)], []), "infotext_utils", "exec"), a1111)
defaults = set(a1111["parse_generation_parameters"]("")) - {"Prompt", "Negative prompt", "Clip skip"}

random.seed(2)
words = ["a fox", "(red:1.2)", ", ", ": ", "\n", "Negative prompt:", " Negative prompt: ", '"', "\\", "雪", "é", "Steps: 20", "x", " ", "\t", "\r"]
values = ["20", "7.5", "-1", "Euler a", '"a, b"', '"a: \\"b\\""', '"open', 'in "the" middle', "", " spaced ", "a:b", '"\\u00e9"', '"bad \\q"', "雪", '"a"b', "=/-"]  # fmt: skip
labels = ["Steps", "Sampler", "CFG scale", "Seed", "Size", "Model hash", "Model", "Clip skip", "VAE", "Version", "Some-other/thing 2", "A", "雪の", "Ünï", "ADetailer model 2nd", "_x"]  # fmt: skip
glue = [", ", ",", " , ", ",, ", "; ", " ", ", - "]


def pick(items, most):
    return [random.choice(items) for _ in range(random.randint(0, most))]


cases = []
for _ in range(400):
    chosen = random.sample(labels, random.randint(0, 8))
    sizes = {"Size": ["512x768", "0x1", "wide"]}
    fields = [f"{label}:{random.choice([' ', '', '  '])}{random.choice(sizes.get(label, values))}" for label in chosen]
    line = "".join(part + (random.choice(glue) if random.random() < 0.4 else ", ") for part in fields)
    text = "".join(pick(words, 8)) + random.choice(["\n", "\nNegative prompt: bad\n", " ", ""]) + line
    with contextlib.redirect_stdout(io.StringIO()):
        read = a1111["parse_generation_parameters"](text)
    cases.append({"text": text, "fields": {k: v for k, v in read.items() if k not in defaults}})

out = Path(__file__).parent / "data" / "infotext"
out.mkdir(parents=True, exist_ok=True)
(out / "read-by-a1111.json").write_text(json.dumps(cases, ensure_ascii=False, indent=0) + "\n")
