// Ours, training: the forward pass of the gated UNet beside forward and backward for the gates alone (pooled, block, three rank-16
// experts), in turn in one process, so that the ratio is of one moment; with the peak memory of each. One line of JSON.
// Usage: measure-gradient.js FOLDER ROUNDS THREADS PIXELS forward|gradient|recompute|both
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { withGradient } from '../../src-main/autodiff/gradient.ts';
import { withRecomputation } from '../../src-main/autodiff/recompute.ts';
import { readSafetensorsHeader } from '../../src-main/formats/safetensors.ts';
import { GraphBuilder } from '../../src-main/graph/builder.ts';
import type { Graph, TensorRef } from '../../src-main/graph/ir.ts';
import { bindSizes } from '../../src-main/graph/passes/bind.ts';
import { factorFeeds } from '../../src-main/mole/expert-feeds.ts';
import { expertInput, expertLayers } from '../../src-main/mole/expert-layers.ts';
import type { LowRank } from '../../src-main/mole/expert.ts';
import { gateInput, type GateSpec } from '../../src-main/mole/gate.ts';
import { gateGroups } from '../../src-main/mole/groups.ts';
import { unetModules } from '../../src-main/networks/modules.ts';
import { SD15 } from '../../src-main/networks/sd-configs.ts';
import { unet } from '../../src-main/networks/unet.ts';
import { Session } from '../../src-main/runtime/session.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { floatTensor, type FloatTensor } from '../../src-main/tensor/tensor.ts';

const [folder, rounds, threads, pixels, what] = process.argv.slice(2) as [string, string, string, string, string];
const [rank, count, side] = [16, 3, Number(pixels) / 8];
const { tensors } = await readSafetensorsHeader(join(folder, 'unet/diffusion_pytorch_model.safetensors'));
const ref = (name: string): TensorRef => tensors.get(name)!;
const random = new TorchGenerator(0);

const modules = unetModules(SD15.unet).filter(({ name }) => name.includes('.attentions.'));
const expert = (): ReadonlyMap<string, LowRank> =>
  new Map(
    modules.map((module) => {
      const [down, up] = [random.randn([rank, module.inFeatures]), random.randn([module.outFeatures, rank])];
      const scaled = down.data.map((value) => value / Math.sqrt(module.inFeatures));
      return [
        module.name,
        {
          module,
          down: floatTensor(down.shape, scaled),
          up: floatTensor(
            up.shape,
            up.data.map((value) => value * 0.02),
          ),
          residualEnergy: 0,
        },
      ];
    }),
  );
const spec: GateSpec = { granularity: 'block', form: 'pooled', amplitude: 'convex', timestep: false };
const groups = gateGroups(modules, spec.granularity);
const ones = floatTensor([1, count], new Float32Array(count).fill(1));
const target = random.randn([1, 4, side, side]);
const feeds: Record<string, FloatTensor> = {
  sample: random.randn([1, 4, side, side]),
  timestep: floatTensor([1], Float32Array.of(500)),
  encoder_hidden_states: random.randn([1, 77, 768]),
  ...factorFeeds(modules, Array.from({ length: count }, expert)),
  [expertInput.weights]: ones,
  [expertInput.masks]: ones,
  [gateInput.logTemperature]: floatTensor([groups.length]),
  target,
};
for (const { name, width } of groups) feeds[gateInput.weight(name)] = random.randn([count * width, count]);

const network = unet(SD15.unet, {
  ref,
  height: side,
  width: side,
  textTokens: 77,
  attention: 'fused',
  layers: expertLayers({
    modules: new Map(modules.map((module) => [module.name, module])),
    rows: 1,
    rowOf: () => 0,
    gate: { spec, groups },
  }),
});
const ranks = Object.fromEntries(modules.map((_, i) => [`R${i}`, rank * count]));
const b = GraphBuilder.extend(bindSizes(network, { B: 1, N: count, ...ranks }));
const bound = b.build();
const prediction = bound.outputs.find(({ name }) => name === 'out_sample')!;
const error = b.Sub(prediction, b.input('target', target.shape));
b.output('loss', b.ReduceMean(b.Mul(error, error), [0, 1, 2, 3], false));
const forward = b.build();
const trained = forward.inputs.map(({ name }) => name).filter((name) => name.includes('gate.'));
const gradient = (): Graph => withGradient(forward, { of: [{ output: 'loss' }], withRespectTo: trained });
const graphs: Readonly<Record<string, () => Graph>> = {
  forward: () => forward,
  gradient,
  recompute: () => withRecomputation(gradient()),
};

/** Peak resident bytes so far; undefined elsewhere than on Linux. */
function peak(): number | undefined {
  try {
    return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;
  } catch {
    return undefined;
  }
}

const names = what === 'both' ? ['forward', 'gradient'] : [what];
const sessions: (readonly [string, Session])[] = [];
const openMs: Record<string, number> = {};
for (const name of names) {
  const start = performance.now();
  sessions.push([name, await Session.open(graphs[name]!(), { provider: 'cpu', threads: Number(threads) })]);
  openMs[name] = performance.now() - start;
}
const runsMs: Record<string, number[]> = {};
// On a machine that others use, what a run took of the processor says more than the clock.
const cpuMs: Record<string, number[]> = {};
for (let round = 0; round <= Number(rounds); round++) {
  for (const [name, session] of sessions) {
    const [start, used] = [performance.now(), process.cpuUsage()];
    await session.run(feeds);
    const { user, system } = process.cpuUsage(used);
    if (round === 0) continue; // warms up
    (runsMs[name] ??= []).push(performance.now() - start);
    (cpuMs[name] ??= []).push((user + system) / 1000);
  }
}
console.log(JSON.stringify({ openMs, runsMs, cpuMs, peakBytes: peak() }));
