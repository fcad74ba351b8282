// Opening checkpoints: full-size names in both layouts, and what is refused, in which words.
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { openCheckpoint, openTaesd, openVae } from '../../src-main/engine/checkpoint.ts';
import { describeFile } from '../../src-main/engine/describe-file.ts';
import { readSafetensorsHeader, readTensor } from '../../src-main/formats/safetensors.ts';
import { writeSafetensors } from '../../src-main/formats/safetensors-write.ts';
import { SD15, SD21 } from '../../src-main/networks/sd-configs.ts';
import { sd15File, sd15Names, sd2File, writeSparse, type Shapes } from '../support/sparse-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'atelier-checkpoint-'));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});
const tiny = (name: string): string => resolve(import.meta.dirname, '../golden/data/networks', name);
const shared = resolve(import.meta.dirname, '../../../shared/data');

let count = 0;
const fresh = (name = 'model.safetensors'): string => {
  const own = join(folder, String(count++));
  mkdirSync(own);
  return join(own, name);
};
const sparse = (shapes: Shapes, metadata?: Readonly<Record<string, string>>): string =>
  writeSparse(fresh(), shapes, metadata);
const without = (shapes: Shapes, drop: (key: string) => boolean): Shapes =>
  Object.fromEntries(Object.entries(shapes).filter(([key]) => !drop(key)));
const isVae = (key: string): boolean => key.startsWith('first_stage_model.');

async function refusal(opening: Promise<unknown>): Promise<string> {
  const error: unknown = await opening.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(Error);
  expect(['CheckpointError', 'SafetensorsError']).toContain((error as Error).name);
  return (error as Error).message;
}

describe('one LDM file', () => {
  it('SD 1.5 full size: its configs come from its shapes', async () => {
    const path = sparse(sd15File);
    const checkpoint = await openCheckpoint(path);
    expect(checkpoint).toMatchObject({ path, name: 'model', family: 'sd1', scheduler: SD15.scheduler, warnings: [] });
    expect(checkpoint.unet.config).toEqual(SD15.unet);
    expect(checkpoint.textEncoder).toMatchObject({ config: SD15.text, padToken: 49407, skipLayers: 0 });
    expect(checkpoint.vae).toMatchObject({ kind: 'kl', config: SD15.vae, hasEncoder: true });
    expect(checkpoint.weightBytes.unet).toBe(859_520_964 * 4);
  });

  it('SD 2.1 full size: OpenCLIP without its last layer; v is assumed and said so', async () => {
    const checkpoint = await openCheckpoint(sparse(sd2File()));
    expect(checkpoint.family).toBe('sd2');
    expect(checkpoint.unet.config).toEqual(SD21.unet);
    expect(checkpoint.textEncoder).toMatchObject({ config: SD21.text, padToken: 0 });
    expect(checkpoint.scheduler.predictionType).toBe('v_prediction');
    expect(checkpoint.warnings.join()).toMatch(/v is assumed/);
  });

  it('what the UNet predicts: option, metadata, mark in the file, sidecar', async () => {
    const predictionOf = async (...args: Parameters<typeof openCheckpoint>): Promise<unknown> => {
      const { scheduler, warnings } = await openCheckpoint(...args);
      expect(warnings).toEqual([]);
      return scheduler.predictionType;
    };
    const sd2 = sd2File();
    expect(await predictionOf(sparse(sd2), { prediction: 'epsilon' })).toBe('epsilon');
    expect(await predictionOf(sparse(sd2, { 'modelspec.prediction_type': 'epsilon' }))).toBe('epsilon');
    expect(await predictionOf(sparse(sd2, { 'modelspec.architecture': 'stable-diffusion-v2-768-v' }))).toBe(
      'v_prediction',
    );
    expect(await predictionOf(sparse({ ...sd15File, v_pred: [0] }))).toBe('v_prediction');
    const path = sparse(sd2);
    writeFileSync(path.replace('.safetensors', '.yaml'), 'model:\n  params:\n    parameterization: "v"\n');
    expect(await predictionOf(path)).toBe('v_prediction');
    writeFileSync(path.replace('.safetensors', '.yaml'), 'model:\n  params:\n    linear_start: 0.00085\n');
    expect(await predictionOf(path)).toBe('epsilon');
    const { scheduler } = await openCheckpoint(sparse({ ...sd15File, ztsnr: [0] }));
    expect(scheduler.rescaleBetasZeroSnr).toBe(true);
  });

  it('without a VAE it asks for one, and takes it in any naming', async () => {
    const path = sparse(without(sd15File, isVae));
    expect(await refusal(openCheckpoint(path))).toMatch(/no VAE.*Choose a separate VAE file/);
    const bare = Object.fromEntries(
      Object.entries(sd15Names.ldm.vae).map(([key, shape]) => [key.replace('first_stage_model.', ''), shape]),
    );
    for (const shapes of [bare, sd15Names.ldm.vae, sd15Names.diffusers.vae]) {
      const vae = sparse(shapes);
      const checkpoint = await openCheckpoint(path, { vae });
      expect(checkpoint.vae).toMatchObject({ kind: 'kl', file: vae, config: SD15.vae, hasEncoder: true });
      expect(checkpoint.files).toEqual([path, vae]);
    }
    const decoder = await openVae(sparse(without(bare, (key) => /^(encoder|quant_conv)/.test(key))));
    expect(decoder).toMatchObject({ kind: 'kl', hasEncoder: false });
  });

  it('lists what is missing or misshapen, network by network', async () => {
    const message = await refusal(
      openCheckpoint(
        sparse({
          ...without(sd15File, (key) => key.includes('output_blocks.11.') || key.includes('layers.11.mlp.fc2')),
          'first_stage_model.decoder.conv_out.weight': [3, 64, 3, 3],
        }),
      ),
    );
    expect(message).toMatch(/text encoder lacks 2 of 196 tensors: text_model\.encoder\.layers\.11\.mlp\.fc2\.weight/);
    expect(message).toMatch(/UNet lacks \d+ of 686 tensors: up_blocks\.3\.resnets\.2\.norm1\.weight.* more/);
    expect(message).toMatch(
      /VAE decoder has 1 tensors of another shape: decoder\.conv_out\.weight \[3, 64, 3, 3\] instead of \[3, 128, 3, 3\]/,
    );
  });

  const conv = 'model.diffusion_model.input_blocks.0.0.weight';
  const wide = (channels: number): Shapes => ({ ...sd15File, [conv]: [320, channels, 3, 3] });
  it.each<readonly [string, Shapes, RegExp]>([
    ['inpainting', wide(9), /inpainting model/],
    ['pix2pix', wide(8), /instruct-pix2pix/],
    ['LCM', { ...sd15File, 'model.diffusion_model.time_embed.cond_proj.weight': [320, 256] }, /distilled.*LCM/],
    ['SDXL', { ...sd15File, 'conditioner.embedders.1.model.ln_final.weight': [8] }, /Stable Diffusion XL/],
    ['SDXL refiner', { ...sd15File, 'conditioner.embedders.0.model.ln_final.weight': [8] }, /refiner/],
    ['SD3', { 'model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight': [8] }, /Stable Diffusion 3/],
    ['Flux', { 'double_blocks.0.img_attn.qkv.weight': [8] }, /Flux/],
    ['Flux with prefix', { 'model.diffusion_model.double_blocks.0.img_attn.qkv.weight': [8] }, /Flux/],
    ['a UNet alone', sd15Names.diffusers.unet, /UNet of a model alone/],
    ['an LDM UNet alone', sd15Names.ldm.unet, /without its text encoder/],
    ['a VAE', sd15Names.ldm.vae, /separate VAE.*Choose it as the VAE/],
    ['a LoRA', { 'lora_unet_mid_block_attentions_0_proj_in.lora_down.weight': [4, 320] }, /LoRA.*Open it as a LoRA/],
    ['a learned word', { emb_params: [4, 768] }, /textual inversion/],
    ['a ControlNet', { 'control_model.input_hint_block.0.weight': [8] }, /ControlNet/],
    ['nothing known', { 'layer.weight': [8] }, /no model that is known/],
    ['no tensors', {}, /no model that is known/],
  ])('%s is refused by name', async (_, shapes, words) => {
    const path = sparse(shapes);
    const message = await refusal(openCheckpoint(path));
    expect(message).toMatch(words);
    expect(message).toContain(path);
  });

  it('shapes that lie are refused in words, never with another error', async () => {
    const keys = [conv, 'model.diffusion_model.input_blocks.1.0.in_layers.2.weight', 'model.diffusion_model.out.2.weight',
      'model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight',
      'cond_stage_model.transformer.text_model.embeddings.token_embedding.weight',
      'cond_stage_model.transformer.text_model.embeddings.position_embedding.weight',
      'cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight',
      'first_stage_model.decoder.conv_in.weight', 'first_stage_model.decoder.up.0.block.0.conv1.weight']; // prettier-ignore
    for (const key of keys) {
      expect(sd15File).toHaveProperty([key]);
      for (const shape of [[], [0], [1], [7, 4, 3, 3], [32, 4]]) {
        await refusal(openCheckpoint(sparse({ ...sd15File, [key]: shape })));
      }
      await refusal(openCheckpoint(sparse(without(sd15File, (name) => name === key))));
    }
  });
});

describe('a diffusers folder', () => {
  let copy: string;
  beforeEach(() => {
    copy = fresh('tiny');
    cpSync(tiny('tiny-sd1'), copy, { recursive: true });
  });
  const edit = (file: string, change: Readonly<Record<string, unknown>>): void => {
    const path = join(copy, file);
    writeFileSync(path, JSON.stringify({ ...(JSON.parse(readFileSync(path, 'utf8')) as object), ...change }));
  };
  const unetFile = (): string => join(copy, 'unet', 'diffusion_pytorch_model.safetensors');

  it('takes every value from its configs', async () => {
    const sd1 = await openCheckpoint(copy);
    expect(sd1).toMatchObject({ family: 'custom', name: 'tiny', precision: { float16: expect.any(Number) as number } });
    expect(sd1.unet.config).toMatchObject({ blockOutChannels: [16, 32, 32], numAttentionHeads: [4, 4, 4] });
    expect(sd1.textEncoder.config).toMatchObject({ hiddenSize: 32, numHiddenLayers: 3, hiddenAct: 'quick_gelu' });
    expect(sd1.textEncoder.padToken).toBe(511);
    const sd2 = await openCheckpoint(tiny('tiny-sd2'));
    expect(sd2.unet.config).toMatchObject({ numAttentionHeads: [2, 4], useLinearProjection: true });
    expect(sd2.scheduler.predictionType).toBe('v_prediction');
    expect(sd2.vae).toMatchObject({ kind: 'kl', config: { blockOutChannels: [16, 24, 32] }, hasEncoder: true });
  });

  it('pads with "!" where the tokenizer says so, as SD 2 does', async () => {
    mkdirSync(join(copy, 'tokenizer'));
    writeFileSync(join(copy, 'tokenizer', 'special_tokens_map.json'), '{"pad_token":"!"}');
    expect((await openCheckpoint(copy)).textEncoder.padToken).toBe(0);
  });

  it('reads .fp16. variants and sharded weights', async () => {
    renameSync(unetFile(), unetFile().replace('.safetensors', '.fp16.safetensors'));
    const { tensors } = await readSafetensorsHeader(unetFile().replace('.safetensors', '.fp16.safetensors'));
    const before = await openCheckpoint(copy);
    expect(before.unet.weights.ref('conv_in.weight').file).toContain('.fp16.safetensors');

    const names = [...tensors.keys()];
    const half = Math.floor(names.length / 2);
    const weight_map: Record<string, string> = {};
    for (const [index, part] of [names.slice(0, half), names.slice(half)].entries()) {
      const shard = `diffusion_pytorch_model-0000${index + 1}-of-00002.safetensors`;
      const data: Parameters<typeof writeSafetensors>[1] = Object.fromEntries(
        await Promise.all(part.map(async (name) => [name, await readTensor(tensors.get(name)!)] as const)),
      );
      await writeSafetensors(join(copy, 'unet', shard), data);
      for (const name of part) weight_map[name] = shard;
    }
    rmSync(unetFile().replace('.safetensors', '.fp16.safetensors'));
    const index = join(copy, 'unet', 'diffusion_pytorch_model.safetensors.index.json');
    writeFileSync(index, JSON.stringify({ weight_map }));
    const checkpoint = await openCheckpoint(copy);
    expect(checkpoint.files).toHaveLength(4);
    expect(checkpoint.unet.weights.ref(names[0]!).file).toContain('00001-of-00002');

    writeFileSync(index, JSON.stringify({ weight_map: { ...weight_map, x: '../../secret.safetensors' } }));
    expect(await refusal(openCheckpoint(copy))).toMatch(/names "\.\.\/\.\.\/secret\.safetensors"/);
    writeFileSync(index, JSON.stringify({ weight_map: { ...weight_map, x: 'gone.safetensors' } }));
    expect(await refusal(openCheckpoint(copy))).toMatch(/part gone\.safetensors is not in the folder/);
  });

  it('names the missing part', async () => {
    rmSync(join(copy, 'vae'), { recursive: true });
    expect(await refusal(openCheckpoint(copy))).toMatch(/lacks vae\/.*separate VAE file/);
    rmSync(join(copy, 'scheduler'), { recursive: true });
    expect(await refusal(openCheckpoint(copy))).toMatch(/lacks vae\/, scheduler\//);
    expect(await refusal(openCheckpoint(folder))).toMatch(/no model: expected a diffusers folder/);
    const single = sparse(sd15File);
    expect(await refusal(openCheckpoint(join(single, '..')))).toMatch(/open model\.safetensors itself/);
  });

  it('takes another vae folder in place of its own', async () => {
    rmSync(join(copy, 'vae'), { recursive: true });
    const checkpoint = await openCheckpoint(copy, { vae: join(tiny('tiny-sd2'), 'vae') });
    expect(checkpoint.vae.file).toContain('tiny-sd2');
  });

  it('refuses pickled weights, broken configs and other pipelines', async () => {
    renameSync(unetFile(), unetFile().replace('.safetensors', '.bin'));
    expect(await refusal(openCheckpoint(copy))).toMatch(/pickled weights.*\.safetensors version/);
    renameSync(unetFile().replace('.safetensors', '.bin'), unetFile());
    writeFileSync(join(copy, 'unet', 'config.json'), '{"act_fn":');
    expect(await refusal(openCheckpoint(copy))).toMatch(/unet.config\.json.*not JSON/);
    for (const [pipeline, words] of [
      ['StableDiffusionXLPipeline', /Stable Diffusion XL/],
      ['StableDiffusion3Pipeline', /Stable Diffusion 3/],
      ['FluxPipeline', /Flux/],
      ['StableDiffusionInpaintPipeline', /inpainting/],
    ] as const) {
      edit('model_index.json', { _class_name: pipeline });
      expect(await refusal(openCheckpoint(copy))).toMatch(words);
    }
  });

  it.each([
    ['class_embed_type', 'timestep'],
    ['time_cond_proj_dim', 256],
    ['addition_embed_type', 'text_time'],
    ['transformer_layers_per_block', [1, 2, 10]],
    ['dual_cross_attention', true],
    ['resnet_time_scale_shift', 'scale_shift'],
    ['act_fn', 'gelu'],
    ['in_channels', 9],
    ['down_block_types', ['DownBlock2D', 'AttnDownBlock2D', 'DownBlock2D']],
    ['attention_head_dim', 5],
    ['layers_per_block', 100_000],
    ['block_out_channels', 'wide'],
  ])('refuses a UNet whose %s is %j', async (name, value) => {
    edit('unet/config.json', { [name]: value });
    expect(await refusal(openCheckpoint(copy))).toMatch(name === 'in_channels' ? /inpainting/ : new RegExp(name));
  });

  it('says when config and weights do not match', async () => {
    edit('unet/config.json', { block_out_channels: [16, 32, 64] });
    expect(await refusal(openCheckpoint(copy))).toMatch(/UNet has \d+ tensors of another shape: down_blocks\.2/);
  });
});

describe('TAESD', () => {
  const file = join(shared, 'vae/taesd_decoder.fp16.safetensors');
  it.skipIf(!existsSync(file))('the real file opens for previews and as a decoder', async () => {
    expect(await openTaesd(file)).toMatchObject({ kind: 'taesd', file, hasEncoder: false });
    const checkpoint = await openCheckpoint(tiny('tiny-sd1'), { vae: file });
    expect(checkpoint.vae.kind).toBe('taesd');
    expect(checkpoint.weightBytes.vae).toBeGreaterThan(4e6);
  });
  if (!existsSync(file)) console.log(`Skipped: ${file} is not here.`);

  it('its encoder alone, and one for 16 latent channels, are refused', async () => {
    const encoder = { '0.weight': [64, 3, 3, 3], '1.conv.0.weight': [64, 64, 3, 3] };
    expect(await refusal(openTaesd(sparse(encoder)))).toMatch(/only its encoder/);
    const sd3 = { '1.weight': [64, 16, 3, 3], '3.conv.0.weight': [64, 64, 3, 3] };
    expect(await refusal(openTaesd(sparse(sd3)))).toMatch(/16 latent channels/);
    expect(await refusal(openTaesd(sparse(sd15Names.diffusers.vae)))).toMatch(/full autoencoder/);
  });
});

describe('describing files', () => {
  it('checkpoints, with what is wrong with them', async () => {
    const whole = await describeFile(sparse(sd15File, { note: '<b>hi</b>' }));
    expect(whole).toMatchObject({
      kind: 'checkpoint',
      base: 'SD 1.x',
      family: 'LDM',
      problems: [],
      metadata: { note: '<b>hi</b>' },
    });
    expect(whole.summary).toBe('A checkpoint of SD 1.x: float16, 1131 tensors, 1 066 M parameters.');
    const damaged = await describeFile(sparse(without(sd15File, isVae)));
    expect(damaged.problems.join()).toMatch(/^It has no VAE/);
    expect(await describeFile(tiny('tiny-sd2'))).toMatchObject({
      kind: 'checkpoint',
      family: 'diffusers',
      problems: [],
    });
  });

  const loras = join(shared, 'loras');
  it.skipIf(!existsSync(loras))('real LoRAs: family, base and rank', async () => {
    const reports = await Promise.all(
      readdirSync(loras)
        .filter((name) => name.endsWith('.safetensors'))
        .map((name) => describeFile(join(loras, name))),
    );
    for (const report of reports) {
      expect(report).toMatchObject({ kind: 'lora', base: 'SD 1.x', problems: [] });
      expect(report.summary).toMatch(/rank 4/);
    }
    expect(reports.map(({ family }) => family)).toEqual(['cloneofsimo', 'diffusers (processor)']);
  });

  it('files that cannot be used get a report that says why; absent ones an error', async () => {
    const path = fresh('model.ckpt');
    writeFileSync(path, 'PK\x03\x04', 'latin1');
    const report = await describeFile(path);
    expect(report.kind).toBe('unknown');
    expect(report.problems.join()).toMatch(/pickled/);
    await expect(describeFile(join(folder, 'absent'))).rejects.toThrow(/no such file/);
  });

  it('pictures, with their settings', async () => {
    const report = await describeFile(resolve(import.meta.dirname, '../golden/data/pictures/a1111.jpg'));
    expect(report.kind).toBe('picture');
    expect(report.metadata['parameters']).toMatch(/Steps: \d+/);
  });
});
