// Baking on the bundled model: a mixture without gates bakes exactly, one with gates to what its means keep.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateRequestSchema } from '../../src-main/contract/generation.ts';
import { bake, type BakeReport } from '../../src-main/engine/bake.ts';
import { openCheckpoint } from '../../src-main/engine/checkpoint.ts';
import { LoadedModel } from '../../src-main/engine/loaded-model.ts';
import { Mixture, type MixtureOptions } from '../../src-main/engine/mixture.ts';
import { readSafetensorsHeader, readTensor } from '../../src-main/formats/safetensors.ts';
import type { Expert } from '../../src-main/mole/expert.ts';
import { groupsOf, zeroParameters, type TrainedGate } from '../../src-main/mole/trained-gate.ts';
import { textEncoderModules } from '../../src-main/networks/modules.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { drawExpert } from '../support/draw-expert.ts';

const bundled = resolve(import.meta.dirname, '../../models/atelier-mini');
let model: LoadedModel;
let folder: string;
let experts: readonly Expert[];
beforeAll(async () => {
  model = new LoadedModel(await openCheckpoint(bundled), { provider: 'cpu', fusedAttention: true });
  folder = mkdtempSync(join(tmpdir(), 'atelier-bake-test-'));
  const layers = model.unetModules.filter(({ name }) => /attn|proj_in|resnets.*conv1/.test(name));
  const text = textEncoderModules(model.checkpoint.textEncoder.config);
  experts = [drawExpert(1, [...layers, ...text], { rank: 3 }), drawExpert(2, layers, { rank: 2 })];
});
afterAll(async () => {
  await model.release();
  rmSync(folder, { recursive: true, force: true });
});

async function baked(options: MixtureOptions, rank?: number): Promise<BakeReport> {
  const drawing = generateRequestSchema.parse({
    model: bundled,
    prompt: 'a red apple, noto style',
    seed: 1,
    steps: 4,
    cfgScale: 4,
    output: { folder },
  });
  const entries = experts.map((expert, i) => ({
    expert,
    weight: () => [0.9, -0.5][i]!,
    textWeight: 0.7,
    block: (row: string) => (row === 'MID' ? 0.5 : 1),
    muted: false,
    solo: false,
  }));
  const context = { signal: new AbortController().signal, emit: () => undefined };
  const request = { drawings: [drawing], rank, output: join(folder, 'baked.safetensors'), metadata: {} };
  return bake(request, model, new Mixture(entries, options), context, 64e9);
}

describe('bake', () => {
  it('without gates is the mixture itself: nothing is left out, and the picture is the same', async () => {
    const report = await baked({ mode: 'manual' });
    expect(report.gateResidual).toBe(0);
    expect(report.rankResidual).toBe(0);
    expect(report.ranks).toEqual([3, 5]);
    expect(report.pictureDifference).toBeLessThan(0.1);
  });

  it('writes one kohya file: modules with underscores, half precision, alpha equal to the rank', async () => {
    const { path, layers } = await baked({ mode: 'sum' });
    const { tensors } = await readSafetensorsHeader(path);
    expect(tensors.size).toBe(3 * layers);
    const key = 'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q';
    expect(tensors.get(`${key}.lora_down.weight`)).toMatchObject({ dtype: 'float16', shape: [5, 64] });
    expect([...(await readTensor(tensors.get(`${key}.alpha`)!)).data]).toEqual([5]);
    expect(tensors.has('lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight')).toBe(true);
    expect(tensors.get('lora_unet_mid_block_resnets_0_conv1.lora_up.weight')!.shape).toHaveLength(4);
  });

  it('reports the energy that a cut to fewer ranks leaves out', async () => {
    const report = await baked({ mode: 'sum' }, 2);
    expect(report.ranks).toEqual([2, 2]);
    expect(report.rankResidual).toBeGreaterThan(0.05);
    expect(report.rankResidual).toBeLessThan(0.8);
  });

  it('of gates that change with the steps reports what their means leave out', async () => {
    const spec = { granularity: 'block', form: 'pooled', amplitude: 'convex', timestep: true } as const;
    const groups = groupsOf(
      model.unetModules,
      experts.map(({ layers }) => layers.unet),
      spec,
    );
    const random = new TorchGenerator(4);
    const networks = {
      unet: zeroParameters(groups, spec, 2).map((group) => ({
        ...group,
        weight: random.randn(group.weight.shape),
        timestep: random.randn([32, 2]),
      })),
    };
    const gate: TrainedGate = { spec, experts: experts.map(({ name, sha256 }) => ({ name, sha256 })), networks };
    const report = await baked({ mode: 'mole', gate });
    expect(report.gateResidual).toBeGreaterThan(0.001);
    expect(report.gateResidual).toBeLessThan(0.6);
    // Convex gates of 0.9 and -0.5.
    expect(report.coefficients[0]).toBeGreaterThan(0);
    expect(report.coefficients[0]).toBeLessThan(0.9);
    expect(report.coefficients[1]).toBeLessThan(0);
  });
});
