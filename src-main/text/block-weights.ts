// Block weights as the LoRA Block Weight extension writes them: one factor for the text encoder (BASE) and one for each row of
// the UNet, as 17 numbers (the rows with attention), 26 numbers (all rows), or the name of a preset.
// Facts: https://github.com/hako-mikan/sd-webui-lora-block-weight#usage and its list of presets
import { parseDecimal, WeightTextError } from './weight-schedule.ts';

export interface BlockWeights {
  /** Factor in the text encoder. */
  readonly base: number;
  /** Factor by row: IN00 to IN11, MID, OUT00 to OUT11. Every row is there. */
  readonly unet: Readonly<Record<string, number>>;
}

const numbered = (side: string): string[] =>
  Array.from({ length: 12 }, (_, index) => `${side}${String(index).padStart(2, '0')}`);

/** The rows of Stable Diffusion's UNet from input to output: IN00 to IN11, MID, OUT00 to OUT11. */
export const blockRows: readonly string[] = [...numbered('IN'), 'MID', ...numbered('OUT')];

const long: readonly string[] = ['BASE', ...blockRows];
/** The rows that have attention in Stable Diffusion 1 and 2. */
const short: readonly string[] = long.filter((row) => !/^(IN(00|03|06|09|10|11)|OUT0[0-2])$/.test(row));

/** The presets that come with LoRA Block Weight, over the 17 rows. */
const presets: Readonly<Record<string, readonly number[]>> = {
  NONE: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  ALL: [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
  'ALL0.5': [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
  INS: [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  IND: [1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  INALL: [1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  MIDD: [1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
  OUTD: [1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0],
  OUTS: [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1],
  OUTALL: [1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1],
};
/** Names that parseBlockWeights knows. */
export const blockPresets: readonly string[] = Object.keys(presets);

/** True for the name of a preset, in any case. */
export function isBlockPreset(text: string): boolean {
  return Object.hasOwn(presets, text.trim().toUpperCase());
}

/**
 * Reads 17 or 26 numbers between commas, or a preset's name in any case. A list of 17 leaves the nine rows without attention
 * out: they get 0, as in LoRA Block Weight. Throws WeightTextError that names the entry: `OUT05 (entry 11)`.
 */
export function parseBlockWeights(text: string): BlockWeights {
  const name = text.trim().toUpperCase();
  if (isBlockPreset(name)) return byRow(short, presets[name]!);
  const entries = text.split(',');
  if (entries.length === 1) {
    throw new WeightTextError(
      `"${text.trim().slice(0, 40)}" is no preset of block weights. There are ${blockPresets.join(', ')}; or write 17 or 26 numbers with commas.`,
    );
  }
  const rows = [short, long].find(({ length }) => length === entries.length);
  if (rows === undefined) {
    const other = entries.length === 12 || entries.length === 20 ? ` (${entries.length} are for SDXL)` : '';
    throw new WeightTextError(
      `Block weights are 17 numbers (${short[0]}, ${short[1]}, … ${short.at(-1)}) or 26 (BASE, IN00, … OUT11), not ${entries.length}${other}.`,
    );
  }
  const numbers = entries.map((entry, index) => {
    const number = parseDecimal(entry);
    if (number !== undefined) return number;
    const where = `Block weight ${rows[index]!} (entry ${index + 1} of ${entries.length})`;
    throw new WeightTextError(
      /^\s*[RU]\s*$/i.test(entry)
        ? `${where} is ${entry.trim()}, a random number. It is not supported, because the same settings must draw the same picture: write a number.`
        : `${where} must be a number, not "${entry.trim().slice(0, 40)}".`,
    );
  });
  return byRow(rows, numbers);
}

function byRow(rows: readonly string[], numbers: readonly number[]): BlockWeights {
  const factor = (row: string): number => {
    const index = rows.indexOf(row);
    return index < 0 ? 0 : numbers[index]!;
  };
  return { base: factor('BASE'), unet: Object.fromEntries(blockRows.map((row) => [row, factor(row)])) };
}

/** The factor of a row, BASE included: what a row beyond LoRA Block Weight's 26 gets is 1. */
export function blockWeightAt({ base, unet }: BlockWeights, row: string): number {
  return row === 'BASE' ? base : (unet[row] ?? 1);
}

/** The 26 numbers that parseBlockWeights reads as `weights`. */
export function showBlockWeights({ base, unet }: BlockWeights): string {
  return [base, ...blockRows.map((row) => unet[row]!)].join(',');
}
