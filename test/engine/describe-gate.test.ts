// What inspect says of gate files: good ones, damaged ones, and those of strangers.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gateFacts } from '../../src-main/cli/gate-card.ts';
import { describeFile } from '../../src-main/engine/describe-file.ts';
import { readGateFile, writeGateFile } from '../../src-main/engine/gate-file.ts';
import { writeSafetensors } from '../../src-main/formats/safetensors-write.ts';
import type { TrainedGate } from '../../src-main/mole/trained-gate.ts';
import { floatTensor } from '../../src-main/tensor/tensor.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'atelier-gates-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const group = (name: string) => ({
  name,
  weight: floatTensor([2, 4], new Float32Array(8)),
  timestep: undefined,
  logTemperature: 0,
  logGain: 0,
});
const gate: TrainedGate = {
  spec: { granularity: 'block', form: 'pooled', amplitude: 'convex', timestep: false },
  experts: [
    { name: 'ink', sha256: 'a'.repeat(64) },
    { name: 'fox\nlicence  free', sha256: 'b'.repeat(64) },
  ],
  networks: { unet: [group('mid_block.attentions.0'), group('up_blocks.0')], text_encoder: [group('layers.0')] },
};
const curve = JSON.stringify(Array.from({ length: 20 }, (_, i) => [i + 1, 20 - i]));
const training = { training: JSON.stringify({ loss: 'denoise', pictures: 3 }), curve };

const headWith = (unguided: readonly number[]): string =>
  JSON.stringify({ experts: gate.experts, ...gate.spec, unguided });

describe('a gate file', () => {
  it('is described by its experts, its shape and its training, from the header alone', async () => {
    const path = await writeGateFile(join(folder, 'good.mole.safetensors'), gate, training);
    const report = await describeFile(path);
    expect(report).toMatchObject({
      kind: 'gate',
      problems: [],
      tensors: 6,
      gate: {
        experts: gate.experts,
        ...gate.spec,
        gates: { unet: 2, textEncoder: 1 },
        steps: 20,
        loss: { name: 'denoise', first: 19.5, last: 1.5 },
        pictures: 3,
      },
    });
    expect(report.summary).toMatch(/^3 gates over 2 experts: ink, /);
  });

  it('whose expert has a name of several lines cannot pass for another fact', async () => {
    const path = await writeGateFile(join(folder, 'lines.mole.safetensors'), gate, training);
    const shown = Object.fromEntries(gateFacts((await describeFile(path)).gate!));
    expect(shown['experts']).toBe(`ink  (sha256 ${'a'.repeat(64)})\nfox licence free  (sha256 ${'b'.repeat(64)})`);
    expect(shown).toMatchObject({
      gates: '2 in the UNet, 1 in the text encoder',
      training: '20 updates on 3 pictures',
      loss: 'denoise, 19.5 -> 1.50',
    });
  });

  it('says which shares of the unguided branch it was found with', async () => {
    const shared = { ...gate, unguided: [0.5637, 1] };
    const path = await writeGateFile(join(folder, 'shares.mole.safetensors'), shared, training);
    expect((await readGateFile(path)).gate.unguided).toEqual([0.5637, 1]);
    const { gate: report } = await describeFile(path);
    expect(report!.unguided).toEqual([0.5637, 1]);
    expect(Object.fromEntries(gateFacts(report!))['unguided']).toBe('0.56 and 1');
  });

  it('that says nothing of its training, or nonsense, is described all the same', async () => {
    const sayings: readonly Readonly<Record<string, string>>[] = [
      {},
      { training: '[', curve: '{"a":1}' },
      { training: '{"pictures":-1}', curve: '[]' },
    ];
    for (const said of sayings) {
      const { gate: found, problems } = await describeFile(await writeGateFile(join(folder, 'dumb.safetensors'), gate, said)); // prettier-ignore
      expect(problems).toEqual([]);
      expect([found!.steps, found!.loss, found!.pictures]).toEqual([undefined, undefined, undefined]);
    }
  });

  it.each([
    [{ version: '2' }, /version 2.*Update the program/],
    [{ version: '1', gate: '{' }, /is no JSON/],
    [{ version: '1', gate: '{"experts":[]}' }, /damaged \(experts\)/],
    [{ version: '1', gate: headWith([0.5]) }, /1 shares of the unguided branch for 2 experts/],
    [{ version: '1', gate: headWith([0.5, 9]) }, /damaged \(unguided\.1\)/],
  ])('that is damaged or of another version is told with its problem: %o', async (metadata, problem) => {
    const tensors = { 'unet.x.weight': floatTensor([1], new Float32Array(1)) };
    const path = await writeSafetensors(join(folder, 'bad.safetensors'), tensors, { format: 'mole-gate', ...metadata });
    const report = await describeFile(path);
    expect(report).toMatchObject({ kind: 'gate', summary: 'A gate file that cannot be used.' });
    expect(report.problems).toEqual([expect.stringMatching(problem)]);
    expect(report.gate).toBeUndefined();
  });
});
