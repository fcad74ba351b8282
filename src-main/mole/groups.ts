// Which layers share a gate: the paper's m-, l-, b- and n-MoLE (Mixture of LoRA Experts, arXiv:2404.13628, section 5), made
// definite for Stable Diffusion's networks. A gate must be known before the first layer that it scales, so it reads what
// the experts say at its first layer, and at those beside it that are fed the same tensor (query, key and value).
import type { NetworkModule } from '../networks/modules.ts';

export const granularities = ['matrix', 'layer', 'block', 'network'] as const;
/**
 * `matrix`: every linear or convolution layer has a gate. `layer`: an attention, a feed-forward, a residual block.
 * `block`: a transformer block with its projection out (the paper's default), a residual block. `network`: one gate for all.
 */
export type Granularity = (typeof granularities)[number];

/** The layers under one gate. */
export interface GateGroup {
  /** The Hugging Face path that the members share; of a single member, its own. */
  readonly name: string;
  /** In the order in which they run. */
  readonly members: readonly NetworkModule[];
  /** Members whose expert outputs the gate reads: all are fed the same tensor. */
  readonly readers: readonly NetworkModule[];
  /** D: the sum of the readers' output widths. */
  readonly width: number;
}

/** Groups of `modules`, the layers that some expert targets in the order in which they run. Every module is in one group. */
export function gateGroups(modules: readonly NetworkModule[], granularity: Granularity): readonly GateGroup[] {
  const members = new Map<string, NetworkModule[]>();
  for (const module of modules) {
    const name = groupName(module, granularity);
    const group = members.get(name);
    if (group === undefined) members.set(name, [module]);
    else group.push(module);
  }
  return [...members].map(([name, group]) => {
    const input = inputOf(group[0]!.name);
    const readers = group.filter((module) => inputOf(module.name) === input);
    return { name, members: group, readers, width: readers.reduce((sum, { outFeatures }) => sum + outFeatures, 0) };
  });
}

function groupName({ network, name }: NetworkModule, granularity: Granularity): string {
  switch (granularity) {
    case 'matrix':
      return name;
    case 'network':
      return network;
    case 'layer':
      return (/^.*\.(?:attn[12]|ff|self_attn|mlp|resnets\.\d+)(?=\.)|^time_embedding(?=\.)/.exec(name) ?? [name])[0];
    case 'block': {
      // The projection in comes before the block's own input, so it cannot wait for the block's gate: it has one of its own.
      const block = /^(.*\.attentions\.\d+)\.(?:transformer_blocks|proj_out)\b/.exec(name)?.[1];
      return (
        block ?? (/^.*\.(?:encoder\.layers\.\d+|resnets\.\d+)(?=\.)|^time_embedding(?=\.)/.exec(name) ?? [name])[0]
      );
    }
  }
}

/** Modules that are fed the same tensor have the same answer: query, key and value of self-attention, key and value of the text. */
function inputOf(name: string): string {
  return name.replace(/\.(?:to_[qkv]|[qkv]_proj)$/, (part) =>
    name.includes('.attn2.') && part === '.to_q' ? '.to_q' : '.qkv',
  );
}
