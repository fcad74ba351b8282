// Whether an adapter's tensors can change a module: their shapes against its sizes, before anything is read or allocated.
// Linear layers and 1x1 convolutions are the same to it wherever the numbers of elements agree (SD 1's proj_in is a
// convolution, SD 2's is linear, and files come in either shape).
import type { TensorRef } from '../graph/ir.ts';
import { elementCount, sameShape, showShape } from '../tensor/shape.ts';
import type { AdapterAlgorithm } from './adapter.ts';
import type { NetworkModule } from './modules.ts';

type Tensors = Readonly<Partial<Record<string, TensorRef>>>;

/**
 * The rank that alpha is divided by, when `tensors` (by role) fit `module`; else what does not fit, as the end of a sentence
 * ("up is [4, 4], expected [320, r]").
 */
export function factorShapes(
  module: NetworkModule,
  algorithm: AdapterAlgorithm,
  tensors: Tensors,
): { readonly rank: number } | string {
  const odd = Object.entries(tensors).find(([, ref]) => ref !== undefined && !isFactor(ref));
  if (odd !== undefined) return `${odd[0]} is ${showShape(odd[1]!.shape)} of ${odd[1]!.dtype}`;
  return checks[algorithm](module, tensors);
}

type Check = (module: NetworkModule, tensors: Tensors) => { readonly rank: number } | string;

const checks: Readonly<Record<AdapterAlgorithm, Check>> = {
  lora: ({ outFeatures, inFeatures, kernel }, { up, down }) => {
    if (up === undefined || down === undefined) return incomplete(['up', 'down'], { up, down });
    const rank = down.shape[0]!;
    const width = inFeatures * kernel * kernel;
    if (elementCount(down.shape) !== rank * width || (down.shape.length > 2 && down.shape[1] !== inFeatures)) {
      return `down is ${showShape(down.shape)}, expected ${wide('r', inFeatures, kernel)}`;
    }
    return isMatrix(up, outFeatures, rank)
      ? { rank }
      : `up is ${showShape(up.shape)}, expected [${outFeatures}, ${rank}]`;
  },
  tucker: ({ outFeatures, inFeatures, kernel }, { up, mid, down }) => {
    if (up === undefined || down === undefined || mid === undefined) {
      return incomplete(['up', 'mid', 'down'], { up, mid, down });
    }
    const [left, right] = [up.shape[1]!, down.shape[0]!];
    if (!isMatrix(up, outFeatures, left)) return `up is ${showShape(up.shape)}, expected [${outFeatures}, r]`;
    if (!isMatrix(down, right, inFeatures)) return `down is ${showShape(down.shape)}, expected [r, ${inFeatures}]`;
    const core = [left, right, kernel, kernel];
    return isCore(mid, core) ? { rank: right } : `mid is ${showShape(mid.shape)}, expected ${showShape(core)}`;
  },
  loha: (module, tensors) => {
    const { w1_a, w1_b, w2_a, w2_b, t1, t2 } = tensors;
    if (w1_a === undefined || w1_b === undefined || w2_a === undefined || w2_b === undefined) {
      return incomplete(['w1_a', 'w1_b', 'w2_a', 'w2_b'], tensors);
    }
    if ((t1 === undefined) !== (t2 === undefined)) return incomplete(['t1', 't2'], tensors);
    const { outFeatures, inFeatures, kernel } = module;
    const width = inFeatures * kernel * kernel;
    return (
      product('w1', w1_a, w1_b, t1, outFeatures, t1 === undefined ? width : inFeatures, kernel) ??
      product('w2', w2_a, w2_b, t2, outFeatures, t2 === undefined ? width : inFeatures, kernel) ?? {
        rank: w1_b.shape[0]!,
      }
    );
  },
  lokr: (module, tensors) => {
    const { w1, w1_a, w1_b, w2, w2_a, w2_b, t2 } = tensors;
    const { outFeatures, inFeatures, kernel } = module;
    if (w1 === undefined && (w1_a === undefined || w1_b === undefined)) return incomplete(['w1_a', 'w1_b'], tensors);
    if (w2 === undefined && (w2_a === undefined || w2_b === undefined)) return incomplete(['w2_a', 'w2_b'], tensors);
    const rows = w1?.shape[0] ?? w1_a!.shape[0]!;
    const columns = w1?.shape[1] ?? w1_b!.shape[1]!;
    if (outFeatures % rows !== 0 || inFeatures % columns !== 0) {
      return `w1 is ${showShape([rows, columns])}, which does not divide ${showShape([outFeatures, inFeatures])}`;
    }
    const [below, beside] = [outFeatures / rows, inFeatures / columns];
    const width = beside * kernel * kernel;
    const first =
      w1 === undefined
        ? product('w1', w1_a!, w1_b!, undefined, rows, columns, 1)
        : isMatrix(w1, rows, columns)
          ? undefined
          : `w1 is ${showShape(w1.shape)}, expected two axes`;
    const second =
      w2 === undefined
        ? product('w2', w2_a!, w2_b!, t2, below, t2 === undefined ? width : beside, kernel)
        : elementCount(w2.shape) === below * width && w2.shape[0] === below
          ? undefined
          : `w2 is ${showShape(w2.shape)}, expected ${wide(below, beside, kernel)}`;
    return first ?? second ?? { rank: (w2 === undefined ? w2_b : w1 === undefined ? w1_b : undefined)?.shape[0] ?? 1 };
  },
  full: ({ outFeatures, inFeatures, kernel }, { diff }) => {
    if (diff === undefined) return incomplete(['diff'], { diff });
    const fits =
      diff.shape[0] === outFeatures && elementCount(diff.shape) === outFeatures * inFeatures * kernel * kernel;
    return fits ? { rank: 1 } : `diff is ${showShape(diff.shape)}, expected ${wide(outFeatures, inFeatures, kernel)}`;
  },
};

/** What is wrong with a b [rows, columns]; with a core t [r, s, k, k], a is [r, rows] and b [s, columns]. */
function product(
  name: string,
  a: TensorRef,
  b: TensorRef,
  core: TensorRef | undefined,
  rows: number,
  columns: number,
  kernel: number,
): string | undefined {
  const rank = b.shape[0]!;
  if (!isMatrix(b, rank, columns)) return `${name}_b is ${showShape(b.shape)}, expected [r, ${columns}]`;
  if (core === undefined) {
    return isMatrix(a, rows, rank) ? undefined : `${name}_a is ${showShape(a.shape)}, expected [${rows}, ${rank}]`;
  }
  const left = a.shape[0]!;
  if (!isMatrix(a, left, rows)) return `${name}_a is ${showShape(a.shape)}, expected [r, ${rows}]`;
  const expected = [left, rank, kernel, kernel];
  return isCore(core, expected)
    ? undefined
    : `the core of ${name} is ${showShape(core.shape)}, expected ${showShape(expected)}`;
}

/** Two axes or more, none of them empty, of numbers that are not whole. */
const isFactor = ({ shape, dtype }: TensorRef): boolean =>
  shape.length >= 2 &&
  shape.length <= 4 &&
  shape.every((size) => size > 0) &&
  (dtype.startsWith('float') || dtype === 'bfloat16');

/** [rows, columns], also [rows, columns, 1, 1] and [rows, c, k, k] with columns = c k k. */
const isMatrix = ({ shape }: TensorRef, rows: number, columns: number): boolean =>
  shape[0] === rows && elementCount(shape) === rows * columns;

/** A core of [r, s, k, k]; a linear layer's may lack the kernel. */
const isCore = ({ shape }: TensorRef, core: readonly number[]): boolean =>
  sameShape(shape, core) || (core[2] === 1 && sameShape(shape, core.slice(0, 2)));

const wide = (rows: number | string, columns: number, kernel: number): string =>
  showShape(kernel === 1 ? [rows, columns] : [rows, columns, kernel, kernel]);

const incomplete = (needed: readonly string[], tensors: Tensors): string =>
  `it lacks ${needed.filter((role) => tensors[role] === undefined).join(' and ')}`;
