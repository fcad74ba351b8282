// A LoRA file or folder becomes an expert of a model, or is refused with what it is for and what the model needs.
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { failureOf } from '../../src-main/engine/failure-of.ts';
import { openExpert, type ExpertBase, type OpenedExpert } from '../../src-main/engine/open-expert.ts';
import { writeSafetensors } from '../../src-main/formats/safetensors-write.ts';
import { sd1TextConfig, sd1UNetConfig, sd2TextConfig, sd2UNetConfig } from '../../src-main/networks/sd-configs.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { elementCount } from '../../src-main/tensor/shape.ts';
import { floatTensor } from '../../src-main/tensor/tensor.ts';
import { denseDelta, goldenExpert, goldenExperts, tinyConfigs } from '../support/adapter-case.ts';
import { relativeError } from '../support/read-golden.ts';
import { adapterTolerance } from '../support/tolerances.ts';

const folder = mkdtempSync(join(tmpdir(), 'atelier-experts-'));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const baseOf = (name: string, { unet, textEncoder }: (typeof tinyConfigs)[keyof typeof tinyConfigs]): ExpertBase => ({
  name,
  unet: { config: unet },
  textEncoder: { config: textEncoder },
});
const tiny = baseOf('tiny', tinyConfigs['tiny-sd1']);
const sd1: ExpertBase = { name: 'v1-5', unet: { config: sd1UNetConfig }, textEncoder: { config: sd1TextConfig } };
const sd2: ExpertBase = { name: 'v2-1', unet: { config: sd2UNetConfig }, textEncoder: { config: sd2TextConfig } };

/** A file of zeros in these shapes. */
async function write(
  shapes: Readonly<Record<string, readonly number[]>>,
  metadata?: Readonly<Record<string, string>>,
): Promise<string> {
  const tensors = Object.fromEntries(
    Object.entries(shapes).map(([key, shape]) => [key, floatTensor(shape, new Float32Array(elementCount(shape)))]),
  );
  return writeSafetensors(join(folder, `${Math.random().toString(36).slice(2)}.safetensors`), tensors, metadata);
}

const attention = 'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k';
const lora = (layer: string, width: number, out: number): Readonly<Record<string, readonly number[]>> => ({
  [`${layer}.lora_down.weight`]: [1, width],
  [`${layer}.lora_up.weight`]: [out, 1],
});

async function refusal(path: string, base: ExpertBase): Promise<string> {
  const error: unknown = await openExpert(path, base).catch((thrown: unknown) => thrown);
  expect(failureOf(error)).toMatchObject({ kind: 'bad-file' });
  return (error as Error).message;
}

describe('files that are experts', () => {
  it.each(goldenExperts)('%s is loaded whole', async (name) => {
    const path = goldenExpert(`tiny-sd1/${name}.safetensors`);
    const opened = await openExpert(path, tiny);
    const { layers, sha256 } = await opened.load();
    expect(opened).toMatchObject({ path, name, warnings: [] });
    expect(layers.unet.size + layers.text_encoder.size).toBe(opened.contents.modules.length);
    expect(sha256).toBe(createHash('sha256').update(readFileSync(path)).digest('hex'));
    expect(await opened.sha256()).toBe(sha256);
    for (const { module, down, up } of [...layers.unet.values(), ...layers.text_encoder.values()]) {
      const { kind, inFeatures, outFeatures, kernel } = module;
      const rank = up.shape[1]!;
      expect(down.shape).toEqual(kind === 'conv' ? [rank, inFeatures, kernel, kernel] : [rank, inFeatures]);
      expect(up.shape).toEqual([outFeatures, rank]);
    }
  });

  it("a PEFT folder is scaled by its config: kohya's file of the same LoRA carries the same deltas", async () => {
    const opened = await openExpert(goldenExpert('tiny-sd1/peft-folder'), tiny);
    expect(opened.name).toBe('peft-folder');
    const { layers } = await opened.load();
    const same = await (await openExpert(goldenExpert('tiny-sd1/kohya-diffusers.safetensors'), tiny)).load();
    expect(layers.unet.size).toBe(26);
    for (const [name, layer] of layers.unet) {
      const error = relativeError(denseDelta(layer), denseDelta(same.layers.unet.get(name)!));
      expect(error).toBeLessThan(adapterTolerance.float32);
    }
  });

  it('what is left out is told, the rest is used', async () => {
    const doRa = lora(attention.replace('to_k', 'to_v'), 768, 320);
    const opened = await openExpert(
      await write({
        ...lora(attention, 768, 320),
        ...lora(attention.replace('to_k', 'to_q'), 320, 320),
        ...lora(attention.replace('to_k', 'to_out_0'), 320, 640),
        ...lora('lora_unet_label_emb_0_0', 16, 16),
        ...doRa,
        [`${attention.replace('to_k', 'to_v')}.dora_scale`]: [320, 1],
      }),
      sd1,
    );
    expect(opened.contents.modules).toHaveLength(2);
    expect(opened.warnings).toEqual([
      expect.stringMatching(/^1 module is DoRA, which is not supported yet/),
      expect.stringMatching(/^Left out: 1 modules that do not fit.*up is \[640, 1\], expected \[320, 1\]/),
      expect.stringMatching(/^Left out: 2 tensors that no layer of the model answers to: "lora_unet_label_emb_0_0/),
    ]);
  });

  it('metadata alone refuses nothing', async () => {
    const self = attention.replace('attn2_to_k', 'attn1_to_q');
    const path = await write(lora(self, 320, 320), { ss_base_model_version: 'sdxl_base_v1-0' });
    const opened = await openExpert(path, sd1);
    expect(opened.contents.modules).toHaveLength(1);
    expect(opened.warnings.join(' ')).toMatch(/SDXL/);
  });

  it('loading stops when it is cancelled', async () => {
    const opened: OpenedExpert = await openExpert(goldenExpert('tiny-sd1/second.safetensors'), tiny);
    await expect(opened.load({ signal: AbortSignal.abort() })).rejects.toMatchObject({ name: 'AbortError' });
  });
});

describe('a LoRA for another model is refused with what it is for and what is needed', () => {
  it.each<[string, Readonly<Record<string, readonly number[]>>, ExpertBase, RegExp]>([
    [
      'SD 2 on SD 1',
      lora(attention, 1024, 320),
      sd1,
      /for SD 2\.x: its cross-attention reads text 1024 wide\. The model "v1-5" reads text 768 wide and needs a LoRA for SD 1\.x/,
    ],
    [
      'SD 1 on SD 2',
      lora(attention, 768, 320),
      sd2,
      /for SD 1\.x: .*768 wide\. The model "v2-1" reads text 1024 wide and needs a LoRA for SD 2\.x/,
    ],
    ['SDXL', lora(attention.replace('down_blocks_0', 'down_blocks_1'), 2048, 640), sd1, /for SDXL: .*2048 wide/],
    [
      'SDXL by its second text encoder',
      lora('lora_te2_text_model_encoder_layers_0_mlp_fc1', 1280, 5120),
      sd1,
      /for SDXL/,
    ],
    ['Flux', lora('lora_unet_double_blocks_0_img_attn_qkv', 3072, 9216), sd1, /for Flux: it has layers of Flux/],
    ['SD3', lora('lora_unet_joint_blocks_0_x_block_attn_qkv', 1536, 4608), sd1, /for SD3/],
    [
      'SD 1 on a model of its own size',
      lora(attention, 768, 320),
      tiny,
      /for SD 1\.x.*needs one trained for it \(text 32 wide\)/,
    ],
    [
      'a text encoder of another width',
      lora('lora_te_text_model_encoder_layers_0_mlp_fc1', 1024, 4096),
      sd1,
      /no expert can be made of it\. 1 of its modules do not fit.*seems to be for SD 2\.x/,
    ],
  ])('%s', async (_, shapes, base, message) => {
    expect(await refusal(await write(shapes), base)).toMatch(message);
  });
});

describe('what is no LoRA is refused in words', () => {
  it.each<[string, Readonly<Record<string, readonly number[]>>, RegExp]>([
    [
      'DoRA alone',
      { ...lora(attention, 768, 320), [`${attention}.dora_scale`]: [320, 1] },
      /1 module is DoRA, which is not supported yet/,
    ],
    ['OFT alone', { [`${attention}.oft_blocks`]: [4, 80, 80] }, /OFT/],
    ['unknown names', { 'a.b.c': [2, 2] }, /1 of its tensors have names that are not known: "a\.b\.c"/],
    ['nothing', {}, /holds no tensors of a LoRA/],
    ['a textual inversion', { emb_params: [2, 768] }, /this is a textual inversion/],
    [
      'a UNet',
      { 'conv_in.weight': [320, 4, 3, 3], 'down_blocks.0.resnets.0.conv1.weight': [1] },
      /this is the UNet of a model alone, expected a LoRA/,
    ],
  ])('%s', async (_, shapes, message) => {
    expect(await refusal(await write(shapes), sd1)).toMatch(message);
  });

  it('pickled files, folders without weights, and damaged configs', async () => {
    const pickled = join(folder, 'old.pt');
    writeFileSync(pickled, Buffer.from('PK\x03\x04 archive/data.pkl'.padEnd(600)));
    expect(await refusal(pickled, tiny)).toMatch(/can run code when it is read; it is not opened/);
    const empty = join(folder, 'empty');
    mkdirSync(empty);
    expect(await refusal(empty, tiny)).toMatch(/no adapter_model\.safetensors or pytorch_lora_weights\.safetensors/);
    writeFileSync(join(empty, 'adapter_model.bin'), 'x');
    expect(await refusal(empty, tiny)).toMatch(/pickled PyTorch file \(adapter_model\.bin\)/);
    const damaged = join(folder, 'damaged');
    cpSync(goldenExpert('tiny-sd1/peft-folder'), damaged, { recursive: true });
    writeFileSync(join(damaged, 'adapter_config.json'), '{"r": 2');
    expect(await refusal(damaged, tiny)).toMatch(/PEFT config cannot be read: it is not JSON/);
    expect(await refusal(join(folder, 'none.safetensors'), tiny)).toMatch(/there is no such file/);
  });
});

it('files with any few bytes changed are experts or refused in words, and experts are finite', async () => {
  const random = new TorchGenerator(11);
  const refused: string[] = [];
  for (let round = 0; round < 200; round++) {
    const source = goldenExperts[round % goldenExperts.length]!;
    const bytes = readFileSync(goldenExpert(`tiny-sd1/${source}.safetensors`));
    const header = Number(bytes.readBigUInt64LE(0));
    // Three in the header, three in the weights.
    for (const at of random.randint(8, 8 + header, 3)) bytes[at] = 32 + (random.randint(0, 95, 1)[0] ?? 0);
    for (const at of random.randint(8 + header, bytes.length, 3)) bytes[at] = random.randint(0, 256, 1)[0] ?? 0;
    const path = join(folder, 'damaged.safetensors');
    writeFileSync(path, bytes);
    try {
      const { layers } = await (await openExpert(path, tiny)).load();
      for (const { up, down } of [...layers.unet.values(), ...layers.text_encoder.values()]) {
        expect(up.data.every(Number.isFinite) && down.data.every(Number.isFinite)).toBe(true);
      }
    } catch (error) {
      expect(failureOf(error)).toMatchObject({ kind: 'bad-file' });
      refused.push((error as Error).name);
    }
  }
  expect(new Set(refused)).toEqual(new Set(['SafetensorsError', 'ExpertError']));
});

const loras = resolve(import.meta.dirname, '../../../shared/data/loras');
const present = existsSync(loras);
if (!present) console.log('experts of real LoRAs: skipped, no LoRA files beside the repository');

it.skipIf(!present)('real files of two families become experts of SD 1.5, and of nothing else', async () => {
  for (const [name, unet, text] of [
    ['analog_svd_rank4', 144, 48],
    ['diffusers-old-processor_weapons_MIT', 128, 0],
  ] as const) {
    const path = resolve(loras, `${name}.safetensors`);
    const { layers } = await (await openExpert(path, sd1)).load();
    expect([layers.unet.size, layers.text_encoder.size]).toEqual([unet, text]);
    for (const { up, residualEnergy } of layers.unet.values()) expect([up.shape[1], residualEnergy]).toEqual([4, 0]);
    expect(await refusal(path, sd2)).toMatch(/for SD 1\.x/);
  }
});
