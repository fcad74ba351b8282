// The flags that say which experts speak and how they are mixed, shared by the commands that run a model.
import { resolve } from 'node:path';
import { mixModes, type ExpertRequest, type MixMode, type MixRequest } from '../contract/experts.ts';
import { nearest, UsageError, type Flags, type ParsedArguments } from './arguments.ts';

export const expertFlags: Flags = {
  expert: {
    type: 'string',
    value: 'FILE[:W[:TE]]',
    repeats: true,
    help: 'a LoRA, its weight and its weight in the text encoder; may be repeated (see below)',
  },
  mode: { type: 'string', value: 'NAME', help: `${mixModes.join(', ')} (default: mole with --gate, else sum)` },
  gate: { type: 'string', value: 'FILE', help: 'a gate file that mixes the experts it was trained for' },
  mask: {
    type: 'string',
    value: '1,0,..',
    repeats: true,
    help: 'who speaks, in the order of the experts; MID=1,0 for one row of the UNet, may be repeated',
  },
  override: {
    type: 'string',
    value: 'MID=0.5,-',
    repeats: true,
    help: "what each expert says in a row, - leaves it to the gate; BASE is the text encoder's row; may be repeated",
  },
  recipe: { type: 'string', value: 'FILE', help: 'a saved mix: experts, weights, mode, masks and gate' },
  'lora-dir': {
    type: 'string',
    value: 'DIR',
    repeats: true,
    help: 'where <lora:name:0.8> tags and the files of recipes are looked for, sub-folders too; may be repeated',
  },
  embedding: {
    type: 'string',
    value: 'FILE',
    repeats: true,
    help: 'a textual-inversion file; its name is a word of the prompt; may be repeated',
  },
  'switch-every': { type: 'string', value: 'N', help: 'steps between experts in mode switch (default 5)' },
  mu: { type: 'string', value: 'X', help: "mode np: how softly the style keeps out of the subject's directions" },
};

/** Lines for a command's help. */
export const expertNotes: readonly string[] = [
  'Experts:',
  '  --expert ink.safetensors:0.8              weight 0.8 in the UNet and in the text encoder',
  '  --expert ink.safetensors:0.8:0            not in the text encoder',
  '  --expert ink.safetensors:0.2@0.2,1@0.8    0.2 until a fifth of the steps, rising to 1 at four fifths',
  '  --expert ink.safetensors:1:lbw=OUTALL     block weights (17 or 26 numbers or a preset), for mode manual',
  '  --expert ink.safetensors:1:start=5:stop=15',
  '  --expert cat.safetensors:1:unguided=0.5   half of it in the unguided branch: guidance leads toward the cat',
];

/** Flags by the fields of the mix, for messages. */
const flagOfField: Readonly<Record<string, string>> = {
  experts: '--expert',
  masks: '--mask',
  overrides: '--override',
  loraFolders: '--lora-dir',
  embeddings: '--embedding',
  switchEvery: '--switch-every',
  'np.mu': '--mu',
};

/** What a field of the mix is called on the command line: `experts.0.weight` is `--expert (weight)`. */
export function mixFlagName(field: string): string {
  const known = flagOfField[field];
  if (known !== undefined) return known;
  const [first, ...rest] = field.split('.');
  const part = rest.at(-1);
  const flag = flagOfField[first!] ?? `--${first!}`;
  return part === undefined || /^\d+$/.test(part) ? flag : `${flag} (${part})`;
}

/** The mix that the flags describe; undefined when none is given. Throws UsageError. */
export function mixOf(args: ParsedArguments): MixRequest | undefined {
  const paths = (name: string): string[] => args.texts(name).map((path) => resolve(path));
  const path = (name: string): string | undefined => paths(name).at(-1);
  const { mask, masks } = masksOf(args.texts('mask'));
  const mu = args.number('mu');
  const mix = {
    experts: args.texts('expert').map((text) => {
      const { path: file, ...rest } = parseExpert(text);
      return { path: resolve(file), ...rest };
    }),
    mode: modeOf(args.text('mode')),
    mask,
    masks,
    overrides: overridesOf(args.texts('override')),
    gate: path('gate'),
    recipe: path('recipe'),
    loraFolders: paths('lora-dir'),
    embeddings: paths('embedding'),
    switchEvery: args.number('switch-every'),
    np: mu === undefined ? undefined : { mu },
  };
  const given = Object.entries(mix).filter(([, value]) =>
    Array.isArray(value) ? value.length > 0 : value !== undefined,
  );
  return given.length === 0 ? undefined : Object.fromEntries(given);
}

/**
 * Reads `FILE[:weight[:te-weight]]`, with block weights and windows by name. It is read from the right, so that a colon in
 * FILE, such as a Windows drive's, stays its own. Throws UsageError.
 */
export function parseExpert(text: string): ExpertRequest {
  const parts = text.split(':');
  const weights: string[] = [];
  const windows: string[] = [];
  let blocks: string | undefined;
  let unguided: string | undefined;
  while (parts.length > 1) {
    const part = parts.at(-1)!;
    const [, key, value] = /^(lbw|start|stop|step|unguided)=(.*)$/i.exec(part) ?? [];
    if (key?.toLowerCase() === 'lbw') blocks = value!;
    else if (key?.toLowerCase() === 'unguided') unguided = value!;
    else if (key !== undefined) windows.unshift(part);
    else if (/^\s*[+-]?\.?\d[\d.eE+,;@\s-]*$/.test(part)) weights.unshift(part.trim());
    else break;
    parts.pop();
  }
  const path = parts.join(':');
  const [, wrong] = /\.safetensors:(.*)$/i.exec(path) ?? [];
  if (wrong !== undefined) {
    throw new UsageError(
      `--expert ${text}: "${wrong}" is no weight. Write a number, such as 0.8, or weights at fractions of the steps, such as 0.2@0.2,1@0.8.`,
    );
  }
  if (path.trim() === '') throw new UsageError(`--expert ${text} names no file.`);
  const [weight, textWeight, ...more] = weights;
  if (more.length > 0) {
    throw new UsageError(
      `--expert ${text} has ${weights.length} weights; write FILE, FILE:weight or FILE:weight:te-weight.`,
    );
  }
  if (textWeight !== undefined && Number.isNaN(Number(textWeight))) {
    throw new UsageError(
      `--expert ${text}: the text encoder reads the prompt once, so "${textWeight}" must be one number.`,
    );
  }
  if (unguided !== undefined && (unguided.trim() === '' || Number.isNaN(Number(unguided)))) {
    throw new UsageError(`--expert ${text}: unguided must be a number such as 0.5, not "${unguided}".`);
  }
  return {
    path,
    ...(weight === undefined && windows.length === 0 ? {} : { weight: weightOf(weight ?? '1', windows) }),
    ...(textWeight === undefined ? {} : { textWeight: Number(textWeight) }),
    ...(blocks === undefined ? {} : { blocks }),
    ...(unguided === undefined ? {} : { unguided: Number(unguided) }),
  };
}

const weightOf = (weight: string, windows: readonly string[]): number | string =>
  windows.length > 0 || Number.isNaN(Number(weight)) ? [weight, ...windows].join(':') : Number(weight);

function modeOf(text: string | undefined): MixMode | undefined {
  const name = text?.trim().toLowerCase().replace('normalized', 'normalised');
  const mode = mixModes.find((known) => known === name);
  if (name === undefined || mode !== undefined) return mode;
  const near = nearest(name, mixModes);
  throw new UsageError(
    `--mode must be one of ${mixModes.join(', ')}, not "${text!}".${near === undefined ? '' : ` Did you mean ${near}?`}`,
  );
}

/** `MID=0.5,-,1`: a number, or - for the gate's own, per expert. */
function overridesOf(texts: readonly string[]): MixRequest['overrides'] {
  if (texts.length === 0) return undefined;
  return Object.fromEntries(
    texts.map((text) => {
      const [, row, list] = /^\s*(BASE|MID|(?:IN|OUT)\d\d)\s*=(.*)$/i.exec(text) ?? [];
      const values = (list ?? '').split(',').map((value) => value.trim());
      const numbers = values.map((value) => (value === '-' ? null : Number(value)));
      if (
        row === undefined ||
        values.includes('') ||
        !numbers.every((value) => value === null || Number.isFinite(value))
      ) {
        throw new UsageError(
          `--override must be a row and a number or - per expert, such as OUT03=0.5,-,0.2, not "${text}".`,
        );
      }
      return [row.toUpperCase(), numbers];
    }),
  );
}

/** `1,0,1` for the whole stack, `MID=1,0,1` for a row. */
function masksOf(texts: readonly string[]): Pick<MixRequest, 'mask' | 'masks'> {
  const masks: Record<string, boolean[]> = {};
  let mask: boolean[] | undefined;
  for (const text of texts) {
    const [, row, list] = /^(?:\s*([a-z]+\d*)\s*=)?(.*)$/i.exec(text)!;
    const values = list!.split(',').map((value) => value.trim());
    const rowIsKnown = row === undefined || /^(BASE|MID|(IN|OUT)\d\d)$/i.test(row);
    if (!rowIsKnown || !values.every((value) => value === '0' || value === '1')) {
      throw new UsageError(
        `--mask must be a 1 or 0 per expert, such as 1,0,1, or the same for a row, such as MID=1,0,1, not "${text}".`,
      );
    }
    const speaks = values.map((value) => value === '1');
    if (row === undefined) mask = speaks;
    else masks[row.toUpperCase()] = speaks;
  }
  return {
    ...(mask === undefined ? {} : { mask }),
    ...(Object.keys(masks).length === 0 ? {} : { masks }),
  };
}
