// The base model of adapters of every family, told by names and widths. Widths are those of the models themselves:
// SD 1.5 reads text 768 wide, SD 2.1 1024, SDXL 2048 (their configs on Hugging Face).
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readSafetensorsHeader } from '../../src-main/formats/safetensors.ts';
import type { TensorRef } from '../../src-main/graph/ir.ts';
import { adapterBase } from '../../src-main/networks/lora-base.ts';

const tensors = (shapes: Readonly<Record<string, readonly number[]>>): ReadonlyMap<string, TensorRef> =>
  new Map(
    Object.entries(shapes).map(([name, shape]) => [name, { file: 'x', dtype: 'float16', shape, offset: 0, length: 0 }]),
  );

const attention = 'down_blocks.0.attentions.0.transformer_blocks.0';
const kohya = `lora_unet_${attention.replaceAll('.', '_')}_attn2_to_k`;
const clip = 'text_model_encoder_layers_0_self_attn_q_proj';

describe('the width of the text that cross-attention reads', () => {
  it.each<[string, Readonly<Record<string, readonly number[]>>]>([
    ['kohya', { [`${kohya}.lora_down.weight`]: [4, 768] }],
    ['kohya, LDM names', { 'lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_v.lora_down.weight': [4, 768] }],
    ['attention processors', { [`${attention}.attn2.processor.to_k_lora.down.weight`]: [4, 768] }],
    ['diffusers', { [`unet.${attention}.attn2.to_k.lora.down.weight`]: [4, 768] }],
    ['PEFT', { [`unet.${attention}.attn2.to_k.lora_A.weight`]: [4, 768] }],
    ['raw PEFT', { [`base_model.model.${attention}.attn2.to_k.lora_A.default.weight`]: [4, 768] }],
    ['SimpleTuner', { [`lycoris_${attention.replaceAll('.', '_')}_attn2_to_k.lora_down.weight`]: [4, 768] }],
    ['generic', { 'diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.lora_A.weight': [4, 768] }],
    ['LoHa', { [`${kohya}.hada_w1_a`]: [320, 4], [`${kohya}.hada_w1_b`]: [4, 768] }],
    ['LoKr whole', { [`${kohya}.lokr_w1`]: [8, 8], [`${kohya}.lokr_w2`]: [40, 96] }],
    [
      'LoKr in factors',
      { [`${kohya}.lokr_w1`]: [8, 16], [`${kohya}.lokr_w2_a`]: [40, 4], [`${kohya}.lokr_w2_b`]: [4, 48] },
    ],
    ['full', { [`${kohya}.diff`]: [320, 768] }],
    ['GLoRA', { [`${kohya}.a1.weight`]: [768, 4], [`${kohya}.a2.weight`]: [4, 768] }],
    [
      'cloneofsimo',
      {
        'unet:0:down': [4, 320],
        'unet:0:up': [320, 4],
        'unet:1:down': [4, 768],
        'unet:1:up': [320, 4],
        'unet:2:down': [4, 320],
        'unet:2:up': [2560, 4],
        'unet:3:down': [4, 768],
        'unet:3:up': [640, 4],
        'text_encoder:0:down': [4, 768],
      },
    ],
  ])('768 means SD 1.x: %s', (_, shapes) => {
    expect(adapterBase(tensors(shapes))).toEqual({
      model: 'sd1',
      name: 'SD 1.x',
      textWidth: 768,
      evidence: 'its cross-attention reads text 768 wide',
      warnings: [],
    });
  });

  it('1024 is SD 2.x, 2048 SDXL, 1280 its refiner, another width a model of its own size', () => {
    const at = (width: number) => adapterBase(tensors({ [`${kohya}.lora_down.weight`]: [4, width] }));
    expect(at(1024)).toMatchObject({ model: 'sd2', name: 'SD 2.x' });
    expect(at(2048)).toMatchObject({ model: 'other', name: 'SDXL' });
    expect(at(1280)).toMatchObject({ model: 'other', name: 'SDXL refiner' });
    expect(at(128)).toMatchObject({ model: 'custom', name: 'a model of its own size (text 128 wide)', textWidth: 128 });
  });
});

describe('what is told without a cross-attention', () => {
  it.each([
    ['lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight', 'Flux'],
    ['transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight', 'Flux'],
    ['lora_unet_joint_blocks_0_context_block_attn_qkv.lora_down.weight', 'SD3'],
    ['transformer.transformer_blocks.18.attn.add_k_proj.lora_A.weight', 'SD3'],
    ['transformer.transformer_blocks.18.attn.to_q.lora_A.weight', 'SD3 or Flux'],
    ['transformer.transformer_blocks.3.img_mlp.net.2.lora_A.weight', 'Qwen-Image'],
    ['diffusion_model.blocks.7.cross_attn.k.lora_A.weight', 'Wan'],
    ['transformer.transformer_blocks.3.attn2.to_k.lora_A.weight', 'PixArt'],
    ['lora_unet_down_blocks_2_attentions_0_transformer_blocks_9_attn1_to_k.lora_down.weight', 'SDXL'],
    ['lora_unet_middle_block_1_transformer_blocks_3_attn1_to_k.lora_down.weight', 'SDXL'],
    [`lora_te2_${clip}.lora_down.weight`, 'SDXL'],
    ['unet.down_blocks.0.motion_modules.0.temporal_transformer_blocks.0.attn1.to_q.lora_A.weight', 'a video model'],
    ['base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight', 'a language model'],
  ])('%s is of %s', (name, base) => {
    const found = adapterBase(tensors({ [name]: [4, 320] }));
    expect(found.model).toBe('other');
    expect(found.name).toContain(base);
    expect(found.evidence).toContain(name.slice(0, 60));
  });

  it("the text encoder's width, where SD 1's is also SDXL's first: there, metadata decides", () => {
    const text = (width: number) => tensors({ [`lora_te_${clip}.lora_down.weight`]: [4, width] });
    expect(adapterBase(text(768))).toMatchObject({ name: 'SD 1.x', evidence: 'its text encoder is 768 wide' });
    expect(adapterBase(text(1024))).toMatchObject({ model: 'sd2' });
    const sdxl = { ss_base_model_version: 'sdxl_base_v1-0' };
    expect(adapterBase(text(768), sdxl)).toMatchObject({ name: 'SDXL', warnings: [] });
    expect(adapterBase(tensors({ 'text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.down.weight': [4, 768] })).name).toBe('SD 1.x'); // prettier-ignore
  });

  it('self-attention alone says nothing; then metadata is believed with a warning', () => {
    const shapes = tensors({ [`${kohya.replace('attn2', 'attn1')}.lora_down.weight`]: [4, 320] });
    expect(adapterBase(shapes)).toEqual({ model: 'unknown', evidence: 'nothing in it says so', warnings: [] });
    const told = adapterBase(shapes, { ss_v2: 'True' });
    expect(told).toMatchObject({ model: 'sd2', evidence: 'its metadata' });
    expect(told.warnings.join()).toMatch(/SD 2\.x, is what its metadata says \(ss_v2 "True"\)/);
  });
});

describe('metadata is a second opinion', () => {
  const sd1 = tensors({ [`${kohya}.lora_down.weight`]: [4, 768] });

  it.each([
    [{ ss_base_model_version: 'sdxl_base_v1-0' }, 'SDXL'],
    [{ ss_base_model_version: 'sd_v2_v' }, 'SD 2.x'],
    [{ ss_v2: 'True' }, 'SD 2.x'],
    [{ 'modelspec.architecture': 'stable-diffusion-xl-v1-base/lora' }, 'SDXL'],
    [{ 'modelspec.architecture': 'Flux.1-dev/lora' }, 'Flux'],
  ])('%j against SD 1.x tensors: the tensors count, the difference is a warning', (metadata, said) => {
    const { name, warnings } = adapterBase(sd1, metadata);
    expect(name).toBe('SD 1.x');
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain(`Its metadata says ${said}`);
  });

  it('agreement, kohya\'s "False", a missing and an unknown value are no warning', () => {
    for (const metadata of [
      { ss_base_model_version: 'sd_v1', ss_v2: 'False' },
      { 'modelspec.architecture': 'stable-diffusion-v1/lora' },
      { ss_base_model_version: 'None' },
      {},
    ] as Record<string, string>[]) {
      expect(adapterBase(sd1, metadata)).toMatchObject({ name: 'SD 1.x', warnings: [] });
    }
  });

  it('a hostile value is shortened and escaped in the warning', () => {
    const [warning] = adapterBase(sd1, { ss_base_model_version: `sdxl_\u001b[2J${'x'.repeat(1e6)}` }).warnings;
    expect(warning!.length).toBeLessThan(300);
    expect(warning).not.toContain('\u001b');
  });
});

const loras = resolve(import.meta.dirname, '../../../shared/data/loras');
const present = existsSync(loras);
if (!present) console.log('bases of real LoRAs: skipped, no LoRA files beside the repository');

it.skipIf(!present)('real files, numbered and named by processor, are for SD 1.x', async () => {
  for (const name of ['analog_svd_rank4', 'diffusers-old-processor_weapons_MIT']) {
    const header = await readSafetensorsHeader(resolve(loras, `${name}.safetensors`));
    expect(adapterBase(header.tensors, header.metadata)).toMatchObject({ model: 'sd1', textWidth: 768, warnings: [] });
  }
});
