// Ours, with experts: the expert-free UNet step, three and six rank-16 experts under MoLE gates (pooled, block), plain sums, and
// the naive form of the same gates, in turn in one process, so that a ratio is of one moment. One line of JSON.
// Usage: measure-experts.js FOLDER ROUNDS THREADS
import { join } from 'node:path';
import { readSafetensorsHeader } from '../../src-main/formats/safetensors.ts';
import type { TensorRef } from '../../src-main/graph/ir.ts';
import { factorFeeds, type Layers } from '../../src-main/mole/expert-feeds.ts';
import { expertInput, expertLayers, type ExpertGraph } from '../../src-main/mole/expert-layers.ts';
import type { LowRank } from '../../src-main/mole/expert.ts';
import { gateInput, type GateSpec } from '../../src-main/mole/gate.ts';
import { gateGroups } from '../../src-main/mole/groups.ts';
import type { LayerFactory } from '../../src-main/networks/layers.ts';
import { unetModules } from '../../src-main/networks/modules.ts';
import { SD15 } from '../../src-main/networks/sd-configs.ts';
import { unet } from '../../src-main/networks/unet.ts';
import { Session } from '../../src-main/runtime/session.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { floatTensor, type FloatTensor } from '../../src-main/tensor/tensor.ts';
import { naiveLayers } from './naive-layers.ts';

const [folder, rounds, threads] = process.argv.slice(2) as [string, string, string];
const rank = 16;
const file = join(folder, 'unet/diffusion_pytorch_model.safetensors');
const { tensors } = await readSafetensorsHeader(file);
const ref = (name: string): TensorRef => tensors.get(name)!;
const random = new TorchGenerator(0);
const inputs = {
  sample: random.randn([1, 4, 64, 64]),
  timestep: floatTensor([1], Float32Array.of(500)),
  encoder_hidden_states: random.randn([1, 77, 768]),
};

// What kohya's trainer targets by default: the linear layers and 1x1 convolutions of the transformers.
const modules = unetModules(SD15.unet).filter(({ name }) => name.includes('.attentions.'));
const expert = (): ReadonlyMap<string, LowRank> =>
  new Map(
    modules.map((module) => {
      const down = random.randn([rank, module.inFeatures]).data.map((value) => value / Math.sqrt(module.inFeatures));
      const up = random.randn([module.outFeatures, rank]).data.map((value) => value * 0.02);
      return [
        module.name,
        {
          module,
          down: floatTensor([rank, module.inFeatures], down),
          up: floatTensor([module.outFeatures, rank], up),
          residualEnergy: 0,
        },
      ];
    }),
  );
const spec: GateSpec = { granularity: 'block', form: 'pooled', amplitude: 'convex', timestep: false };
const groups = gateGroups(modules, spec.granularity);
const graphOf = (gate: boolean): ExpertGraph => ({
  modules: new Map(modules.map((module) => [module.name, module])),
  rows: 1,
  rowOf: () => 0,
  ...(gate ? { gate: { spec, groups } } : {}),
});

type Feeds = Record<string, FloatTensor>;
const ones = (count: number): FloatTensor => floatTensor([1, count], new Float32Array(count).fill(1));
function feedsOf(experts: Layers): Feeds {
  const count = experts.length;
  const feeds: Feeds = {
    ...inputs,
    ...factorFeeds(modules, experts),
    [expertInput.weights]: ones(count),
    [expertInput.masks]: ones(count),
    [gateInput.logTemperature]: floatTensor([groups.length]),
  };
  for (const { name, width } of groups) feeds[gateInput.weight(name)] = random.randn([count * width, count]);
  return feeds;
}

const open = (layers?: LayerFactory): Promise<Session> =>
  Session.open(
    unet(SD15.unet, {
      ref,
      height: 64,
      width: 64,
      textTokens: 77,
      attention: 'fused',
      ...(layers === undefined ? {} : { layers }),
    }),
    { provider: 'cpu', threads: Number(threads) },
  );
const experts = Array.from({ length: 6 }, expert);
const [three, six] = [feedsOf(experts.slice(0, 3)), feedsOf(experts)];
const gated = await open(expertLayers(graphOf(true)));
const variants: readonly (readonly [string, Session, Feeds])[] = [
  ['plain', await open(), inputs],
  ['mole3', gated, three],
  ['mole6', gated, six],
  ['sum3', await open(expertLayers(graphOf(false))), three],
  ['naive3', await open(naiveLayers(graphOf(true), experts.slice(0, 3))), three],
];
const times: Record<string, number[]> = {};
for (let round = 0; round <= Number(rounds); round++) {
  for (const [name, session, feeds] of variants) {
    const start = performance.now();
    await session.run(feeds);
    // The first round warms up.
    if (round > 0) (times[name] ??= []).push(performance.now() - start);
  }
}
console.log(JSON.stringify(times));
