// The gates as a table of bars, from the events of a drawing.
import { describe, expect, it } from 'vitest';
import { GateMap } from '../../src-main/cli/gate-map.ts';
import type { GenerateEvent } from '../../src-main/contract/generation.ts';

const step = (conditional: readonly (readonly number[])[]): GenerateEvent => ({
  kind: 'step',
  step: 1,
  steps: 2,
  index: 0,
  batch: 1,
  elapsedMs: 1,
  gates: { conditional, unconditional: [[1, 0]] },
});
const head: GenerateEvent = {
  kind: 'mixture',
  mode: 'mole',
  experts: [
    { name: 'ink\u001b[31m', sha256: '' },
    { name: 'a name that is much too long', sha256: '' },
  ],
  groups: [
    { name: 'down_blocks.0.attentions.0.proj_in', row: 'IN01' },
    { name: 'down_blocks.0.attentions.0', row: 'IN01' },
    { name: 'mid_block.attentions.0', row: 'MID' },
  ],
  rows: ['IN01', 'MID'],
};

describe('the gate map', () => {
  it('is empty when no gate was heard', () => {
    const map = new GateMap();
    map.event({ kind: 'stage', stage: 'denoising', message: '' });
    expect(map.lines()).toEqual([]);
  });

  it('averages steps and the groups of a row, and shows no control character of a name', () => {
    const map = new GateMap();
    map.event(head);
    map.event(
      step([
        [1, 0],
        [0.5, 0.5],
        [0.25, 0.75],
      ]),
    );
    map.event(
      step([
        [1, 0],
        [0.5, 0.5],
        [0.75, 0.25],
      ]),
    );
    const [, names, first, second] = map.lines();
    expect(names).not.toContain('\u001b');
    expect(names).toContain('…');
    expect(first).toBe('IN01   ██████░░ 0.75    ██░░░░░░ 0.25');
    expect(second).toBe('MID    ████░░░░ 0.50    ████░░░░ 0.50');
  });
});
