// The flags about experts: what they become in the request, and how mistakes are answered.
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseArguments } from '../../src-main/cli/arguments.ts';
import { expertFlags, mixFlagName, mixOf, parseExpert } from '../../src-main/cli/expert-flags.ts';
import { generateCommand, generateRequestOf } from '../../src-main/cli/generate.ts';
import { checkParams } from '../../src-main/contract/check.ts';
import type { ExpertRequest } from '../../src-main/contract/experts.ts';

const mix = (...args: string[]) => mixOf(parseArguments(args, expertFlags));

describe('--expert', () => {
  it.each<[string, ExpertRequest]>([
    ['ink.safetensors', { path: 'ink.safetensors' }],
    ['ink.safetensors:0.8', { path: 'ink.safetensors', weight: 0.8 }],
    ['ink.safetensors:-1:0', { path: 'ink.safetensors', weight: -1, textWeight: 0 }],
    ['C:\\x.safetensors:0.8', { path: 'C:\\x.safetensors', weight: 0.8 }],
    ['C:\\x.safetensors', { path: 'C:\\x.safetensors' }],
    ['D:/a b/x.safetensors:.5:1', { path: 'D:/a b/x.safetensors', weight: 0.5, textWeight: 1 }],
    ['x.safetensors:0.2@0.2,1@0.8', { path: 'x.safetensors', weight: '0.2@0.2,1@0.8' }],
    ['C:\\x.safetensors:0@5;1@6:0.3', { path: 'C:\\x.safetensors', weight: '0@5;1@6', textWeight: 0.3 }],
    ['x.safetensors:1:start=3:stop=0.5', { path: 'x.safetensors', weight: '1:start=3:stop=0.5' }],
    ['x.safetensors:step=5-10', { path: 'x.safetensors', weight: '1:step=5-10' }],
    ['x.safetensors:0.7:lbw=INS', { path: 'x.safetensors', weight: 0.7, blocks: 'INS' }],
    ['folder/1:2', { path: 'folder/1', weight: 2 }],
    ['peft-folder', { path: 'peft-folder' }],
  ])('%s', (text, expected) => {
    expect(parseExpert(text)).toEqual(expected);
  });

  it.each<[string, RegExp]>([
    ['x.safetensors:strong', /"strong" is no weight/],
    ['x.safetensors:0.5:strong', /"0.5:strong" is no weight/],
    ['x.safetensors:1:2:3', /has 3 weights/],
    ['x.safetensors:1:0@0,1@1', /reads the prompt once/],
    [':0.5', /names no file/],
  ])('%s is refused', (text, message) => {
    expect(() => parseExpert(text)).toThrow(message);
  });
});

describe('the mix of a command line', () => {
  it('is absent when no flag speaks of experts', () => {
    expect(mix()).toBeUndefined();
  });

  it('keeps repeated flags in order, with absolute paths', () => {
    expect(
      mix('--expert', 'b.safetensors:1', '--lora-dir', 'loras', '--expert', 'a.safetensors:2', '--lora-dir', '/more'),
    ).toEqual({
      experts: [
        { path: resolve('b.safetensors'), weight: 1 },
        { path: resolve('a.safetensors'), weight: 2 },
      ],
      loraFolders: [resolve('loras'), '/more'],
    });
  });

  it('has the share of an expert in the unguided branch', () => {
    expect(mix('--expert', 'cat.safetensors:0.8:unguided=0.5')).toEqual({
      experts: [{ path: resolve('cat.safetensors'), weight: 0.8, unguided: 0.5 }],
    });
    expect(() => mix('--expert', 'cat.safetensors:1:unguided=half')).toThrow(/unguided must be a number such as 0.5/);
  });

  it('has masks for the stack and for single rows', () => {
    expect(mix('--mask', '1,0,1', '--mask', 'mid=0,0,1', '--mask=OUT03=1,1,0')).toEqual({
      mask: [true, false, true],
      masks: { MID: [false, false, true], OUT03: [true, true, false] },
    });
  });

  it('has values set by hand for rows, and says how they are written', () => {
    expect(mix('--override', 'mid=0.5,-', '--override=BASE=-,-0.25')).toEqual({
      overrides: { MID: [0.5, null], BASE: [null, -0.25] },
    });
    for (const text of ['0.5,-', 'MID=', 'MID=0.5,', 'MID=a', 'UP1=1']) {
      expect(() => mix('--override', text)).toThrow(/such as OUT03=0.5,-,0.2/);
    }
  });

  it('has gate, recipe, mode, embeddings and the settings of two modes', () => {
    expect(
      mix(
        ...['--gate', 'g.mole.safetensors', '--recipe', 'r.mole.json', '--mode', 'Normalized'],
        ...['--embedding', 'one.safetensors', '--embedding', 'two.safetensors', '--switch-every', '3', '--mu', '0.5'],
      ),
    ).toEqual({
      gate: resolve('g.mole.safetensors'),
      recipe: resolve('r.mole.json'),
      mode: 'normalised',
      embeddings: [resolve('one.safetensors'), resolve('two.safetensors')],
      switchEvery: 3,
      np: { mu: 0.5 },
    });
  });

  it.each<[string[], RegExp]>([
    [['--mode', 'compsite'], /one of mole, sum, .*Did you mean composite\?/],
    [['--mask', '1,yes'], /a 1 or 0 per expert/],
    [['--mask', 'LEFT=1'], /not "LEFT=1"/],
    [['--expert'], /--expert needs a value/],
    [['--experts', 'x'], /Did you mean --expert\?/],
  ])('%j is refused', (args, message) => {
    expect(() => mix(...args)).toThrow(message);
  });

  it('is part of a request, whose mistakes are called by their flags', () => {
    const request = generateRequestOf(
      parseArguments(['--prompt', 'x', '--expert', 'a.safetensors:0.5', '--switch-every', '0'], generateCommand.flags),
    );
    expect(request.mix).toEqual({ experts: [{ path: resolve('a.safetensors'), weight: 0.5 }], switchEvery: 0 });
    const name = (field: string): string => mixFlagName(field.replace('mix.', ''));
    expect(() => checkParams('generate', request, name)).toThrow('--switch-every must be at least 1, not 0.');
    expect(name('mix.experts.0.weight')).toBe('--expert (weight)');
    expect(name('mix.gate')).toBe('--gate');
    expect(name('mix.mask.2')).toBe('--mask');
  });
});
