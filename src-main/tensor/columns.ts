// Matrices as lists of float64 columns: what the factorisations of linear-algebra.ts work on. QR by Householder reflections and
// SVD by one-sided Jacobi rotations (Golub & Van Loan, Matrix Computations, 4th ed., sections 5.2 and 8.6), whose inner loops
// run along one or two columns.
import { showShape } from './shape.ts';
import { floatTensor, type FloatTensor } from './tensor.ts';

/** Columns of equal length. */
export type Columns = readonly Float64Array[];

/** Rows and columns. Throws a RangeError unless there are two axes. */
export function matrixSize({ shape }: FloatTensor): readonly [number, number] {
  if (shape.length !== 2) throw new RangeError(`A matrix has two axes, got ${showShape(shape)}.`);
  return [shape[0]!, shape[1]!];
}

/** The columns of a [m, n]. */
export function columnsOf(a: FloatTensor): Float64Array[] {
  const [rows, columns] = matrixSize(a);
  return Array.from({ length: columns }, (_, j) => {
    const column = new Float64Array(rows);
    for (let i = 0; i < rows; i++) column[i] = a.data[i * columns + j]!;
    return column;
  });
}

/** [rows, count] in float32. */
export function fromColumns(rows: number, count: number, columns: Columns): FloatTensor {
  const data = new Float32Array(rows * count);
  columns.forEach((column, j) => {
    for (let i = 0; i < rows; i++) data[i * count + j] = column[i]!;
  });
  return floatTensor([rows, count], data);
}

/** The first `count` rows: the columns of the transpose. */
export function rowsOf(count: number, columns: Columns): Float64Array[] {
  return Array.from({ length: count }, (_, i) => Float64Array.from(columns, (column) => column[i]!));
}

/** a x for row-major a [rows, inner]; four columns at a time share the loads of a row. */
export function multiply(a: Float32Array, rows: number, x: Columns): Float64Array[] {
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
export function combine(rows: number, x: Columns, w: Columns): Float64Array[] {
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

/** a = q r, thin; the diagonal of r is not negative, and q is orthonormal where a is singular too. */
export function householder(
  rows: number,
  columns: Columns,
): { readonly q: Float64Array[]; readonly r: Float64Array[] } {
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

/** a = u diag(s) v^T with k = min(m, n) columns each; s descends. */
export interface ThinSvd {
  readonly u: Columns;
  readonly s: Float64Array;
  readonly v: Columns;
}

/** All singular values and vectors. Values below rounding are 0, and their vectors complete the bases. */
export function thinSvd(rows: number, columns: number, a: Columns): ThinSvd {
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
    const squares = x.map((column) => dot(column, column));
    for (let i = 0; i < x.length; i++) {
      for (let j = i + 1; j < x.length; j++) {
        const both = dot(x[i]!, x[j]!);
        if (Math.abs(both) <= 1e-13 * Math.sqrt(squares[i]! * squares[j]!)) continue;
        turned = true;
        const zeta = (squares[j]! - squares[i]!) / (2 * both);
        const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        const cosine = 1 / Math.sqrt(1 + tangent * tangent);
        rotate(x[i]!, x[j]!, cosine, cosine * tangent);
        rotate(w[i]!, w[j]!, cosine, cosine * tangent);
        squares[i] = Math.max(0, squares[i]! - tangent * both);
        squares[j]! += tangent * both;
      }
    }
  }
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let p = 0; p < a.length; p++) sum += a[p]! * b[p]!;
  return sum;
}

function rotate(a: Float64Array, b: Float64Array, cosine: number, sine: number): void {
  for (let p = 0; p < a.length; p++) {
    const [left, right] = [a[p]!, b[p]!];
    a[p] = cosine * left - sine * right;
    b[p] = sine * left + cosine * right;
  }
}
