// The closed-form merges as stacks of ordinary experts: NP-LoRA and SSR-Merge change the factors once, before the first step, and
// what they return is weighted, masked and scheduled like any stack. Formulas: mole/np-merge.ts, mole/ssr-merge.ts.
import type { Expert, LowRank } from '../mole/expert.ts';
import { rankOf } from '../mole/expert.ts';
import { npMerge } from '../mole/np-merge.ts';
import { routedExperts, ssrRouter } from '../mole/ssr-merge.ts';
import type { ExpertNetwork } from '../networks/modules.ts';
import type { FloatTensor } from '../tensor/tensor.ts';

/** Second moments [R, R] per expert, by module name: what LoadedModel.measureMoments returns. */
export type Moments = ReadonlyMap<string, readonly FloatTensor[]>;

/**
 * Each expert projected off the directions of those before it, in both networks: put the style first. `mu` from 0 (plain sum)
 * to Infinity. Throws a RangeError for another mu.
 */
export function npExperts(experts: readonly Expert[], mu?: number): readonly Expert[] {
  return rewrite(experts, ['unet', 'text_encoder'], (layers) => npMerge(layers, mu));
}

/** Experts behind the routers that the UNet's moments call for; the text encoder's stay as they are. */
export function ssrExperts(experts: readonly Expert[], moments: Moments): readonly Expert[] {
  return rewrite(experts, ['unet'], (layers, present) => {
    const measured = moments.get(layers[0]!.module.name);
    if (measured === undefined || layers.length < 2) return layers;
    // Moments were measured with the ranks of the experts that target the layer, one matrix per expert of the stack.
    const own = present.map((expert) => measured[expert]!);
    return routedExperts(layers, ssrRouter(own, layers.map(rankOf)));
  });
}

/** Experts whose layers of each module in `networks` were changed together; `present` are their places in the stack. */
function rewrite(
  experts: readonly Expert[],
  networks: readonly ExpertNetwork[],
  change: (layers: readonly LowRank[], present: readonly number[]) => readonly LowRank[],
): readonly Expert[] {
  const changed = experts.map(({ layers }) => ({
    unet: new Map(layers.unet),
    text_encoder: new Map(layers.text_encoder),
  }));
  for (const network of networks) {
    const names = new Set(experts.flatMap(({ layers }) => [...layers[network].keys()]));
    for (const name of names) {
      const present = experts.flatMap(({ layers }, i) => (layers[network].has(name) ? [i] : []));
      const layers = change(
        present.map((i) => experts[i]!.layers[network].get(name)!),
        present,
      );
      present.forEach((i, j) => changed[i]![network].set(name, layers[j]!));
    }
  }
  return experts.map((expert, i) => ({ ...expert, layers: changed[i]! }));
}
