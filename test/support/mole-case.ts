// Experts and gate parameters of test/golden/mole.py, drawn by the same seeds from the same generator.
import { gateInput, timestepWidth, type GateSpec } from '../../src-main/mole/gate.ts';
import type { GateGroup } from '../../src-main/mole/groups.ts';
import type { LowRank } from '../../src-main/mole/expert.ts';
import type { NetworkModule } from '../../src-main/networks/modules.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { elementCount } from '../../src-main/tensor/shape.ts';
import { floatTensor, type FloatTensor } from '../../src-main/tensor/tensor.ts';

export const experts = 3;
const ranks = [2, 3, 4];

const randn = (seed: number, shape: readonly number[], scale = 1): FloatTensor => {
  const { data } = new TorchGenerator(seed).randn(shape);
  return floatTensor(
    shape,
    data.map((value) => value * scale),
  );
};

const targets = (expert: number, name: string): boolean =>
  expert === 0 || (expert === 1 ? !/\.ff\.|\.mlp\.|resnets|samplers/.test(name) : name.includes('attn'));

/** Layers of each expert; `modules` in run order. */
export function drawExperts(modules: readonly NetworkModule[]): ReadonlyMap<string, LowRank>[] {
  return ranks.map((rank, i) => {
    const layers = new Map<string, LowRank>();
    modules.forEach((module, m) => {
      if (!targets(i, module.name)) return;
      const { kind, inFeatures, outFeatures, kernel } = module;
      const shape = kind === 'linear' ? [inFeatures] : [inFeatures, kernel, kernel];
      const down = randn(1000 + 10 * m + i, [rank, ...shape], 1 / Math.sqrt(elementCount(shape)));
      const up = randn(40_000 + 10 * m + i, [outFeatures, rank], 0.3);
      layers.set(module.name, { module, down, up, residualEnergy: 0 });
    });
    return layers;
  });
}

/** e of each group as the paper has it: [N, N D] pooled, [N, N T D] flattened. */
export function drawGate(index: number, length: number): FloatTensor {
  return randn(5000 + index, [experts, length], 2);
}

/** The parameters that do not depend on the form. */
export function drawScalars(groups: readonly GateGroup[], spec: GateSpec): Record<string, FloatTensor> {
  const feeds: Record<string, FloatTensor> = {
    [gateInput.logTemperature]: floatTensor(
      [groups.length],
      Float32Array.from(groups, (_, k) => Math.log(1 + 0.25 * (k % 3))),
    ),
    [gateInput.logGain]: floatTensor(
      [groups.length],
      Float32Array.from(groups, (_, k) => Math.log(0.5 + 0.5 * (k % 4))),
    ),
  };
  if (spec.timestep) {
    groups.forEach(({ name }, k) => {
      feeds[gateInput.timestep(name)] = randn(7000 + k, [timestepWidth, experts], 0.3);
    });
  }
  return feeds;
}
