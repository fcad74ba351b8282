"""Gradients of single operators by torch autograd, the witness for src-main/autodiff/rules.

Neither inputs nor what flows back is stored: both sides draw them from torch's CPU generator. Input i of case c has seed
100 c + i, the gradient of its output j seed 100 c + 50 + j. data/autodiff/operators.json lists the cases as the graph has them.
torch 2.13.0 (CPU), float32. Run: python test/golden/autodiff.py
"""
import json
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

out_folder = pathlib.Path(__file__).parent / "data" / "autodiff"


def draw(*shape, **how):
    """An input from the generator; `positive` makes it |x| + 0.5, `away` x + 0.5 sign(x), `fixed` leaves it without a gradient."""
    return {"draw": list(shape), **how}


def ints(*values):
    return {"integers": list(values)}


def floats(*values):
    return {"floats": list(values)}


cases = {}


def case(name, op, inputs, compute, attributes=None, outputs=1, unused=()):
    """`compute` takes the drawn inputs; gradients flow into the outputs that are not in `unused`."""
    cases[name] = {"op": op, "inputs": inputs, "attributes": attributes or {}, "outputs": outputs, "unused": list(unused), "compute": compute}


S = (2, 3, 4)
for op, f in {
    "Neg": torch.neg, "Abs": torch.abs, "Exp": torch.exp, "Sin": torch.sin, "Cos": torch.cos, "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid, "Erf": torch.erf, "Relu": torch.relu, "Identity": lambda x: x.clone(),
}.items():
    case(op, op, [draw(*S)], f)
for op, f in {"Log": torch.log, "Sqrt": torch.sqrt, "Reciprocal": torch.reciprocal}.items():
    case(op, op, [draw(*S, positive=True)], f)
case("Reciprocal of negatives", "Reciprocal", [draw(5, away=True)], torch.reciprocal)
case("Gelu", "Gelu", [draw(*S)], F.gelu, {"approximate": "none"})
case("Gelu by tanh", "Gelu", [draw(*S)], lambda x: F.gelu(x, approximate="tanh"), {"approximate": "tanh"})
case("QuickGelu", "QuickGelu", [draw(*S)], lambda x: x * torch.sigmoid(1.702 * x), {"alpha": {"float": 1.702}})
case("QuickGelu as SiLU", "QuickGelu", [draw(*S)], F.silu, {"alpha": {"float": 1.0}})

pairs = {
    "alike": (S, S), "[1, C, 1] against [B, C, H]": ((1, 3, 1), S), "a scalar second": (S, ()), "a scalar first": ((), S),
    "fewer axes": (S, (4,)), "both stretched": ((2, 1, 4), (3, 1)), "both of size 1": ((1, 1), (1,)),
}
for name, (a, b) in pairs.items():
    case(f"Add, {name}", "Add", [draw(*a), draw(*b)], torch.add)
    case(f"Sub, {name}", "Sub", [draw(*a), draw(*b)], torch.sub)
    case(f"Mul, {name}", "Mul", [draw(*a), draw(*b)], torch.mul)
    case(f"Div, {name}", "Div", [draw(*a), draw(*b, positive=True)], torch.div)
    if name != "both of size 1":  # one of the two would get no gradient
        case(f"Max, {name}", "Max", [draw(*a), draw(*b)], torch.maximum)
        case(f"Min, {name}", "Min", [draw(*a), draw(*b)], torch.minimum)
    case(f"Pow, {name}", "Pow", [draw(*a, positive=True), draw(*b)], torch.pow)
case("Div by negatives", "Div", [draw(*S), draw(*S, away=True)], torch.div)
case("Pow, a square of negatives", "Pow", [draw(*S), floats(2)], lambda x: x**2)
case("Pow, a cube of negatives", "Pow", [draw(*S), floats(3)], lambda x: x**3)
case("Where", "Where", [draw(*S, condition=True), draw(*S), draw(*S)], lambda c, a, b: torch.where(c > 0, a, b))
case("Where, stretched", "Where", [draw(3, 1, condition=True), draw(1, 3, 4), draw(2, 1, 1)], lambda c, a, b: torch.where(c > 0, a, b))
case("Where, scalars", "Where", [draw(2, 3, condition=True), draw(), draw(1)], lambda c, a, b: torch.where(c > 0, a, b))

for name, a, b in [
    ("2D", (3, 4), (4, 5)), ("3D by 2D", (2, 3, 4), (4, 5)), ("4D by 2D", (2, 2, 3, 4), (4, 5)), ("3D by 3D", (2, 3, 4), (2, 4, 5)),
    ("4D by 4D", (2, 3, 4, 5), (2, 3, 5, 2)), ("one batch against many", (1, 3, 4), (2, 4, 5)), ("many against one", (2, 3, 4), (1, 4, 5)),
    ("2D by 3D", (3, 4), (2, 4, 5)), ("4D by 3D", (2, 3, 4, 5), (3, 5, 2)), ("a single row", (2, 1, 4), (4, 3)),
]:
    case(f"MatMul, {name}", "MatMul", [draw(*a), draw(*b)], torch.matmul)
for ta in (0, 1):
    for tb in (0, 1):
        a, b = ((4, 3) if ta else (3, 4)), ((5, 4) if tb else (4, 5))
        for bias in (None, (5,), (3, 1), (1,), (3, 5)):
            case(
                f"Gemm, transA {ta}, transB {tb}, bias {list(bias) if bias else 'none'}", "Gemm", [draw(*a), draw(*b)] + ([draw(*bias)] if bias else []),
                lambda x, w, c=None, ta=ta, tb=tb: (x.T if ta else x) @ (w.T if tb else w) + (0 if c is None else c), {"transA": ta, "transB": tb})


def conv(name, x, w, stride=1, pads=(0, 0, 0, 0), bias=True):
    """pads: top, left, bottom, right."""
    t, l, b, r = pads
    case(f"Conv, {name}", "Conv", [draw(*x), draw(*w)] + ([draw(w[0])] if bias else []),
         lambda x, w, c=None: F.conv2d(F.pad(x, (l, r, t, b)), w, c, stride=stride),
         {"kernel_shape": list(w[2:]), "pads": list(pads), "strides": [stride, stride], "dilations": [1, 1], "group": 1})


conv("1x1", (2, 3, 4, 5), (4, 3, 1, 1))
conv("1x1 without bias", (2, 3, 4, 5), (4, 3, 1, 1), bias=False)
conv("1x1 of one picture", (1, 3, 4, 4), (2, 3, 1, 1))
conv("1x1, stride 2", (2, 3, 5, 4), (4, 3, 1, 1), stride=2)
conv("3x3", (2, 3, 5, 6), (4, 3, 3, 3), pads=(1, 1, 1, 1))
conv("3x3 without padding or bias", (2, 3, 5, 6), (4, 3, 3, 3), bias=False)
conv("3x3, stride 2, even sizes", (2, 3, 6, 8), (4, 3, 3, 3), stride=2, pads=(1, 1, 1, 1))
conv("3x3, stride 2, odd sizes", (2, 3, 5, 7), (4, 3, 3, 3), stride=2, pads=(1, 1, 1, 1))
conv("3x3, stride 2, padded below and right", (2, 3, 6, 8), (4, 3, 3, 3), stride=2, pads=(0, 0, 1, 1))
conv("3x3, padded on each side differently", (1, 2, 5, 6), (3, 2, 3, 3), pads=(2, 0, 1, 3))
conv("2x3, stride 2", (1, 2, 7, 6), (3, 2, 2, 3), stride=2, pads=(1, 0, 0, 1))
conv("3x3 of one pixel", (1, 2, 1, 1), (3, 2, 3, 3), pads=(1, 1, 1, 1))


def conv_transpose(name, x, w, stride=1, padding=0, extra=0, bias=True):
    case(f"ConvTranspose, {name}", "ConvTranspose", [draw(*x), draw(*w)] + ([draw(w[1])] if bias else []),
         lambda x, w, c=None: F.conv_transpose2d(x, w, c, stride=stride, padding=padding, output_padding=extra),
         {"kernel_shape": list(w[2:]), "pads": [padding] * 4, "strides": [stride, stride], "output_padding": [extra, extra], "dilations": [1, 1], "group": 1})


conv_transpose("3x3", (2, 3, 4, 5), (3, 4, 3, 3), padding=1)
conv_transpose("stride 2", (2, 3, 4, 5), (3, 4, 3, 3), stride=2, padding=1)
conv_transpose("stride 2 with a row more", (2, 3, 4, 5), (3, 4, 3, 3), stride=2, padding=1, extra=1, bias=False)
conv_transpose("2x2, stride 2", (1, 3, 3, 3), (3, 2, 2, 2), stride=2)

for shape in ((2, 3, 8), (4, 6), (2, 2, 3, 5)):
    case(f"LayerNormalization of {list(shape)}", "LayerNormalization", [draw(*shape), draw(shape[-1]), draw(shape[-1])],
         lambda x, g, b: F.layer_norm(x, x.shape[-1:], g, b, 1e-5), {"axis": -1, "epsilon": {"float": 1e-5}})
case("LayerNormalization without bias", "LayerNormalization", [draw(2, 3, 8), draw(8)],
     lambda x, g: F.layer_norm(x, x.shape[-1:], g, None, 1e-5), {"axis": -1, "epsilon": {"float": 1e-5}})
for shape in ((2, 3, 8), (2, 3, 4, 5)):
    case(f"InstanceNormalization of {list(shape)}", "InstanceNormalization", [draw(*shape), draw(3), draw(3)],
         lambda x, g, b: F.instance_norm(x, weight=g, bias=b, eps=1e-5), {"epsilon": {"float": 1e-5}})
case("InstanceNormalization with scales of one", "InstanceNormalization", [draw(2, 3, 8), floats(1, 1, 1), floats(0, 0, 0)],
     lambda x: F.instance_norm(x, eps=1e-6), {"epsilon": {"float": 1e-6}})
for axis in (-1, 0, 1, 2):
    case(f"Softmax on axis {axis}", "Softmax", [draw(*S)], lambda x, axis=axis: torch.softmax(x, axis), {"axis": axis})


def attention(q, k, v, heads):
    split = lambda x: x.unflatten(2, (heads, -1)).transpose(1, 2)
    return F.scaled_dot_product_attention(split(q), split(k), split(v)).transpose(1, 2).flatten(2)


case("MultiHeadAttention to itself", "MultiHeadAttention", [draw(2, 5, 8), draw(2, 5, 8), draw(2, 5, 8)], lambda *a: attention(*a, 2), {"num_heads": 2})
case("MultiHeadAttention to others", "MultiHeadAttention", [draw(2, 5, 12), draw(2, 3, 12), draw(2, 3, 12)], lambda *a: attention(*a, 3), {"num_heads": 3})
case("MultiHeadAttention to one", "MultiHeadAttention", [draw(1, 4, 8, fixed=True), draw(1, 1, 8, fixed=True), draw(1, 1, 8)], lambda *a: attention(*a, 4), {"num_heads": 4})
case("MultiHeadAttention, queries alone", "MultiHeadAttention", [draw(2, 5, 8), draw(2, 3, 8, fixed=True), draw(2, 3, 8, fixed=True)], lambda *a: attention(*a, 2), {"num_heads": 2})
case("MultiHeadAttention, values alone", "MultiHeadAttention", [draw(2, 5, 8, fixed=True), draw(2, 3, 8, fixed=True), draw(2, 3, 8)], lambda *a: attention(*a, 2), {"num_heads": 2})

for op, f in {"ReduceMean": torch.mean, "ReduceSum": torch.sum}.items():
    for keep in (0, 1):
        for axes in ((1,), (-1,), (0, 2), (0, 1, 2)):
            case(f"{op} over {list(axes)}, keepdims {keep}", op, [draw(*S), ints(*axes)], lambda x, axes=axes, keep=keep, f=f: f(x, axes, keepdim=bool(keep)), {"keepdims": keep})
    case(f"{op} over everything", op, [draw(*S)], lambda x, f=f: f(x), {"keepdims": 0})

case("Reshape", "Reshape", [draw(*S), ints(0, -1)], lambda x: x.reshape(2, 12))
case("Unsqueeze", "Unsqueeze", [draw(*S), ints(0, -1)], lambda x: x[None, ..., None])
case("Squeeze", "Squeeze", [draw(2, 1, 3, 1), ints(1, -1)], lambda x: x.reshape(2, 3))
for perm in ((0, 2, 1), (2, 0, 1), (1, 2, 0)):
    case(f"Transpose {list(perm)}", "Transpose", [draw(*S)], lambda x, perm=perm: x.permute(perm), {"perm": list(perm)})
case("Transpose without perm", "Transpose", [draw(*S)], lambda x: x.permute(2, 1, 0))
case("Concat", "Concat", [draw(2, 3), draw(2, 1), draw(2, 4, fixed=True), draw(2, 2)], lambda *x: torch.cat(x, 1), {"axis": 1})
case("Concat on the last axis", "Concat", [draw(2, 3), draw(2, 1)], lambda *x: torch.cat(x, -1), {"axis": -1})
case("Split", "Split", [draw(2, 7), ints(2, 4, 1)], lambda x: x.split([2, 4, 1], 1), {"axis": 1}, 3)
case("Split with an unused output", "Split", [draw(2, 7), ints(2, 4, 1)], lambda x: x.split([2, 4, 1], 1), {"axis": 1}, 3, [1])
case("Split on a negative axis", "Split", [draw(4, 2), ints(3, 1)], lambda x: x.split([3, 1], -2), {"axis": -2}, 2, [0])
case("Slice", "Slice", [draw(4, 5), ints(1, 0), ints(3, 4), ints(0, 1)], lambda x: x[1:3, 0:4])
case("Slice from the end", "Slice", [draw(4, 5), ints(-2), ints(2**31), ints(-1)], lambda x: x[:, -2:])
case("Slice without axes", "Slice", [draw(4, 5), ints(1), ints(3)], lambda x: x[1:3])
case("Pad", "Pad", [draw(2, 3), ints(1, 0, 0, 2)], lambda x: F.pad(x, (0, 2, 1, 0)), {"mode": "constant"})
case("Expand", "Expand", [draw(2, 1, 3), ints(4, 2, 5, 3)], lambda x: x.expand(4, 2, 5, 3))
case("Expand of a scalar", "Expand", [draw(), ints(2, 3)], lambda x: x.expand(2, 3))
nearest = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
case("Resize", "Resize", [draw(2, 3, 2, 3), None, floats(1, 1, 2, 2)], lambda x: F.interpolate(x, scale_factor=2, mode="nearest"), nearest)
case("Resize, by other factors", "Resize", [draw(1, 2, 2, 3), None, floats(1, 1, 3, 2)], lambda x: F.interpolate(x, scale_factor=(3, 2), mode="nearest"), nearest)


def randn(seed, shape):
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))


def run(index, spec):
    leaves, given = {}, []
    for i, source in enumerate(spec["inputs"]):
        if source is None or "draw" not in source:
            continue
        x = randn(100 * index + i, source["draw"])
        if source.get("positive"):
            x = x.abs() + 0.5
        if source.get("away"):
            x = x + 0.5 * x.sign()
        if not source.get("fixed") and not source.get("condition"):
            leaves[i] = x.requires_grad_()
        given.append(x)
    results = spec.pop("compute")(*given)
    results = results if isinstance(results, (tuple, list)) else (results,)
    loss = sum((y * randn(100 * index + 50 + j, y.shape)).sum() for j, y in enumerate(results) if j not in spec["unused"])
    return {i: g.clone(memory_format=torch.contiguous_format) for i, g in zip(leaves, torch.autograd.grad(loss, list(leaves.values())))}


if __name__ == "__main__":
    gradients = {}
    for index, (name, spec) in enumerate(cases.items()):
        for i, g in run(index, spec).items():
            gradients[f"{name}.{i}"] = g
    out_folder.mkdir(exist_ok=True)
    save_file(gradients, out_folder / "operators.safetensors")
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(spec)}" for name, spec in cases.items())
    (out_folder / "operators.json").write_text("{\n" + lines + "\n}\n")
    print(len(cases), "cases")
