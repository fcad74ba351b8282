// Products of matrices that make low-rank factors out of LyCORIS' decompositions. Kronecker: every entry of a times all of b.
// Khatri-Rao: the same column by column, or row by row. (Kolda & Bader 2009, doi:10.1137/07070111X, section 2.6.)
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';

const sizes = ({ shape }: FloatTensor): readonly [number, number] => [shape[0]!, shape[1]!];

/** a [m, n], b [p, q] -> [m p, n q]. */
export function kronecker(a: FloatTensor, b: FloatTensor): FloatTensor {
  const [[m, n], [p, q]] = [sizes(a), sizes(b)];
  const data = new Float32Array(m * p * n * q);
  for (let i = 0; i < m; i++) {
    for (let k = 0; k < p; k++) {
      for (let j = 0; j < n; j++) {
        const value = a.data[i * n + j]!;
        const at = ((i * p + k) * n + j) * q;
        for (let l = 0; l < q; l++) data[at + l] = value * b.data[k * q + l]!;
      }
    }
  }
  return floatTensor([m * p, n * q], data);
}

/** a [m, r], b [m, s] -> [m, r s]: row i is the Kronecker product of both rows i. */
export function khatriRaoColumns(a: FloatTensor, b: FloatTensor): FloatTensor {
  const [[m, r], [, s]] = [sizes(a), sizes(b)];
  const data = new Float32Array(m * r * s);
  for (let i = 0; i < m; i++) {
    for (let p = 0; p < r; p++) {
      for (let q = 0; q < s; q++) data[(i * r + p) * s + q] = a.data[i * r + p]! * b.data[i * s + q]!;
    }
  }
  return floatTensor([m, r * s], data);
}

/** a [r, n], b [s, n] -> [r s, n]: column i is the Kronecker product of both columns i. */
export function khatriRaoRows(a: FloatTensor, b: FloatTensor): FloatTensor {
  const [[r, n], [s]] = [sizes(a), sizes(b)];
  const data = new Float32Array(r * s * n);
  for (let p = 0; p < r; p++) {
    for (let q = 0; q < s; q++) {
      for (let i = 0; i < n; i++) data[(p * s + q) * n + i] = a.data[p * n + i]! * b.data[q * n + i]!;
    }
  }
  return floatTensor([r * s, n], data);
}
