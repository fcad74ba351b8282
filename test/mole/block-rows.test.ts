// The rows of LoRA Block Weight against the layers of diffusers' UNet, and of a model of another depth.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { blockRowOf } from '../../src-main/mole/block-rows.ts';
import { unetModules } from '../../src-main/networks/modules.ts';
import { parseUNetConfig, SD15 } from '../../src-main/networks/sd-configs.ts';

describe('the row of a layer', () => {
  // LoRA Block Weight's names for the attentions of Stable Diffusion 1: github.com/hako-mikan/sd-webui-lora-block-weight.
  it.each([
    ['down_blocks.0.attentions', ['IN01', 'IN02']],
    ['down_blocks.1.attentions', ['IN04', 'IN05']],
    ['down_blocks.2.attentions', ['IN07', 'IN08']],
    ['down_blocks.3.resnets', ['IN10', 'IN11']],
    ['up_blocks.0.resnets', ['OUT00', 'OUT01', 'OUT02']],
    ['up_blocks.1.attentions', ['OUT03', 'OUT04', 'OUT05']],
    ['up_blocks.2.attentions', ['OUT06', 'OUT07', 'OUT08']],
    ['up_blocks.3.attentions', ['OUT09', 'OUT10', 'OUT11']],
  ])('of %s.j is %j', (block, rows) => {
    rows.forEach((row, j) => {
      expect(blockRowOf(`${block}.${j}.x`, SD15.unet)).toBe(row);
      expect(blockRowOf(`${block.replace('attentions', 'resnets')}.${j}.conv1`, SD15.unet)).toBe(row);
    });
  });

  it.each([
    ['conv_in', 'IN00'],
    ['time_embedding.linear_1', 'IN00'],
    ['down_blocks.0.downsamplers.0.conv', 'IN03'],
    ['down_blocks.2.downsamplers.0.conv', 'IN09'],
    ['mid_block.attentions.0.proj_in', 'MID'],
    ['mid_block.resnets.1.conv2', 'MID'],
    ['up_blocks.0.upsamplers.0.conv', 'OUT02'],
    ['up_blocks.2.upsamplers.0.conv', 'OUT08'],
    ['conv_out', 'OUT11'],
  ])('of %s is %s', (module, row) => {
    expect(blockRowOf(module, SD15.unet)).toBe(row);
  });

  it('counts fewer rows in the bundled model, which has three levels of one layer', () => {
    const path = resolve(import.meta.dirname, '../../models/atelier-mini/unet/config.json');
    const config = parseUNetConfig(JSON.parse(readFileSync(path, 'utf8')), path);
    const rows = new Set(unetModules(config).map(({ name }) => blockRowOf(name, config)));
    const levels = config.blockOutChannels.length;
    const each = config.layersPerBlock + 1;
    const counted = (side: string): string[] =>
      Array.from({ length: levels * each }, (_, i) => `${side}${String(i).padStart(2, '0')}`);
    expect([...rows].sort()).toEqual([...counted('IN'), 'MID', ...counted('OUT')].sort());
  });
});
