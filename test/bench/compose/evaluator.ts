// The judge of the composition benchmark, trained by models/recipe/composition_evaluator.py, as a graph of ours on our runtime: which
// of 85 subjects a picture shows, and which of the bundled styles it is in. It is no loss of any training.
import { join } from 'node:path';
import { decodePicture } from '../../../src-main/formats/png.ts';
import { readSafetensorsHeader, type SafetensorsHeader } from '../../../src-main/formats/safetensors.ts';
import { GraphBuilder } from '../../../src-main/graph/builder.ts';
import type { Graph, Value } from '../../../src-main/graph/ir.ts';
import { Session } from '../../../src-main/runtime/session.ts';
import { floatTensor, type FloatTensor } from '../../../src-main/tensor/tensor.ts';

/** Pixels along a side that the judge looks at. */
const side = 64;

export interface Verdict {
  /** Probability of every subject, in the order of `subjects`. */
  readonly subjects: readonly number[];
  /** Probability of every style, each for itself, in the order of `styles`. */
  readonly styles: readonly number[];
  /** Subject features and style features, each of length 1, one after the other. */
  readonly features: Float32Array;
}

export class Evaluator {
  readonly subjects: readonly string[];
  readonly styles: readonly string[];
  readonly #session: Session;

  private constructor(session: Session, subjects: readonly string[], styles: readonly string[]) {
    this.#session = session;
    this.subjects = subjects;
    this.styles = styles;
  }

  static async open(
    file = join(import.meta.dirname, '../../test/bench/compose/evaluator.safetensors'),
  ): Promise<Evaluator> {
    const header = await readSafetensorsHeader(file);
    const names = (key: string): readonly string[] => JSON.parse(header.metadata[key] ?? '[]') as readonly string[];
    const session = await Session.open(evaluatorGraph(header), { provider: 'cpu', threads: 1 });
    return new Evaluator(session, names('subjects'), names('styles'));
  }

  /** Looks at a picture of any size that is a multiple of 64. */
  async look(path: string): Promise<Verdict> {
    return this.judge(shrunk(await decodePicture(path)));
  }

  /** Judges one picture [1, 3, 64, 64] in [-1, 1]. */
  async judge(picture: FloatTensor): Promise<Verdict> {
    const out = await this.#session.run({ picture });
    const numbers = (name: string): Float32Array => (out[name] as FloatTensor).data;
    const logits = [...numbers('subject_logits')];
    const most = Math.max(...logits);
    const powers = logits.map((x) => Math.exp(x - most));
    const total = powers.reduce((a, b) => a + b, 0);
    return {
      subjects: powers.map((p) => p / total),
      styles: [...numbers('style_logits')].map((x) => 1 / (1 + Math.exp(-x))),
      features: Float32Array.from([...unit(numbers('subject_features')), ...unit(numbers('style_features'))]),
    };
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}

/** Half the mean of both cosine distances (subject features, style features): 0 the same, 1 opposite. */
export function featureDistance(a: Float32Array, b: Float32Array): number {
  let dot = 0;
  for (let i = 0; i < a.length; i++) dot += a[i]! * b[i]!;
  return (1 - dot / 2) / 2;
}

/** Pixels as the training script makes them: means of whole squares, rounded to bytes. */
export function shrunk({ width, height, rgb }: { width: number; height: number; rgb: Uint8Array }): FloatTensor {
  const step = width / side;
  if (width !== height || !Number.isInteger(step)) {
    throw new RangeError(`The judge looks at squares of a multiple of ${side} pixels, got ${width}x${height}.`);
  }
  const data = new Float32Array(3 * side * side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let dy = 0; dy < step; dy++) {
          for (let dx = 0; dx < step; dx++) sum += rgb[((y * step + dy) * width + x * step + dx) * 3 + c]!;
        }
        data[(c * side + y) * side + x] = Math.round(sum / (step * step)) / 127.5 - 1;
      }
    }
  }
  return floatTensor([1, 3, side, side], data);
}

function unit(values: Float32Array): Float32Array {
  const norm = Math.sqrt(values.reduce((sum, x) => sum + x * x, 0)) || 1;
  return values.map((x) => x / norm);
}

/** Both networks: picture [1, 3, 64, 64] -> logits and features of subject and style. */
function evaluatorGraph({ tensors }: SafetensorsHeader): Graph {
  const b = new GraphBuilder('evaluator');
  const picture = b.input('picture', [1, 3, side, side]);
  const weight = (name: string): Value => {
    const ref = tensors.get(name);
    if (ref === undefined) throw new Error(`evaluator.safetensors has no ${name}.`);
    return b.weight(name, ref, ref.shape);
  };
  const conv = (x: Value, name: string, stride: number, padding: number, bias = true): Value =>
    b.Conv(x, weight(`${name}.weight`), bias ? weight(`${name}.bias`) : undefined, { stride, padding });
  for (const [network, cells] of [
    ['subject', 2],
    ['style', 1],
  ] as const) {
    let x = b.Relu(conv(picture, `${network}.stem`, 2, 1)); // [1, C, 32, 32]
    for (let i = 0; tensors.has(`${network}.blocks.${i}.conv1.weight`); i++) {
      const name = `${network}.blocks.${i}`;
      const stride = i === 0 ? 1 : 2;
      const inner = conv(b.Relu(conv(x, `${name}.conv1`, stride, 1)), `${name}.conv2`, 1, 1);
      x = b.Relu(b.Add(conv(x, `${name}.skip`, stride, 0, false), inner));
    }
    const [, width, height] = x.shape as [number, number, number, number];
    const size = height / cells;
    const squares = b.Reshape(x, [1, width, cells, size, cells, size]);
    const features = b.Reshape(b.ReduceMean(squares, [3, 5], false), [1, -1]); // [1, C cells^2]
    b.output(`${network}_features`, features);
    const head = b.MatMul(features, b.Transpose(weight(`${network}.head.weight`), [1, 0]));
    b.output(`${network}_logits`, b.Add(head, weight(`${network}.head.bias`)));
  }
  return b.build();
}
