// Block weights in LoRA Block Weight's notation: its two lists and its presets.
import { describe, expect, it } from 'vitest';
import { blockRowOf } from '../../src-main/mole/block-rows.ts';
import { SD15 } from '../../src-main/networks/sd-configs.ts';
import { unetModules } from '../../src-main/networks/modules.ts';
import {
  blockPresets,
  blockRows,
  blockWeightAt,
  parseBlockWeights,
  showBlockWeights,
} from '../../src-main/text/block-weights.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';

const shortRows = 'BASE,IN01,IN02,IN04,IN05,IN07,IN08,MID,OUT03,OUT04,OUT05,OUT06,OUT07,OUT08,OUT09,OUT10,OUT11'.split(
  ',',
);
const longRows = ['BASE', ...blockRows];

describe('block weights', () => {
  it('of 17 numbers are the 26 of the same values, with 0 in the rows without attention', () => {
    const generator = new TorchGenerator(17);
    for (let round = 0; round < 50; round++) {
      const numbers = [...generator.randn([17]).data];
      const long = longRows.map((row) => {
        const index = shortRows.indexOf(row);
        return index < 0 ? 0 : numbers[index]!;
      });
      expect(parseBlockWeights(numbers.join(','))).toEqual(parseBlockWeights(long.join(',')));
    }
  });

  it('of 26 numbers are one per row, in order', () => {
    const weights = parseBlockWeights(longRows.map((_, index) => index / 10).join(', '));
    expect(longRows.map((row) => blockWeightAt(weights, row))).toEqual(longRows.map((_, index) => index / 10));
  });

  it('know every preset in any case', () => {
    const heard = (text: string): string[] =>
      longRows.filter((row) => blockWeightAt(parseBlockWeights(text), row) !== 0);
    expect(heard('none')).toEqual([]);
    expect(heard('All')).toEqual(shortRows);
    expect(heard(' ins ')).toEqual(['BASE', 'IN01', 'IN02', 'IN04']);
    expect(heard('IND')).toEqual(['BASE', 'IN05', 'IN07', 'IN08']);
    expect(heard('inall')).toEqual(shortRows.slice(0, 7));
    expect(heard('MidD')).toEqual(['BASE', 'IN05', 'IN07', 'IN08', 'MID', 'OUT03', 'OUT04', 'OUT05', 'OUT06']);
    expect(heard('OUTD')).toEqual(['BASE', 'OUT03', 'OUT04', 'OUT05', 'OUT06']);
    expect(heard('outs')).toEqual(['BASE', 'OUT07', 'OUT08', 'OUT09', 'OUT10', 'OUT11']);
    expect(heard('OUTALL')).toEqual(['BASE', ...shortRows.slice(8)]);
    expect(blockWeightAt(parseBlockWeights('all0.5'), 'MID')).toBe(0.5);
  });

  it.each(blockPresets)('%s written and read again is the same', (preset) => {
    const weights = parseBlockWeights(preset);
    expect(parseBlockWeights(showBlockWeights(weights))).toEqual(weights);
  });

  it('have a row for every layer of Stable Diffusion, and 1 for rows beyond them', () => {
    const rows = new Set(unetModules(SD15.unet).map(({ name }) => blockRowOf(name, SD15.unet)));
    expect([...rows].sort()).toEqual([...blockRows].sort());
    expect(blockWeightAt(parseBlockWeights('NONE'), 'OUT12')).toBe(1);
  });

  it.each<[string, RegExp]>([
    ['EYES', /"EYES" is no preset.*NONE, ALL, .*17 or 26 numbers/],
    ['constructor', /no preset/],
    ['', /no preset/],
    ['1,1,1', /not 3\./],
    [Array(12).fill(1).join(','), /not 12 \(12 are for SDXL\)/],
    [['1', '0.5', 'x', ...Array<string>(14).fill('1')].join(','), /IN02 \(entry 3 of 17\) must be a number, not "x"/],
    [[...Array<string>(25).fill('1'), ''].join(','), /OUT11 \(entry 26 of 26\) must be a number/],
    [['R', ...Array<string>(16).fill('1')].join(','), /BASE \(entry 1 of 17\) is R, a random number.*not supported/],
    [['1', ' u ', ...Array<string>(15).fill('1')].join(','), /IN01 \(entry 2 of 17\) is u, a random number/],
  ])('refuse %s', (text, message) => {
    expect(() => parseBlockWeights(text)).toThrow(message);
  });
});
