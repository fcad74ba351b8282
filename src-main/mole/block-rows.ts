// The rows in which artists know a UNet: IN00…IN11, MID, OUT00…OUT11, one per block of the original latent-diffusion code, as
// the LoRA Block Weight extension counts them (github.com/hako-mikan/sd-webui-lora-block-weight). Other depths give other counts.

/** What the numbering depends on. */
export interface BlockShape {
  readonly layersPerBlock: number;
  /** One entry per level. */
  readonly blockOutChannels: readonly number[];
}

/**
 * Row of a UNet module by its Hugging Face path. Stable Diffusion 1.x and 2.x: `down_blocks.0.attentions.0…` is IN01,
 * `mid_block…` MID, `up_blocks.3.attentions.2…` OUT11. `conv_in` and the time embedding are IN00, `conv_out` is the last row.
 */
export function blockRowOf(module: string, { layersPerBlock, blockOutChannels }: BlockShape): string {
  const perLevel = layersPerBlock + 1;
  const row = (side: 'IN' | 'OUT', index: number): string => `${side}${String(index).padStart(2, '0')}`;
  const down = /^down_blocks\.(\d+)\.(resnets|attentions|downsamplers)\.(\d+)/.exec(module);
  if (down !== null) {
    const [level, j] = [Number(down[1]), Number(down[3])];
    return row('IN', perLevel * level + (down[2] === 'downsamplers' ? perLevel : j + 1));
  }
  const up = /^up_blocks\.(\d+)\.(resnets|attentions|upsamplers)\.(\d+)/.exec(module);
  if (up !== null) {
    const [level, j] = [Number(up[1]), Number(up[3])];
    return row('OUT', perLevel * level + (up[2] === 'upsamplers' ? perLevel - 1 : j));
  }
  if (module.startsWith('mid_block.')) return 'MID';
  return module === 'conv_out' ? row('OUT', perLevel * blockOutChannels.length - 1) : row('IN', 0);
}
