// Builds a graph one operator at a time. Each call infers the shapes of its outputs, so a mistake shows at the line that made it.
// Methods carry the ONNX operator's name; what is not an operator (weight, constant, input) is a plain verb or noun.
import { elementCount, sameShape, showShape } from '../tensor/shape.ts';
import type { DType } from '../tensor/dtype.ts';
import { infer } from './infer.ts';
import type { Attributes, Graph, Initializer, Node, SymbolicShape, TensorRef, Value } from './ir.ts';
import { ops, type OpName } from './ops.ts';

/** Thrown when a checkpoint's tensor does not have the shape that the network's config calls for. */
export class WeightShapeError extends Error {
  override name = 'WeightShapeError';
}

export class GraphBuilder {
  readonly #name: string;
  readonly #inputs: Value[] = [];
  readonly #outputs: Value[] = [];
  readonly #initializers: Initializer[] = [];
  readonly #nodes: Node[] = [];
  readonly #names = new Set<string>();
  readonly #repeats = new Map<string, number>();
  readonly #constants = new Map<string, Value>();
  readonly #numbers = new Map<Value, readonly number[]>();
  readonly #weights = new Map<string, { readonly ref: TensorRef; readonly value: Value }>();
  #scope: readonly string[] = [];

  constructor(name: string) {
    this.#name = name;
  }

  /** A builder that goes on where `graph` ends, on the same values. Its outputs stay outputs. */
  static extend(graph: Graph): GraphBuilder {
    const builder = new GraphBuilder(graph.name);
    builder.#inputs.push(...graph.inputs);
    builder.#outputs.push(...graph.outputs);
    builder.#nodes.push(...graph.nodes);
    for (const initializer of graph.initializers) {
      builder.#initializers.push(initializer);
      const { value } = initializer;
      // Axes and shapes are int64, the scales of Resize float32.
      if (initializer.kind === 'inline' && initializer.data.length <= 64) {
        builder.#numbers.set(value, Array.from(initializer.data, Number));
        builder.#constants.set(constantKey(initializer.data, value.shape), value);
      }
    }
    const values = [...graph.inputs, ...graph.initializers.map(({ value }) => value)];
    for (const { name, outputs } of graph.nodes) {
      builder.#names.add(name);
      values.push(...outputs);
    }
    for (const { name } of values) builder.#names.add(name);
    return builder;
  }

  /** The numbers of a small constant (axes, shapes, scales), or undefined. */
  numbersOf(value: Value): readonly number[] | undefined {
    return this.#numbers.get(value);
  }

  /** Runs `body` with `name` appended to the names of the nodes it makes: scopes read like module paths. */
  scope<T>(name: string, body: () => T): T {
    const outer = this.#scope;
    this.#scope = [...outer, name];
    try {
      return body();
    } finally {
      this.#scope = outer;
    }
  }

  /** Declares a graph input. Only float32 and int64 cross a graph's border. */
  input(name: string, shape: SymbolicShape, dtype: 'float32' | 'int64' = 'float32'): Value {
    const value = { name: this.#unique(name), dtype, shape };
    this.#inputs.push(value);
    return value;
  }

  /** Declares `value`, float32 or int64, a graph output under `name`. Throws when the name is taken. */
  output(name: string, value: Value): void {
    if (value.dtype !== 'float32' && value.dtype !== 'int64') {
      throw new Error(`Output ${name} is ${value.dtype}; only float32 and int64 leave a graph. Cast it first.`);
    }
    if (this.#names.has(name)) throw new Error(`Output ${name} has the name of another value of ${this.#name}.`);
    this.#names.add(name);
    this.#outputs.push(this.op('Identity', [value], {}, [name])[0]!);
  }

  /** A float32 constant; a bare number is a scalar. Equal constants are made once. */
  constant(data: number | readonly number[] | Float32Array, shape?: readonly number[]): Value {
    const array = typeof data === 'number' ? Float32Array.of(data) : Float32Array.from(data);
    return this.#inline('c', array, shape ?? (typeof data === 'number' ? [] : [array.length]));
  }

  /** An int64 constant of rank 1 (axes, shapes, indices). */
  integers(data: readonly number[]): Value {
    const value = this.#inline('i', BigInt64Array.from(data, BigInt), [data.length]);
    this.#numbers.set(value, data);
    return value;
  }

  /**
   * A checkpoint tensor as float32, under its Hugging Face name. It stays where it is on disk; a Cast follows when it
   * is stored in another float type. Its shape may differ from `shape` by axes of size 1 only (1x1 convolutions that
   * some checkpoints store as matrices). Throws WeightShapeError otherwise, and an Error when the name was used for
   * another tensor before.
   */
  weight(name: string, ref: TensorRef, shape: readonly number[]): Value {
    const made = this.#weights.get(name);
    if (made !== undefined) {
      const alike = made.ref.file === ref.file && made.ref.offset === ref.offset;
      if (alike && showShape(made.value.shape) === showShape(shape)) return made.value;
      throw new Error(
        `Weight ${name} of ${this.#name} was ${showShape(made.value.shape)} of ${made.ref.file} and is now asked for as ` +
          `${showShape(shape)} of ${ref.file}; name one of them differently.`,
      );
    }
    const stored = this.#stored(name, ref, shape);
    const value = ref.dtype === 'float32' ? stored : this.Cast(stored, 'float32');
    this.#weights.set(name, { ref, value });
    return value;
  }

  /**
   * Rows of a table [V, D] picked by `indices` [...]: -> [..., D] float32. The Cast follows the Gather, so that a
   * half-precision table is never expanded.
   */
  embedding(name: string, ref: TensorRef, shape: readonly [number, number], indices: Value): Value {
    const rows = this.Gather(this.#stored(name, ref, shape), indices);
    return rows.dtype === 'float32' ? rows : this.Cast(rows, 'float32');
  }

  /** Any operator. `outputs` names the outputs, or counts them. Throws ShapeError. */
  op(
    name: OpName,
    inputs: readonly (Value | undefined)[],
    attributes: Attributes = {},
    outputs: number | readonly string[] = 1,
  ): Value[] {
    const [least, most] = ops[name].inputs;
    if (inputs.length < least || inputs.length > most) {
      throw new Error(`${name} takes ${least} to ${most} inputs, got ${inputs.length}.`);
    }
    const names = typeof outputs === 'number' ? undefined : outputs;
    const count = names?.length ?? (outputs as number);
    const inferred = infer(name, {
      inputs,
      attributes,
      outputCount: count,
      constant: (value) => this.#numbers.get(value),
    });
    const path = [...this.#scope, name].join('/');
    const nodeName = this.#unique(path);
    const values = Array.from({ length: count }, (_, index): Value => {
      const type = inferred[index];
      if (type === undefined) throw new Error(`${name} has no output ${index}.`);
      return { name: names?.[index] ?? (count === 1 ? `${nodeName}:0` : `${nodeName}:${index}`), ...type };
    });
    this.#nodes.push({ op: name, name: nodeName, inputs, outputs: values, attributes });
    return values;
  }

  /** The finished graph. */
  build(): Graph {
    return {
      name: this.#name,
      inputs: this.#inputs,
      outputs: this.#outputs,
      initializers: this.#initializers,
      nodes: this.#nodes,
    };
  }

  // --- operators, in the order of ops.ts -------------------------------------------------------------------------

  Neg = (x: Value): Value => this.#one('Neg', [x]);
  Exp = (x: Value): Value => this.#one('Exp', [x]);
  Log = (x: Value): Value => this.#one('Log', [x]);
  Sqrt = (x: Value): Value => this.#one('Sqrt', [x]);
  Reciprocal = (x: Value): Value => this.#one('Reciprocal', [x]);
  Sin = (x: Value): Value => this.#one('Sin', [x]);
  Cos = (x: Value): Value => this.#one('Cos', [x]);
  Tanh = (x: Value): Value => this.#one('Tanh', [x]);
  Erf = (x: Value): Value => this.#one('Erf', [x]);
  Sigmoid = (x: Value): Value => this.#one('Sigmoid', [x]);
  Relu = (x: Value): Value => this.#one('Relu', [x]);
  /** x Phi(x), with the exact error function unless `approximate` is 'tanh'. */
  Gelu = (x: Value, approximate: 'none' | 'tanh' = 'none'): Value => this.#one('Gelu', [x], { approximate });
  Cast = (x: Value, to: DType): Value => this.#one('Cast', [x], { to: { dtype: to } });

  Add = (a: Value, b: Value): Value => this.#one('Add', [a, b]);
  Sub = (a: Value, b: Value): Value => this.#one('Sub', [a, b]);
  Mul = (a: Value, b: Value): Value => this.#one('Mul', [a, b]);
  Div = (a: Value, b: Value): Value => this.#one('Div', [a, b]);
  Pow = (a: Value, b: Value): Value => this.#one('Pow', [a, b]);
  Max = (a: Value, b: Value): Value => this.#one('Max', [a, b]);
  Greater = (a: Value, b: Value): Value => this.#one('Greater', [a, b]);
  Where = (condition: Value, a: Value, b: Value): Value => this.#one('Where', [condition, a, b]);

  MatMul = (a: Value, b: Value): Value => this.#one('MatMul', [a, b]);
  /** a @ b (+ c) on matrices, either side transposed first. */
  Gemm = (a: Value, b: Value, c?: Value, options: { transA?: boolean; transB?: boolean } = {}): Value =>
    this.#one('Gemm', c === undefined ? [a, b] : [a, b, c], {
      transA: options.transA === true ? 1 : 0,
      transB: options.transB === true ? 1 : 0,
    });
  /** x [B, C, H, W], w [Cout, C, k, k]. `padding` is per side, the same on all four unless four are given (top, left, bottom, right). */
  Conv = (
    x: Value,
    w: Value,
    bias: Value | undefined,
    options: { padding: number | readonly number[]; stride?: number },
  ): Value => {
    const kernel = w.shape.slice(2).map(Number);
    const padding = options.padding;
    const pads = typeof padding === 'number' ? [padding, padding, padding, padding] : padding;
    const stride = options.stride ?? 1;
    return this.#one('Conv', bias === undefined ? [x, w] : [x, w, bias], {
      kernel_shape: kernel,
      pads,
      strides: [stride, stride],
      dilations: [1, 1],
      group: 1,
    });
  };

  Softmax = (x: Value, axis = -1): Value => this.#one('Softmax', [x], { axis });
  LayerNormalization = (x: Value, scale: Value, bias: Value, epsilon: number): Value =>
    this.#one('LayerNormalization', [x, scale, bias], { axis: -1, epsilon: { float: epsilon } });
  InstanceNormalization = (x: Value, scale: Value, bias: Value, epsilon: number): Value =>
    this.#one('InstanceNormalization', [x, scale, bias], { epsilon: { float: epsilon } });
  ReduceMean = (x: Value, axes: readonly number[], keepDims = true): Value =>
    this.#one('ReduceMean', [x, this.integers(axes)], { keepdims: keepDims ? 1 : 0 });
  ReduceSum = (x: Value, axes: readonly number[], keepDims = true): Value =>
    this.#one('ReduceSum', [x, this.integers(axes)], { keepdims: keepDims ? 1 : 0 });

  /** Sizes: 0 keeps the input's size on that axis, -1 takes what is left. */
  Reshape = (x: Value, shape: readonly number[]): Value => this.#one('Reshape', [x, this.integers(shape)]);
  Transpose = (x: Value, perm: readonly number[]): Value => this.#one('Transpose', [x], { perm });
  Concat = (values: readonly Value[], axis: number): Value => this.#one('Concat', values, { axis });
  Split = (x: Value, sizes: readonly number[], axis: number): Value[] =>
    this.op('Split', [x, this.integers(sizes)], { axis }, sizes.length);
  Slice = (x: Value, starts: readonly number[], ends: readonly number[], axes: readonly number[]): Value =>
    this.#one('Slice', [x, this.integers(starts), this.integers(ends), this.integers(axes)]);
  Gather = (x: Value, indices: Value, axis = 0): Value => this.#one('Gather', [x, indices], { axis });
  Unsqueeze = (x: Value, axes: readonly number[]): Value => this.#one('Unsqueeze', [x, this.integers(axes)]);
  Squeeze = (x: Value, axes: readonly number[]): Value => this.#one('Squeeze', [x, this.integers(axes)]);
  Expand = (x: Value, shape: readonly number[]): Value => this.#one('Expand', [x, this.integers(shape)]);
  /** Zeros around x: `pads` are the sizes before each axis, then those after each. */
  Pad = (x: Value, pads: readonly number[]): Value => this.#one('Pad', [x, this.integers(pads)], { mode: 'constant' });
  /** Nearest-neighbour upsampling of [B, C, H, W] by an integer factor in H and W. */
  Resize = (x: Value, factor: number): Value => {
    return this.#one('Resize', [x, undefined, this.constant([1, 1, factor, factor])], {
      mode: 'nearest',
      nearest_mode: 'floor',
      coordinate_transformation_mode: 'asymmetric',
    });
  };

  QuickGelu = (x: Value, alpha: number): Value => this.#one('QuickGelu', [x], { alpha: { float: alpha } });
  /** query [B, T, D], key and value [B, S, D] -> [B, T, D]; scale 1/sqrt(D / heads). */
  MultiHeadAttention = (query: Value, key: Value, value: Value, heads: number): Value =>
    this.#one('MultiHeadAttention', [query, key, value], { num_heads: heads });

  #stored(name: string, ref: TensorRef, shape: readonly number[]): Value {
    const squeezed = (s: readonly number[]): readonly number[] => s.filter((size) => size !== 1);
    if (!sameShape(squeezed(ref.shape), squeezed(shape))) {
      throw new WeightShapeError(
        `${ref.file}: tensor ${name} has shape ${showShape(ref.shape)}, this network needs ${showShape(shape)}. ` +
          `The file is of another architecture, or damaged.`,
      );
    }
    const stored: Value = { name: this.#unique(name), dtype: ref.dtype, shape };
    this.#initializers.push({ kind: 'external', value: stored, ref });
    return stored;
  }

  #one(name: OpName, inputs: readonly (Value | undefined)[], attributes: Attributes = {}): Value {
    return this.op(name, inputs, attributes)[0]!;
  }

  #inline(prefix: string, data: Float32Array | BigInt64Array, shape: readonly number[]): Value {
    if (elementCount(shape) !== data.length) {
      throw new Error(
        `A constant of shape ${showShape(shape)} needs ${elementCount(shape)} numbers, got ${data.length}.`,
      );
    }
    const key = data.length <= 64 ? constantKey(data, shape) : undefined;
    const made = key === undefined ? undefined : this.#constants.get(key);
    if (made !== undefined) return made;
    const value: Value = {
      name: this.#unique(`${prefix}_constant`),
      dtype: data instanceof BigInt64Array ? 'int64' : 'float32',
      shape: shape,
    };
    this.#initializers.push({ kind: 'inline', value, data });
    if (key !== undefined) {
      this.#constants.set(key, value);
      this.#numbers.set(value, Array.from(data, Number));
    }
    return value;
  }

  #unique(name: string): string {
    let unique = name;
    let count = this.#repeats.get(name) ?? 1;
    for (; this.#names.has(unique); count++) unique = `${name}.${count}`;
    this.#repeats.set(name, count);
    this.#names.add(unique);
    return unique;
  }
}

/** Equal for constants of one type, shape and content. */
const constantKey = (data: Float32Array | BigInt64Array, shape: SymbolicShape): string =>
  `${data instanceof BigInt64Array ? 'i' : 'c'}${shape.join('x')}:${data.join(',')}`;
