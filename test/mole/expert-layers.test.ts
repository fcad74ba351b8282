// The gated graph against the paper written out literally in torch (test/golden/mole.py), and the identities it must keep.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { readSafetensorsHeader, readTensor } from '../../src-main/formats/safetensors.ts';
import type { Graph, TensorRef } from '../../src-main/graph/ir.ts';
import {
  expertInput,
  expertLayers,
  gatesOutput,
  softmaxOutput,
  type ExpertGraph,
} from '../../src-main/mole/expert-layers.ts';
import { factorFeeds, foldPaperGate, type Layers } from '../../src-main/mole/expert-feeds.ts';
import { gateInput, type GateSpec } from '../../src-main/mole/gate.ts';
import { gateGroups, type GateGroup, type Granularity } from '../../src-main/mole/groups.ts';
import { clipText } from '../../src-main/networks/clip-text.ts';
import type { LayerFactory } from '../../src-main/networks/layers.ts';
import { textEncoderModules, unetModules, type NetworkModule } from '../../src-main/networks/modules.ts';
import { parseClipTextConfig, parseUNetConfig } from '../../src-main/networks/sd-configs.ts';
import { unet } from '../../src-main/networks/unet.ts';
import { Session } from '../../src-main/runtime/session.ts';
import { floatTensor, type FloatTensor, type Tensor } from '../../src-main/tensor/tensor.ts';
import { drawExperts, drawGate, drawScalars, experts as expertCount } from '../support/mole-case.ts';
import { maxDifference, readGolden, relativeError } from '../support/read-golden.ts';
import { moleTolerance } from '../support/tolerances.ts';

const tiny = resolve(import.meta.dirname, '../golden/data/networks/tiny-sd1');
const json = (path: string): unknown => JSON.parse(readFileSync(path, 'utf8'));
const unetConfig = parseUNetConfig(json(`${tiny}/unet/config.json`), 'config.json');
const textConfig = parseClipTextConfig(json(`${tiny}/text_encoder/config.json`), 'config.json');

interface Case {
  readonly network: 'unet' | 'text_encoder';
  readonly granularity: Granularity;
  readonly form: GateSpec['form'];
  readonly amplitude: GateSpec['amplitude'];
  readonly timestep: boolean;
  readonly weights: readonly number[];
  readonly mask: readonly number[];
  readonly groups: readonly string[];
}
const golden = json(resolve(import.meta.dirname, '../golden/data/mole/cases.json')) as {
  readonly modules: Readonly<Record<'unet' | 'text_encoder', readonly string[]>>;
  readonly cases: Readonly<Record<string, Case>>;
};
const witness = readGolden('mole/outputs.safetensors');

const sessions: Session[] = [];
afterEach(async () => {
  for (const session of sessions.splice(0)) await session.release();
});

async function weights(file: string): Promise<(name: string) => TensorRef> {
  const { tensors } = await readSafetensorsHeader(resolve(tiny, file));
  return (name) => (tensors.get(name) ?? tensors.get(name.replace(/^text_model\./, '')))!;
}

async function build(network: Case['network'], layers?: LayerFactory): Promise<Graph> {
  return network === 'unet'
    ? unet(unetConfig, {
        ref: await weights('unet/diffusion_pytorch_model.safetensors'),
        height: 16,
        width: 16,
        textTokens: 77,
        attention: 'fused',
        ...(layers === undefined ? {} : { layers }),
      })
    : clipText(textConfig, {
        ref: await weights('text_encoder/model.safetensors'),
        ...(layers === undefined ? {} : { layers }),
      });
}

async function open(graph: Graph): Promise<Session> {
  const session = await Session.open(graph, { provider: 'cpu', threads: 1 });
  sessions.push(session);
  return session;
}

const inputs = (async (): Promise<Record<string, Tensor>> => {
  const { tensors } = await readSafetensorsHeader(resolve(tiny, 'expected.safetensors'));
  const names = ['sample', 'timestep', 'encoder_hidden_states', 'input_ids'];
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await readTensor(tensors.get(name)!)] as const)),
  );
})();

const modulesOf = (network: Case['network']): readonly NetworkModule[] => {
  const all = network === 'unet' ? unetModules(unetConfig) : textEncoderModules(textConfig);
  const listed = golden.modules[network];
  return listed.map((name) => all.find((module) => module.name === name)!);
};
const outputOf = { unet: 'out_sample', text_encoder: 'last_hidden_state' } as const;
const row = (values: readonly number[]): FloatTensor => floatTensor([1, values.length], Float32Array.from(values));

const graphOf = (modules: readonly NetworkModule[], gate?: ExpertGraph['gate']): ExpertGraph => ({
  modules: new Map(modules.map((module) => [module.name, module])),
  rows: 1,
  rowOf: () => 0,
  ...(gate === undefined ? {} : { gate }),
});

/** Parameters of all gates as the case draws them. */
function gateFeeds(
  groups: readonly GateGroup[],
  spec: GateSpec,
  layers: Layers,
  tokensOf: (group: GateGroup) => number,
): Record<string, FloatTensor> {
  const feeds = drawScalars(groups, spec);
  groups.forEach((group, k) => {
    if (spec.form === 'paper') {
      const tokens = tokensOf(group);
      const e = drawGate(k, expertCount * tokens * group.width);
      Object.assign(
        feeds,
        foldPaperGate(group, floatTensor([expertCount, expertCount, tokens, group.width], e.data), layers),
      );
      return;
    }
    const length = expertCount * group.width;
    const e = drawGate(k, length);
    const transposed = new Float32Array(e.data.length);
    for (let n = 0; n < expertCount; n++)
      for (let i = 0; i < length; i++) transposed[i * expertCount + n] = e.data[n * length + i]!;
    feeds[gateInput.weight(group.name)] = floatTensor([length, expertCount], transposed);
  });
  return feeds;
}

/** Tokens that a group's first reader is fed, from the graph itself. */
const tokensIn =
  (graph: Graph) =>
  (group: GateGroup): number => {
    const name = group.readers[0]!.name;
    const shape = graph.inputs.find((input) => input.name === gateInput.folded(name))!.shape[0] as string;
    const first = shape.split('*')[0]!;
    return /^\d+$/.test(first) ? Number(first) : 1;
  };

describe('gates against the paper written out in torch', () => {
  it.each(Object.entries(golden.cases))('%s', async (name, wanted) => {
    const modules = modulesOf(wanted.network);
    const layers = drawExperts(modules);
    const { granularity, form, amplitude, timestep } = wanted;
    const spec = { granularity, form, amplitude, timestep };
    const groups = gateGroups(modules, granularity);
    expect(groups.map((group) => group.name)).toEqual(wanted.groups);
    const graph = await build(wanted.network, expertLayers(graphOf(modules, { spec, groups })));
    const session = await open(graph);
    const result = await session.run({
      ...(await inputs),
      ...factorFeeds(modules, layers),
      ...gateFeeds(groups, spec, layers, tokensIn(graph)),
      [expertInput.weights]: row(wanted.weights),
      [expertInput.masks]: row(wanted.mask),
    });
    const [output, gates] = [result[outputOf[wanted.network]]!, result[gatesOutput]!];
    expect(gates.shape).toEqual(witness(`${name}.gates`).shape);
    expect(maxDifference((gates as FloatTensor).data, witness(`${name}.gates`).data)).toBeLessThan(moleTolerance.gates);
    expect(relativeError((output as FloatTensor).data, witness(`${name}.output`).data)).toBeLessThan(
      moleTolerance.output,
    );
  });
});

describe('identities', () => {
  const modules = modulesOf('unet');
  const layers = drawExperts(modules);
  const spec: GateSpec = { granularity: 'block', form: 'pooled', amplitude: 'convex', timestep: false };
  const groups = gateGroups(modules, spec.granularity);

  /** The UNet without gates, on given experts and weights. */
  async function mixed(experts: Layers, strengths: readonly number[]): Promise<Float32Array> {
    const session = await open(await build('unet', expertLayers(graphOf(modules))));
    const feeds = { ...(await inputs), ...factorFeeds(modules, experts), [expertInput.weights]: row(strengths) };
    return ((await session.run(feeds))['out_sample'] as FloatTensor).data;
  }

  async function gated(
    experts: Layers,
    gate: Record<string, FloatTensor>,
    strengths: readonly number[],
    mask: readonly number[],
  ): Promise<Float32Array> {
    const session = await open(await build('unet', expertLayers(graphOf(modules, { spec, groups }))));
    const feeds = {
      ...(await inputs),
      ...factorFeeds(modules, experts),
      ...gate,
      [expertInput.weights]: row(strengths),
      [expertInput.masks]: row(mask),
    };
    return ((await session.run(feeds))['out_sample'] as FloatTensor).data;
  }
  const drawn = gateFeeds(groups, spec, layers, () => 0);
  const zero = Object.fromEntries(
    Object.entries(drawn).map(([name, { shape }]) => [name, floatTensor(shape)] as const),
  );

  it('gates of zero are the normalised sum', async () => {
    const uniform = await gated(layers, zero, [1, 1, 1], [1, 1, 1]);
    expect(relativeError(uniform, await mixed(layers, [1 / 3, 1 / 3, 1 / 3]))).toBeLessThan(moleTolerance.identity);
  });

  it.each([0, 1, 2])('with all but expert %i masked, it speaks alone at its weight', async (survivor) => {
    const only = [0, 1, 2].map((expert) => (expert === survivor ? 1 : 0));
    const alone = await mixed([layers[survivor]!], [0.7]);
    expect(relativeError(await gated(layers, drawn, [0.7, 0.7, 0.7], only), alone)).toBeLessThan(
      moleTolerance.identity,
    );
  });

  describe.each(['convex', 'free'] as const)('gates set by hand, %s', (amplitude) => {
    const own: GateSpec = { ...spec, amplitude };
    const parameters = gateFeeds(groups, own, layers, () => 0);
    const gains = groups.map((_, g) => Math.exp(parameters[gateInput.logGain]?.data[g] ?? 0));

    /** Output, effective gates and softmax [G][N]; values of null are left to the gates. */
    async function byHand(values: readonly (number | null)[], mask: readonly number[], strengths = [1, 1, 1]) {
      const gate = { spec: own, groups, overridable: true };
      const session = await open(await build('unet', expertLayers({ ...graphOf(modules, gate), softmax: true })));
      const result = await session.run({
        ...(await inputs),
        ...factorFeeds(modules, layers),
        ...parameters,
        [expertInput.weights]: row(strengths),
        [expertInput.masks]: row(mask),
        [expertInput.free]: row(values.map((value) => (value === null ? 1 : 0))),
        [expertInput.overrides]: row(values.map((value, i) => (mask[i] === 1 ? (value ?? 0) : 0))),
      });
      const rows = (name: string): readonly number[][] => {
        const { data } = result[name] as FloatTensor;
        return groups.map((_, g) => [...data.slice(g * 3, g * 3 + 3)]);
      };
      const output = (result['out_sample'] as FloatTensor).data;
      return { output, gates: rows(gatesOutput), softmax: rows(softmaxOutput) };
    }

    it.each([
      { values: [null, 0.25, null], mask: [1, 1, 1] },
      { values: [0.2, null, 0.3], mask: [1, 1, 1] },
      { values: [null, 1.5, null], mask: [1, 1, 1] },
      { values: [null, 0.25, null], mask: [1, 1, 0] },
      { values: [null, 0.25, null], mask: [1, 0, 1] },
    ])('leave the rest to the others in their proportions: $values under $mask', async ({ values, mask }) => {
      const { gates, softmax } = await byHand(values, mask);
      const speaking = mask.reduce((sum, m) => sum + m, 0);
      gates.forEach((found, g) => {
        // The formula of mole/gate.ts, number by number.
        const total = amplitude === 'convex' ? 1 : 1 + ((gains[g]! - 1) * (speaking - 1)) / 2;
        const set = values.map((value, i) => (value ?? 0) * mask[i]!);
        const rest = Math.max(0, total - set.reduce((sum, value) => sum + value, 0));
        const open = softmax[g]!.map((value, i) => (values[i] === null ? value * mask[i]! : 0));
        const all = open.reduce((sum, value) => sum + value, 0);
        const wanted = open.map((value, i) => (values[i] === null ? (rest * value) / all : set[i]!));
        expect(maxDifference(Float32Array.from(found), Float32Array.from(wanted))).toBeLessThan(moleTolerance.gates);
      });
    });

    it('are the gates to the last bit where none is set', async () => {
      const session = await open(await build('unet', expertLayers(graphOf(modules, { spec: own, groups }))));
      const plain = await session.run({
        ...(await inputs),
        ...factorFeeds(modules, layers),
        ...parameters,
        [expertInput.weights]: row([0.7, -0.4, 1]),
        [expertInput.masks]: row([1, 1, 1]),
      });
      const { output } = await byHand([null, null, null], [1, 1, 1], [0.7, -0.4, 1]);
      expect(maxDifference(output, (plain['out_sample'] as FloatTensor).data)).toBe(0);
    });

    it('of all experts, or of the only one left, are plain weights', async () => {
      const all = await byHand([0.5, -0.2, 0.9], [1, 1, 1], [1, 2, 1]);
      expect(relativeError(all.output, await mixed(layers, [0.5, -0.4, 0.9]))).toBeLessThan(moleTolerance.identity);
      const one = await byHand([null, 0.6, null], [0, 1, 0]);
      expect(relativeError(one.output, await mixed([layers[1]!], [0.6]))).toBeLessThan(moleTolerance.identity);
    });
  });

  it('experts in another order give the same picture', async () => {
    const order = [2, 0, 1];
    const permuted = await mixed(
      order.map((i) => layers[i]!),
      order.map((i) => [0.9, -0.5, 1.3][i]!),
    );
    expect(relativeError(permuted, await mixed(layers, [0.9, -0.5, 1.3]))).toBeLessThan(moleTolerance.identity);
  });

  it('no expert (a silent one stands in), and experts of weight 0, are the plain network bit for bit', async () => {
    const session = await open(await build('unet'));
    const plain = ((await session.run(await inputs))['out_sample'] as FloatTensor).data;
    expect(maxDifference(await mixed([], [0]), plain)).toBe(0);
    expect(maxDifference(await mixed(layers, [0, 0, 0]), plain)).toBe(0);
  });

  it('one session serves any number of experts, and adding one and taking it away leaves no trace', async () => {
    const session = await open(await build('unet', expertLayers(graphOf(modules))));
    const draw = async (experts: Layers): Promise<Float32Array> => {
      const strengths = row(experts.map(() => 1));
      const feeds = { ...(await inputs), ...factorFeeds(modules, experts), [expertInput.weights]: strengths };
      return ((await session.run(feeds))['out_sample'] as FloatTensor).data.slice();
    };
    const before = await draw(layers.slice(0, 1));
    const during = await draw(layers.slice(0, 2));
    expect(relativeError(during, before)).toBeGreaterThan(0.01);
    expect(maxDifference(await draw(layers.slice(0, 1)), before)).toBe(0);
  });
});
