// Experts with random factors for a model's layers, as strong as a trained LoRA.
import type { Expert, LowRank } from '../../src-main/mole/expert.ts';
import type { ExpertNetwork, NetworkModule } from '../../src-main/networks/modules.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { elementCount } from '../../src-main/tensor/shape.ts';
import { floatTensor } from '../../src-main/tensor/tensor.ts';

/** An expert of `rank` that targets `modules`; `strength` scales its deltas. */
export function drawExpert(
  seed: number,
  modules: readonly NetworkModule[],
  { rank = 4, strength = 0.1 }: { readonly rank?: number; readonly strength?: number } = {},
): Expert {
  const random = new TorchGenerator(seed);
  const layers: Record<ExpertNetwork, Map<string, LowRank>> = { unet: new Map(), text_encoder: new Map() };
  for (const module of modules) {
    const { inFeatures, outFeatures, kernel, kind } = module;
    const shape = kind === 'conv' ? [inFeatures, kernel, kernel] : [inFeatures];
    const scale = 1 / Math.sqrt(elementCount(shape));
    const down = random.randn([rank, ...shape]).data.map((value) => value * scale);
    const up = random.randn([outFeatures, rank]).data.map((value) => value * strength);
    layers[module.network].set(module.name, {
      module,
      down: floatTensor([rank, ...shape], down),
      up: floatTensor([outFeatures, rank], up),
      residualEnergy: 0,
    });
  }
  return { name: `expert ${seed}`, sha256: seed.toString(16).padStart(64, '0'), layers };
}
