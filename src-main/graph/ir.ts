// The graph IR: values, nodes, inputs, outputs and weights of one network. It never meets protobuf
// (formats/onnx-model.ts serialises it) and never holds a checkpoint's bytes: weights point into the user's file.
import type { DType } from '../tensor/dtype.ts';

/** One axis: a fixed size, or the name of a symbolic size that is known only at run time (say 'N' experts, 'R' ranks). */
export type Dim = number | string;
export type SymbolicShape = readonly Dim[];

/** One edge of the graph: produced once, by an input, an initializer or a node. */
export interface Value {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: SymbolicShape;
}

export type Attribute = number | readonly number[] | string | { readonly float: number } | { readonly dtype: DType };
export type Attributes = Readonly<Record<string, Attribute>>;

/** An operation. `undefined` inputs are ONNX's omitted optional inputs. */
export interface Node<Op extends string = string> {
  readonly op: Op;
  readonly name: string;
  readonly inputs: readonly (Value | undefined)[];
  readonly outputs: readonly Value[];
  readonly attributes: Attributes;
}

/** Where a tensor's bytes lie in a file on disk: dense, row-major, little-endian. */
export interface TensorRef {
  /** Absolute path. */
  readonly file: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Bytes from the start of the file. */
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
}

/** A weight: bytes in a file (never copied) or a few inline numbers. */
export type Initializer =
  | { readonly kind: 'external'; readonly value: Value; readonly ref: TensorRef }
  | { readonly kind: 'inline'; readonly value: Value; readonly data: Float32Array | BigInt64Array };

export interface Graph {
  readonly name: string;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly initializers: readonly Initializer[];
  /** In an order in which every input is produced before it is used. */
  readonly nodes: readonly Node[];
}
