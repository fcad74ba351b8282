// Names and shapes of full-size models against lists that diffusers and transformers made, in all namings.
import { describe, expect, it } from 'vitest';
import type { TensorRef } from '../../src-main/graph/ir.ts';
import { CheckpointError } from '../../src-main/networks/checkpoint-error.ts';
import {
  checkWeights,
  clipTextParameters,
  parameterCount,
  taesdDecoderParameters,
  unetParameters,
  vaeParameters,
  type ParameterShapes,
} from '../../src-main/networks/parameter-shapes.ts';
import { SD15, SD21 } from '../../src-main/networks/sd-configs.ts';
import {
  diffusersNaming,
  diffusersVaeNaming,
  ldmUNetNaming,
  ldmVaeNaming,
  openClipNaming,
  taesdNaming,
  transformersClipNaming,
  weightSource,
  type Naming,
} from '../../src-main/networks/weight-names.ts';
import { sd15Names as sd15, sd2Names as sd2, type Shapes } from '../support/sparse-model.ts';

/** Float16 tensors of these shapes, one after the other in a file that need not be there. */
function tensorsOf(shapes: Shapes): Map<string, TensorRef> {
  let offset = 0;
  return new Map(
    Object.entries(shapes).map(([name, shape]) => {
      const length = 2 * shape.reduce((product, size) => product * size, 1);
      const ref: TensorRef = { file: '/model.safetensors', dtype: 'float16', shape, offset, length };
      offset += length;
      return [name, ref];
    }),
  );
}

const vaeOf = (config: typeof SD15.vae): ParameterShapes =>
  new Map([...vaeParameters(config, 'encoder'), ...vaeParameters(config, 'decoder')]);

const models = [
  ['SD 1.5', sd15.diffusers, SD15],
  ['SD 2.1', sd2.diffusers, SD21],
] as const;

describe.each(models)('%s in diffusers names', (_, names, configs) => {
  const withPrefix = (shapes: Shapes): Shapes =>
    Object.fromEntries(
      Object.entries(shapes)
        .filter(([name]) => !name.endsWith('position_ids'))
        .map(([name, shape]) => [name.startsWith('text_model.') ? name : `text_model.${name}`, shape]),
    );

  it('the parameters we ask for are those that diffusers has, in its shapes', () => {
    expect(Object.fromEntries(unetParameters(configs.unet))).toEqual(names.unet);
    expect(Object.fromEntries(vaeOf(configs.vae))).toEqual(names.vae);
    expect(Object.fromEntries(clipTextParameters(configs.text))).toEqual(withPrefix(names.text_encoder));
  });

  it('every one is found, the text encoder with and without text_model.', () => {
    const none = { missing: [], misshapen: [] };
    const check = (shapes: Shapes, naming: Naming, expected: ParameterShapes): unknown =>
      checkWeights(weightSource('network', 'f', tensorsOf(shapes), naming), expected);
    expect(check(names.unet, diffusersNaming(), unetParameters(configs.unet))).toEqual(none);
    expect(check(names.vae, diffusersVaeNaming(), vaeOf(configs.vae))).toEqual(none);
    const bare = Object.fromEntries(
      Object.entries(withPrefix(names.text_encoder)).map(([name, shape]) => [name.replace('text_model.', ''), shape]),
    );
    const text = clipTextParameters(configs.text);
    expect(check(withPrefix(names.text_encoder), transformersClipNaming(), text)).toEqual(none);
    expect(check(bare, transformersClipNaming(), text)).toEqual(none);
  });
});

describe('SD 1.5 in one LDM file', () => {
  const cases = [
    ['unet', ldmUNetNaming(SD15.unet), unetParameters(SD15.unet)],
    ['vae', ldmVaeNaming(SD15.vae), vaeOf(SD15.vae)],
    ['text_encoder', transformersClipNaming('cond_stage_model.transformer.'), clipTextParameters(SD15.text)],
  ] as const;
  it.each(cases)('%s: each parameter has its own tensor, and none is left over', (part, naming, expected) => {
    const tensors = tensorsOf(sd15.ldm[part]);
    const source = weightSource(part, 'f', tensors, naming);
    expect(checkWeights(source, expected)).toEqual({ missing: [], misshapen: [] });
    const used = new Set([...expected.keys()].map((name) => source.ref(name).offset));
    expect(used.size).toBe(expected.size);
    const unused = [...tensors].filter(([, { offset }]) => !used.has(offset)).map(([key]) => key);
    expect(unused.filter((key) => !key.endsWith('position_ids'))).toEqual([]);
  });
});

describe('SD 2 in one LDM file', () => {
  const cases = [
    ['unet', ldmUNetNaming(SD21.unet)],
    ['vae', ldmVaeNaming(SD21.vae)],
    ['text_encoder', openClipNaming('cond_stage_model.model.')],
  ] as const;
  it.each(cases)("%s: the names are those that diffusers' converter takes", (part, naming) => {
    for (const [name, [key, third]] of Object.entries(sd2.ldm[part])) {
      const full = part === 'text_encoder' && !name.startsWith('text_model.') ? `text_model.${name}` : name;
      expect(naming(full)[0], name).toEqual(third === -1 ? { key } : { key, third });
    }
    const count = part === 'text_encoder' ? clipTextParameters(SD21.text) : undefined;
    if (count !== undefined) expect(Object.keys(sd2.ldm[part]).length).toBeGreaterThanOrEqual(count.size);
  });

  it('query, key and value are rows of the fused tensor, in place', () => {
    const tensors = tensorsOf({ before: [7], 'm.transformer.resblocks.3.attn.in_proj_weight': [12, 4] });
    const source = weightSource('text encoder', 'f', tensors, openClipNaming('m.'));
    const at = (part: string): TensorRef => source.ref(`text_model.encoder.layers.3.self_attn.${part}_proj.weight`);
    expect(at('q')).toMatchObject({ shape: [4, 4], offset: 14, length: 32 });
    expect(at('k')).toMatchObject({ shape: [4, 4], offset: 14 + 32, length: 32 });
    expect(at('v')).toMatchObject({ shape: [4, 4], offset: 14 + 64, length: 32 });
  });
});

describe('other namings', () => {
  it("2022's attention names of the autoencoder", () => {
    const old = Object.fromEntries(
      Object.entries(sd15.diffusers.vae).map(([name, shape]) => [
        name.replace('to_q', 'query').replace('to_k', 'key').replace('to_v', 'value').replace('to_out.0', 'proj_attn'),
        shape,
      ]),
    );
    const source = weightSource('VAE', 'f', tensorsOf(old), diffusersVaeNaming());
    expect(checkWeights(source, vaeOf(SD15.vae))).toEqual({ missing: [], misshapen: [] });
  });

  it('TAESD: bare, behind its name, and as AutoencoderTiny, which counts from one less', () => {
    const expected = taesdDecoderParameters();
    const named = (rename: (name: string) => string): Shapes =>
      Object.fromEntries([...expected].map(([name, shape]) => [rename(name), shape]));
    const tiny = (name: string): string => `decoder.layers.${name.replace(/^\d+/, (n) => String(Number(n) - 1))}`;
    for (const rename of [(n: string) => n, (n: string) => `decoder.${n}`, (n: string) => `taesd_decoder.${n}`, tiny]) {
      const source = weightSource('TAESD decoder', 'f', tensorsOf(named(rename)), taesdNaming('decoder'));
      expect(checkWeights(source, expected)).toEqual({ missing: [], misshapen: [] });
    }
  });

  it('a missing tensor is named with the file, what was looked for, and its neighbours', () => {
    const rest = Object.fromEntries(Object.entries(sd15.diffusers.unet).filter(([name]) => name !== 'conv_in.weight'));
    const source = weightSource('UNet', '/models/a.safetensors', tensorsOf(rest), diffusersNaming());
    expect(() => source.ref('conv_in.weight')).toThrow(CheckpointError);
    expect(() => source.ref('conv_in.weight')).toThrow(
      /a\.safetensors: the UNet lacks the tensor "conv_in.weight".*"conv_/,
    );
    expect(source.has('conv_in.weight')).toBe(false);
  });

  it('full-size models have the parameters that are published for them', () => {
    const millions = (shapes: ParameterShapes): number => Math.round(parameterCount(shapes) / 1e6);
    expect(millions(unetParameters(SD15.unet))).toBe(860);
    expect(millions(unetParameters(SD21.unet))).toBe(866);
    expect(millions(clipTextParameters(SD15.text))).toBe(123);
    expect(millions(vaeOf(SD15.vae))).toBe(84);
  });
});
