// Block weights as LoRA Block Weight writes them (https://github.com/hako-mikan/sd-webui-lora-block-weight): the presets over the 17
// rows with attention, as the engine knows them, and the shape that own numbers have.
import type { strings } from '../strings.ts';

export type BlockPreset = keyof typeof strings.library.row.presets;

/** One digit per row: text encoder, six of the input, the middle, nine of the output. */
const rows: Readonly<Record<BlockPreset, string>> = {
  INS: '11110000000000000',
  IND: '10001110000000000',
  INALL: '11111110000000000',
  MIDD: '10001111111100000',
  OUTD: '10000000111100000',
  OUTS: '10000000000011111',
  OUTALL: '10000000111111111',
  'ALL0.5': '55555555555555555',
  NONE: '00000000000000000',
};

export const blockPresets = Object.keys(rows) as readonly BlockPreset[];

export const isBlockPreset = (text: string): text is BlockPreset => Object.hasOwn(rows, text);

/** Numbers between commas; undefined where one is none. */
function numbersOf(text: string): readonly number[] | undefined {
  const numbers = text.split(',').map((entry) => (entry.trim() === '' ? Number.NaN : Number(entry)));
  return numbers.every(Number.isFinite) ? numbers : undefined;
}

/** Factors to show, from the text encoder to the output; undefined for a text that means nothing. */
export function blockFactors(text: string): readonly number[] | undefined {
  if (isBlockPreset(text)) return Array.from(rows[text], (digit) => (digit === '5' ? 0.5 : Number(digit)));
  const numbers = numbersOf(text);
  return numbers?.length === 17 || numbers?.length === 26 ? numbers : undefined;
}
