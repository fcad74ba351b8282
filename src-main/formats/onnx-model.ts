// Serialises a graph to an ONNX ModelProto: a few KB of protobuf, with every weight as external data that points
// into the user's own checkpoint file. The only file that knows protobuf.
// Schema: https://github.com/onnx/onnx/blob/v1.17.0/onnx/onnx.proto (field numbers below).
import { parse, relative, sep } from 'node:path';
import type { Attribute, Graph, Initializer, Node, Value } from '../graph/ir.ts';
import { ops, opsets } from '../graph/ops.ts';
import type { DType } from '../tensor/dtype.ts';

/** IR version 10 goes with opset 21; onnxruntime 1.30 accepts up to 13. */
const irVersion = 10;

/** TensorProto.DataType. */
const dataTypes = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int16: 5,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  bfloat16: 16,
  float8e4m3fn: 17,
  float8e5m2: 19,
} as const satisfies Record<DType, number>;

/** A serialised model, and the folder its external data locations are relative to. */
export interface OnnxModel {
  readonly bytes: Uint8Array;
  /** The file system root that holds every weight file: `/`, or a drive on Windows. Undefined without external data. */
  readonly externalRoot: string | undefined;
}

/**
 * Serialises `graph`. Weight locations are written relative to the file system root, which the runtime is then told.
 * Throws when weights lie on two drives (Windows): the runtime takes one root per model.
 */
export function serializeModel(graph: Graph): OnnxModel {
  const files = new Set(graph.initializers.flatMap((i) => (i.kind === 'external' ? [i.ref.file] : [])));
  const roots = new Set([...files].map((file) => parse(file).root));
  if (roots.size > 1) {
    throw new Error(
      `Weights lie on several drives (${[...roots].join(', ')}); move the files of one model to one drive.`,
    );
  }
  const [root] = roots;
  const model = new Writer();
  model.integer(1, irVersion);
  model.text(2, 'mole-atelier');
  model.message(7, graphProto(graph, root ?? '/'));
  const domains = new Set<keyof typeof opsets>(['', ...graph.nodes.map(domainOf)]);
  for (const domain of domains) {
    const entry = new Writer();
    entry.text(1, domain);
    entry.integer(2, opsets[domain]);
    model.message(8, entry);
  }
  return { bytes: model.finish(), externalRoot: root };
}

const domainOf = (node: Node): keyof typeof opsets => {
  const spec = (ops as Readonly<Record<string, { readonly domain: keyof typeof opsets }>>)[node.op];
  if (spec === undefined) throw new Error(`${node.op} is not in graph/ops.ts.`);
  return spec.domain;
};

function graphProto(graph: Graph, root: string): Writer {
  const out = new Writer();
  for (const node of graph.nodes) out.message(1, nodeProto(node));
  out.text(2, graph.name);
  for (const initializer of graph.initializers) out.message(5, tensorProto(initializer, root));
  for (const value of graph.inputs) out.message(11, valueInfo(value));
  for (const value of graph.outputs) out.message(12, valueInfo(value));
  return out;
}

function nodeProto(node: Node): Writer {
  const out = new Writer();
  for (const input of node.inputs) out.text(1, input?.name ?? '');
  for (const output of node.outputs) out.text(2, output.name);
  out.text(3, node.name);
  out.text(4, node.op);
  for (const [name, attribute] of Object.entries(node.attributes)) out.message(5, attributeProto(name, attribute));
  out.text(7, domainOf(node));
  return out;
}

/** AttributeProto.AttributeType: FLOAT 1, INT 2, STRING 3, INTS 7. */
function attributeProto(name: string, attribute: Attribute): Writer {
  const out = new Writer();
  out.text(1, name);
  if (typeof attribute === 'number') {
    out.integer(3, attribute);
    out.integer(20, 2);
  } else if (typeof attribute === 'string') {
    out.text(4, attribute);
    out.integer(20, 3);
  } else if ('float' in attribute) {
    out.float(2, attribute.float);
    out.integer(20, 1);
  } else if ('dtype' in attribute) {
    out.integer(3, dataTypes[attribute.dtype]);
    out.integer(20, 2);
  } else {
    for (const item of attribute) out.integer(8, item);
    out.integer(20, 7);
  }
  return out;
}

function tensorProto(initializer: Initializer, root: string): Writer {
  const { value } = initializer;
  const out = new Writer();
  for (const size of value.shape) out.integer(1, Number(size));
  out.integer(2, dataTypes[value.dtype]);
  out.text(8, value.name);
  if (initializer.kind === 'inline') {
    const { data } = initializer;
    out.bytes(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    return out;
  }
  const { ref } = initializer;
  const location = relative(root, ref.file).split(sep).join('/');
  for (const [key, text] of [
    ['location', location],
    ['offset', String(ref.offset)],
    ['length', String(ref.length)],
  ] as const) {
    const entry = new Writer();
    entry.text(1, key);
    entry.text(2, text);
    out.message(13, entry);
  }
  out.integer(14, 1);
  return out;
}

function valueInfo(value: Value): Writer {
  const shape = new Writer();
  for (const size of value.shape) {
    const dimension = new Writer();
    if (typeof size === 'number') dimension.integer(1, size);
    else dimension.text(2, size);
    shape.message(1, dimension);
  }
  const tensorType = new Writer();
  tensorType.integer(1, dataTypes[value.dtype]);
  tensorType.message(2, shape);
  const type = new Writer();
  type.message(1, tensorType);
  const out = new Writer();
  out.text(1, value.name);
  out.message(2, type);
  return out;
}

/** The protobuf wire format: varints (type 0), length-delimited bytes (2) and 32-bit floats (5). */
class Writer {
  #chunks: Uint8Array[] = [];
  #length = 0;

  integer(field: number, value: number): void {
    this.#varint(BigInt(field << 3));
    this.#varint(BigInt.asUintN(64, BigInt(value)));
  }

  float(field: number, value: number): void {
    this.#varint(BigInt((field << 3) | 5));
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setFloat32(0, value, true);
    this.#push(bytes);
  }

  text(field: number, value: string): void {
    this.bytes(field, new TextEncoder().encode(value));
  }

  bytes(field: number, value: Uint8Array): void {
    this.#varint(BigInt((field << 3) | 2));
    this.#varint(BigInt(value.length));
    this.#push(value);
  }

  message(field: number, value: Writer): void {
    this.bytes(field, value.finish());
  }

  finish(): Uint8Array {
    const all = new Uint8Array(this.#length);
    let at = 0;
    for (const chunk of this.#chunks) {
      all.set(chunk, at);
      at += chunk.length;
    }
    return all;
  }

  #varint(value: bigint): void {
    const bytes: number[] = [];
    let rest = value;
    do {
      const low = Number(rest & 127n);
      rest >>= 7n;
      bytes.push(rest > 0n ? low | 128 : low);
    } while (rest > 0n);
    this.#push(Uint8Array.from(bytes));
  }

  #push(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
    this.#length += bytes.length;
  }
}
