// What a picture says of itself, whoever made it: ours whole, A1111's tags as experts, ComfyUI's graph; and whatever a stranger
// may have written instead.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PictureReport } from '../../src-main/contract/pictures.ts';
import { readPicture } from '../../src-main/engine/read-picture.ts';
import { formatInfotext } from '../../src-main/formats/infotext.ts';
import { insertPngText } from '../../src-main/formats/png-text.ts';
import { encodePicture } from '../../src-main/formats/png.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'atelier-read-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const pixels = { width: 16, height: 8, rgb: new Uint8Array(16 * 8 * 3).fill(90) };
const sha256 = 'ab'.repeat(32);

async function readBytes(bytes: Uint8Array, name = 'picture.png'): Promise<PictureReport> {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return readPicture(path);
}

const readOurs = async (mole: unknown, format: 'png' | 'jpeg' | 'webp' = 'png'): Promise<PictureReport> =>
  readBytes(await encodePicture(pixels, { format }, { infotext: 'a fox\nSteps: 3, Sampler: Euler, Seed: 4', mole }));

async function readText(keyword: string, text: string): Promise<PictureReport> {
  return readBytes(insertPngText(await encodePicture(pixels, { format: 'png' }, undefined), [{ keyword, text }]));
}

describe('a picture of ours', () => {
  const settings = { prompt: 'a fox <lora:ink:1>', seed: 7, steps: 12, sampler: 'heun', schedule: 'beta', cfgScale: 5 };
  const mix = {
    mode: 'mole',
    experts: [
      { name: 'ink', sha256, weight: 0.8 },
      { name: 'fox', sha256: 'cd'.repeat(32), weight: '0.2@0.2,1@0.8', muted: true, blocks: 'INS' },
    ],
    gate: { name: 'a.mole.safetensors', sha256: 'ef'.repeat(32) },
    masks: { IN01: [true, false] },
  };

  it.each(['png', 'jpeg', 'webp'] as const)('says all of its settings and its mix, as %s', async (format) => {
    const report = await readOurs({ kind: 'generation', version: 1, settings, mix, model: { name: 'mini' } }, format);
    expect(report).toMatchObject({
      size: { width: 16, height: 8 },
      from: 'mole',
      // Experts of tags stand in the mix: they would count twice.
      settings: { ...settings, prompt: 'a fox' },
      mix: {
        mode: 'mole',
        experts: [
          { name: 'ink', hash: sha256, settings: { weight: 0.8, muted: false, solo: false } },
          { name: 'fox', settings: { weight: '0.2@0.2,1@0.8', muted: true, blocks: 'INS' } },
        ],
        gate: mix.gate,
        masks: mix.masks,
      },
      model: { name: 'mini' },
      notes: [],
    });
  });

  it('says that it was started from another one, which is not in it', async () => {
    const report = await readOurs({ settings: { ...settings, init: { strength: 0.4 } } });
    expect(report.startedFrom).toBe(0.4);
  });

  it('loses only the fields that are wrong, and says which', async () => {
    const report = await readOurs({ settings: { ...settings, steps: -3, sampler: 'magic' }, mix: { experts: 'many' } });
    expect(report.settings).toMatchObject({ seed: 7, cfgScale: 5 });
    expect(report.settings.steps).toBeUndefined();
    expect(report.notes.join(' ')).toMatch(/steps is left out.*sampler is left out.*experts could not be read/);
  });

  it('is read by its A1111 text where our part is damaged', async () => {
    const report = await readOurs(['not', 'ours']);
    expect(report).toMatchObject({ from: 'a1111', settings: { prompt: 'a fox', steps: 3, seed: 4, sampler: 'euler' } });
  });
});

describe("a picture of A1111's", () => {
  it('has its tags as experts, with weights, block weights and hashes, and the sampler by its old name', async () => {
    const report = await readText(
      'parameters',
      formatInfotext({
        prompt: 'a castle <lora:styles/ink:0.5:0.7> <lora:fox:1:lbw=INS>',
        negativePrompt: 'blurry',
        steps: 30,
        sampler: 'DPM++ 2M Karras',
        cfgScale: 6.5,
        seed: 99,
        size: { width: 512, height: 640 },
        clipSkip: 2,
        loraHashes: [{ name: 'ink', hash: 'ABCDEF012345' }],
      }),
    );
    expect(report.settings).toMatchObject({
      prompt: 'a castle',
      negativePrompt: 'blurry',
      sampler: 'dpmpp-2m',
      schedule: 'karras',
      clipSkip: 2,
      width: 512,
      height: 640,
    });
    expect(report.mix?.experts).toMatchObject([
      { name: 'styles/ink', hash: 'abcdef012345', settings: { weight: 0.7, textWeight: 0.5 } },
      { name: 'fox', settings: { weight: 1, blocks: expect.any(String) as string } },
    ]);
    expect(report.notes.join(' ')).toContain('noise was drawn on a graphics card');
  });

  it('names a sampler that is not known here, and a seed that is too large', async () => {
    const report = await readText('parameters', 'x\nSteps: 4, Sampler: LMS, Seed: 99999999999999999999, CFG scale: 7');
    expect(report.settings.sampler).toBeUndefined();
    expect(report.notes.join(' ')).toMatch(/seed is left out.*sampler LMS is not known here/);
  });
});

it("a picture of ComfyUI's has its LoRAs by name", async () => {
  const graph = {
    1: { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'base.safetensors' } },
    2: {
      class_type: 'LoraLoader',
      inputs: {
        lora_name: 'ink.safetensors',
        strength_model: 0.6,
        strength_clip: 0.4,
        model: ['1', 0],
        clip: ['1', 1],
      },
    },
    3: { class_type: 'CLIPTextEncode', inputs: { text: 'a fox', clip: ['2', 1] } },
    4: { class_type: 'EmptyLatentImage', inputs: { width: 256, height: 256, batch_size: 1 } },
    5: {
      class_type: 'KSampler',
      inputs: {
        seed: 5,
        steps: 9,
        cfg: 4,
        sampler_name: 'dpmpp_2m',
        scheduler: 'karras',
        denoise: 1,
        model: ['2', 0],
        positive: ['3', 0],
        negative: ['3', 0],
        latent_image: ['4', 0],
      },
    },
  };
  const report = await readText('prompt', JSON.stringify(graph));
  expect(report).toMatchObject({
    from: 'comfyui',
    settings: { prompt: 'a fox', steps: 9, sampler: 'dpmpp-2m', schedule: 'karras', width: 256 },
    mix: { experts: [{ name: 'ink', settings: { weight: 0.6, textWeight: 0.4 } }] },
  });
  expect(report.startedFrom).toBeUndefined();
});

describe('a file that', () => {
  it('was cut off keeps its settings, and says why its pixels are of no use', async () => {
    const whole = await encodePicture(
      { ...pixels, rgb: pixels.rgb.map((_, i) => (i * 7919) % 256) },
      { format: 'png' },
      { infotext: 'a fox\nSteps: 3, Sampler: Euler, Seed: 4', mole: { settings: { prompt: 'a fox' } } },
    );
    const report = await readBytes(whole.slice(0, whole.length - 60), 'cut.png');
    expect(report).toMatchObject({ from: 'mole', settings: { prompt: 'a fox' }, size: { width: 16, height: 8 } });
    expect(report.problem).toMatch(/^cut\.png is damaged/);
  });

  it('is no picture is refused by its name', async () => {
    await expect(readBytes(Buffer.from('hello'), 'no.png')).rejects.toThrow(/no\.png|picture/);
  });

  it('holds no settings is a picture all the same', async () => {
    const report = await readBytes(await encodePicture(pixels, { format: 'webp' }, undefined));
    expect(report).toMatchObject({ from: 'none', settings: {}, size: { width: 16, height: 8 } });
  });
});
