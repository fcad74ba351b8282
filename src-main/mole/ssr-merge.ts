// SSR-Merge (Subspace Signal Routing, arXiv:2606.10617): a router R between the stacked factors, A_cat [R, in] and B_cat
// [out, R], so that what an expert hears on its own prompt is answered by that expert alone (section 3.2, theorem 3.1):
//   R = Q G^-1,  G = sum_k C_k,  rows of expert k in Q = those rows of C_k,  C_k = E[u u^T],  u = A_cat h,
// h being the input of the layer while expert k alone draws its own prompt, of which one at one timestep suffices (section 3.5,
// appendix G). R minimises  sum_k E_k |B_cat R u - B_k u_k|^2 + ridge sum_i G_ii |B_cat R e_i|^2.  The paper has no ridge; its
// authors' code (github.com/nagara214/SSR-Merge) adds 1e-4 to the whole diagonal of the mean G. Ours is relative to each entry,
// so that R does not depend on how a file shares magnitude between A and B.
import { matmul, solveSymmetric, transpose } from '../tensor/linear-algebra.ts';
import { sameShape, showShape } from '../tensor/shape.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';
import { rankOf, type LowRank } from './expert.ts';
import { checkOneModule, downShape, stackDown, stackUp, upMatrix } from './low-rank-matrices.ts';

/** Share of G's diagonal that is added to it, so that experts who hear the same have an answer. */
export const ssrRidge = 1e-4;

/**
 * R [R, R] from second moments `moments[k]` = E[u u^T] [R, R] over tokens or pixels, measured on expert k's prompt, and the rank
 * of each expert in the order of the stack. Every expert counts alike, however many tokens it was measured on. A single expert
 * needs no router: R is the identity. What no prompt has sounded is answered by silence, so that fewer tokens than R make a
 * router for those prompts alone (the paper counts on thousands of them). Throws a RangeError when shapes do not fit, when a
 * moment is not finite, and when G is singular to rounding (a larger ridge helps).
 */
export function ssrRouter(
  moments: readonly FloatTensor[],
  ranks: readonly number[],
  ridge: number = ssrRidge,
): FloatTensor {
  const size = ranks.reduce((sum, rank) => sum + rank, 0);
  if (moments.length !== ranks.length || moments.some(({ shape }) => !sameShape(shape, [size, size]))) {
    throw new RangeError(
      `SSR-Merge needs a matrix [${size}, ${size}] per expert for ranks ${ranks.join(' + ')}, got ` +
        `${moments.map(({ shape }) => showShape(shape)).join(', ')}.`,
    );
  }
  if (ranks.filter((rank) => rank > 0).length < 2) {
    return floatTensor(
      [size, size],
      Float32Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0)),
    );
  }
  const g = new Float32Array(size * size);
  const guide = new Float32Array(size * size); // Q
  let start = 0;
  moments.forEach(({ data }, k) => {
    for (let i = 0; i < g.length; i++) g[i]! += data[i]!;
    const end = start + ranks[k]!;
    guide.set(data.subarray(start * size, end * size), start * size);
    start = end;
  });
  // With D the diagonal of G, G = D^1/2 (C + ridge I) D^1/2 where C has ones on its diagonal; a rank that hears nothing is left
  // out by a root of 0. G is symmetric: R = Q G^-1 is the transpose of the solution of G X = Q^T.
  const roots = Float64Array.from({ length: size }, (_, i) => Math.sqrt(g[i * size + i]!));
  const inverse = roots.map((root) => (root === 0 ? 0 : 1 / root));
  const correlation = g.map((value, i) =>
    i % (size + 1) === 0 ? 1 : value * inverse[Math.floor(i / size)]! * inverse[i % size]!,
  );
  const scaled = guide.map((value, i) => value * inverse[i % size]!); // Q D^-1/2
  const shape = [size, size];
  const solved = solveSymmetric(floatTensor(shape, correlation), transpose(floatTensor(shape, scaled)), ridge);
  return floatTensor(
    shape,
    transpose(solved).data.map((value, i) => value * inverse[i % size]!),
  );
}

/** The moments that would have been measured with only the experts `kept` in the stack, so that muting needs no new pictures. */
export function keepMoments(
  moments: readonly FloatTensor[],
  ranks: readonly number[],
  kept: readonly number[],
): readonly FloatTensor[] {
  const size = ranks.reduce((sum, rank) => sum + rank, 0);
  const starts = ranks.map((_, k) => ranks.slice(0, k).reduce((sum, rank) => sum + rank, 0));
  const rows = kept.flatMap((k) => Array.from({ length: ranks[k]! }, (_, r) => starts[k]! + r));
  return kept.map((k) =>
    floatTensor(
      [rows.length, rows.length],
      Float32Array.from(rows.flatMap((i) => rows.map((j) => moments[k]!.data[i * size + j]!))),
    ),
  );
}

/**
 * The router as experts: B_cat R A_cat = sum_k B_k (R_k A_cat), R_k the rows of expert k. Every expert keeps its up-projection
 * and its rank, so a weight scales that expert's answer and nothing else. The factors must be those of the measurement.
 * Throws a RangeError when the layers are of different modules or R has another size.
 */
export function routedExperts(layers: readonly LowRank[], router: FloatTensor): readonly LowRank[] {
  checkRouter(layers, router);
  const routed = matmul(router, stackDown(layers)); // [R, in k k]
  const width = routed.shape[1]!;
  let start = 0;
  return layers.map((layer) => {
    const end = start + rankOf(layer);
    const down = floatTensor(downShape(layer, rankOf(layer)), routed.data.slice(start * width, end * width));
    start = end;
    return { ...layer, down };
  });
}

/**
 * The router folded into the up-projections as the paper deploys it (section 3.4): one LoRA of rank R with A_cat and B' = B_cat
 * R. `weights` scales each expert's answer, 1 where left out. Throws as `routedExperts` does.
 */
export function foldRouter(layers: readonly LowRank[], router: FloatTensor, weights?: readonly number[]): LowRank {
  checkRouter(layers, router);
  const weighted = layers.map((layer, k) => {
    const weight = weights?.[k] ?? 1;
    return {
      ...layer,
      up: floatTensor(
        upMatrix(layer).shape,
        layer.up.data.map((value) => weight * value),
      ),
    };
  });
  const ranks = router.shape[0]!;
  return {
    module: layers[0]!.module,
    down: floatTensor(downShape(layers[0]!, ranks), stackDown(layers).data),
    up: matmul(stackUp(weighted), router),
    residualEnergy: 0,
  };
}

function checkRouter(layers: readonly LowRank[], router: FloatTensor): void {
  checkOneModule('SSR-Merge', layers);
  const ranks = layers.reduce((sum, layer) => sum + rankOf(layer), 0);
  if (!sameShape(router.shape, [ranks, ranks])) {
    throw new RangeError(
      `SSR-Merge needs a router [${ranks}, ${ranks}] for these experts, got ${showShape(router.shape)}.`,
    );
  }
}
