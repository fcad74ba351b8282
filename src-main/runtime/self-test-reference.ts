// Convolution, group normalisation and attention in float64, written from their definitions: the self-test's witness
// that shares no code with any provider. Slow and small on purpose.

/**
 * 2-D cross-correlation of one picture x [C, H, W] with w [Cout, C, k, k] and bias [Cout], zero padding on all sides:
 * -> [Cout, H', W'], H' = floor((H + 2 padding - k) / stride) + 1. ONNX Conv with group and dilation 1.
 */
export function convolve(
  x: ArrayLike<number>,
  [channels, height, width]: readonly [number, number, number],
  w: ArrayLike<number>,
  bias: ArrayLike<number>,
  { kernel, stride, padding }: { kernel: number; stride: number; padding: number },
): Float64Array {
  const [rows, columns] = [height, width].map((size) => Math.floor((size + 2 * padding - kernel) / stride) + 1) as [
    number,
    number,
  ];
  const out = new Float64Array(bias.length * rows * columns);
  for (let o = 0, at = 0; o < bias.length; o++) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, at++) {
        let sum = bias[o]!;
        for (let c = 0; c < channels; c++) {
          for (let ky = 0; ky < kernel; ky++) {
            for (let kx = 0; kx < kernel; kx++) {
              const [y, xx] = [row * stride + ky - padding, column * stride + kx - padding];
              if (y < 0 || xx < 0 || y >= height || xx >= width) continue;
              sum += x[(c * height + y) * width + xx]! * w[((o * channels + c) * kernel + ky) * kernel + kx]!;
            }
          }
        }
        out[at] = sum;
      }
    }
  }
  return out;
}

/** Group normalisation (Wu & He 2018) of one picture of `channels` channels, without gamma and beta, then x sigmoid(x). */
export function groupNormSilu(x: ArrayLike<number>, groups: number, epsilon: number): Float64Array {
  const size = x.length / groups;
  return Float64Array.from(x, (value, i) => {
    const start = Math.floor(i / size) * size;
    let [sum, squares] = [0, 0];
    for (let j = start; j < start + size; j++) sum += x[j]!;
    for (let j = start; j < start + size; j++) squares += (x[j]! - sum / size) ** 2;
    const normal = (value - sum / size) / Math.sqrt(squares / size + epsilon);
    return normal / (1 + Math.exp(-normal));
  });
}

/**
 * softmax(q k^T / sqrt(d)) v per head (Vaswani et al. 2017, Eq. 1): q [T, D], k and v [S, D] -> [T, D], d = D / heads.
 * `causal` lets token t see tokens 0..t only.
 */
export function attend(
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  v: ArrayLike<number>,
  { width, heads, causal }: { width: number; heads: number; causal: boolean },
): Float64Array {
  const [tokens, keys, size] = [q.length / width, k.length / width, width / heads];
  const out = new Float64Array(q.length);
  for (let head = 0; head < heads; head++) {
    for (let t = 0; t < tokens; t++) {
      const seen = causal ? t + 1 : keys;
      const scores = Array.from({ length: seen }, (_, s) => {
        let dot = 0;
        for (let i = head * size; i < (head + 1) * size; i++) dot += q[t * width + i]! * k[s * width + i]!;
        return dot / Math.sqrt(size);
      });
      const peak = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - peak));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      weights.forEach((weight, s) => {
        for (let i = head * size; i < (head + 1) * size; i++)
          out[t * width + i]! += (weight / total) * v[s * width + i]!;
      });
    }
  }
  return out;
}
