// The bundled CLIP knows what teaches gates: of a drawing it tells the caption from those of other subjects and other styles.
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { trainingSchedule } from '../../src-main/diffusion/noise-schedule.ts';
import { openCheckpoint } from '../../src-main/engine/checkpoint.ts';
import { ClipJudge } from '../../src-main/engine/clip-judge.ts';
import { LoadedModel } from '../../src-main/engine/loaded-model.ts';
import { openClip } from '../../src-main/engine/open-clip.ts';
import { drawBatch } from '../../src-main/engine/training-batch.ts';
import { loadTrainingImages } from '../../src-main/engine/training-images.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';

const root = resolve(import.meta.dirname, '../..');
const { signal } = new AbortController();
let model: LoadedModel;
beforeAll(async () => {
  const checkpoint = await openCheckpoint(join(root, 'models/atelier-mini'));
  model = new LoadedModel(checkpoint, { provider: 'cpu', fusedAttention: true });
});
afterAll(() => model.release());

describe('the bundled CLIP', () => {
  it('tells the captions of drawings apart, by their subject and by their style', { timeout: 60_000 }, async () => {
    const lessons = ['cactus', 'guitar', 'sailboat', 'snail'].flatMap((subject) =>
      ['ink', 'pixel', 'blueprint', 'dusk'].map((style) => `${subject}-${style}`),
    );
    const folders = lessons.map((name) => join(root, 'assets/experts/compositions', name));
    const options = { images: folders, resolution: 128, buckets: false, mirror: false };
    const images = await loadTrainingImages(options, model, { warn: () => undefined, signal });
    const captions = new Set(images.map(({ caption }) => caption));
    expect(captions.size).toBe(lessons.length);
    const schedule = trainingSchedule(model.checkpoint.scheduler);
    const clip = await openClip(join(root, 'models/atelier-mini-clip'));
    const judge = await ClipJudge.prepare(model, clip, schedule, images, signal, { contrast: true });
    try {
      let right = 0;
      for (const image of images) {
        const batch = drawBatch([image], schedule, new TorchGenerator(1), {
          batch: 1,
          captionDropout: 0,
          timesteps: 100,
        });
        const { parts } = await judge.judge(batch, batch.target);
        // Nats of the own caption among sixteen; guessing costs ln 16 = 2.8.
        if (parts['clip contrast']! < Math.log(2)) right++;
      }
      // More than half of the belief on the right one of sixteen, for most of the drawings.
      expect(right / images.length).toBeGreaterThan(0.5);
    } finally {
      await judge.release();
    }
  });
});
