// Batches on the way of drawing, over a network that is known in closed form: what is handed out is what the sampler met.
import { describe, expect, it } from 'vitest';
import { trainingSchedule } from '../../src-main/diffusion/noise-schedule.ts';
import { DrawnBatches, ReferenceJudge, type Predict } from '../../src-main/engine/drawn-batch.ts';
import type { TrainingBatch } from '../../src-main/engine/training-batch.ts';
import type { TrainingImage } from '../../src-main/engine/training-images.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { floatTensor } from '../../src-main/tensor/tensor.ts';

const schedule = trainingSchedule({
  predictionType: 'epsilon',
  betaSchedule: 'scaled_linear',
  betaStart: 0.00085,
  betaEnd: 0.012,
  numTrainTimesteps: 1000,
  rescaleBetasZeroSnr: false,
});
const size = 4 * 8 * 8;
const image = (caption: string, stack?: number): TrainingImage => ({
  path: `${caption}.png`,
  caption,
  latents: [floatTensor([1, 4, 8, 8])],
  bucket: '8x8',
  ...(stack === undefined ? {} : { stack }),
});
/** Noise at which every picture is the constant 0.5: x_t = a/2 + s eps. */
const half: Predict = ({ sample, timestep }) => {
  const t = timestep.data[0]!;
  const alphaBar = 1 / (1 + Math.exp(2 * logSigma(t)));
  const [signal, sigma] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
  return Promise.resolve(
    floatTensor(
      sample.shape,
      sample.data.map((x) => (x - 0.5 * signal) / sigma),
    ),
  );
};
function logSigma(t: number): number {
  const of = (i: number): number => Math.log(schedule.sigmas[i]!);
  const low = Math.floor(t);
  return of(low) + (t - low) * (of(Math.min(low + 1, 999)) - of(low));
}
const all = async (drawn: DrawnBatches, count: number, predict = half): Promise<TrainingBatch[]> => {
  const random = new TorchGenerator(3);
  const batches: TrainingBatch[] = [];
  for (let i = 0; i < count; i++) batches.push(await drawn.next(random, predict));
  return batches;
};
const deviation = (values: Float32Array): number => {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length);
};

describe('batches on the way of drawing', () => {
  it('are every step of some drawings, each once, from noise to a picture', async () => {
    const drawn = new DrawnBatches([image('a fox')], schedule, { batch: 2, steps: 5, cfgScale: 4, from: 'noise' });
    const batches = await all(drawn, 20);
    const times = batches.map(({ timestep }) => timestep.data[0]!);
    const levels = [...new Set(times)].sort((a, b) => b - a);
    expect(levels).toHaveLength(5);
    for (const level of levels) expect(times.filter((time) => time === level)).toHaveLength(4);
    for (const { sample, alphaBar, timestep, captions, guidance } of batches) {
      expect([captions, guidance]).toEqual([['a fox', 'a fox'], 4]);
      expect(timestep.data[0]).toBe(timestep.data[1]);
      // What is left beside the picture is noise of the level's size: the samples are on the way that the sampler takes.
      const noise = sample.data.map((x) => x - 0.5 * Math.sqrt(alphaBar[0]!));
      expect(deviation(noise) / Math.sqrt(1 - alphaBar[0]!)).toBeCloseTo(1, 1);
      expect(sample.data.slice(0, size)).not.toEqual(sample.data.slice(size));
    }
  });

  it('are drawn under guidance by each picture’s own caption, of one stack at a time', async () => {
    const asked: string[] = [];
    const spy: Predict = (seen, captions) => {
      const branch = captions.every((caption) => caption === '') ? 'unconditional' : 'conditional';
      asked.push(`${branch}: ${captions.join(', ')}`);
      return half(seen, captions);
    };
    const drawn = new DrawnBatches([image('a fox'), image('a cat', 1)], schedule, {
      batch: 1,
      steps: 2,
      cfgScale: 3,
      from: 'noise',
    });
    const batches = await all(drawn, 40, spy);
    for (const { images, captions } of batches) expect(captions).toEqual([images[0]!.caption]);
    expect(new Set(batches.map(({ images }) => images[0]!.stack))).toEqual(new Set([undefined, 1]));
    expect(new Set(asked)).toEqual(new Set(['conditional: a fox', 'conditional: a cat', 'unconditional: ']));
    asked.length = 0;
    await all(new DrawnBatches([image('a fox')], schedule, { batch: 1, steps: 2, cfgScale: 1, from: 'noise' }), 1, spy);
    expect(new Set(asked)).toEqual(new Set(['conditional: a fox']));
  });

  it('may start from references, which a network that knows them draws again', async () => {
    const reference = { ...image('a fox'), latents: [floatTensor([1, 4, 8, 8], new Float32Array(size).fill(0.5))] };
    const options = { batch: 2, steps: 6, cfgScale: 4, from: 'references' } as const;
    const judge = new ReferenceJudge(schedule);
    for (const batch of await all(new DrawnBatches([reference], schedule, options), 30)) {
      const { sample, alphaBar, clean } = batch;
      const [signal, sigma] = [Math.sqrt(alphaBar[0]!), Math.sqrt(1 - alphaBar[0]!)];
      const noise = sample.data.map((x) => x - 0.5 * signal);
      expect(clean[0]!.data[0]).toBe(0.5);
      expect(deviation(noise) / sigma).toBeCloseTo(1, 1);
      const right = await half(batch, []);
      expect((await judge.judge(batch, right)).loss).toBeLessThan(1e-6);
    }
  });

  it('from references are judged by how far the picture is from them, with the gradient of that', async () => {
    const reference = { ...image('a fox'), latents: [new TorchGenerator(5).randn([1, 4, 8, 8])] };
    const options = { batch: 2, steps: 6, cfgScale: 4, from: 'references' } as const;
    const [batch] = await all(new DrawnBatches([reference], schedule, options), 1);
    const judge = new ReferenceJudge(schedule);
    const prediction = new TorchGenerator(6).randn(batch!.sample.shape);
    const { loss, parts, gradient } = await judge.judge(batch!, prediction);
    expect(parts).toEqual({ reference: loss });
    const along = new TorchGenerator(7).randn(batch!.sample.shape);
    const at = async (step: number): Promise<number> => {
      const moved = prediction.data.map((value, i) => value + step * along.data[i]!);
      return (await judge.judge(batch!, floatTensor(prediction.shape, moved))).loss;
    };
    // A parabola: its slope in the middle is exactly that of the chord.
    const slope = ((await at(0.1)) - (await at(-0.1))) / 0.2;
    const told = gradient.data.reduce((sum, value, i) => sum + value * along.data[i]!, 0);
    expect(Math.abs(told - slope)).toBeLessThan(1e-3 * Math.abs(slope));
  });

  it('are the same again from the same seed', async () => {
    const options = { batch: 1, steps: 2, cfgScale: 4, from: 'noise' } as const;
    const [one, other] = [0, 1].map(() => new DrawnBatches([image('a fox')], schedule, options));
    expect(await all(one!, 8)).toEqual(await all(other!, 8));
  });
});
