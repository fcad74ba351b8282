// Experts and gates as the tensors that a graph with expert branches is fed: factors of all experts side by side, and who owns
// which rank. Shapes and names are those of expert-layers.ts and gate.ts.
import type { NetworkModule } from '../networks/modules.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';
import { expertInput } from './expert-layers.ts';
import { rankOf, type LowRank } from './expert.ts';
import { gateInput } from './gate.ts';
import type { GateGroup } from './groups.ts';

/** Experts' layers by module name, one map per expert; the order is the order of N everywhere. */
export type Layers = readonly ReadonlyMap<string, LowRank>[];

/**
 * A_cat, B_cat and owner of every module in `modules`; experts that do not target a module have no rank in it. Where nobody
 * speaks, one silent rank of zeros that nobody owns stands in, and for no expert at all one silent expert: some devices refuse
 * tensors without elements, and y + 0 is y to the last bit.
 */
export function factorFeeds(modules: Iterable<NetworkModule>, experts: Layers): Record<string, FloatTensor> {
  const feeds: Record<string, FloatTensor> = {};
  for (const module of modules) {
    const { name, kind, inFeatures, outFeatures, kernel } = module;
    const present = experts.flatMap((layers, expert) => {
      const layer = layers.get(name);
      return layer === undefined ? [] : [{ expert, layer, rank: rankOf(layer) }];
    });
    const ranks = atLeastOne(present.reduce((sum, { rank }) => sum + rank, 0));
    const area = inFeatures * kernel * kernel;
    const down = new Float32Array(ranks * area);
    const up = new Float32Array(ranks * outFeatures);
    const owner = new Float32Array(atLeastOne(experts.length) * ranks);
    let start = 0;
    for (const { expert, layer, rank } of present) {
      const [a, b] = [layer.down.data, layer.up.data];
      owner.fill(1, expert * ranks + start, expert * ranks + start + rank);
      if (kind === 'conv') {
        down.set(a, start * area); // [R, in, k, k]
        for (let o = 0; o < outFeatures; o++) up.set(b.subarray(o * rank, (o + 1) * rank), o * ranks + start); // [out, R]
      } else {
        for (let r = 0; r < rank; r++) {
          for (let i = 0; i < inFeatures; i++) down[i * ranks + start + r] = a[r * inFeatures + i]!; // [in, R]
          for (let o = 0; o < outFeatures; o++) up[(start + r) * outFeatures + o] = b[o * rank + r]!; // [R, out]
        }
      }
      start += rank;
    }
    const conv = kind === 'conv';
    feeds[expertInput.down(name)] = floatTensor(conv ? [ranks, inFeatures, kernel, kernel] : [inFeatures, ranks], down);
    feeds[expertInput.up(name)] = floatTensor(conv ? [outFeatures, ranks, 1, 1] : [ranks, outFeatures], up);
    feeds[expertInput.owner(name)] = floatTensor([atLeastOne(experts.length), ranks], owner);
  }
  return feeds;
}

/** Size of an axis over experts or ranks: never empty. */
export const atLeastOne = (count: number): number => Math.max(1, count);

/**
 * Eq. 10 with the up-projections folded in: for each reader m, folded_m[(t, r), n] = <B_m[:, r], e[n, owner(r), t, m]>,
 * so that the gate multiplies ranks instead of widths. `e` [N, N, T, D], D running over the readers in order.
 * Throws a RangeError when e has another shape.
 */
export function foldPaperGate(group: GateGroup, e: FloatTensor, experts: Layers): Record<string, FloatTensor> {
  const count = experts.length;
  const [n, m, tokens, width] = e.shape;
  if (e.shape.length !== 4 || n !== count || m !== count || width !== group.width) {
    throw new RangeError(
      `The gate of ${group.name} needs e of [${count}, ${count}, T, ${group.width}], got [${e.shape.join(', ')}].`,
    );
  }
  const feeds: Record<string, FloatTensor> = {};
  let first = 0;
  for (const { name, outFeatures } of group.readers) {
    const ranks = experts.reduce((sum, layers) => sum + (layers.has(name) ? rankOf(layers.get(name)!) : 0), 0);
    const folded = new Float32Array(tokens! * ranks * count);
    let start = 0;
    experts.forEach((layers, expert) => {
      const layer = layers.get(name);
      if (layer === undefined) return;
      const rank = rankOf(layer);
      const up = layer.up.data; // [out, r]
      for (let to = 0; to < count; to++) {
        for (let t = 0; t < tokens!; t++) {
          const row = ((to * count + expert) * tokens! + t) * width + first;
          for (let r = 0; r < rank; r++) {
            let sum = 0;
            for (let o = 0; o < outFeatures; o++) sum += e.data[row + o]! * up[o * rank + r]!;
            folded[(t * ranks + start + r) * count + to] = sum;
          }
        }
      }
      start += rank;
    });
    feeds[gateInput.folded(name)] = floatTensor([tokens! * ranks, count], folded);
    first += outFeatures;
  }
  return feeds;
}

/** The adjoint of `foldPaperGate`: dL/d e [N, N, T, D] from dL/d folded of each reader. Throws a RangeError when one is missing. */
export function unfoldPaperGradient(
  group: GateGroup,
  tokens: number,
  gradients: Readonly<Record<string, FloatTensor>>,
  experts: Layers,
): FloatTensor {
  const count = experts.length;
  const { width } = group;
  const e = new Float32Array(count * count * tokens * width);
  let first = 0;
  for (const { name, outFeatures } of group.readers) {
    const folded = gradients[gateInput.folded(name)];
    if (folded === undefined) throw new RangeError(`The gradient of ${gateInput.folded(name)} is missing.`);
    const ranks = folded.shape[0]! / tokens;
    let start = 0;
    experts.forEach((layers, expert) => {
      const layer = layers.get(name);
      if (layer === undefined) return;
      const rank = rankOf(layer);
      const up = layer.up.data; // [out, r]
      for (let to = 0; to < count; to++) {
        for (let t = 0; t < tokens; t++) {
          const row = ((to * count + expert) * tokens + t) * width + first;
          for (let r = 0; r < rank; r++) {
            const g = folded.data[(t * ranks + start + r) * count + to]!;
            for (let o = 0; o < outFeatures; o++) e[row + o]! += g * up[o * rank + r]!;
          }
        }
      }
      start += rank;
    });
    first += outFeatures;
  }
  return floatTensor([count, count, tokens, width], e);
}
