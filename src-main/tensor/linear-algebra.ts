// Factorisations of matrices: what turns weight differences into low-rank factors, and experts into one another's null space.
// float32 in and out, float64 inside (columns.ts). Of large matrices only the leading part is found, by randomised subspace
// iteration (Halko, Martinsson & Tropp 2011, doi:10.1137/090771806, algorithm 4.4).
import {
  columnsOf,
  combine,
  fromColumns,
  householder,
  matrixSize,
  multiply,
  rowsOf,
  thinSvd,
  type Columns,
  type ThinSvd,
} from './columns.ts';
import { TorchGenerator } from './random.ts';
import { showShape } from './shape.ts';
import { floatTensor, type FloatTensor } from './tensor.ts';

/** a = u diag(s) v^T, thin. */
export interface Svd {
  /** [m, k], orthonormal columns. */
  readonly u: FloatTensor;
  /** k singular values, descending. */
  readonly s: Float32Array;
  /** [n, k], orthonormal columns. */
  readonly v: FloatTensor;
}

export interface TruncatedSvd extends Svd {
  /** Share of the squared Frobenius norm that u diag(s) v^T leaves out, 0..1; 0 for a zero matrix. */
  readonly residualEnergy: number;
}

export interface TruncatedSvdOptions {
  /** Directions tried beyond the rank. */
  readonly oversampling?: number;
  /** Multiplications by a a^T after the first; more of them for spectra that fall slowly. */
  readonly iterations?: number;
  /** Seed of the random start. */
  readonly seed?: number;
}

/** a b: [m, k] [k, n] -> [m, n], summed in float64. Throws a RangeError when the inner sizes differ. */
export function matmul(a: FloatTensor, b: FloatTensor): FloatTensor {
  const [rows, inner] = matrixSize(a);
  const [same, columns] = matrixSize(b);
  if (inner !== same) {
    throw new RangeError(`matmul needs [m, k] and [k, n], got ${showShape(a.shape)} and ${showShape(b.shape)}.`);
  }
  return fromColumns(rows, columns, multiply(a.data, rows, columnsOf(b)));
}

/** [m, n] -> [n, m]. */
export function transpose(a: FloatTensor): FloatTensor {
  const [rows, columns] = matrixSize(a);
  const data = new Float32Array(a.data.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) data[j * rows + i] = a.data[i * columns + j]!;
  return floatTensor([columns, rows], data);
}

/**
 * a = q r, thin: q [m, k] with orthonormal columns (also where a is singular), r [k, n] upper triangular with a diagonal that
 * is not negative, k = min(m, n).
 */
export function qr(a: FloatTensor): { readonly q: FloatTensor; readonly r: FloatTensor } {
  const [rows, columns] = matrixSize(a);
  const { q, r } = householder(rows, columnsOf(a));
  return { q: fromColumns(rows, q.length, q), r: fromColumns(q.length, columns, r) };
}

/**
 * All k = min(m, n) singular values and vectors; values below the rounding of the largest are 0, and their vectors complete
 * the basis. Time grows with k^3: 0.1 s for k = 128. Throws a RangeError where a holds NaN or infinity.
 */
export function svd(a: FloatTensor): Svd {
  const [rows, columns] = matrixSize(a);
  energyOf('svd', a);
  return toSvd(rows, columns, thinSvd(rows, columns, columnsOf(a)));
}

/**
 * The leading `rank` singular values and vectors, or min(m, n) if that is less, from a random start with a seed: the same
 * answer every time. Defaults: 8 extra directions, 3 iterations. Throws a RangeError where a holds NaN or infinity and when
 * the rank is not a whole number from 1 on.
 */
export function truncatedSvd(a: FloatTensor, rank: number, options: TruncatedSvdOptions = {}): TruncatedSvd {
  const { oversampling = 8, iterations = 3, seed = 0 } = options;
  const [rows, columns] = matrixSize(a);
  checkRank('truncatedSvd', rank);
  const energy = energyOf('truncatedSvd', a);
  const kept = Math.min(rank, rows, columns);
  const tried = Math.min(rank + oversampling, rows, columns);
  const turned = transpose(a);
  const times = (x: Columns): Columns => multiply(a.data, rows, x); // a x: [n, l] -> [m, l]
  const turnedTimes = (x: Columns): Columns => multiply(turned.data, columns, x); // a^T x: [m, l] -> [n, l]
  let q = householder(rows, times(columnsOf(new TorchGenerator(seed).randn([columns, tried])))).q;
  for (let i = 0; i < iterations; i++) {
    q = householder(rows, times(householder(columns, turnedTimes(q)).q)).q;
  }
  const { u, s, v } = thinSvd(columns, tried, turnedTimes(q)); // a^T q = u s v^T, so a ~ (q v) s u^T
  const leading = { u: combine(rows, q, v.slice(0, kept)), s: s.slice(0, kept), v: u.slice(0, kept) };
  return { ...toSvd(rows, columns, leading), residualEnergy: shareLeft(leading.s, energy) };
}

/**
 * SVD of up down without making the product: up [m, r], down [r, n]; k = min(m, n, r). With `rank`, only the leading part,
 * which is the best approximation of that rank. Throws a RangeError as `truncatedSvd` does and when the inner sizes differ.
 */
export function lowRankSvd(up: FloatTensor, down: FloatTensor, rank?: number): TruncatedSvd {
  const [rows, inner] = matrixSize(up);
  const [same, columns] = matrixSize(down);
  if (inner !== same) {
    throw new RangeError(
      `lowRankSvd needs [m, r] and [r, n], got ${showShape(up.shape)} and ${showShape(down.shape)}.`,
    );
  }
  if (rank !== undefined) checkRank('lowRankSvd', rank);
  energyOf('lowRankSvd', up);
  energyOf('lowRankSvd', down);
  const left = householder(rows, columnsOf(up)); // up = ql rl, rl [kl, r]
  const right = householder(columns, columnsOf(transpose(down))); // down^T = qr rr, rr [kr, r]
  const core = combine(left.q.length, left.r, rowsOf(right.q.length, right.r)); // rl rr^T: [kl, kr]
  const all = thinSvd(left.q.length, right.q.length, core);
  const kept = Math.min(rank ?? all.s.length, all.s.length);
  const leading = {
    u: combine(rows, left.q, all.u.slice(0, kept)),
    s: all.s.slice(0, kept),
    v: combine(columns, right.q, all.v.slice(0, kept)),
  };
  const energy = all.s.reduce((sum, value) => sum + value * value, 0);
  return { ...toSvd(rows, columns, leading), residualEnergy: shareLeft(leading.s, energy) };
}

/**
 * x of (g + ridge I) x = b by Cholesky: g [n, n] symmetric (its lower half is read), b [n, m], `ridge` >= 0 in the units of g.
 * Throws a RangeError when the sizes do not fit, where g holds NaN or infinity, and when g + ridge I is not positive definite to rounding.
 */
export function solveSymmetric(g: FloatTensor, b: FloatTensor, ridge: number): FloatTensor {
  const [size, width] = matrixSize(g);
  const [rows, columns] = matrixSize(b);
  if (size !== width || size !== rows) {
    throw new RangeError(
      `solveSymmetric needs [n, n] and [n, m], got ${showShape(g.shape)} and ${showShape(b.shape)}.`,
    );
  }
  energyOf('solveSymmetric', g);
  const l = new Float64Array(size * size); // g + ridge I = l l^T
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) {
      let rest = g.data[i * size + j]! + (i === j ? ridge : 0);
      for (let p = 0; p < j; p++) rest -= l[i * size + p]! * l[j * size + p]!;
      if (i === j && !(rest > 2 ** -52 * size * Math.abs(g.data[i * size + i]! + ridge))) {
        throw new RangeError(
          `solveSymmetric needs a positive definite matrix, but row ${i} of ${size} depends on those before it ` +
            `(pivot ${rest}). A ridge above ${ridge} makes it definite.`,
        );
      }
      l[i * size + j] = i === j ? Math.sqrt(rest) : rest / l[j * size + j]!;
    }
  }
  const solution = columnsOf(b);
  for (const x of solution) {
    for (let i = 0; i < size; i++) {
      for (let p = 0; p < i; p++) x[i]! -= l[i * size + p]! * x[p]!;
      x[i]! /= l[i * size + i]!;
    }
    for (let i = size - 1; i >= 0; i--) {
      for (let p = i + 1; p < size; p++) x[i]! -= l[p * size + i]! * x[p]!;
      x[i]! /= l[i * size + i]!;
    }
  }
  return fromColumns(size, columns, solution);
}

function checkRank(name: string, rank: number): void {
  if (!Number.isInteger(rank) || rank < 1) throw new RangeError(`${name} needs a rank from 1 on, got ${rank}.`);
}

/** ||a||^2, Frobenius. */
function energyOf(name: string, a: FloatTensor): number {
  let sum = 0;
  for (const value of a.data) sum += value * value;
  if (!Number.isFinite(sum)) throw new RangeError(`${name} needs finite numbers; ${showShape(a.shape)} holds others.`);
  return sum;
}

function shareLeft(s: Float64Array, energy: number): number {
  if (energy === 0) return 0;
  return Math.min(1, Math.max(0, 1 - s.reduce((sum, value) => sum + value * value, 0) / energy));
}

function toSvd(rows: number, columns: number, { u, s, v }: ThinSvd): Svd {
  return { u: fromColumns(rows, s.length, u), s: Float32Array.from(s), v: fromColumns(columns, s.length, v) };
}
