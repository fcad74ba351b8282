// Twenty updates of LoRAs and gates against PyTorch on the same latents, token ids and seeds (test/golden/training_curve.py):
// diffusers, transformers and PEFT for LoRAs, the literal mixture for gates, diffusers' noise and torch.optim's updates for both.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { trainingSchedule } from '../../src-main/diffusion/noise-schedule.ts';
import { openCheckpoint } from '../../src-main/engine/checkpoint.ts';
import { GateLearner, type GateExpert } from '../../src-main/engine/gate-learner.ts';
import { LoadedModel } from '../../src-main/engine/loaded-model.ts';
import { LoraLearner, type LoraShape } from '../../src-main/engine/lora-learner.ts';
import { Mixture } from '../../src-main/engine/mixture.ts';
import { drawBatch } from '../../src-main/engine/training-batch.ts';
import type { TrainingImage } from '../../src-main/engine/training-images.ts';
import { TrainingSession } from '../../src-main/engine/training-session.ts';
import type { GateSpec } from '../../src-main/mole/gate.ts';
import type { GroupParameters, TrainedGate } from '../../src-main/mole/trained-gate.ts';
import { textEncoderModules, type ExpertNetwork, type NetworkModule } from '../../src-main/networks/modules.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { floatTensor, intTensor, type IntTensor } from '../../src-main/tensor/tensor.ts';
import { adamDefaults, type Arrays } from '../../src-main/training/optimizer.ts';
import { startTraining, train, type Differentiate } from '../../src-main/training/trainer.ts';
import { drawExperts } from '../support/mole-case.ts';
import { relativeError } from '../support/read-golden.ts';
import { trainingTolerance } from '../support/tolerances.ts';

interface CurveCase {
  readonly model: 'tiny-sd1' | 'tiny-sd2';
  readonly rate: number;
  readonly warmup: number;
  readonly clip: number;
  readonly weightDecay: number;
  readonly batch: number;
  readonly accumulate: number;
  readonly captionDropout: number;
  readonly minSnr: number | null;
  readonly losses: readonly number[];
  /** Norm and inner products of every parameter after the last update. */
  readonly end: Readonly<Record<string, readonly number[]>>;
}
interface LoraCase extends CurveCase, Omit<LoraShape, 'seed'> {
  readonly kind: 'lora';
}
interface GateCase extends CurveCase, GateSpec {
  readonly kind: 'gate';
  readonly textGates: boolean;
  readonly weights: readonly number[];
  readonly balance: number;
}
const golden = JSON.parse(readFileSync(new URL('../golden/data/training/curves.json', import.meta.url), 'utf8')) as {
  readonly seed: number;
  readonly updates: number;
  /** Height, width, and how many latents each picture has. */
  readonly pictures: readonly (readonly [number, number, number])[];
  readonly modules: Readonly<Record<CurveCase['model'], Readonly<Record<ExpertNetwork, readonly string[]>>>>;
  readonly cases: Readonly<Record<string, LoraCase | GateCase>>;
};
const networks = resolve(import.meta.dirname, '../golden/data/networks');

let model: LoadedModel | undefined;
let session: TrainingSession | undefined;
afterEach(async () => {
  await session?.release();
  await model?.release();
});

/** The witness's pictures: latents by seed, and a number as the caption. */
function pictures(): readonly TrainingImage[] {
  return golden.pictures.map(([height, width, variants], k) => ({
    path: `picture ${k}`,
    caption: String(k),
    latents: Array.from({ length: variants }, (_, variant) => {
      const { data } = new TorchGenerator(200 + 10 * k + variant).randn([4, height, width]);
      return floatTensor([1, 4, height, width], data);
    }),
    bucket: `${height}x${width}`,
  }));
}

/** The tiny vocabulary has 512 tokens: captions stand for ids drawn by seed, the empty one too. */
function tokens(captions: readonly string[]): IntTensor {
  const ids = captions.map((caption) =>
    new TorchGenerator(caption === '' ? 299 : 300 + Number(caption)).randint(0, 510, 77),
  );
  return intTensor([ids.length, 77], ids.flat());
}

async function open(name: CurveCase['model']): Promise<LoadedModel> {
  model = new LoadedModel(await openCheckpoint(resolve(networks, name)), { provider: 'cpu', fusedAttention: true });
  model.useMixture(new Mixture([], { mode: 'sum' }));
  return model;
}

/** Trains as trainLora and trainGate do, compares every loss, and returns the parameters after the last update. */
async function walked(name: string, start: Arrays, differentiate: Differentiate): Promise<Arrays> {
  const { rate, warmup, clip, weightDecay, accumulate, losses } = golden.cases[name]!;
  const random = new TorchGenerator(golden.seed);
  const adam = { ...adamDefaults, weightDecay };
  const options = { steps: golden.updates, learningRate: rate, warmup, clip, accumulate, adam };
  let state = startTraining(start, random);
  for await (state of train(state, random, differentiate, options)) {
    const { step, loss } = state.curve.at(-1)!;
    const expected = losses[step - 1]!;
    expect(Math.abs(loss / expected - 1), `loss of update ${step}`).toBeLessThan(trainingTolerance.loss);
  }
  expect(state.curve).toHaveLength(golden.updates);
  return state.parameters;
}

type Named = readonly [name: string, values: Float32Array];

/** Every parameter that the witness trained, by its norm and inner products with directions drawn by the witness's seeds. */
function expectEnd(name: string, parameters: readonly Named[]): void {
  const { end } = golden.cases[name]!;
  expect(parameters.map(([key]) => key).sort()).toEqual(Object.keys(end).sort());
  for (const [key, values] of parameters) {
    const along = (direction: Float32Array): number => direction.reduce((sum, value, i) => sum + value * values[i]!, 0);
    const found = [Math.sqrt(along(values))];
    for (let j = 0; j < 4; j++) found.push(along(new TorchGenerator(8000 + j).randn([values.length]).data));
    expect(relativeError(found, end[key]!), key).toBeLessThan(trainingTolerance.parameters);
  }
}

const batchOptions = ({ batch, captionDropout, minSnr }: CurveCase) => ({
  batch,
  captionDropout,
  minSnr: minSnr ?? undefined,
});

const cases = Object.entries(golden.cases);

describe('LoRA training walks as diffusers with PEFT and torch.optim do', () => {
  const own = cases.filter((entry): entry is [string, LoraCase] => entry[1].kind === 'lora');
  it.each(own)('%s', { timeout: 120_000 }, async (name, wanted) => {
    const opened = await open(wanted.model);
    const learner = new LoraLearner(opened, { ...wanted, seed: golden.seed });
    session = new TrainingSession(opened, learner.networks(), { balance: 0, tokens });
    const schedule = trainingSchedule(opened.checkpoint.scheduler);
    const images = pictures();
    const end = await walked(name, learner.start(), (parameters, random) =>
      session!.lossAndGradient(drawBatch(images, schedule, random, batchOptions(wanted)), learner.feeds(parameters)),
    );
    expectEnd(
      name,
      learner
        .layers(end)
        .flatMap(({ network, name: layer, down, up }) => [
          [`${network}/${layer}.down`, down.data] as const,
          [`${network}/${layer}.up`, up.data] as const,
        ]),
    );
  });
});

describe('gate training walks as the literal mixture under torch.optim does', () => {
  const own = cases.filter((entry): entry is [string, GateCase] => entry[1].kind === 'gate');
  it.each(own)('%s', { timeout: 120_000 }, async (name, wanted) => {
    const opened = await open(wanted.model);
    const images = pictures().filter(({ bucket }) => wanted.form === 'pooled' || bucket === '16x16');
    const experts = expertsOf(opened, wanted);
    const learner = new GateLearner(opened, experts, wanted, images, { textGates: wanted.textGates });
    session = new TrainingSession(opened, learner.networks(), { balance: wanted.balance, tokens });
    const schedule = trainingSchedule(opened.checkpoint.scheduler);
    // Their walk starts at gains of 1, ours at the plain sum.
    const start = Object.fromEntries(
      Object.entries(learner.start()).map(([key, values]) => [key, key.endsWith('log_gain') ? values.fill(0) : values]),
    );
    const end = await walked(name, start, async (parameters, random) => {
      const batch = drawBatch(images, schedule, random, batchOptions(wanted));
      return learner.collect(await session!.lossAndGradient(batch, learner.feeds(parameters)));
    });
    const gate = learner.gate(end);
    expect(Object.keys(gate.networks)).toEqual(wanted.textGates ? ['unet', 'text_encoder'] : ['unet']);
    expectEnd(name, [...parametersOf(gate)]);
  });
});

/** The experts of test/golden/mole.py in both networks; in the text encoder only where its gates are trained. */
function expertsOf(opened: LoadedModel, { model: base, weights, textGates }: GateCase): readonly GateExpert[] {
  const known: Record<ExpertNetwork, readonly NetworkModule[]> = {
    unet: opened.unetModules,
    text_encoder: textEncoderModules(opened.checkpoint.textEncoder.config),
  };
  const layersIn = (network: ExpertNetwork) =>
    drawExperts(golden.modules[base][network].map((name) => known[network].find((module) => module.name === name)!));
  const [unet, text] = [layersIn('unet'), layersIn('text_encoder')];
  return weights.map((weight, i) => ({
    expert: {
      name: `expert ${i}`,
      sha256: String(i).padStart(64, '0'),
      layers: { unet: unet[i]!, text_encoder: textGates ? text[i]! : new Map() },
    },
    weight,
    textWeight: weight,
    prompts: [],
  }));
}

/** By the witness's names. */
function* parametersOf({ spec, networks: parts }: TrainedGate): Generator<Named> {
  for (const [network, groups] of Object.entries(parts)) {
    for (const { name, weight, timestep } of groups) {
      yield [`${network}/${name}.weight`, weight.data];
      if (timestep !== undefined) yield [`${network}/${name}.timestep`, timestep.data];
    }
    const scalars = (pick: (group: GroupParameters) => number): Float32Array => Float32Array.from(groups, pick);
    yield [`${network}/log_temperature`, scalars(({ logTemperature }) => logTemperature)];
    if (spec.amplitude === 'free') yield [`${network}/log_gain`, scalars(({ logGain }) => logGain)];
  }
}
