// LoRA training on the bundled model: it learns its pictures, writes what other tools load, and leaves the base alone.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { generateRequestSchema } from '../../src-main/contract/generation.ts';
import { trainLoraSchema, type TrainEvent, type TrainLoraRequest } from '../../src-main/contract/training.ts';
import { openCheckpoint } from '../../src-main/engine/checkpoint.ts';
import { generateImage } from '../../src-main/engine/generate-image.ts';
import { LoadedModel } from '../../src-main/engine/loaded-model.ts';
import { LoraLearner } from '../../src-main/engine/lora-learner.ts';
import { Mixture } from '../../src-main/engine/mixture.ts';
import { trainLora } from '../../src-main/engine/train-lora.ts';
import { encodePicture } from '../../src-main/formats/png.ts';
import { readSafetensorsHeader, readTensor } from '../../src-main/formats/safetensors.ts';
import { writeNew } from '../../src-main/formats/write-new.ts';

const bundled = resolve(import.meta.dirname, '../../models/atelier-mini');
let model: LoadedModel;
let pictures: string;
beforeAll(async () => {
  model = new LoadedModel(await openCheckpoint(bundled), { provider: 'cpu', fusedAttention: true });
  pictures = mkdtempSync(join(tmpdir(), 'atelier-samples-'));
  // Blue pictures with a yellow square: nothing that the base model draws.
  for (const at of [20, 50]) {
    const rgb = new Uint8Array(128 * 128 * 3);
    for (let i = 0; i < 128 * 128; i++) {
      const [x, y] = [i % 128, Math.floor(i / 128)];
      rgb.set(x > at && x < at + 50 && y > at && y < at + 50 ? [250, 220, 40] : [30, 60, 200], 3 * i);
    }
    const bytes = await encodePicture({ width: 128, height: 128, rgb }, { format: 'png' }, undefined);
    await writeNew(join(pictures, `square-${at}.png`), bytes);
  }
});
afterAll(async () => {
  await model.release();
  rmSync(pictures, { recursive: true, force: true });
});
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'atelier-lora-'));
  return () => {
    rmSync(folder, { recursive: true, force: true });
  };
});

async function trained(wish: Partial<TrainLoraRequest> = {}, stopAt?: number, availableBytes = 64e9) {
  const events: TrainEvent[] = [];
  const settings = trainLoraSchema.parse({
    model: bundled,
    images: [pictures],
    caption: 'a yellow square',
    trigger: 'sks',
    rank: 2,
    batch: 1,
    steps: 4,
    output: join(folder, 'square.safetensors'),
    ...wish,
  });
  const stop = new AbortController();
  const emit = (event: TrainEvent): void => {
    events.push(event);
    if (event.kind === 'update' && event.step === stopAt) stop.abort();
  };
  const outcome = await trainLora(settings, model, { signal: stop.signal, emit }, availableBytes);
  const losses = events.flatMap((event) => (event.kind === 'update' ? [event.loss] : []));
  return { ...outcome, losses };
}

describe('a LoRA', () => {
  it('learns its pictures', { timeout: 120_000 }, async () => {
    const { loss } = await trained({ steps: 80, batch: 2, rank: 4, learningRate: 3e-3 });
    expect(loss.last).toBeLessThan(0.8 * loss.first);
  });

  it(
    "is kohya's file: modules of the UNet, alpha, rank, base and trigger in the metadata",
    { timeout: 60_000 },
    async () => {
      const { path } = await trained({ alpha: 1 });
      const { tensors, metadata } = await readSafetensorsHeader(path);
      const key = 'lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k';
      expect(tensors.get(`${key}.lora_down.weight`)!.shape).toEqual([2, 128]);
      expect([...(await readTensor(tensors.get(`${key}.alpha`)!)).data]).toEqual([1]);
      expect(metadata).toMatchObject({
        ss_network_module: 'networks.lora',
        ss_network_dim: '2',
        ss_network_alpha: '1',
        ss_steps: '4',
        ss_num_train_images: '2',
        'modelspec.trigger_phrase': 'sks',
      });
      expect(JSON.parse(metadata['ss_tag_frequency']!)).toEqual({ '1_sks': { sks: 2, 'a yellow square': 2 } });
      expect(readdirSync(folder)).toEqual(['square.safetensors']);
    },
  );

  it.each([
    [{ targets: 'all' }],
    [{ targets: 'attention', textEncoder: true }],
    [{ minSnr: 5, optimizer: 'adam', mirror: true }],
  ] as const)('is trained with %o', { timeout: 60_000 }, async (wish) => {
    const { path } = await trained({ ...wish, steps: 3 });
    const { tensors } = await readSafetensorsHeader(path);
    const ups = [...tensors].filter(([name]) => name.endsWith('.lora_up.weight'));
    const moved = await Promise.all(
      ups.map(async ([, ref]) => (await readTensor(ref)).data.some((value) => value !== 0)),
    );
    expect(moved.every(Boolean)).toBe(true);
    expect(ups.some(([name]) => name.startsWith('lora_te_'))).toBe('textEncoder' in wish);
    expect(ups.some(([name]) => name.includes('resnets'))).toBe('targets' in wish && wish.targets === 'all');
  });

  it('with prior pictures walks another way than without', { timeout: 60_000 }, async () => {
    const plain = await trained({ steps: 3, output: join(folder, 'a.safetensors') });
    const kept = await trained({ steps: 3, priorImages: [pictures], output: join(folder, 'b.safetensors') });
    expect(kept.losses[0]).toBeGreaterThan(plain.losses[0]!);
  });

  it('stopped and resumed walks the same curve to the same file', { timeout: 60_000 }, async () => {
    const whole = await trained({ steps: 6 });
    const output = join(folder, 'again.safetensors');
    const part = await trained({ steps: 6, output }, 3);
    const rest = await trained({ steps: 6, output, resume: true });
    expect([...part.losses, ...rest.losses]).toEqual(whole.losses);
    const bytes = async (path: string): Promise<unknown> => {
      const { tensors } = await readSafetensorsHeader(path);
      return Promise.all([...tensors].map(async ([name, ref]) => [name, (await readTensor(ref)).data] as const));
    };
    expect(await bytes(rest.path)).toEqual(await bytes(whole.path));
  });

  it('learns the same with activations computed again', { timeout: 60_000 }, async () => {
    const kept = await trained({ steps: 3, output: join(folder, 'a.safetensors') });
    const again = await trained({ steps: 3, recompute: true, output: join(folder, 'b.safetensors') });
    again.losses.forEach((loss, i) => {
      expect(loss).toBeCloseTo(kept.losses[i]!, 5);
    });
  });

  it('that does not fit in memory is refused with a size that does', async () => {
    await expect(trained({ batch: 8 }, undefined, 300e6)).rejects.toMatchObject({
      failure: {
        kind: 'out-of-memory',
        message: expect.stringMatching(/batches of 8 needs about .* would fit/) as string,
      },
    });
  });

  it('before its first update draws the picture of the base model', { timeout: 60_000 }, async () => {
    const learner = new LoraLearner(model, { rank: 2, alpha: 2, targets: 'all', textEncoder: true, seed: 1 });
    const draw = async (mixture: Mixture) => {
      const request = {
        model: bundled,
        prompt: 'a dog',
        seed: 1,
        steps: 3,
        output: { folder, format: 'png', metadata: false },
      };
      const context = { signal: new AbortController().signal, emit: () => undefined };
      const { pictures: drawn } = await generateImage(
        generateRequestSchema.parse(request),
        model,
        mixture,
        context,
        64e9,
      );
      return readFileSync(drawn[0]!.path);
    };
    const expert = learner.expert(learner.start());
    const entry = { expert, weight: () => 1, textWeight: 1, block: () => 1, muted: false, solo: false };
    expect(await draw(new Mixture([entry], { mode: 'sum' }))).toEqual(await draw(new Mixture([], { mode: 'sum' })));
  });
});
