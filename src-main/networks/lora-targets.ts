// Names that adapter files use for a model's modules -> the module. Names joined by `_` cannot be split again
// ("up_blocks_1_..._to_out_0"), so every module's possible names are written down and looked up.
import type { UNetConfig } from './configs.ts';
import type { NetworkModule } from './modules.ts';
import { ldmUNetNaming } from './weight-names.ts';

/** The base model that an adapter is matched against. */
export interface AdapterTarget {
  readonly unet: readonly NetworkModule[];
  readonly textEncoder: readonly NetworkModule[];
  readonly unetConfig: Pick<UNetConfig, 'layersPerBlock' | 'upBlockTypes'>;
}

/** A module under one of its names. */
export interface NamedModule {
  readonly module: NetworkModule;
  /** Who names it so; undefined for names that several families share, which the tensors' endings tell apart. */
  readonly family?: 'kohya' | 'SimpleTuner' | 'generic' | 'PEFT' | 'ComfyUI';
}

/** All names of all modules of `target`, in diffusers' and LDM's naming. */
export function namesOfModules({ unet, textEncoder, unetConfig }: AdapterTarget): ReadonlyMap<string, NamedModule> {
  const names = new Map<string, NamedModule>();
  const ldm = ldmUNetNaming(unetConfig, '');
  for (const module of unet) {
    const { name } = module;
    const inLdm = ldm(`${name}.weight`)[0]!.key.replace(/\.weight$/, '');
    for (const path of [name, inLdm]) {
      names.set(`lora_unet_${joined(path)}`, { module, family: 'kohya' });
      names.set(`lycoris_${joined(path)}`, { module, family: 'SimpleTuner' });
      names.set(`diffusion_model.${path}`, { module, family: 'generic' });
      names.set(`model.diffusion_model.${path}`, { module, family: 'generic' });
    }
    const inProcessor = name.replace(/\.(attn[12])\.to_([qkv]|out)(\.0)?$/, '.$1.processor.to_$2');
    for (const prefix of ['', 'unet.']) {
      names.set(prefix + name, { module });
      names.set(prefix + inProcessor, { module });
    }
    for (const prefix of peftPrefixes('unet')) names.set(prefix + name, { module, family: 'PEFT' });
  }
  for (const module of textEncoder) {
    const { name } = module;
    // transformers 5 leaves `text_model.` out.
    for (const path of [name, name.replace(/^text_model\./, '')]) {
      for (const prefix of ['lora_te_', 'lora_te1_']) names.set(prefix + joined(path), { module, family: 'kohya' });
      names.set(`lycoris_text_encoder_${joined(path)}`, { module, family: 'SimpleTuner' });
      names.set(`text_encoders.clip_l.transformer.${path}`, { module, family: 'ComfyUI' });
      names.set(`text_encoder.${path}`, { module });
      names.set(path, { module });
      // The oldest diffusers: "self_attn.to_q_lora", whose ending is taken off already.
      const inProcessor = path.replace(/\.self_attn\.(q|k|v|out)_proj$/, '.self_attn.to_$1');
      names.set(`text_encoder.${inProcessor}`, { module });
      for (const prefix of peftPrefixes('text_encoder')) names.set(prefix + path, { module, family: 'PEFT' });
    }
  }
  return names;
}

const peftPrefixes = (network: string): readonly string[] => [
  'base_model.model.',
  `${network}.base_model.model.`,
  `base_model.model.${network}.`,
];

const joined = (path: string): string => path.replaceAll('.', '_');
