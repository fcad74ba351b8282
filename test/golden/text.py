"""Token ids as transformers' CLIP tokenizer gives them, and prompts as AUTOMATIC1111's own code parses and cuts them.

Witness for src-main/text/. Versions: Python 3.11, transformers 5.23.0 (its CLIPTokenizer is the fast one; no ftfy),
tokenizers 0.23.3, torch 2.13.0, lark 1.3.1 (pip install lark). Seed 5.
A1111's schedules, parse_prompt_attention (modules/prompt_parser.py) and tokenize_line (modules/sd_hijack_clip.py) are
loaded from copies of stable-diffusion-webui (commits 28bd8e142d5f77b71ae8d7d7140b5da1b3a49906 and
00e09382cd85c77ac35545c7264855823dfc2eb1) without textual inversion; tokens come from the tokenizer above, where A1111
runs an older one that repairs text with ftfy first.
Run from the repository root: python test/golden/text.py PATH/TO/bpe_simple_vocab_16e6.txt.gz PATH/TO/prompt_parser.py PATH/TO/sd_hijack_clip.py
Writes test/golden/data/text/{tokens,attention,schedules,schedules-broken,chunks,emphasis}.json.
"""

import gzip
import importlib.util
import json
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from transformers import CLIPTokenizer

out = Path(__file__).parent / "data" / "text"
out.mkdir(parents=True, exist_ok=True)


def load(name, path, **names):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    vars(module).update(names)
    spec.loader.exec_module(module)
    return module


def write(name, rows):
    text = ",\n".join(json.dumps(row, ensure_ascii=True, separators=(",", ":")) for row in rows)
    (out / f"{name}.json").write_text(f"[\n{text}\n]\n")
    print(name, len(rows), (out / f"{name}.json").stat().st_size)


# The vocabulary as openai/CLIP numbers it.
printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
byte_chars = [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]
lines = gzip.open(sys.argv[1]).read().decode().split("\n")[1 : 49152 - 256 - 2 + 1]
merges = [tuple(line.split()) for line in lines]
words = byte_chars + [c + "</w>" for c in byte_chars] + ["".join(m) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
tokenizer = CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=merges)


def encode(text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


assert encode("a photo of a cat") == [320, 1125, 539, 320, 2368]

texts = [
    "a photo of a cat", "", " ", "\n\t ", "A Photo OF a CAT", "  a   photo\n\nof\ta cat  ", "masterpiece, best quality, 1girl, solo",
    "it's they're we've I'm you'll he'd don't rock'n'roll IT'S", "'s", "''s", "o'clock 'tis 90's", "12345 3.14 1,000,000 4k 8K 1990s",
    "\u00bd \u00b2 \u2167 \u0663\u0664\u0665", "caf\u00e9", "cafe\u0301", "na\u00efve fa\u00e7ade \u00fcber stra\u00dfe STRASSE \u1e9e", "\u65e5\u672c", "\u96ea\u306e\u4e2d\u306e\u72d0", "\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440", "\u0395\u03bb\u03bb\u03ac\u03b4\u03b1 \u039f\u0394\u039f\u03a3", "\u03a3", "\u0130stanbul I\u015f\u0131k", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "\u05e9\u05dc\u05d5\u05dd",
    "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "Vi\u1ec7t Nam", "\U0001f600", "a \U0001f98a in the \u2744\ufe0f snow", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f1eb\U0001f1f7", "\U0001f44d\U0001f3fd", "\u201cquoted\u201d \u2018single\u2019 \u2014 dash \u2026",
    "it\u2019s", "\ufb01ne \ufb02ow \uff21\uff22\uff23", "\u212bngstr\u00f6m \u2126", "a\u00a0b\u2003c\u3000d\u200be\ufeffg\u2028h\u0085i", "\u0000\u0001a\u0007b\u001bc\u007fd\u009fe", "\ufffd", "\U0001d4d0\U0001d4d1",
    "supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis", "x" * 300, "ab" * 200, "\u96ea" * 120, "\U0001f600" * 40, "!" * 100, "1" * 90,
    "<b>bold</b> &amp; &lt;tag&gt; &#39;", "<lora:name:0.8>", "<|endoftext|>", "a <|startoftext|> b <|endoftext|>c", "<|ENDOFTEXT|>", "<|endoftext|><|endoftext|> x", "</w>", "a</w>b",
    "https://example.org/a?b=c&d=e#f", "user@example.com #hashtag @handle", "snake_case camelCase kebab-case", "(a:1.2) [b] {c|d} __wild__", "a,b,c , d ,,", "\\( \\) \\[ \\]", "C++ C# .NET f/1.8 50mm", "!?!? ... --- ***", "\u00a9 \u00ae \u2122 \u20ac \u00a3 \u00a5",
    "hello\u0301\u0302\u0303 world", "\u1100\u1161\u11a8", "a\r\nb\rc", "trailing newline\n", "jekyll", "the the the", "A" * 75,
    "trending on artstation, by greg rutkowski, unreal engine 5, octane render, 8k uhd", "1girl, (long hair:1.2), [blue eyes], BREAK, red dress",
]  # fmt: skip
random.seed(5)
ranges = [(0x20, 0x7E)] * 6 + [(0xA0, 0x17F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x45F), (0x5D0, 0x5EA), (0x620, 0x64A), (0x900, 0x97F), (0x2010, 0x205E), (0x2190, 0x21FF), (0x3040, 0x30FF), (0x4E00, 0x4FFF), (0xAC00, 0xACFF), (0xFF00, 0xFF5E), (0x1F300, 0x1F64F)]  # fmt: skip
for _ in range(300):
    texts.append("".join(chr(random.randint(*random.choice(ranges))) for _ in range(random.randint(1, 24))))
write("tokens", [{"text": t, "ids": encode(t), "decoded": tokenizer.decode(encode(t), skip_special_tokens=True, clean_up_tokenization_spaces=False)} for t in texts])  # fmt: skip

parser = load("prompt_parser", sys.argv[2])
pieces = ["(", ")", "[", "]", "(", ")", "[", "]", ":", ":1.2)", ": 0.5 )", ":-1)", ":0)", ":.5)", "\\", "\\(", "\\]", "\\\\", "a", "red fox", ", ", " ", "\n", " BREAK ", "BREAK", "unBREAKable", "AND", "\u96ea", "\u00e9BREAK"]  # fmt: skip
rows = []
for _ in range(800):
    text = "".join(random.choice(pieces) for _ in range(random.randint(1, 14)))
    rows.append({"text": text, "parts": parser.parse_prompt_attention(text)})
write("attention", rows)

pieces = ["[", "]", "[", "]", "(", ")", ":", ":", "|", "\\[", "\\:", "a", "b c", " ", "\u96ea", ":3]", ":.5]", ": 7 ]", ":0.25]", ":12]", ":0]", ":1.0]", ":-2]", ":1e0]", "[a:b:2]", "[c|d]", "(e:1.2)", "[f::4]"]  # fmt: skip


def scheduled(text):
    try:
        parser.schedule_parser.parse(text)
    except parser.lark.exceptions.LarkError:
        return {"text": text, "parsed": False}
    return {"text": text, "schedule": parser.get_learned_conditioning_prompt_schedules([text], 10)[0]}


def well_formed(depth):
    def inner():
        return well_formed(depth - 1)

    def word():
        return random.choice(["a", "b c", " ", "\u96ea", "\\[", "\\:", "\\|", ", "])

    if depth == 0:
        return word()
    when = random.choice(["3", ".5", " 7 ", "0.25", "12", "0", "1.0", "-2", "1e0", "2.5"])
    return "".join(
        random.choice([
            word, word, lambda: f"({inner()})", lambda: f"({inner()}:1.2)", lambda: f"[{inner()}]", lambda: f"[{inner()}:{when}]",
            lambda: f"[{inner()}:{inner()}:{when}]", lambda: f"[{inner()}::{when}]", lambda: f"[{inner()}|{inner()}]", lambda: f"[{inner()}|]",
        ])()
        for _ in range(random.randint(1, 3))
    )  # fmt: skip


write("schedules", [scheduled(well_formed(random.randint(1, 3))) for _ in range(500)])
write("schedules-broken", [scheduled("".join(random.choice(pieces) for _ in range(random.randint(1, 9)))) for _ in range(500)])

clip = load("sd_hijack_clip", sys.argv[3], prompt_parser=parser, opts=SimpleNamespace(emphasis="Original", comma_padding_backtrack=20))
cutter = clip.FrozenCLIPEmbedderWithCustomWordsBase()
cutter.tokenize = lambda lines: [encode(line) for line in lines]
cutter.hijack = SimpleNamespace(embedding_db=SimpleNamespace(find_embedding_at_position=lambda tokens, at: (None, None)))
cutter.chunk_length, cutter.id_start, cutter.id_end, cutter.comma_token = 75, 49406, 49407, words.index(",</w>")
pieces = ["red", "fox", "snow", "in the", "(soft light:1.3)", "[grain]", "\u96ea", ",", ",", " BREAK ", "!", "painting of a castle by the sea"]
rows = []
for n in range(40):
    bare = n % 4 == 0
    text = " ".join(random.choice(pieces[:3] if bare else pieces) for _ in range(random.randint(1, 150)))
    if n in (0, 4, 8):
        text = " ".join(["fox"] * (74 + n // 4)) + [",", ", snow", " BREAK"][n // 4]
    chunks, count = cutter.tokenize_line(text)
    rows.append({"text": text, "count": count, "chunks": [{"tokens": c.tokens, "weights": c.multipliers} for c in chunks]})
write("chunks", rows)

torch.manual_seed(5)
rows = []
for _ in range(4):
    states = torch.randn(1, 77, 8) + 0.1
    weights = torch.where(torch.rand(1, 77) < 0.3, torch.rand(1, 77) * 1.5 + 0.2, torch.ones(1, 77))
    scaled = states * weights[..., None]
    expected = scaled * (states.mean() / scaled.mean())
    rows.append({key: [round(v, 7) for v in value.flatten().tolist()] for key, value in [("states", states), ("weights", weights), ("expected", expected)]})
write("emphasis", rows)
