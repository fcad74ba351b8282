// Factorisations of matrices: what turns weight differences into low-rank factors, and experts into one another's null space.
// float32 in and out, float64 inside, where a matrix is a list of its columns. QR by Householder reflections and SVD by
// one-sided Jacobi rotations (Golub & Van Loan, Matrix Computations, 4th ed., sections 5.2 and 8.6); of large matrices only
// the leading part, by randomised subspace iteration (Halko, Martinsson & Tropp 2011, doi:10.1137/090771806, algorithm 4.4).
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

type Columns = readonly Float64Array[];

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
 * Throws a RangeError when the sizes do not fit and when g + ridge I is not positive definite to rounding.
 */
export function solveSymmetric(g: FloatTensor, b: FloatTensor, ridge: number): FloatTensor {
  const [size, width] = matrixSize(g);
  const [rows, columns] = matrixSize(b);
  if (size !== width || size !== rows) {
    throw new RangeError(
      `solveSymmetric needs [n, n] and [n, m], got ${showShape(g.shape)} and ${showShape(b.shape)}.`,
    );
  }
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

function matrixSize({ shape }: FloatTensor): readonly [number, number] {
  if (shape.length !== 2) throw new RangeError(`A matrix has two axes, got ${showShape(shape)}.`);
  return [shape[0]!, shape[1]!];
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

function columnsOf(a: FloatTensor): Float64Array[] {
  const [rows, columns] = matrixSize(a);
  return Array.from({ length: columns }, (_, j) => {
    const column = new Float64Array(rows);
    for (let i = 0; i < rows; i++) column[i] = a.data[i * columns + j]!;
    return column;
  });
}

function fromColumns(rows: number, count: number, columns: Columns): FloatTensor {
  const data = new Float32Array(rows * count);
  columns.forEach((column, j) => {
    for (let i = 0; i < rows; i++) data[i * count + j] = column[i]!;
  });
  return floatTensor([rows, count], data);
}

function rowsOf(count: number, columns: Columns): Float64Array[] {
  return Array.from({ length: count }, (_, i) => Float64Array.from(columns, (column) => column[i]!));
}

function toSvd(rows: number, columns: number, { u, s, v }: ThinSvd): Svd {
  return { u: fromColumns(rows, s.length, u), s: Float32Array.from(s), v: fromColumns(columns, s.length, v) };
}

/** a x for row-major a [rows, inner]; four columns at a time share the loads of a row. */
function multiply(a: Float32Array, rows: number, x: Columns): Float64Array[] {
  const inner = x[0]?.length ?? 0;
  const out = x.map(() => new Float64Array(rows));
  for (let j = 0; j < x.length; j += 4) {
    const [x0, x1, x2, x3] = [x[j]!, x[j + 1] ?? x[j]!, x[j + 2] ?? x[j]!, x[j + 3] ?? x[j]!];
    for (let i = 0; i < rows; i++) {
      let [s0, s1, s2, s3] = [0, 0, 0, 0];
      for (let p = 0, at = i * inner; p < inner; p++, at++) {
        const value = a[at]!;
        s0 += value * x0[p]!;
        s1 += value * x1[p]!;
        s2 += value * x2[p]!;
        s3 += value * x3[p]!;
      }
      out[j]![i] = s0;
      if (j + 1 < x.length) out[j + 1]![i] = s1;
      if (j + 2 < x.length) out[j + 2]![i] = s2;
      if (j + 3 < x.length) out[j + 3]![i] = s3;
    }
  }
  return out;
}

/** x w: the columns of x [rows, k] mixed by each column of w [k, n]. */
function combine(rows: number, x: Columns, w: Columns): Float64Array[] {
  return w.map((weights) => {
    const sum = new Float64Array(rows);
    x.forEach((column, p) => {
      const weight = weights[p]!;
      for (let i = 0; i < rows; i++) sum[i]! += weight * column[i]!;
    });
    return sum;
  });
}

/** x - beta v (v^T x) from row `start` on, in place. */
function reflect(x: Float64Array, v: Float64Array, beta: number, start: number): void {
  let dot = 0;
  for (let i = start; i < x.length; i++) dot += v[i]! * x[i]!;
  dot *= beta;
  for (let i = start; i < x.length; i++) x[i]! -= dot * v[i]!;
}

function householder(rows: number, columns: Columns): { readonly q: Float64Array[]; readonly r: Float64Array[] } {
  const k = Math.min(rows, columns.length);
  const work = columns.map((column) => column.slice());
  const reflectors: { readonly v: Float64Array; readonly beta: number }[] = [];
  for (let j = 0; j < k; j++) {
    const v = work[j]!.slice().fill(0, 0, j);
    const norm = Math.sqrt(v.reduce((sum, value) => sum + value * value, 0));
    v[j]! += v[j]! < 0 ? -norm : norm;
    const beta = norm === 0 ? 0 : 1 / (norm * Math.abs(v[j]!)); // 2 / |v|^2
    for (let c = j; c < work.length; c++) reflect(work[c]!, v, beta, j);
    reflectors.push({ v, beta });
  }
  const signs = Array.from({ length: k }, (_, j) => (work[j]![j]! < 0 ? -1 : 1));
  const q = signs.map((sign, j) => {
    const column = new Float64Array(rows);
    column[j] = sign;
    for (let i = j; i >= 0; i--) reflect(column, reflectors[i]!.v, reflectors[i]!.beta, i);
    return column;
  });
  const r = work.map((column, j) => column.slice(0, k).map((value, i) => (i > j ? 0 : signs[i]! * value)));
  return { q, r };
}

interface ThinSvd {
  readonly u: Columns;
  readonly s: Float64Array;
  readonly v: Columns;
}

function thinSvd(rows: number, columns: number, a: Columns): ThinSvd {
  if (rows < columns) {
    const { u, s, v } = thinSvd(columns, rows, rowsOf(rows, a));
    return { u: v, s, v: u };
  }
  // a = q r, and Jacobi makes r^T w = x with orthogonal columns: a = (q w) |x| (x / |x|)^T. r^T converges faster than r.
  const { q, r } = householder(rows, a);
  const x = rowsOf(columns, r);
  const w = Array.from({ length: columns }, (_, j) => new Float64Array(columns).fill(1, j, j + 1));
  rotateUntilOrthogonal(x, w);
  const norms = x.map((column) => Math.sqrt(column.reduce((sum, value) => sum + value * value, 0)));
  const order = norms.map((_, j) => j).sort((i, j) => norms[j]! - norms[i]!);
  const rounding = 2 ** -52 * rows * (norms[order[0]!] ?? 0);
  const s = Float64Array.from(order, (j) => (norms[j]! > rounding ? norms[j]! : 0));
  const directions = order.map((j, i) => x[j]!.map((value) => (s[i] === 0 ? 0 : value / norms[j]!)));
  const leading = order.map((j) => w[j]!);
  return { u: combine(rows, q, leading), s, v: householder(columns, directions).q };
}

/** Rotates pairs of columns of x, and those of w alike, until every pair of x is orthogonal. */
function rotateUntilOrthogonal(x: Columns, w: Columns): void {
  for (let sweep = 0, turned = true; turned && sweep < 60; sweep++) {
    turned = false;
    for (let i = 0; i < x.length; i++) {
      for (let j = i + 1; j < x.length; j++) {
        const [a, b] = [x[i]!, x[j]!];
        let [aa, bb, ab] = [0, 0, 0];
        for (let p = 0; p < a.length; p++) {
          aa += a[p]! * a[p]!;
          bb += b[p]! * b[p]!;
          ab += a[p]! * b[p]!;
        }
        if (Math.abs(ab) <= 1e-13 * Math.sqrt(aa * bb)) continue;
        turned = true;
        const zeta = (bb - aa) / (2 * ab);
        const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        const cosine = 1 / Math.sqrt(1 + tangent * tangent);
        rotate(a, b, cosine, cosine * tangent);
        rotate(w[i]!, w[j]!, cosine, cosine * tangent);
      }
    }
  }
}

function rotate(a: Float64Array, b: Float64Array, cosine: number, sine: number): void {
  for (let p = 0; p < a.length; p++) {
    const [left, right] = [a[p]!, b[p]!];
    a[p] = cosine * left - sine * right;
    b[p] = sine * left + cosine * right;
  }
}
