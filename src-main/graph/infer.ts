// Shape and type inference: for every operator, what its outputs are, given its inputs.
// The table is total by type. A broken rule is a programmer's mistake and names the operator and the shapes.
import type { DType } from '../tensor/dtype.ts';
import { showShape } from '../tensor/shape.ts';
import type { Attribute, Attributes, Dim, SymbolicShape, Value } from './ir.ts';
import type { OpName } from './ops.ts';

/** Type and shape of one output. */
export interface Inferred {
  readonly dtype: DType;
  readonly shape: SymbolicShape;
}

/** What a rule may ask about its node. */
export interface InferContext {
  readonly inputs: readonly (Value | undefined)[];
  readonly attributes: Attributes;
  readonly outputCount: number;
  /** The integers of an inline constant, or undefined when the value is computed at run time. */
  constant(value: Value): readonly number[] | undefined;
}

type Rule = (context: InferContext) => readonly Inferred[];

/** Thrown when a node's inputs do not fit its operator. */
export class ShapeError extends Error {
  override name = 'ShapeError';
}

/** Outputs of `op` on the given inputs. Throws ShapeError naming the operator and the input shapes. */
export function infer(op: OpName, context: InferContext): readonly Inferred[] {
  try {
    return rules[op](context);
  } catch (error) {
    if (!(error instanceof ShapeError)) throw error;
    const shapes = context.inputs.map((value) =>
      value === undefined ? '-' : `${value.name} ${showShape(value.shape)}`,
    );
    throw new ShapeError(`${op}: ${error.message} (inputs: ${shapes.join('; ')})`);
  }
}

/** A size as a number times symbols: '4096*B' is { factor: 4096, symbols: ['B'] }. */
interface Monomial {
  readonly factor: number;
  readonly symbols: readonly string[];
}

const monomial = (size: Dim): Monomial => {
  if (typeof size === 'number') return { factor: size, symbols: [] };
  const parts = size.split('*');
  const factor = parts.reduce((product, part) => (/^\d+$/.test(part) ? product * Number(part) : product), 1);
  return { factor, symbols: parts.filter((part) => !/^\d+$/.test(part)) };
};

const dim = ({ factor, symbols }: Monomial): Dim =>
  symbols.length === 0 ? factor : [...(factor === 1 ? [] : [String(factor)]), ...[...symbols].sort()].join('*');

/** A name for a size that is not a monomial; it holds no '*', which separates factors. */
const opaque = (text: string): string => text.replaceAll('*', '.');

/** a * b of two sizes, symbolic when either is: 4096 times 'B' is '4096*B'. */
export function multiply(a: Dim, b: Dim): Dim {
  const [left, right] = [monomial(a), monomial(b)];
  return dim({ factor: left.factor * right.factor, symbols: [...left.symbols, ...right.symbols] });
}

/** a / b of two sizes, or undefined when it is not whole. */
function divide(a: Dim, b: Dim): Dim | undefined {
  const [left, right] = [monomial(a), monomial(b)];
  if (right.factor === 0 || left.factor % right.factor !== 0) return undefined;
  const symbols = [...left.symbols];
  for (const symbol of right.symbols) {
    const index = symbols.indexOf(symbol);
    if (index === -1) return undefined;
    symbols.splice(index, 1);
  }
  return dim({ factor: left.factor / right.factor, symbols });
}

/** Numpy broadcasting of two shapes. A symbolic size broadcasts with 1 and with itself only. */
export function broadcast(a: SymbolicShape, b: SymbolicShape): SymbolicShape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const left = a[axis - rank + a.length] ?? 1;
    const right = b[axis - rank + b.length] ?? 1;
    if (left === right || right === 1) return left;
    if (left === 1) return right;
    throw new ShapeError(`${showShape(a)} and ${showShape(b)} do not broadcast`);
  });
}

const need = (context: InferContext, index: number): Value => {
  const value = context.inputs[index];
  if (value === undefined) throw new ShapeError(`input ${index} is missing`);
  return value;
};

const constantInput = (context: InferContext, index: number): readonly number[] => {
  const numbers = context.constant(need(context, index));
  if (numbers === undefined) throw new ShapeError(`input ${index} must be a constant`);
  return numbers;
};

const ints = (attribute: Attribute | undefined): readonly number[] | undefined =>
  Array.isArray(attribute) ? (attribute as readonly number[]) : undefined;
const int = (attribute: Attribute | undefined, otherwise: number): number =>
  typeof attribute === 'number' ? attribute : otherwise;

const axisOf = (axis: number, rank: number): number => {
  const index = axis < 0 ? axis + rank : axis;
  if (index < 0 || index >= rank) throw new ShapeError(`axis ${axis} is outside rank ${rank}`);
  return index;
};

const same: Rule = (context) => [{ dtype: need(context, 0).dtype, shape: need(context, 0).shape }];

const elementwise: Rule = (context) => {
  const [a, b] = [need(context, 0), need(context, 1)];
  if (a.dtype !== b.dtype) throw new ShapeError(`types differ: ${a.dtype} and ${b.dtype}`);
  return [{ dtype: a.dtype, shape: broadcast(a.shape, b.shape) }];
};

const reduce: Rule = (context) => {
  const x = need(context, 0);
  const rank = x.shape.length;
  const named = context.inputs[1] === undefined ? [] : constantInput(context, 1);
  const axes = named.length === 0 ? x.shape.map((_, i) => i) : named; // none named: all
  const reduced = new Set(axes.map((axis) => axisOf(axis, rank)));
  const keep = int(context.attributes['keepdims'], 1) === 1;
  const shape = x.shape.flatMap((size, axis) => (reduced.has(axis) ? (keep ? [1] : []) : [size]));
  return [{ dtype: x.dtype, shape }];
};

const matMul: Rule = (context) => {
  const [a, b] = [need(context, 0), need(context, 1)];
  if (a.shape.length < 2 || b.shape.length < 2) throw new ShapeError('both inputs need rank 2 or more');
  const inner = [a.shape.at(-1)!, b.shape.at(-2)!];
  if (inner[0] !== inner[1]) throw new ShapeError(`inner sizes ${inner[0]} and ${inner[1]} differ`);
  const batch = broadcast(a.shape.slice(0, -2), b.shape.slice(0, -2));
  return [{ dtype: a.dtype, shape: [...batch, a.shape.at(-2)!, b.shape.at(-1)!] }];
};

const gemm: Rule = (context) => {
  const [a, b] = [need(context, 0), need(context, 1)];
  const [m, k] = int(context.attributes['transA'], 0) === 1 ? [a.shape[1]!, a.shape[0]!] : [a.shape[0]!, a.shape[1]!];
  const [kb, n] = int(context.attributes['transB'], 0) === 1 ? [b.shape[1]!, b.shape[0]!] : [b.shape[0]!, b.shape[1]!];
  if (k !== kb) throw new ShapeError(`inner sizes ${k} and ${kb} differ`);
  return [{ dtype: a.dtype, shape: [m, n] }];
};

const convolvedSize = (size: Dim, kernel: number, pads: number, stride: number, dilation: number): Dim => {
  if (typeof size === 'number') {
    const room = size + pads - dilation * (kernel - 1) - 1;
    if (room < 0) throw new ShapeError(`a kernel of ${kernel} does not fit size ${size} padded by ${pads}`);
    return Math.floor(room / stride) + 1;
  }
  if (stride === 1 && pads === dilation * (kernel - 1)) return size;
  return opaque(`conv(${size},${kernel},${pads},${stride})`);
};

const conv: Rule = (context) => {
  const [x, w] = [need(context, 0), need(context, 1)];
  const spatial = x.shape.length - 2;
  const group = int(context.attributes['group'], 1);
  const perGroup = w.shape[1]!;
  const inChannels = x.shape[1]!;
  if (multiply(perGroup, group) !== inChannels) {
    throw new ShapeError(`the input has ${inChannels} channels, the kernel expects ${multiply(perGroup, group)}`);
  }
  const pads = ints(context.attributes['pads']) ?? new Array<number>(2 * spatial).fill(0);
  const strides = ints(context.attributes['strides']) ?? new Array<number>(spatial).fill(1);
  const dilations = ints(context.attributes['dilations']) ?? new Array<number>(spatial).fill(1);
  const sizes = Array.from({ length: spatial }, (_, i) => {
    const kernel = w.shape[i + 2];
    if (typeof kernel !== 'number') throw new ShapeError('kernel sizes must be fixed');
    return convolvedSize(x.shape[i + 2]!, kernel, pads[i]! + pads[i + spatial]!, strides[i]!, dilations[i]!);
  });
  return [{ dtype: x.dtype, shape: [x.shape[0]!, w.shape[0]!, ...sizes] }];
};

const convTranspose: Rule = (context) => {
  const [x, w] = [need(context, 0), need(context, 1)];
  const spatial = x.shape.length - 2;
  const pads = ints(context.attributes['pads']) ?? new Array<number>(2 * spatial).fill(0);
  const strides = ints(context.attributes['strides']) ?? new Array<number>(spatial).fill(1);
  const extra = ints(context.attributes['output_padding']) ?? new Array<number>(spatial).fill(0);
  const dilations = ints(context.attributes['dilations']) ?? new Array<number>(spatial).fill(1);
  const group = int(context.attributes['group'], 1);
  if (x.shape[1] !== w.shape[0]) {
    throw new ShapeError(`the input has ${x.shape[1]} channels, the kernel expects ${w.shape[0]}`);
  }
  const sizes = Array.from({ length: spatial }, (_, i) => {
    const [size, kernel] = [x.shape[i + 2], w.shape[i + 2]];
    if (typeof size !== 'number' || typeof kernel !== 'number') throw new ShapeError('spatial sizes must be fixed');
    return (size - 1) * strides[i]! + dilations[i]! * (kernel - 1) + 1 - pads[i]! - pads[i + spatial]! + extra[i]!;
  });
  return [{ dtype: x.dtype, shape: [x.shape[0]!, multiply(w.shape[1]!, group), ...sizes] }];
};

const reshape: Rule = (context) => {
  const x = need(context, 0);
  const wanted = constantInput(context, 1);
  const shape: Dim[] = wanted.map((size, axis) => {
    const kept = size === 0 ? x.shape[axis] : size;
    if (kept === undefined) throw new ShapeError(`${showShape(wanted)} keeps axis ${axis} of ${showShape(x.shape)}`);
    return kept;
  });
  if (wanted.filter((size) => size < 0).length > 1) {
    throw new ShapeError(`${showShape(wanted)} has more than one free size`);
  }
  const free = shape.indexOf(-1);
  if (free === -1) {
    const [had, has] = [x.shape.reduce(multiply, 1), shape.reduce(multiply, 1)];
    if (typeof had === 'number' && typeof has === 'number' && had !== has) {
      throw new ShapeError(`${showShape(x.shape)} has ${had} elements, ${showShape(shape)} has ${has}`);
    }
    return [{ dtype: x.dtype, shape }];
  }
  // The free size is what is left of the input after the other sizes.
  const own = shape.filter((_, axis) => axis !== free).reduce(multiply, 1);
  const all = x.shape.reduce(multiply, 1);
  const left = divide(all, own);
  if (left === undefined && typeof all === 'number') {
    throw new ShapeError(`${showShape(x.shape)} does not divide into ${showShape(shape)}`);
  }
  shape[free] = left ?? opaque(`${all}/${own}`);
  return [{ dtype: x.dtype, shape }];
};

const transpose: Rule = (context) => {
  const x = need(context, 0);
  const perm = ints(context.attributes['perm']) ?? x.shape.map((_, axis) => x.shape.length - 1 - axis);
  if (perm.length !== x.shape.length || new Set(perm).size !== perm.length) {
    throw new ShapeError(`perm ${showShape(perm)} does not fit rank ${x.shape.length}`);
  }
  return [{ dtype: x.dtype, shape: perm.map((axis) => x.shape[axisOf(axis, x.shape.length)]!) }];
};

const concat: Rule = (context) => {
  const first = need(context, 0);
  const axis = axisOf(int(context.attributes['axis'], 0), first.shape.length);
  let total: Dim = 0;
  context.inputs.forEach((_, index) => {
    const value = need(context, index);
    if (value.shape.length !== first.shape.length) {
      throw new ShapeError(`ranks differ: ${showShape(first.shape)} and ${showShape(value.shape)}`);
    }
    if (value.shape.some((size, i) => i !== axis && size !== first.shape[i])) {
      throw new ShapeError(`sizes differ outside axis ${axis}`);
    }
    const size: Dim = value.shape[axis]!;
    total =
      typeof total === 'number' && typeof size === 'number'
        ? total + size
        : total === 0
          ? size
          : opaque(`${total}+${size}`);
  });
  return [{ dtype: first.dtype, shape: first.shape.map((size, i) => (i === axis ? total : size)) }];
};

/** Without sizes, Split makes equal parts, rounded up; the last one is what is left. */
const equalParts = (size: Dim, count: number): readonly Dim[] => {
  if (typeof size === 'string') return new Array<Dim>(count).fill(divide(size, count) ?? opaque(`${size}/${count}`));
  const part = Math.ceil(size / count);
  return Array.from({ length: count }, (_, i) => Math.max(0, Math.min(part, size - i * part)));
};

const split: Rule = (context) => {
  const x = need(context, 0);
  const axis = axisOf(int(context.attributes['axis'], 0), x.shape.length);
  const size = x.shape[axis]!;
  const sizes: readonly Dim[] =
    context.inputs[1] !== undefined ? constantInput(context, 1) : equalParts(size, context.outputCount);
  if (typeof size === 'number' && sizes.reduce<number>((sum, s) => sum + Number(s), 0) !== size) {
    throw new ShapeError(`sizes ${showShape(sizes)} do not add up to ${size}`);
  }
  return sizes.map((s) => ({ dtype: x.dtype, shape: x.shape.map((old, i) => (i === axis ? s : old)) }));
};

const slice: Rule = (context) => {
  const x = need(context, 0);
  const [starts, ends] = [constantInput(context, 1), constantInput(context, 2)];
  const axes = context.inputs[3] === undefined ? starts.map((_, i) => i) : constantInput(context, 3);
  const steps = context.inputs[4] === undefined ? starts.map(() => 1) : constantInput(context, 4);
  const shape = [...x.shape];
  axes.forEach((axis, i) => {
    const at = axisOf(axis, shape.length);
    const size = shape[at]!;
    if (typeof size !== 'number') {
      shape[at] = opaque(`slice(${size},${starts[i]},${ends[i]})`);
      return;
    }
    const step = steps[i]!;
    if (step === 0) throw new ShapeError('step 0');
    // Backwards, the slice starts at the last element at most and may end before the first.
    const [least, most] = step > 0 ? [0, size] : [-1, size - 1];
    const clamp = (index: number): number => Math.max(least, Math.min(most, index < 0 ? index + size : index));
    shape[at] = Math.max(0, Math.ceil((clamp(ends[i]!) - Math.max(0, clamp(starts[i]!))) / step));
  });
  return [{ dtype: x.dtype, shape }];
};

const gather: Rule = (context) => {
  const [x, indices] = [need(context, 0), need(context, 1)];
  const axis = axisOf(int(context.attributes['axis'], 0), x.shape.length);
  return [{ dtype: x.dtype, shape: [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)] }];
};

const unsqueeze: Rule = (context) => {
  const x = need(context, 0);
  const axes = constantInput(context, 1);
  const rank = x.shape.length + axes.length;
  const added = new Set(axes.map((axis) => axisOf(axis, rank)));
  const old = [...x.shape];
  return [{ dtype: x.dtype, shape: Array.from({ length: rank }, (_, axis) => (added.has(axis) ? 1 : old.shift()!)) }];
};

const squeeze: Rule = (context) => {
  const x = need(context, 0);
  const gone = new Set(constantInput(context, 1).map((axis) => axisOf(axis, x.shape.length)));
  for (const axis of gone) {
    const size = x.shape[axis]!;
    if (typeof size === 'number' && size !== 1) throw new ShapeError(`axis ${axis} has size ${size}, not 1`);
  }
  return [{ dtype: x.dtype, shape: x.shape.filter((_, axis) => !gone.has(axis)) }];
};

const pad: Rule = (context) => {
  const x = need(context, 0);
  const pads = constantInput(context, 1);
  if (pads.length !== 2 * x.shape.length) {
    throw new ShapeError(`${pads.length} pads do not fit rank ${x.shape.length}`);
  }
  const shape = x.shape.map((size, axis) => {
    const added = pads[axis]! + pads[axis + x.shape.length]!;
    return typeof size === 'number' ? size + added : added === 0 ? size : opaque(`${size}+${added}`);
  });
  return [{ dtype: x.dtype, shape }];
};

const rules: { readonly [Op in OpName]: Rule } = {
  Neg: same,
  Abs: same,
  Exp: same,
  Log: same,
  Sqrt: same,
  Reciprocal: same,
  Sin: same,
  Cos: same,
  Tanh: same,
  Sigmoid: same,
  Erf: same,
  Relu: same,
  Gelu: same,
  Identity: same,
  Cast: (context) => {
    const to = context.attributes['to'];
    if (typeof to !== 'object' || !('dtype' in to)) throw new ShapeError('attribute to must name a type');
    return [{ dtype: to.dtype, shape: need(context, 0).shape }];
  },
  Add: elementwise,
  Sub: elementwise,
  Mul: elementwise,
  Div: elementwise,
  Pow: elementwise,
  Max: elementwise,
  Min: elementwise,
  Greater: (context) => elementwise(context).map(({ shape }) => ({ dtype: 'bool', shape })),
  Where: (context) => {
    const [condition, a, b] = [need(context, 0), need(context, 1), need(context, 2)];
    return [{ dtype: a.dtype, shape: broadcast(condition.shape, broadcast(a.shape, b.shape)) }];
  },
  MatMul: matMul,
  Gemm: gemm,
  Conv: conv,
  ConvTranspose: convTranspose,
  Softmax: same,
  LayerNormalization: same,
  InstanceNormalization: same,
  ReduceMean: reduce,
  ReduceSum: reduce,
  ReduceMax: reduce,
  Reshape: reshape,
  Transpose: transpose,
  Concat: concat,
  Split: split,
  Slice: slice,
  Gather: gather,
  Unsqueeze: unsqueeze,
  Squeeze: squeeze,
  Expand: (context) => [
    { dtype: need(context, 0).dtype, shape: broadcast(need(context, 0).shape, constantInput(context, 1)) },
  ],
  Pad: pad,
  Resize: (context) => {
    const x = need(context, 0);
    const scales = constantInput(context, 2);
    return [{ dtype: x.dtype, shape: x.shape.map((size, axis) => multiply(size, scales[axis]!)) }];
  },
  QuickGelu: same,
  // query [B, T, D], key [B, S, D], value [B, S, E] -> [B, T, E]
  MultiHeadAttention: (context) => {
    const [query, value] = [need(context, 0), need(context, 2)];
    return [{ dtype: query.dtype, shape: [...query.shape.slice(0, -1), value.shape.at(-1)!] }];
  },
};
