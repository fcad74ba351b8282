// A LoRA that our trainer wrote, in the hands of other tools: diffusers' load_lora_weights carried every layer of it, and computed
// what we compute (test/golden/trained_lora.py). Its keys and texts are what kohya's scripts and AUTOMATIC1111 read.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { trainLoraSchema } from '../../src-main/contract/training.ts';
import { openCheckpoint } from '../../src-main/engine/checkpoint.ts';
import { LoadedModel } from '../../src-main/engine/loaded-model.ts';
import { Mixture } from '../../src-main/engine/mixture.ts';
import { openExpert } from '../../src-main/engine/open-expert.ts';
import { trainLora } from '../../src-main/engine/train-lora.ts';
import { readSafetensorsHeader, readTensor } from '../../src-main/formats/safetensors.ts';
import { intTensor, type FloatTensor, type Tensor } from '../../src-main/tensor/tensor.ts';
import { relativeError } from '../support/read-golden.ts';
import { expertTolerance } from '../support/tolerances.ts';

const root = resolve(import.meta.dirname, '../..');
const golden = join(root, 'test/golden/data');
const file = join(golden, 'training/lora-by-atelier.safetensors');
let model: LoadedModel;
beforeAll(async () => {
  const checkpoint = await openCheckpoint(join(root, 'models/atelier-mini'));
  model = new LoadedModel(checkpoint, { provider: 'cpu', fusedAttention: true });
});
afterAll(() => model.release());

const read = async (name: string): Promise<Tensor> =>
  readTensor((await readSafetensorsHeader(join(golden, 'training/lora-outputs.safetensors'))).tensors.get(name)!);
const floats = async (name: string): Promise<FloatTensor> => (await read(name)) as FloatTensor;

describe('a LoRA of ours', () => {
  it.each([
    ['without', undefined],
    ['strength 1', 1],
    ['strength 0.6', 0.6],
  ] as const)('%s: both networks are what diffusers computes with it', async (name, strength) => {
    const entries = [];
    if (strength !== undefined) {
      const opened = await openExpert(file, model.checkpoint);
      expect(opened.warnings).toEqual([]);
      const expert = await opened.load();
      const fixed = { weight: () => strength, textWeight: strength, block: () => 1, muted: false, solo: false };
      entries.push({ expert, ...fixed });
    }
    model.useMixture(new Mixture(entries, { mode: 'sum' }));
    const ids = await read('input_ids');
    const states = await model.encodeText(intTensor(ids.shape, Array.from(ids.data, Number)), 0);
    const wantStates = await floats(`${name}.last_hidden_state`);
    expect(relativeError(states.data, wantStates.data)).toBeLessThan(expertTolerance.network);
    const { prediction } = await model.predict(await floats('sample'), await floats('timestep'), states);
    const want = await floats(`${name}.out_sample`);
    expect(relativeError(prediction.data, want.data)).toBeLessThan(expertTolerance.network);
    // The LoRA is heard.
    const plain = await floats('without.out_sample');
    if (strength !== undefined) expect(relativeError(plain.data, want.data)).toBeGreaterThan(0.1);
  });
});

describe('a file written today', () => {
  let folder: string;
  let path: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'atelier-trained-'));
    const settings = trainLoraSchema.parse({
      model: join(root, 'models/atelier-mini'),
      images: ['plain', 'rotated'].map((name) => join(golden, `pictures/${name}.png`)),
      caption: 'a test picture',
      trigger: 'sks',
      rank: 2,
      alpha: 1,
      targets: 'all',
      textEncoder: true,
      steps: 1,
      batch: 1,
      output: join(folder, 'lora-by-atelier.safetensors'),
    });
    const context = { signal: new AbortController().signal, emit: () => undefined };
    ({ path } = await trainLora(settings, model, context, 64e9));
  }, 120_000);
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it('has the keys, types, shapes and alphas of the one that diffusers loaded', async () => {
    const shown = async (from: string) => {
      const { tensors } = await readSafetensorsHeader(from);
      const rows = [...tensors].map(async ([name, ref]) => {
        const alpha = name.endsWith('.alpha') ? [...(await readTensor(ref)).data] : [];
        return [name, ref.dtype, ref.shape, alpha] as const;
      });
      return (await Promise.all(rows)).sort(([a], [b]) => (a < b ? -1 : 1));
    };
    expect(await shown(path)).toEqual(await shown(file));
  });

  // safetensors allows texts alone, so kohya writes numbers and booleans as Python prints them. Its networks/lora.py reads rank and
  // alpha off the tensors. A1111's extensions-builtin/Lora/network.py shows ss_output_name as the alias and takes a file for SD 2
  // where ss_v2 is "True", for SD 1 otherwise; its sd_models.py parses what starts with { as JSON, and its Lora page counts words
  // in ss_tag_frequency: {folder: {tag: number}}.
  it.each([
    ['today', () => path],
    ['loaded by diffusers', () => file],
  ])('says in its texts what kohya and A1111 look for: %s', async (_, from) => {
    const { metadata } = await readSafetensorsHeader(from());
    expect(metadata).toMatchObject({
      ss_network_module: 'networks.lora',
      ss_network_dim: '2',
      ss_network_alpha: '1',
      ss_output_name: 'lora-by-atelier',
      ss_num_train_images: '2',
    });
    for (const [key, value] of Object.entries(metadata)) expect(typeof value, key).toBe('string');
    for (const key of ['ss_network_dim', 'ss_steps', 'ss_batch_size_per_device', 'ss_seed']) {
      expect(metadata[key], key).toMatch(/^\d+$/);
    }
    expect(Number(metadata['ss_learning_rate'])).toBeGreaterThan(0);
    expect(JSON.parse(metadata['ss_tag_frequency']!)).toEqual({ '1_sks': { sks: 2, 'a test picture': 2 } });
    for (const value of Object.values(metadata)) {
      if (value.startsWith('{')) expect(() => JSON.parse(value) as unknown).not.toThrow();
    }
    expect(['True', 'False']).toContain(metadata['ss_v2']);
  });
});
