// Gradients of whole networks under gates against torch autograd on the literal mixture (test/golden/autodiff_networks.py):
// inputs, the factors of every expert, and every parameter of the gates; and the chain rule across two graphs.
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { gradientOutput, withGradient } from '../../src-main/autodiff/gradient.ts';
import type { Graph } from '../../src-main/graph/ir.ts';
import { gateInput } from '../../src-main/mole/gate.ts';
import type { AttentionForm } from '../../src-main/networks/layers.ts';
import { Session } from '../../src-main/runtime/session.ts';
import type { FloatTensor, Tensor } from '../../src-main/tensor/tensor.ts';
import { readGolden, relativeError } from '../support/read-golden.ts';
import { gradientTolerance } from '../support/tolerances.ts';
import {
  lossGradient,
  paperProjections,
  tinyMixture,
  withLoss,
  type MixtureCase,
  type TinyModel,
} from '../support/trained-network.ts';

interface NetworkCase extends MixtureCase {
  readonly model: TinyModel;
  readonly factors: boolean;
  readonly groups: readonly string[];
}
const golden = JSON.parse(readFileSync(new URL('../golden/data/autodiff/networks.json', import.meta.url), 'utf8')) as {
  readonly modules: Readonly<Record<TinyModel, Readonly<Record<MixtureCase['network'], readonly string[]>>>>;
  readonly cases: Readonly<Record<string, NetworkCase>>;
  readonly ends: Readonly<Record<MixtureCase['network'], MixtureCase>>;
};
const witness = readGolden('autodiff/networks.safetensors');
const projections = 8;

const sessions: Session[] = [];
afterEach(async () => {
  for (const session of sessions.splice(0)) await session.release();
});

async function run(graph: Graph, feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, FloatTensor>> {
  const session = await Session.open(graph, { provider: 'cpu', threads: 1 });
  sessions.push(session);
  return (await session.run(feeds)) as Record<string, FloatTensor>;
}

interface Pair {
  readonly name: string;
  readonly found: Float32Array;
  readonly expected: Float32Array;
}

/** All parameters of a kind (say every lora_up) closely; each alone less so, for some gates are nearly shut. */
function expectEqual(pairs: readonly Pair[]): void {
  const kindOf = ({ name }: Pair): string => name.split('.').at(-1)!;
  for (const kind of new Set(pairs.map(kindOf))) {
    const own = pairs.filter((pair) => kindOf(pair) === kind);
    const all = (key: 'found' | 'expected'): number[] => own.flatMap((pair) => [...pair[key]]);
    expect(relativeError(all('found'), all('expected')), kind).toBeLessThan(gradientTolerance.network);
    for (const { name, found, expected } of own) {
      expect(relativeError(found, expected), name).toBeLessThan(gradientTolerance.parameter);
    }
  }
}

const forms: Readonly<Record<MixtureCase['network'], readonly AttentionForm[]>> = {
  unet: ['fused', 'plain'],
  text_encoder: ['plain'],
};
const written = Object.entries(golden.cases).flatMap(([name, wanted]) =>
  forms[wanted.network].map((attention) => [name, attention, wanted] as const),
);

describe('whole networks against torch autograd', () => {
  it.each(written)('%s, attention %s', async (name, attention, wanted) => {
    const { model, network } = wanted;
    const mixture = await tinyMixture(model, wanted, golden.modules[model][network], attention);
    expect(mixture.groups.map((group) => group.name)).toEqual(wanted.groups);
    const { graph, feeds } = withLoss(mixture.graph, mixture.output);
    const inputs = network === 'unet' ? ['sample', 'encoder_hidden_states'] : [];
    const names = [...inputs, ...(wanted.factors ? mixture.factors : []), ...mixture.gates];
    const results = await run(lossGradient(graph, names), { ...mixture.feeds, ...feeds });

    expect(results['loss']!.data[0]).toBeCloseTo(witness(`${name}.loss`).data[0]!, 5);
    const pairs: Pair[] = names
      .filter((input) => !input.endsWith('.folded'))
      .map((input) => {
        const [grad, expected] = [results[gradientOutput(input)]!, witness(`${name}.${input}`)];
        expect(grad.shape, input).toEqual(expected.shape);
        return { name: input, found: grad.data, expected: expected.data };
      });
    if (wanted.form === 'paper') {
      mixture.groups.forEach((group, k) => {
        const key = `${group.name}.gate.projections`;
        const found = paperProjections(mixture, k, results, projections);
        pairs.push({ name: key, found, expected: witness(`${name}.${key}`).data });
      });
    }
    expectEqual(pairs);
  });
});

describe('two graphs', () => {
  it('the chain rule holds: what flows back out of the UNet is the seed of the text encoder', async () => {
    const { unet, text_encoder: text } = golden.ends;
    const { unet: unetNames, text_encoder: textNames } = golden.modules['tiny-sd1'];
    const encoder = await tinyMixture('tiny-sd1', text, textNames);
    const denoiser = await tinyMixture('tiny-sd1', unet, unetNames);
    const states = (await run(encoder.graph, encoder.feeds))['last_hidden_state']!;

    const { graph, feeds } = withLoss(denoiser.graph, denoiser.output);
    const back = await run(lossGradient(graph, ['encoder_hidden_states']), {
      ...denoiser.feeds,
      ...feeds,
      encoder_hidden_states: states,
    });
    expect(back['loss']!.data[0]).toBeCloseTo(witness('end to end.loss').data[0]!, 5);

    const trained = [...encoder.factors, ...encoder.gates];
    const chained = withGradient(encoder.graph, {
      of: [{ output: 'last_hidden_state', seed: 'seed' }],
      withRespectTo: trained,
    });
    const results = await run(chained, {
      ...encoder.feeds,
      seed: back[gradientOutput('encoder_hidden_states')]!,
    });
    expect(trained).toContain(gateInput.logTemperature);
    expectEqual(
      trained.map((name) => ({
        name,
        found: results[gradientOutput(name)]!.data,
        expected: witness(`end to end.${name}`).data,
      })),
    );
  });
});
