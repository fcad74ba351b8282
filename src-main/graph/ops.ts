// The closed list of ONNX operators our networks are made of. Every concern (shape rules here in infer.ts,
// gradients in autodiff/) is a table over this list, so that an operator without a rule does not compile.
// Reference: https://onnx.ai/onnx/operators/ (opset 21) and onnxruntime's contrib operators (com.microsoft, version 1).

/** Operator sets a model imports, with the version we write. */
export const opsets = { '': 21, 'com.microsoft': 1 } as const;

interface OpSpec {
  readonly domain: keyof typeof opsets;
  /** Least and greatest number of inputs. */
  readonly inputs: readonly [number, number];
}

const op = (inputs: readonly [number, number], domain: keyof typeof opsets = ''): OpSpec => ({ domain, inputs });

const unary = op([1, 1]);
const binary = op([2, 2]);

export const ops = {
  // elementwise, one input
  Neg: unary,
  Abs: unary,
  Exp: unary,
  Log: unary,
  Sqrt: unary,
  Reciprocal: unary,
  Sin: unary,
  Cos: unary,
  Tanh: unary,
  Sigmoid: unary,
  Erf: unary,
  Relu: unary,
  Gelu: unary,
  Identity: unary,
  Cast: unary,
  // elementwise, broadcasting
  Add: binary,
  Sub: binary,
  Mul: binary,
  Div: binary,
  Pow: binary,
  Max: binary,
  Min: binary,
  Greater: binary,
  Where: op([3, 3]),
  // linear algebra
  MatMul: binary,
  Gemm: op([2, 3]),
  Conv: op([2, 3]),
  ConvTranspose: op([2, 3]),
  // normalisation and reduction
  Softmax: unary,
  LayerNormalization: op([2, 3]),
  InstanceNormalization: op([3, 3]),
  ReduceMean: op([1, 2]),
  ReduceSum: op([1, 2]),
  ReduceMax: op([1, 2]),
  // movement
  Reshape: binary,
  Transpose: unary,
  Concat: op([1, 256]),
  Split: op([1, 2]),
  Slice: op([3, 5]),
  Gather: binary,
  Unsqueeze: binary,
  Squeeze: binary,
  Expand: binary,
  Pad: op([2, 3]),
  Resize: op([3, 4]),
  // fused kernels of onnxruntime
  QuickGelu: op([1, 1], 'com.microsoft'),
  MultiHeadAttention: op([1, 10], 'com.microsoft'),
} as const satisfies Record<string, OpSpec>;

/** Name of an operator, spelled as ONNX spells it. */
export type OpName = keyof typeof ops;
