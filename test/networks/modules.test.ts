// Which layers a LoRA may target: counted against what kohya's trainer targets in Stable Diffusion 1.5, and against shapes.
import { describe, expect, it } from 'vitest';
import { textEncoderModules, unetModules } from '../../src-main/networks/modules.ts';
import { clipTextParameters, unetParameters } from '../../src-main/networks/parameter-shapes.ts';
import { SD15, SD21 } from '../../src-main/networks/sd-configs.ts';

describe('modules of Stable Diffusion', () => {
  it('1.5 has the 192 UNet and 72 text layers that kohya trains by default (Transformer2DModel, CLIPAttention, CLIPMLP)', () => {
    const inTransformers = unetModules(SD15.unet).filter(({ name }) => name.includes('.attentions.'));
    expect(inTransformers).toHaveLength(192);
    expect(textEncoderModules(SD15.text)).toHaveLength(72);
  });

  it.each([
    ['1.5', SD15],
    ['2.1', SD21],
  ])('%s: every weight with two axes or more is the weight of one module, of its shape', (_, configs) => {
    for (const [modules, shapes] of [
      [unetModules(configs.unet), unetParameters(configs.unet)],
      [textEncoderModules(configs.text), clipTextParameters(configs.text)],
    ] as const) {
      const weights = [...shapes].filter(([name, shape]) => shape.length > 1 && !name.includes('.embeddings.'));
      const ours = modules.map(({ name, kind, inFeatures, outFeatures, kernel }) => [
        `${name}.weight`,
        kind === 'linear' ? [outFeatures, inFeatures] : [outFeatures, inFeatures, kernel, kernel],
      ]);
      expect(new Map(ours as [string, number[]][])).toEqual(new Map(weights));
      expect(ours).toHaveLength(weights.length);
    }
  });

  it('come in the order in which they run', () => {
    const names = unetModules(SD15.unet).map(({ name }) => name);
    const at = (part: string): number => names.findIndex((name) => name.startsWith(part));
    expect(at('mid_block')).toBeGreaterThan(at('down_blocks.3'));
    expect(at('up_blocks.0')).toBeGreaterThan(at('mid_block'));
  });
});
