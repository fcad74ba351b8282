// Any adapter's change of a module as one low-rank product, which is all that the graph and the gates know. Most kinds are such
// a product exactly: LoRA and LoCon as they are; a Tucker core folds into the down-projection; LoHa's Hadamard product of two
// products has the Khatri-Rao products of their factors; LoKr's Kronecker product has the Kronecker products. What would have
// too many ranks is cut to the best approximation (Eckart & Young 1936), and says what it left out. For a Kronecker product
// that is the product of the parts' SVDs (Van Loan 2000, doi:10.1016/S0377-0427(00)00393-9).
import type { TensorRef } from '../graph/ir.ts';
import type { AdapterModule } from '../networks/adapter.ts';
import { ExpertError } from '../networks/expert-error.ts';
import { lowRankSvd, matmul, qr, svd, transpose, truncatedSvd, type Svd } from '../tensor/linear-algebra.ts';
import { elementCount } from '../tensor/shape.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';
import type { LowRank } from './expert.ts';
import { khatriRaoColumns, khatriRaoRows, kronecker } from './products.ts';

/** Reads one tensor as float32. */
export type ReadTensor = (ref: TensorRef) => Promise<FloatTensor>;

export interface FactorOptions {
  /** Most ranks of a module from LoHa, LoKr and full deltas; LoRA, LoCon and Tucker keep their own. 64 by default. */
  readonly mostRank?: number;
}

/** left [m, r] right [r, n]. */
interface Product {
  readonly left: FloatTensor;
  readonly right: FloatTensor;
}

/** Largest matrix whose SVD is computed in full; above, only the leading part is. */
const largestFullSvd = 192;
/** Elements of a delta from which on the randomised SVD is given fewer iterations: seconds instead of tens of them. */
const largeMatrix = 2 ** 21;

/**
 * The factors of `entry`, its scale inside `up`. Exact for LoRA, LoCon and Tucker, and for the other kinds while their rank is
 * not above `mostRank`; else truncated, with the share of energy left out. Throws ExpertError when the file holds numbers that
 * are not finite, or whose products are not.
 */
export async function factorsOf(entry: AdapterModule, read: ReadTensor, options: FactorOptions = {}): Promise<LowRank> {
  const { module } = entry;
  const mostRank = options.mostRank ?? 64;
  if (!Number.isInteger(mostRank) || mostRank < 1) throw new RangeError(`mostRank is from 1 on, got ${mostRank}.`);
  const tensors = new Map<string, FloatTensor>();
  for (const [role, ref] of Object.entries(entry.tensors)) tensors.set(role, await finite(entry, role, ref, read));
  const scale = await scaleOf(entry, read);
  const { left, right, residualEnergy } = make(entry, (role) => tensors.get(role), mostRank);
  const rank = left.shape[1]!;
  const downShape =
    module.kind === 'conv' ? [rank, module.inFeatures, module.kernel, module.kernel] : [rank, module.inFeatures];
  const up = scale === 1 ? left.data : left.data.map((value) => value * scale);
  if (!up.every(Number.isFinite) || !right.data.every(Number.isFinite)) throw tooLarge(entry);
  return { module, down: floatTensor(downShape, right.data), up: floatTensor(left.shape, up), residualEnergy };
}

function make(entry: AdapterModule, part: Part, mostRank: number): Made {
  try {
    return makers[entry.algorithm](entry, part, mostRank);
  } catch (error) {
    // Products beyond float32, which no factorisation takes.
    throw error instanceof RangeError ? tooLarge(entry) : error;
  }
}

/** `.scale` where there is one, else alpha / rank, or alpha / sqrt(rank); alpha missing, 0 or not a number counts as the rank. */
async function scaleOf(entry: AdapterModule, read: ReadTensor): Promise<number> {
  const value = async (given: TensorRef | number | undefined): Promise<number | undefined> =>
    given === undefined || typeof given === 'number' ? given : (await read(given)).data[0];
  const scale = await value(entry.scale);
  if (scale !== undefined) {
    if (!Number.isFinite(scale)) throw notFinite(entry, 'scale', fileOf(entry));
    return scale;
  }
  const alpha = await value(entry.alpha);
  if (alpha === undefined || alpha === 0 || Number.isNaN(alpha)) return 1;
  if (!Number.isFinite(alpha)) throw notFinite(entry, 'alpha', fileOf(entry));
  return alpha / (entry.rsLora === true ? Math.sqrt(entry.rank) : entry.rank);
}

type Part = (role: string) => FloatTensor | undefined;
type Made = Product & { readonly residualEnergy: number };
type Maker = (entry: AdapterModule, part: Part, mostRank: number) => Made;

const makers: Readonly<Record<AdapterModule['algorithm'], Maker>> = {
  lora: (_, part) => ({
    left: matrix(part('up')!),
    right: matrix(part('down')!),
    residualEnergy: 0,
  }),
  tucker: (_, part) => ({
    left: matrix(part('up')!),
    right: foldCore(part('mid')!, matrix(part('down')!)),
    residualEnergy: 0,
  }),
  loha: (_, part, mostRank) => {
    const first = decomposed(part, 'w1', 't1');
    const second = decomposed(part, 'w2', 't2');
    const product = {
      left: khatriRaoColumns(first.left, second.left), // [out, r1 r2]
      right: khatriRaoRows(first.right, second.right), // [r1 r2, in k k]
    };
    return atMost(product, mostRank);
  },
  lokr: ({ module }, part, mostRank) => {
    const first = part('w1');
    const second = part('w2');
    const parts = [
      first === undefined ? decomposed(part, 'w1', '') : matrix(first),
      second === undefined ? decomposed(part, 'w2', 't2') : matrix(second),
    ] as const;
    const [a, b] = [asProduct(parts[0]), asProduct(parts[1])];
    const rank = a.left.shape[1]! * b.left.shape[1]!;
    const full = Math.min(module.outFeatures, module.inFeatures * module.kernel ** 2);
    if (rank <= mostRank || full <= mostRank) {
      // kron(a b, c d) = kron(a, c) kron(b, d)
      const product = { left: kronecker(a.left, b.left), right: kronecker(a.right, b.right) };
      return atMost(product, mostRank);
    }
    return kroneckerSvd(leading(parts[0], mostRank), leading(parts[1], mostRank), mostRank);
  },
  full: (_, part, mostRank) => {
    const delta = matrix(part('diff')!);
    return Math.min(...delta.shape) <= mostRank
      ? { ...asProduct(delta), residualEnergy: 0 }
      : fromSvd(truncatedSvd(delta, mostRank, { iterations: delta.data.length > largeMatrix ? 1 : 3 }));
  },
};

/** `<name>_a <name>_b` [m, n]; with a core t [i, j, k, k], t's contraction with both: a [i, m], b [j, n]. */
function decomposed(part: Part, name: string, core: string): Product {
  const [a, b, t] = [matrix(part(`${name}_a`)!), matrix(part(`${name}_b`)!), part(core)];
  return t === undefined ? { left: a, right: b } : { left: transpose(a), right: foldCore(t, b) };
}

/** core [m, n, k, k] and right [n, in] -> [m, in k k]: sum_n core[m, n, :, :] right[n, in]. */
function foldCore(core: FloatTensor, right: FloatTensor): FloatTensor {
  const [m, n] = [core.shape[0]!, core.shape[1]!];
  const window = core.data.length / (m * n);
  const width = right.shape[1]!;
  const out = new Float64Array(m * width * window);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      for (let x = 0; x < width; x++) {
        const value = right.data[j * width + x]!;
        for (let k = 0; k < window; k++) {
          out[(i * width + x) * window + k]! += core.data[(i * n + j) * window + k]! * value;
        }
      }
    }
  }
  return floatTensor([m, width * window], Float32Array.from(out));
}

/** The same product, where it has more ranks than its matrix as that matrix, and cut where that is still too much. */
function atMost(product: Product, mostRank: number): Made {
  const rank = product.left.shape[1]!;
  const full = Math.min(product.left.shape[0]!, product.right.shape[1]!);
  if (rank <= mostRank && rank <= full) return { ...product, residualEnergy: 0 };
  if (full <= mostRank) return { ...asProduct(matmul(product.left, product.right)), residualEnergy: 0 };
  // Orthonormal q on both sides leave the singular values to a small core: left right = ql (rl rr^T) qr^T.
  const [l, r] = [qr(product.left), qr(transpose(product.right))];
  const { u, v, ...rest } = truncatedSvd(matmul(l.r, transpose(r.r)), mostRank);
  return fromSvd({ ...rest, u: matmul(l.q, u), v: matmul(r.q, v) });
}

/** A matrix as itself times the identity of its shorter side. */
function asProduct(value: Product | FloatTensor): Product {
  if ('left' in value) return value;
  const [rows, columns] = [value.shape[0]!, value.shape[1]!];
  return rows <= columns ? { left: identity(rows), right: value } : { left: value, right: identity(columns) };
}

/** The leading `most` singular directions, and the energy of all of them. */
interface LeadingSvd extends Svd {
  readonly energy: number;
}

function leading(value: Product | FloatTensor, most: number): LeadingSvd {
  const dense = 'left' in value ? matmul(value.left, value.right) : value;
  const energy = dense.data.reduce((sum, x) => sum + x * x, 0);
  const rank = 'left' in value ? value.left.shape[1]! : Infinity;
  const side = Math.min(...dense.shape, rank);
  if ('left' in value && rank <= largestFullSvd) return { ...lowRankSvd(value.left, value.right), energy };
  return side <= largestFullSvd ? { ...svd(dense), energy } : { ...truncatedSvd(dense, most), energy };
}

/** The `most` largest of the products of both parts' singular values, with the Kronecker products of their vectors. */
function kroneckerSvd(a: LeadingSvd, b: LeadingSvd, most: number): Made {
  const pairs: { readonly i: number; readonly j: number; readonly value: number }[] = [];
  a.s.forEach((x, i) => {
    b.s.forEach((y, j) => pairs.push({ i, j, value: x * y }));
  });
  const kept = pairs.sort((p, q) => q.value - p.value).slice(0, most);
  const [leftRows, rightRows] = [a.u.shape[0]! * b.u.shape[0]!, a.v.shape[0]! * b.v.shape[0]!];
  const left = new Float32Array(leftRows * kept.length);
  const right = new Float32Array(kept.length * rightRows);
  kept.forEach(({ i, j, value }, r) => {
    outer(a.u, i, b.u, j, (at, x) => (left[at * kept.length + r] = x * value));
    outer(a.v, i, b.v, j, (at, x) => (right[r * rightRows + at] = x));
  });
  const energy = a.energy * b.energy;
  const rest = energy === 0 ? 0 : 1 - kept.reduce((sum, { value }) => sum + value * value, 0) / energy;
  return {
    left: floatTensor([leftRows, kept.length], left),
    right: floatTensor([kept.length, rightRows], right),
    residualEnergy: Math.min(1, Math.max(0, rest)),
  };
}

/** Kronecker product of column i of a and column j of b. */
function outer(a: FloatTensor, i: number, b: FloatTensor, j: number, put: (at: number, value: number) => void): void {
  const [rows, below] = [a.shape[0]!, b.shape[0]!];
  for (let x = 0; x < rows; x++) {
    const value = a.data[x * a.shape[1]! + i]!;
    for (let y = 0; y < below; y++) put(x * below + y, value * b.data[y * b.shape[1]! + j]!);
  }
}

function fromSvd({ u, s, v, residualEnergy }: Svd & { readonly residualEnergy: number }): Made {
  const left = u.data.map((value, at) => value * s[at % s.length]!);
  return { left: floatTensor(u.shape, left), right: transpose(v), residualEnergy };
}

/** [rows, everything else]; shares the data. */
const matrix = (tensor: FloatTensor): FloatTensor =>
  floatTensor([tensor.shape[0]!, elementCount(tensor.shape.slice(1))], tensor.data);

function identity(size: number): FloatTensor {
  const data = new Float32Array(size * size);
  for (let i = 0; i < size; i++) data[i * size + i] = 1;
  return floatTensor([size, size], data);
}

async function finite(entry: AdapterModule, role: string, ref: TensorRef, read: ReadTensor): Promise<FloatTensor> {
  const tensor = await read(ref);
  if (!tensor.data.every(Number.isFinite)) throw notFinite(entry, role, ref.file);
  return tensor;
}

const fileOf = ({ tensors }: AdapterModule): string => Object.values(tensors)[0]!.file;

const notFinite = ({ layer, module }: AdapterModule, role: string, file: string): ExpertError =>
  new ExpertError(
    file,
    `${role} of ${JSON.stringify(layer.slice(0, 120))} (${module.name}) holds numbers that are not finite: its training failed, or the file is damaged. Choose another version of it.`,
  );

const tooLarge = (entry: AdapterModule): ExpertError =>
  new ExpertError(
    fileOf(entry),
    `the numbers of ${JSON.stringify(entry.layer.slice(0, 120))} (${entry.module.name}) are too large to multiply: its training failed, or the file is damaged. Choose another version of it.`,
  );
