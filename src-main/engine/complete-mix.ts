// The whole stack of a request: experts of its recipe, those named in it, and those of the tags in its prompt; with the mode that
// they call for and the masks checked against their number.
import { mixSchema, type MixSettings } from '../contract/experts.ts';
import { FailureError } from '../contract/failure.ts';
import { expertsOfPrompt } from './prompt-experts.ts';
import { readRecipe } from './recipe.ts';

export interface CompleteMix {
  /** The prompt without tags. */
  readonly prompt: string;
  /** No recipe, no folders and no mask for the whole stack any more: they are in the experts. The mode is decided. */
  readonly mix: Omit<MixSettings, 'recipe' | 'loraFolders' | 'mask'> & Required<Pick<MixSettings, 'mode'>>;
  readonly warnings: readonly string[];
}

/**
 * Resolves `mix` and the tags of `prompt`. Settings of the request win over those of its recipe. The mode is the given one;
 * else `mole` with a gate, `manual` when some expert has block weights, `sum`. Throws FailureError: the recipe's, and
 * 'bad-request' for masks and values set by hand of another length than the stack.
 */
export async function completeMix(mix: MixSettings = mixSchema.parse({}), prompt: string): Promise<CompleteMix> {
  const { recipe: file, loraFolders, mask, embeddings, ...own } = mix;
  const recipe = file === undefined ? undefined : await readRecipe(file, loraFolders);
  const tags = await expertsOfPrompt(prompt, loraFolders);
  const ofTags = mixSchema.parse({ experts: tags.experts }).experts;
  const stack = [...(recipe?.experts ?? []), ...own.experts, ...ofTags];
  const masks = own.masks ?? recipe?.masks;
  for (const [row, list] of [['', mask] as const, ...Object.entries(masks ?? {})]) {
    if (list === undefined || list.length === stack.length) continue;
    throw new FailureError({
      kind: 'bad-request',
      message:
        `The mask${row === '' ? '' : ` of ${row}`} has ${list.length} entries, but there are ${stack.length} experts: ` +
        'give one for each, in the order of the recipe, the named experts and the tags of the prompt.',
    });
  }
  const overrides = own.overrides ?? recipe?.overrides;
  for (const [row, list] of Object.entries(overrides ?? {})) {
    if (list.length === stack.length) continue;
    throw new FailureError({
      kind: 'bad-request',
      message:
        `The values set by hand in ${row} are ${list.length}, but there are ${stack.length} experts: ` +
        'give a number or null for each, in the order of the recipe, the named experts and the tags of the prompt.',
    });
  }
  const experts = mask === undefined ? stack : stack.map((expert, i) => ({ ...expert, muted: !mask[i]!, solo: false }));
  const gate = own.gate ?? recipe?.gate;
  const blocked = experts.some(({ blocks }) => blocks !== undefined);
  const mode = own.mode ?? recipe?.mode ?? (gate !== undefined ? 'mole' : blocked ? 'manual' : 'sum');
  const warnings = [...tags.warnings];
  if (mode === 'sum' && blocked) warnings.push('Block weights are left out in mode sum; mode manual uses them.');
  return {
    prompt: tags.prompt,
    mix: {
      experts,
      embeddings,
      mode,
      gate,
      masks,
      overrides,
      switchEvery: own.switchEvery ?? recipe?.switchEvery,
      np: own.np ?? recipe?.np,
    },
    warnings,
  };
}
