// The clip loss in gate training on the bundled model: its gradient through two graphs is the slope of the loss, gates are trained
// with it, and what cannot be done is refused in words. The CLIP is tiny and random: nothing here says that the loss teaches.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { generateRequestSchema } from '../../src-main/contract/generation.ts';
import { trainGateSchema, type TrainEvent, type TrainGateRequest } from '../../src-main/contract/training.ts';
import { trainingSchedule } from '../../src-main/diffusion/noise-schedule.ts';
import { openCheckpoint } from '../../src-main/engine/checkpoint.ts';
import { ClipJudge, judgedTimesteps } from '../../src-main/engine/clip-judge.ts';
import { readGateFile } from '../../src-main/engine/gate-file.ts';
import { GateLearner, type GateExpert } from '../../src-main/engine/gate-learner.ts';
import { generateImage } from '../../src-main/engine/generate-image.ts';
import { LoadedModel } from '../../src-main/engine/loaded-model.ts';
import { Mixture } from '../../src-main/engine/mixture.ts';
import { openClip } from '../../src-main/engine/open-clip.ts';
import { trainGate } from '../../src-main/engine/train-gate.ts';
import { drawBatch } from '../../src-main/engine/training-batch.ts';
import { loadTrainingImages, type TrainingImage } from '../../src-main/engine/training-images.ts';
import { TrainingSession } from '../../src-main/engine/training-session.ts';
import { textEncoderModules } from '../../src-main/networks/modules.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { drawExpert } from '../support/draw-expert.ts';
import { directionalSlope } from '../support/finite-difference.ts';
import { judgeTolerance } from '../support/tolerances.ts';
import { writeWideClip } from '../support/wide-clip.ts';

const bundled = resolve(import.meta.dirname, '../../models/atelier-mini');
const golden = resolve(import.meta.dirname, '../golden/data');
const caption = 'a red apple, noto style';
const { signal } = new AbortController();
let model: LoadedModel;
let root: string;
let pictures: string;
let clip: string;
let experts: readonly GateExpert[];
beforeAll(async () => {
  model = new LoadedModel(await openCheckpoint(bundled), { provider: 'cpu', fusedAttention: true });
  root = mkdtempSync(join(tmpdir(), 'atelier-clip-'));
  [pictures, clip] = [join(root, 'references'), join(root, 'tiny-clip')];
  for (const folder of [pictures, clip]) mkdirSync(folder);
  await writeWideClip(clip);
  const output = { folder: pictures };
  const request = generateRequestSchema.parse({
    model: bundled,
    prompt: caption,
    seed: 1,
    steps: 4,
    cfgScale: 4,
    output,
  });
  await generateImage(request, model, new Mixture([], { mode: 'sum' }), { signal, emit: () => undefined }, 64e9);
  const layers = model.unetModules.filter(({ name }) => name.includes('attn'));
  const text = textEncoderModules(model.checkpoint.textEncoder.config).filter(({ name }) => name.includes('attn'));
  experts = [1, 2].map((seed) => ({
    expert: drawExpert(seed, [...layers, ...text], { rank: 2, strength: 0.3 }),
    weight: 1,
    textWeight: 1,
    prompts: [],
  }));
});
afterAll(async () => {
  await model.release();
  rmSync(root, { recursive: true, force: true });
});
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(root, 'run-'));
});

async function trained(wish: Partial<TrainGateRequest> = {}, stopAt?: number) {
  const events: TrainEvent[] = [];
  const stop = new AbortController();
  const settings = trainGateSchema.parse({
    model: bundled,
    mix: {},
    images: [pictures],
    caption,
    steps: 4,
    batch: 1,
    loss: 'clip',
    clip,
    output: join(folder, 'gate.mole.safetensors'),
    ...wish,
  });
  const emit = (event: TrainEvent): void => {
    events.push(event);
    if (event.kind === 'update' && event.step === stopAt) stop.abort();
  };
  const outcome = await trainGate(settings, model, experts, { signal: stop.signal, emit }, 64e9);
  return { ...outcome, updates: events.filter((event) => event.kind === 'update') };
}

describe('the judge of predictions', () => {
  let judge: ClipJudge;
  let images: readonly TrainingImage[];
  beforeAll(async () => {
    const options = { images: [pictures], caption, resolution: 128, buckets: false, mirror: true };
    images = await loadTrainingImages(options, model, { warn: () => undefined, signal });
    judge = await ClipJudge.prepare(model, await openClip(clip), schedule(), images, signal);
    return () => judge.release();
  });
  const schedule = () => trainingSchedule(model.checkpoint.scheduler);
  const batchOf = (seed: number, batch = 1) => {
    const options = { batch, captionDropout: 0, timesteps: judgedTimesteps(schedule()) };
    return drawBatch(images, schedule(), new TorchGenerator(seed), options);
  };

  it('finds no distance between the reference picture and a perfect prediction, mirrored or not', async () => {
    for (const seed of [1, 2, 3, 4]) {
      const batch = batchOf(seed, 2);
      expect(Math.max(...batch.timestep.data)).toBeLessThan(500);
      const { parts } = await judge.judge(batch, batch.target);
      expect(Math.abs(parts['clip local'])).toBeLessThan(judgeTolerance.perfect);
      expect(parts['clip global']).toBeGreaterThan(0.01);
    }
  });

  it.each([
    ['the captions alone', 1],
    ['classifier-free guidance', 3],
  ])(
    'has a gradient through its own graph, the UNet and the text encoder that is the slope of the loss, under %s',
    { timeout: 120_000 },
    async (_, guidance) => {
      const spec = { granularity: 'block', form: 'pooled', amplitude: 'free', timestep: false } as const;
      const learner = new GateLearner(model, experts, spec, images);
      const session = new TrainingSession(model, learner.networks(), { balance: 0, judge });
      try {
        const batch = { ...batchOf(7), guidance };
        const start = learner.start();
        const random = new TorchGenerator(5);
        for (const values of Object.values(start)) {
          values.forEach((_, i) => (values[i] = 0.1 * random.randn([1]).data[0]!));
        }
        const at = (parameters: typeof start) => session.lossAndGradient(batch, learner.feeds(parameters));
        const { loss, parts, gradients } = learner.collect(await at(start));
        expect(loss).toBeCloseTo(parts['clip global']! + parts['clip local']!, 5);
        for (const network of ['unet/', 'text_encoder/']) {
          // Along its own gradient a function rises by the square of the gradient's length.
          const names = Object.keys(start).filter((name) => name.startsWith(network));
          const squares = names.reduce((sum, name) => sum + gradients[name]!.reduce((s, g) => s + g * g, 0), 0);
          const step = judgeTolerance.step / Math.sqrt(squares);
          const moved = async (h: Float32Array): Promise<number> => {
            const parameters = { ...start };
            for (const name of names) {
              parameters[name] = start[name]!.map((value, i) => value + h[0]! * gradients[name]![i]!);
            }
            return (await at(parameters)).loss;
          };
          const slope = await directionalSlope(moved, Float32Array.of(0), Float32Array.of(1), step);
          expect(Math.abs(slope - squares) / squares, network).toBeLessThan(judgeTolerance.slope);
        }
      } finally {
        await session.release();
      }
    },
  );
});

describe('a gate with the clip loss', () => {
  it('is trained, says so in its file, and resumes on the same curve', { timeout: 120_000 }, async () => {
    const { path, updates } = await trained();
    const { loss, parts } = updates[0]!;
    expect(Object.keys(parts)).toEqual(['clip global', 'clip local', 'balance', 'text balance']);
    const [global, local, balance, textBalance] = Object.values(parts) as [number, number, number, number];
    expect(loss).toBeCloseTo(global + local + 0.5 * (balance + textBalance), 4);
    const { gate, metadata } = await readGateFile(path);
    expect(gate.networks.unet![0]!.weight.data.some((value) => value !== 0)).toBe(true);
    expect(gate.networks.text_encoder![0]!.weight.data.some((value) => value !== 0)).toBe(true);
    expect(JSON.parse(metadata['training']!)).toMatchObject({ loss: 'clip', clip: 'tiny-clip' });

    const output = join(folder, 'again.mole.safetensors');
    const part = await trained({ output }, 2);
    expect(part.ended).toBe('cancelled');
    const rest = await trained({ output, resume: true });
    const losses = [part, rest].flatMap((run) => run.updates.map((update) => update.loss));
    expect(losses).toEqual(updates.map((update) => update.loss));
  });

  it(
    'learns on the way of drawing: from every step, each seen once, and says so in its file',
    { timeout: 120_000 },
    async () => {
      const wish = { drawing: { steps: 3, cfgScale: 4 }, steps: 5, balance: 0, textGates: false };
      const { path, updates } = await trained(wish);
      expect(updates.map(({ parts }) => Object.keys(parts))).toEqual(updates.map(() => ['clip global', 'clip local']));
      const { gate, metadata } = await readGateFile(path);
      expect(gate.networks.unet![0]!.weight.data.some((value) => value !== 0)).toBe(true);
      expect(JSON.parse(metadata['training']!)).toMatchObject({ loss: 'clip', drawing: { steps: 3, cfgScale: 4 } });
    },
  );

  it('warns that a larger batch needs more memory', { timeout: 60_000 }, async () => {
    const { warnings } = await trained({ batch: 2, steps: 1, balance: 0, textGates: false });
    expect(warnings.join()).toMatch(/decodes all 2 pictures .* --batch 1/);
  });

  it.each([
    [{ clip: undefined }, /give the folder of one with --clip/],
    [{ loss: 'denoise' }, /the loss is denoise: leave --clip out/],
    [{ minSnr: 5 }, /Leave --min-snr out/],
    [{ loss: 'distil', clip: undefined, drawing: { steps: 4 } }, /leave --drawn out, or give pictures/],
    [{ images: [] }, /The clip loss learns from pictures/],
    [{ caption: '' }, /has none\. Give --caption/],
  ] as const)('is refused with %j', async (wish, message) => {
    const refused = trained({ ...wish, images: 'images' in wish ? [] : [pictures] });
    await expect(refused).rejects.toMatchObject({
      failure: { kind: 'bad-request', message: expect.stringMatching(message) as string },
    });
  });
});

describe('a CLIP folder', () => {
  it.each([
    ['networks/tiny-sd1/text_encoder', /text half of CLIP alone/],
    ['networks/tiny-sd1/unet', /does not say what it is the config of|Expected a whole CLIP/],
    ['networks/tiny-sd1', /holds no config\.json\. Expected the folder of a CLIP model/],
    ['clip-vision/model.safetensors', /this is a file\. Expected the folder/],
    ['nowhere', /no such folder/],
    ['clip-vision', /reads 77 of 512 tokens; expected 77 of CLIP's own 49408/],
  ])('%s is refused in words', async (path, message) => {
    await expect(openClip(join(golden, path))).rejects.toThrow(message);
  });

  it('without some of its tensors is refused, naming them', async () => {
    await writeWideClip(
      folder,
      (name) => name.startsWith('vision_model.pre_layrnorm') || name === 'text_projection.weight',
    );
    await expect(openClip(folder)).rejects.toThrow(
      /image encoder lacks 2 of \d+ tensors: vision_model\.pre_layrnorm\.weight.*text encoder lacks 1 .*text_projection\.weight/,
    );
  });

  it('may say by what its pictures are normalised', async () => {
    await writeWideClip(folder);
    const file = join(folder, 'preprocessor_config.json');
    writeFileSync(file, JSON.stringify({ image_mean: [0.5, 0.5, 0.5], image_std: [0.25, 0.25, 0.25] }));
    expect((await openClip(folder)).normalisation).toEqual({ mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] });
    writeFileSync(file, JSON.stringify({ image_mean: [0.5], image_std: [0, 0, 0] }));
    await expect(openClip(folder)).rejects.toThrow(/"image_mean" is \[0\.5\], expected three numbers/);
    expect((await openClip(clip)).normalisation.mean[0]).toBeCloseTo(0.48145466);
  });
});
