// What a gate is trained for, on the bundled experts: it must explain held-out drawings better than uniform gates do, for every
// seed; and the balance loss must keep every expert heard where without it one falls silent.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { trainGateSchema, type TrainEvent, type TrainGateRequest } from '../../src-main/contract/training.ts';
import { trainingSchedule } from '../../src-main/diffusion/noise-schedule.ts';
import { openCheckpoint } from '../../src-main/engine/checkpoint.ts';
import { ExpertStore } from '../../src-main/engine/expert-stack.ts';
import { readGateFile } from '../../src-main/engine/gate-file.ts';
import { stackEntry, type GateExpert } from '../../src-main/engine/gate-learner.ts';
import { LoadedModel } from '../../src-main/engine/loaded-model.ts';
import { Mixture } from '../../src-main/engine/mixture.ts';
import { trainGate } from '../../src-main/engine/train-gate.ts';
import { drawBatch } from '../../src-main/engine/training-batch.ts';
import { loadTrainingImages, type TrainingImage } from '../../src-main/engine/training-images.ts';
import { encodePrompts } from '../../src-main/engine/encode-prompt.ts';
import { groupsOf, zeroParameters, type TrainedGate } from '../../src-main/mole/trained-gate.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';

const root = resolve(import.meta.dirname, '../..');
const bundled = join(root, 'models/atelier-mini');
const assets = join(root, 'assets/experts');
const names = ['fox', 'ink', 'sketch'];
let model: LoadedModel;
let folder: string;
let experts: readonly GateExpert[];
let judged: readonly TrainingImage[];
beforeAll(async () => {
  model = new LoadedModel(await openCheckpoint(bundled), { provider: 'cpu', fusedAttention: true });
  folder = mkdtempSync(join(tmpdir(), 'atelier-learns-'));
  const store = new ExpertStore();
  experts = await Promise.all(
    names.map(async (name) => {
      const { expert } = await store.load(join(assets, `${name}.safetensors`), model.checkpoint);
      return { expert, weight: 1, textWeight: 1, prompts: [] };
    }),
  );
  const options = { images: [join(assets, 'held-out')], resolution: 128, buckets: false, mirror: false };
  judged = await loadTrainingImages(options, model, { warn: () => undefined, signal: new AbortController().signal });
});
afterAll(async () => {
  await model.release();
  rmSync(folder, { recursive: true, force: true });
});

async function trained(wish: Partial<TrainGateRequest>) {
  const events: TrainEvent[] = [];
  const settings = trainGateSchema.parse({
    model: bundled,
    mix: {},
    images: [join(assets, 'references')],
    output: join(folder, 'gate.mole.safetensors'),
    ...wish,
  });
  const emit = (event: TrainEvent): void => void events.push(event);
  const { path } = await trainGate(settings, model, experts, { signal: new AbortController().signal, emit }, 64e9);
  const updates = events.filter((event) => event.kind === 'update');
  return { gate: (await readGateFile(path)).gate, updates };
}

/** Mean denoising loss on the held-out drawings, always at the same timesteps and noise. */
async function heldOutLoss(gate: TrainedGate): Promise<number> {
  model.useMixture(new Mixture(experts.map(stackEntry), { mode: 'mole', gate }));
  const schedule = trainingSchedule(model.checkpoint.scheduler);
  const random = new TorchGenerator(99);
  let [sum, count] = [0, 0];
  for (const image of judged) {
    const prompts = { prompt: image.caption, negativePrompt: '', steps: 1, clipSkip: 1 };
    const text = (await encodePrompts(model, prompts)).at(0).conditional;
    for (let i = 0; i < 8; i++) {
      const batch = drawBatch([image], schedule, random, { batch: 1, captionDropout: 0 });
      const { prediction } = await model.predict(batch.sample, batch.timestep, text);
      prediction.data.forEach((value, j) => (sum += (value - batch.target.data[j]!) ** 2));
      count += prediction.data.length;
    }
  }
  model.useMixture(new Mixture([], { mode: 'sum' }));
  return sum / count;
}

function uniform(): TrainedGate {
  const spec = { granularity: 'block', form: 'pooled', amplitude: 'convex', timestep: false } as const;
  const groups = groupsOf(
    model.unetModules,
    experts.map(({ expert }) => expert.layers.unet),
    spec,
  );
  const identities = experts.map(({ expert: { name, sha256 } }) => ({ name, sha256 }));
  return { spec, experts: identities, networks: { unet: zeroParameters(groups, spec, experts.length) } };
}

describe('gates over the bundled fox, ink and sketch', () => {
  it.each([0, 1, 2, 3, 4])(
    'explain held-out drawings better than uniform gates, seed %i',
    { timeout: 300_000 },
    async (seed) => {
      const { gate } = await trained({ seed, steps: 80, learningRate: 0.01 });
      const [learnt, even] = [await heldOutLoss(gate), await heldOutLoss(uniform())];
      console.info(
        `seed ${seed}: held-out loss ${even.toFixed(4)} with uniform gates, ${learnt.toFixed(4)} with learnt ones`,
      );
      expect(learnt).toBeLessThan(even);
    },
  );

  it(
    'keep every expert heard with the balance loss, where without it one falls silent',
    { timeout: 300_000 },
    async () => {
      // Fox drawings alone: the style experts only disturb.
      const images = ['noto', 'twemoji', 'emojione'].map((set) => join(assets, 'references/fox', `${set}-fox.png`));
      const wish = { images, steps: 90, learningRate: 0.05, captionDropout: 0 };
      const quietest = async (balance: number): Promise<number> => {
        const { updates } = await trained({ ...wish, balance });
        const curve = updates.map(({ gates }) => Math.min(...gates!));
        const shown = curve.filter((_, i) => i % 9 === 8).map((value) => value.toFixed(3));
        console.info(`balance ${balance}: the quietest expert's mean gate every 9 updates: ${shown.join(' ')}`);
        return curve.at(-1)!;
      };
      const least = 0.1 / names.length;
      expect(await quietest(0)).toBeLessThan(least);
      expect(await quietest(0.5)).toBeGreaterThan(least);
    },
  );
});
