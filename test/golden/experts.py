"""LoRA files of every naming family over the tiny models of networks.py, and what diffusers with PEFT makes of them.

Witness for the import and the mixing of experts: one set of random factors is written in each family's names; PEFT files are
written by diffusers and PEFT themselves. Where diffusers can load a file, `load_lora_weights` and `set_adapters` gave the
outputs; deltas that it cannot load (LoHa, LoKr, full, positional) were formed by PEFT's own functions or einsum and added to W.
torch 2.13.0 (CPU), diffusers 0.42.1, peft 0.21.2, transformers 5.24, seed 0, float32. Run: python test/golden/experts.py

For each model: inputs.safetensors; outputs.safetensors (`<case>.out_sample`, `<case>.last_hidden_state`); cases.json (case ->
list of {file, weight, teWeight}); deltas.safetensors (dense deltas of tucker, loha and lokr files, by file and module).
orders.json: cloneofsimo's numbering of SD 1.5 by diffusers' module traversal, today's and that of diffusers 0.11, which
registered attn1, ff, attn2 in a transformer block.
"""
import copy
import json
import pathlib
import shutil

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from peft import LoraConfig, get_peft_model
from peft.tuners.loha.layer import make_weight as loha_weight, make_weight_cp as loha_weight_tucker
from peft.tuners.lokr.layer import make_kron
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

here = pathlib.Path(__file__).parent / "data"
out_folder = here / "experts"
generator = torch.Generator().manual_seed(0)


def randn(*shape, scale=1.0):
    """Random numbers that float16 holds exactly."""
    return (scale * torch.randn(*shape, generator=generator)).half().float()


def load_unet(name):
    return UNet2DConditionModel.from_pretrained(here / "networks" / name / "unet", torch_dtype=torch.float32).eval()


def load_text(name):
    return CLIPTextModel.from_pretrained(here / "networks" / name / "text_encoder", dtype=torch.float32).eval()


class Model:
    def __init__(self, name):
        self.name, self.folder = name, out_folder / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.unet, self.text = load_unet(name), load_text(name)
        self.layers = {n: m for n, m in self.unet.named_modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))}
        self.text_layers = {"text_model." + n: m for n, m in self.text.named_modules() if isinstance(m, torch.nn.Linear)}
        self.ldm = ldm_names(self.unet)
        g = torch.Generator().manual_seed(7)
        ids = torch.randint(0, 510, (1, 77), generator=g)
        ids[:, 0], ids[0, 9:] = 510, 511
        self.inputs = {"sample": torch.randn(1, 4, 16, 16, generator=g), "timestep": torch.tensor([601.0]),
                       "encoder_hidden_states": torch.randn(1, 77, 32, generator=g), "input_ids": ids}
        self.outputs, self.cases, self.deltas = {}, {}, {}
        # file -> module -> dense delta, for files that diffusers loads.
        self.known = {}

    def save(self, file, tensors, dtype=torch.float16, metadata=None):
        tensors = {k: v if v.ndim == 0 else v.to(dtype) for k, v in tensors.items()}
        tensors = {k: v.to(dtype).contiguous() for k, v in tensors.items()}
        save_file(tensors, self.folder / f"{file}.safetensors", metadata=metadata)

    def run(self, unet, text):
        with torch.no_grad():
            i = self.inputs
            return (unet(i["sample"], i["timestep"], i["encoder_hidden_states"]).sample, text(i["input_ids"]).last_hidden_state)

    def add(self, case, experts, outputs):
        self.cases[case] = [{"file": f, "weight": w, "teWeight": t} for f, w, t in experts]
        self.outputs[f"{case}.out_sample"], self.outputs[f"{case}.last_hidden_state"] = (o.contiguous() for o in outputs)

    def by_diffusers(self, case, experts, state_dicts=None):
        """experts: (file, UNet weight, text encoder weight). Every file goes through load_lora_weights."""
        pipe = StableDiffusionPipeline(vae=None, text_encoder=load_text(self.name), tokenizer=None, unet=load_unet(self.name),
                                       scheduler=DDIMScheduler(), safety_checker=None, feature_extractor=None)
        names = []
        for k, (file, _, _) in enumerate(experts):
            names.append(f"a{k}")
            source = (state_dicts or {}).get(file, str(self.folder / f"{file}.safetensors"))
            pipe.load_lora_weights(source, adapter_name=names[-1])
        pipe.unet.set_adapters([n for n in names if n in pipe.unet.peft_config],
                               [e[1] for e, n in zip(experts, names) if n in pipe.unet.peft_config])
        spoken = getattr(pipe.text_encoder, "peft_config", {})
        if spoken:
            from diffusers.utils.peft_utils import set_weights_and_activate_adapters
            set_weights_and_activate_adapters(pipe.text_encoder, [n for n in names if n in spoken],
                                              [e[2] for e, n in zip(experts, names) if n in spoken])
        result = self.run(pipe.unet, pipe.text_encoder)
        self.check_loaded(experts, result)
        self.add(case, experts, result)
        return result

    def check_loaded(self, experts, result):
        """Nothing was dropped silently: the same as adding the dense deltas to W."""
        unet, text = copy.deepcopy(self.unet), copy.deepcopy(self.text)
        for file, weight, te_weight in experts:
            self.merge(unet, text, self.known[file], weight, te_weight)
        for a, b in zip(result, self.run(unet, text)):
            assert (a - b).norm() < 1e-5 * b.norm(), (experts, (a - b).norm() / b.norm())

    def merge(self, unet, text, deltas, weight, te_weight):
        """Adds dense deltas, by module, to W."""
        with torch.no_grad():
            for name, delta in deltas.items():
                on_text = name.startswith("text_model.")
                m = text.get_submodule(name.removeprefix("text_model.")) if on_text else unet.get_submodule(name)
                m.weight.add_((te_weight if on_text else weight) * delta.reshape(m.weight.shape))

    def by_merging(self, case, file, deltas, weight, te_weight):
        unet, text = copy.deepcopy(self.unet), copy.deepcopy(self.text)
        self.merge(unet, text, deltas, weight, te_weight)
        self.add(case, [(file, weight, te_weight)], self.run(unet, text))

    def finish(self):
        save_file(self.inputs, self.folder / "inputs.safetensors")
        plain = self.run(self.unet, self.text)
        self.add("none", [], plain)
        save_file(self.outputs, self.folder / "outputs.safetensors")
        (self.folder / "cases.json").write_text(json.dumps(self.cases, indent=1) + "\n")
        if self.deltas:
            save_file({k: v.contiguous() for k, v in self.deltas.items()}, self.folder / "deltas.safetensors")


def ldm_names(unet):
    """diffusers module name -> LDM's; proved by diffusers' own converter, which has to give every parameter back."""
    per = unet.config.layers_per_block + 1
    ups = unet.config.up_block_types
    resnet = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
              "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
    plain = {"conv_in": "input_blocks.0.0", "conv_out": "out.2", "conv_norm_out": "out.0",
             "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"}

    def ldm(name):
        if name in plain:
            return plain[name]
        p = name.split(".")
        if p[0] == "mid_block":
            at, rest = (f"middle_block.{2 * int(p[2])}" if p[1] == "resnets" else "middle_block.1"), p[3:]
        else:
            i, down = int(p[1]), p[0] == "down_blocks"
            if p[2] == "downsamplers":
                return f"input_blocks.{per * (i + 1)}.0.op"
            if p[2] == "upsamplers":
                return f"output_blocks.{per * i + per - 1}.{1 if ups[i] == 'UpBlock2D' else 2}.conv"
            n = per * i + int(p[3]) + (1 if down else 0)
            at, rest = f"{'input' if down else 'output'}_blocks.{n}.{0 if p[2] == 'resnets' else 1}", p[4:]
        if "resnets" in p:
            rest = [resnet[rest[0]], *rest[1:]]
        return ".".join([at, *rest])

    names = {n.rsplit(".", 1)[0] for n in unet.state_dict()}
    table = {n: ldm(n) for n in names}
    state = {f"model.diffusion_model.{table[k.rsplit('.', 1)[0]]}.{k.rsplit('.', 1)[1]}": v for k, v in unet.state_dict().items()}
    back = convert_ldm_unet_checkpoint(state, dict(unet.config))
    assert set(back) == set(unet.state_dict()) and all(torch.equal(back[k], v) for k, v in unet.state_dict().items())
    return table


def factors(model, names, rank=2, wide=4, scale=0.2):
    """name -> (down, up, rank); conv down [r, in, k, k], up [out, r, 1, 1]."""
    made = {}
    for name in names:
        w = (model.layers | model.text_layers)[name].weight
        # One rank in the text encoder: this diffusers loses alpha patterns there (transformers 5 renamed its modules).
        r = wide if name.endswith("ff.net.2") else rank
        down = randn(r, *w.shape[1:], scale=w[0].numel() ** -0.5)
        up = randn(w.shape[0], r, *([1, 1] if w.ndim == 4 else []), scale=scale)
        made[name] = (down, up, r)
    return made


def halved(pair):
    """Families without alpha: the scale of 0.5 goes into up, which is exact."""
    return pair[0], 0.5 * pair[1]


def kohya(model, made, *, ldm=False, te="lora_te_", prefix="lora_unet_", alpha=True):
    out = {}
    for name, pair in made.items():
        key = te + name.replace(".", "_") if name.startswith("text_model.") else \
            prefix + (model.ldm[name] if ldm else name).replace(".", "_")
        down, up = pair[:2] if alpha else halved(pair)
        out |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
        if alpha:
            out[f"{key}.alpha"] = torch.tensor(pair[2] / 2)
    return out


def dotted(made, unet, text, down_name, up_name):
    """unet and text: name -> key."""
    out = {}
    for name, pair in made.items():
        key = text(name) if name.startswith("text_model.") else unet(name)
        down, up = halved(pair)
        out |= {f"{key}.{down_name}.weight": down, f"{key}.{up_name}.weight": up}
    return out


def with_peft(net, made, *, strip="", rslora=False):
    """A copy of `net` under PEFT with these factors; scale 0.5 by lora_alpha, ranks of 4 by patterns."""
    made = {n.removeprefix(strip): v for n, v in made.items()}
    wide = [n for n, v in made.items() if v[2] == 4]
    narrow, broad = (2 ** -0.5, 1.0) if rslora else (1.0, 2.0)
    config = LoraConfig(r=2, lora_alpha=narrow, rank_pattern={n: 4 for n in wide}, alpha_pattern={n: broad for n in wide},
                        target_modules=list(made), use_rslora=rslora, init_lora_weights=False)
    net = copy.deepcopy(net)
    peft = get_peft_model(net, config)
    with torch.no_grad():
        for name, (down, up, _) in made.items():
            layer = net.get_submodule(name)
            layer.lora_A["default"].weight.copy_(down)
            layer.lora_B["default"].weight.copy_(up)
            assert abs(layer.scaling["default"] - 0.5) < 1e-7
    return peft, config


def dense(pair, scale=0.5):
    down, up = pair[:2]
    return scale * (up.flatten(1) @ down.flatten(1))


def transformer_names(model, unit):
    return [n for n in model.layers if n.startswith(unit + ".")]


def simo_order(unet, text, old):
    """cloneofsimo's `_find_modules`: for each ancestor of the target classes in modules() order, its linear layers."""
    def walk(module, prefix=""):
        yield prefix, module
        children = list(module.named_children())
        if old and type(module).__name__ == "BasicTransformerBlock":
            children.sort(key=lambda c: {"attn1": 0, "ff": 1, "attn2": 2}.get(c[0], 3))
        for name, child in children:
            yield from walk(child, f"{prefix}.{name}" if prefix else name)

    def find(root, classes):
        return [f"{p}.{n}" for p, a in walk(root) if type(a).__name__ in classes
                for n, m in a.named_modules() if isinstance(m, torch.nn.Linear)]

    return find(unet, {"CrossAttention", "Attention", "GEGLU"}), ["text_model." + n for n in find(text, {"CLIPAttention"})]


def sd1():
    m = Model("tiny-sd1")
    units = ["down_blocks.0.attentions.0", "up_blocks.2.attentions.1"]
    names = [n for u in units for n in transformer_names(m, u)]
    names += [f"mid_block.attentions.0.transformer_blocks.0.attn2.to_{p}" for p in "kv"]
    text = [n for n in m.text_layers if ".layers.0." in n]
    made = factors(m, names + text)
    attention = {n: v for n, v in made.items() if ".attn" in n or "self_attn" in n}

    m.save("kohya-diffusers", kohya(m, made), torch.float32, {"ss_network_module": "networks.lora"})
    m.save("kohya-ldm", kohya(m, made, ldm=True, te="lora_te1_"))
    m.save("simpletuner", kohya(m, {n: v for n, v in made.items() if n not in text}, prefix="lycoris_"))
    m.save("generic", dotted({n: v for n, v in made.items() if n not in text}, lambda n: "diffusion_model." + m.ldm[n], None,
                             "lora_A", "lora_B"))
    processor = lambda n: n.replace(".to_out.0", ".to_out").replace(".to_", ".processor.to_") + "_lora"
    m.save("processor", dotted(attention, processor,
                               lambda n: "text_encoder." + n.replace("_proj", "_lora").replace("self_attn.", "self_attn.to_"),
                               "down", "up"))
    m.save("processor-prefixed", dotted(attention, lambda n: "unet." + processor(n),
                                        lambda n: f"text_encoder.{n}.lora_linear_layer", "down", "up"))
    m.save("lora-down", dotted(made, lambda n: f"unet.{n}.lora", lambda n: f"text_encoder.{n}.lora_linear_layer", "down", "up"))
    m.save("peft-default", dotted(made, "unet.{}".format, "text_encoder.{}".format, "lora_A.default", "lora_B.default"))

    # As diffusers writes it: patterns and alphas in `lora_adapter_metadata`.
    from peft.utils import get_peft_model_state_dict
    of_text = {n: v for n, v in made.items() if n in text}
    of_unet = {n: v for n, v in made.items() if n not in text}
    net, net_config = with_peft(m.unet, of_unet)
    te, te_config = with_peft(m.text, of_text, strip="text_model.")
    layers = {k.removeprefix("base_model.model."): v for k, v in get_peft_model_state_dict(net).items()}
    te_layers = {"text_model." + k.removeprefix("base_model.model."): v for k, v in get_peft_model_state_dict(te).items()}
    plain = lambda c: {k: sorted(v) if isinstance(v, set) else v for k, v in c.to_dict().items()} | {"base_model_name_or_path": None}
    StableDiffusionPipeline.save_lora_weights(
        m.folder, unet_lora_layers=layers, text_encoder_lora_layers=te_layers, weight_name="peft.safetensors",
        unet_lora_adapter_metadata=plain(net_config), text_encoder_lora_adapter_metadata=plain(te_config))
    with_peft(m.unet, of_unet, rslora=True)[0].save_pretrained(m.folder / "peft-folder")
    (m.folder / "peft-folder" / "README.md").unlink(missing_ok=True)

    # Positional: every module of the target classes, in the old order.
    order, text_order = simo_order(m.unet, m.text, old=True)
    simo = {n: made[n] if n in made else v for n, v in factors(m, order + text_order).items()}
    tensors = {}
    for kind, listed in {"unet": order, "text_encoder": text_order}.items():
        for i, n in enumerate(listed):
            down, up = halved(simo[n])
            tensors |= {f"{kind}:{i}:down": down, f"{kind}:{i}:up": up}
    tensors["<s1>"] = randn(32)
    meta = {"unet": '["CrossAttention", "Attention", "GEGLU"]', "text_encoder": '["CLIPAttention"]', "<s1>": "<embed>"}
    meta |= {f"unet:{i}:rank": "2" for i in range(len(order))}
    m.save("cloneofsimo", tensors, metadata=meta)

    # Another expert: other modules, ranks 3, no alpha in the UNet (where only some lack it, diffusers gives them the others').
    other = factors(m, [n for n in m.layers if "attn" in n and ("down_blocks" in n or "mid_block" in n)] +
                    [n for n in m.text_layers if "self_attn" in n and ".layers.1." not in n], rank=3, scale=0.15)
    second = kohya(m, {n: v for n, v in other.items() if "self_attn" in n})
    second |= kohya(m, {n: v for n, v in other.items() if "self_attn" not in n}, alpha=False)
    m.save("second", second)

    convs = factors(m, ["conv_in", "time_embedding.linear_1", "down_blocks.0.resnets.0.conv1", "down_blocks.0.downsamplers.0.conv",
                        "down_blocks.1.resnets.0.conv_shortcut", "down_blocks.1.resnets.0.time_emb_proj",
                        "up_blocks.1.upsamplers.0.conv", "up_blocks.2.resnets.1.conv2", "conv_out"])
    m.save("conv-kohya", kohya(m, convs))
    m.save("conv-ldm", kohya(m, convs, ldm=True))
    m.save("conv-peft", dotted(convs, "unet.{}".format, None, "lora_A", "lora_B"))

    sums = lambda made: {n: dense(v) for n, v in made.items()}
    m.known = {"kohya-diffusers": sums(made), "lora-down": sums(made), "peft": sums(made), "processor-prefixed": sums(attention),
               "conv-peft": sums(convs), "cloneofsimo": sums(simo),
               "second": sums(other)}
    m.by_diffusers("one", [("kohya-diffusers", 1.0, 1.0)])
    m.by_diffusers("one reweighted", [("kohya-diffusers", 0.6, -0.5)])
    m.by_diffusers("one at -1.5", [("kohya-diffusers", -1.5, 2.0)])
    m.by_diffusers("lora-down", [("lora-down", 1.0, 1.0)])
    m.by_diffusers("peft", [("peft", 1.0, 1.0)])
    m.by_diffusers("processor", [("processor-prefixed", 1.0, 1.0)])
    m.by_diffusers("second", [("second", 1.0, 1.0)])
    m.by_diffusers("two", [("kohya-diffusers", 0.7, 0.3), ("second", -0.4, 1.2)])
    m.by_diffusers("conv", [("conv-peft", 1.0, 1.0)])
    m.by_diffusers("three", [("kohya-diffusers", 0.7, 0.3), ("second", 0.5, 0.5), ("conv-peft", 0.8, 0.8)])
    named = dotted(simo, "unet.{}".format, "text_encoder.{}".format, "lora_A", "lora_B")
    m.by_diffusers("cloneofsimo", [("cloneofsimo", 1.0, 1.0)], {"cloneofsimo": named})
    lycoris(m)
    m.finish()


def lycoris(m):
    linear, conv = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", "up_blocks.2.resnets.0.conv1"
    proj, ff = "mid_block.attentions.0.proj_in", "up_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj"
    te = "text_model.encoder.layers.1.mlp.fc1"
    key = lambda n: "lora_te_" + n.replace(".", "_") if n.startswith("text_model.") else "lora_unet_" + n.replace(".", "_")
    w = lambda n: (m.layers | m.text_layers)[n].weight.shape

    def write(file, parts):
        """parts: module -> (tensors, delta)"""
        m.save(file, {f"{key(n)}.{k}": v for n, (tensors, _) in parts.items() for k, v in tensors.items()})
        for n, (_, delta) in parts.items():
            if file != "full":
                m.deltas[f"{file}:{n}"] = delta.reshape(w(n)).clone()
        m.by_merging(file, file, {n: d for n, (_, d) in parts.items()}, 0.8, 0.5)

    parts = {}
    for n, r in ((conv, 3), ("down_blocks.1.downsamplers.0.conv", 2)):
        o, i, k, _ = w(n)
        down, mid, up = randn(r, i, 1, 1, scale=i ** -0.5), randn(r, r, k, k, scale=0.4), randn(o, r, 1, 1, scale=0.4)
        delta = torch.einsum("m n k l, i m, n j -> i j k l", mid, up.flatten(1), down.flatten(1)) * (1.5 / r)
        parts[n] = ({"lora_down.weight": down, "lora_mid.weight": mid, "lora_up.weight": up, "alpha": torch.tensor(1.5)}, delta)
    write("tucker", parts)

    parts = {}
    for n in (linear, proj, ff, te):
        o, i = w(n)[:2]
        a, b, c, d = randn(o, 2, scale=0.5), randn(2, i, scale=0.5), randn(o, 3, scale=0.5), randn(3, i, scale=0.5)
        parts[n] = ({"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d, "alpha": torch.tensor(1.0)},
                    loha_weight(a, b, c, d, torch.tensor(0.5)))
    o, i, k, _ = w(conv)
    a, b, c, d = randn(o, 2, scale=0.3), randn(2, i * k * k, scale=0.3), randn(o, 2, scale=0.3), randn(2, i * k * k, scale=0.3)
    parts[conv] = ({"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d}, loha_weight(a, b, c, d, torch.tensor(1.0)))
    n = "down_blocks.1.downsamplers.0.conv"
    o, i, k, _ = w(n)
    t1, t2 = randn(2, 2, k, k, scale=0.5), randn(2, 2, k, k, scale=0.5)
    a, b, c, d = randn(2, o, scale=0.6), randn(2, i, scale=0.6), randn(2, o, scale=0.6), randn(2, i, scale=0.6)
    parts[n] = ({"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d, "hada_t1": t1, "hada_t2": t2,
                 "alpha": torch.tensor(3.0)}, loha_weight_tucker(t1, a, b, t2, c, d, torch.tensor(1.5)))
    write("loha", parts)

    parts = {}
    kron = lambda x, y, s: make_kron(x, y, torch.tensor(s))
    o, i = w(linear)
    x, y = randn(4, 4, scale=0.3), randn(o // 4, i // 4, scale=0.3)
    parts[linear] = ({"lokr_w1": x, "lokr_w2": y, "alpha": torch.tensor(123.0)}, kron(x, y, 1.0))
    o, i = w(ff)
    x, a, b = randn(2, 4, scale=0.3), randn(o // 2, 3, scale=0.3), randn(3, i // 4, scale=0.5)
    parts[ff] = ({"lokr_w1": x, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(1.5)}, kron(x, a @ b, 0.5))
    o, i = w(te)
    x, z, a, b = randn(4, 2, scale=0.5), randn(2, 4, scale=0.5), randn(o // 4, 2, scale=0.5), randn(2, i // 4, scale=0.5)
    parts[te] = ({"lokr_w1_a": x, "lokr_w1_b": z, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(1.0)},
                 kron(x @ z, a @ b, 0.5))
    o, i = w(proj)[:2]
    x, y = randn(2, 4, scale=0.3), randn(o // 2, i // 4, 1, 1, scale=0.3)
    parts[proj] = ({"lokr_w1": x, "lokr_w2": y}, kron(x, y, 1.0))
    o, i, k, _ = w(conv)
    x, a, b = randn(4, 2, scale=0.3), randn(o // 4, 2, scale=0.3), randn(2, (i // 2) * k * k, scale=0.3)
    parts[conv] = ({"lokr_w1": x, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(2.0)},
                   kron(x, (a @ b).reshape(o // 4, i // 2, k, k), 1.0))
    n = "down_blocks.1.downsamplers.0.conv"
    o, i, k, _ = w(n)
    x, t, a, b = randn(2, 2, scale=0.3), randn(3, 3, k, k, scale=0.4), randn(3, o // 2, scale=0.4), randn(3, i // 2, scale=0.4)
    parts[n] = ({"lokr_w1": x, "lokr_t2": t, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(1.5)},
                kron(x, torch.einsum("i j k l, i p, j r -> p r k l", t, a, b), 0.5))
    write("lokr", parts)

    parts = {}
    for n in (linear, conv, te):
        diff = randn(*w(n), scale=0.05)
        parts[n] = ({"diff": diff}, diff)
    write("full", parts)


def sd2():
    m = Model("tiny-sd2")
    names = transformer_names(m, "down_blocks.0.attentions.1") + transformer_names(m, "up_blocks.1.attentions.2")
    names += ["up_blocks.0.upsamplers.0.conv", "up_blocks.1.resnets.2.conv1", "down_blocks.0.downsamplers.0.conv"]
    made = factors(m, names + [n for n in m.text_layers if ".layers.2." in n])
    m.save("kohya-ldm", kohya(m, made, ldm=True))
    m.save("kohya-diffusers", kohya(m, made))
    m.known = {"kohya-diffusers": {n: dense(v) for n, v in made.items()}}
    m.by_diffusers("one", [("kohya-diffusers", 0.9, 0.7)])
    m.add("ldm names", [("kohya-ldm", 0.9, 0.7)], [m.outputs[f"one.{o}"].clone() for o in ("out_sample", "last_hidden_state")])
    m.finish()


def orders():
    """SD 1.5's numbering, from models without weights."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        text = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12))
    (new, te), (old, _) = simo_order(unet, text, old=False), simo_order(unet, text, old=True)
    (out_folder / "orders.json").write_text(json.dumps({"today": new, "diffusers 0.11": old, "text encoder": te}, indent=0) + "\n")


sd1()
sd2()
orders()
