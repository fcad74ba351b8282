// Experts in the engine on the bundled model: what an artist does to the stack, and what must not happen to the picture.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateRequestSchema, type GenerateEvent } from '../../src-main/contract/generation.ts';
import { npExperts, ssrExperts } from '../../src-main/engine/closed-form.ts';
import { openCheckpoint } from '../../src-main/engine/checkpoint.ts';
import { encodePrompts } from '../../src-main/engine/encode-prompt.ts';
import { matchExperts, readGateFile, writeGateFile } from '../../src-main/engine/gate-file.ts';
import { generateImage } from '../../src-main/engine/generate-image.ts';
import { LoadedModel } from '../../src-main/engine/loaded-model.ts';
import {
  Mixture,
  type MixtureMode,
  type MixtureOptions,
  plainEntry,
  type StackEntry,
} from '../../src-main/engine/mixture.ts';
import { decodePicture } from '../../src-main/formats/png.ts';
import type { Expert } from '../../src-main/mole/expert.ts';
import { expertInput } from '../../src-main/mole/expert-layers.ts';
import type { GateSpec } from '../../src-main/mole/gate.ts';
import { anyExpert, GateError, groupsOf, zeroParameters, type TrainedGate } from '../../src-main/mole/trained-gate.ts';
import { textEncoderModules, type ExpertNetwork } from '../../src-main/networks/modules.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { floatTensor, type FloatTensor } from '../../src-main/tensor/tensor.ts';
import { drawExpert } from '../support/draw-expert.ts';
import { maxDifference, relativeError } from '../support/read-golden.ts';

const bundled = resolve(import.meta.dirname, '../../models/atelier-mini');
let model: LoadedModel;
let folder: string;
let experts: readonly Expert[];
beforeAll(async () => {
  model = new LoadedModel(await openCheckpoint(bundled), { provider: 'cpu', fusedAttention: true });
  folder = mkdtempSync(join(tmpdir(), 'atelier-mixture-'));
  const attention = model.unetModules.filter(({ name }) => name.includes('attn'));
  const text = textEncoderModules(model.checkpoint.textEncoder.config);
  experts = [drawExpert(1, [...attention, ...text]), drawExpert(2, attention, { rank: 2 }), drawExpert(3, attention)];
});
afterAll(async () => {
  await model.release();
  rmSync(folder, { recursive: true, force: true });
});

const entry = (expert: Expert, more: Partial<StackEntry> = {}): StackEntry => ({
  expert,
  weight: () => 1,
  textWeight: 1,
  block: () => 1,
  muted: false,
  solo: false,
  ...more,
});

async function draw(
  entries: readonly StackEntry[],
  options: MixtureOptions | MixtureMode = 'sum',
  steps = 4,
): Promise<{ readonly rgb: Uint8Array; readonly events: readonly GenerateEvent[] }> {
  const events: GenerateEvent[] = [];
  const request = { model: bundled, prompt: 'a red apple, noto style', seed: 1, steps, cfgScale: 4 };
  const settings = generateRequestSchema.parse({ ...request, output: { folder } });
  const context = { signal: new AbortController().signal, emit: (event: GenerateEvent) => void events.push(event) };
  const mixture = new Mixture(entries, typeof options === 'string' ? { mode: options } : options);
  const { pictures } = await generateImage(settings, model, mixture, context, 64e9);
  return { rgb: (await decodePicture(pictures[0]!.path)).rgb, events };
}
const rgb = async (...args: Parameters<typeof draw>): Promise<Uint8Array> => (await draw(...args)).rgb;

const spec: GateSpec = { granularity: 'block', form: 'pooled', amplitude: 'convex', timestep: true };
/** A gate of these experts, uniform or random. */
function gateOf(stack: readonly Expert[], random?: TorchGenerator): TrainedGate {
  const networks = (['unet'] as const satisfies readonly ExpertNetwork[]).map((network) => {
    const groups = groupsOf(
      model.unetModules,
      stack.map(({ layers }) => layers[network]),
      spec,
    );
    const zero = zeroParameters(groups, spec, stack.length);
    const drawn = zero.map((group) =>
      random === undefined ? group : { ...group, weight: random.randn(group.weight.shape) },
    );
    return [network, drawn] as const;
  });
  return { spec, experts: stack.map(({ name, sha256 }) => ({ name, sha256 })), networks: Object.fromEntries(networks) };
}

describe('a stack of experts', () => {
  it('changes the picture; taking every expert out again gives the first one back, bit for bit', async () => {
    const before = await rgb([]);
    const during = await rgb(experts.map((expert) => entry(expert)));
    expect(maxDifference(during, before)).toBeGreaterThan(20);
    expect(await rgb([])).toEqual(before);
  });

  it('is not reopened by adding, muting, soloing, reordering or re-weighting', async () => {
    await rgb([entry(experts[0]!)]);
    const [height, width] = [16, 16];
    const session = await model.openUNet(height, width, 77);
    await rgb(experts.map((expert) => entry(expert)));
    await rgb([...experts].reverse().map((expert) => entry(expert, { weight: () => -0.4 })));
    await rgb(experts.map((expert, i) => entry(expert, { muted: i === 0, solo: i === 1 })));
    await rgb([]);
    expect(await model.openUNet(height, width, 77)).toBe(session);
  });

  it('a muted expert is as good as absent, and solo mutes the others', async () => {
    const alone = await rgb([entry(experts[1]!)]);
    expect(await rgb([entry(experts[0]!, { muted: true }), entry(experts[1]!)])).toEqual(alone);
    expect(await rgb([entry(experts[0]!), entry(experts[1]!, { solo: true })])).toEqual(alone);
  });

  it('mute and weight take effect in every row or in one, per block weights and row masks', async () => {
    const all = experts.map((expert) => entry(expert));
    const silent = experts.map((expert) => entry(expert, { block: (row) => (row === 'MID' ? 0 : 1) }));
    const masked = await rgb(all, { mode: 'sum', masks: { MID: [false, false, false] } });
    expect(masked).toEqual(await rgb(silent, 'manual'));
    expect(masked).not.toEqual(await rgb(all));
  });

  it('a schedule that is 0 from the first step on is silence', async () => {
    expect(await rgb([entry(experts[1]!, { weight: () => 0 })])).toEqual(await rgb([]));
    const late = await rgb([entry(experts[1]!, { weight: (step, steps) => (step / steps < 0.5 ? 0 : 1) })]);
    expect(late).not.toEqual(await rgb([]));
    expect(late).not.toEqual(await rgb([entry(experts[1]!)]));
  });
});

describe('modes', () => {
  it('normalised scales strengths back to a sum of 1, and leaves smaller ones alone', async () => {
    const pair = [experts[1]!, experts[2]!];
    const halves = await rgb(pair.map((expert) => entry(expert, { weight: () => 0.5 })));
    expect(
      await rgb(
        pair.map((expert) => entry(expert)),
        'normalised',
      ),
    ).toEqual(halves);
    expect(await rgb([entry(pair[0]!, { weight: () => 0.5 })], 'normalised')).toEqual(
      await rgb([entry(pair[0]!, { weight: () => 0.5 })]),
    );
  });

  it('switch and composite with one expert are that expert, text encoder included', async () => {
    const alone = await rgb([entry(experts[0]!)]);
    expect(await rgb([entry(experts[0]!)], 'switch')).toEqual(alone);
    expect(await rgb([entry(experts[0]!)], 'composite')).toEqual(alone);
  });

  it('switch lets one expert speak at a time, in turn', async () => {
    const turns = experts
      .slice(1)
      .map((expert, i) => entry(expert, { weight: (step: number) => (Math.floor(step / 2) % 2 === i ? 1 : 0) }));
    const both = experts.slice(1).map((expert) => entry(expert));
    expect(await rgb(both, { mode: 'switch', switchEvery: 2 })).toEqual(await rgb(turns));
  });

  it('composite is the same for equal experts as one of them', async () => {
    const twin = { ...experts[1]!, sha256: 'f'.repeat(64) };
    const both = await rgb([entry(experts[1]!), entry(twin)], 'composite');
    expect(maxDifference(both, await rgb([entry(experts[1]!)]))).toBeLessThanOrEqual(1);
  });
});

describe('asymmetric guidance', () => {
  it('lets the experts speak with a share of their strength in the unguided branch, with and without gates', async () => {
    const pair = [experts[1]!, experts[2]!];
    const [sample, text, time] = [
      new TorchGenerator(1).randn([1, 4, 16, 16]),
      (await encodePrompts(model, { prompt: 'a fox', negativePrompt: '', steps: 1, clipSkip: 1 })).at(0).conditional,
      floatTensor([1], Float32Array.of(500)),
    ];
    const predicted = async (mixture: Mixture, branch: 'conditional' | 'unconditional'): Promise<FloatTensor> => {
      model.useMixture(mixture);
      return (await model.predict(sample, time, text, { step: 0, steps: 1, branch })).prediction;
    };
    const gate = gateOf(pair);
    for (const mode of ['sum', 'mole'] as const) {
      const at = (strength: number, unguided = 1): Mixture =>
        new Mixture(
          pair.map((expert) => entry(expert, { weight: () => strength, unguided })),
          { mode, gate },
        );
      for (const unguided of [0, 0.5]) {
        const asymmetric = at(1, unguided);
        expect(await predicted(asymmetric, 'conditional')).toEqual(await predicted(at(1), 'conditional'));
        expect(await predicted(asymmetric, 'unconditional')).toEqual(await predicted(at(unguided), 'unconditional'));
        expect(await predicted(asymmetric, 'unconditional')).not.toEqual(await predicted(at(1), 'unconditional'));
      }
    }
  });

  it('takes its shares from the gate, where an expert has none of its own, and from nowhere in a sum', () => {
    const pair = [experts[1]!, experts[2]!];
    const gate = { ...gateOf(pair), unguided: [0.25, 0.5] };
    const heard = (entries: readonly StackEntry[], mode: 'mole' | 'sum'): readonly number[] => {
      const { data } = new Mixture(entries, { mode, gate }).weights('unet', model.unetRows, 0, 1, undefined, 'unconditional')[expertInput.weights]!; // prettier-ignore
      return [...data.slice(0, 2)];
    };
    const bare = pair.map((expert) => plainEntry(expert));
    expect(heard(bare, 'mole')).toEqual([0.25, 0.5]);
    expect(heard([{ ...bare[0]!, unguided: 1 }, bare[1]!], 'mole')).toEqual([1, 0.5]);
    expect(heard(bare, 'sum')).toEqual([1, 1]);
    const full = new Mixture(bare, { mode: 'mole', gate }).weights('unet', model.unetRows, 0, 1);
    expect([...full[expertInput.weights]!.data.slice(0, 2)]).toEqual([1, 1]);
  });

  it('of 1 is the picture that there was, and of less another one', async () => {
    const pair = [entry(experts[1]!), entry(experts[2]!)];
    const usual = await rgb(pair);
    const shared = (...shares: readonly number[]) => pair.map((one, i) => ({ ...one, unguided: shares[i]! }));
    expect(await rgb(shared(1, 1))).toEqual(usual);
    const one = await rgb(shared(0.5, 1));
    expect(maxDifference(one, usual)).toBeGreaterThan(5);
    expect(maxDifference(one, await rgb(shared(1, 0.5)))).toBeGreaterThan(5);
  });
});

describe('strengths set by hand', () => {
  const pair = (): readonly StackEntry[] => experts.slice(1).map((expert) => entry(expert));
  const inEveryRow = (values: readonly (number | null)[]): MixtureOptions['overrides'] =>
    Object.fromEntries([...model.unetRows.names, 'BASE'].map((row) => [row, values]));

  it('stand instead of the weights, and are told step by step', async () => {
    const halves = await rgb(experts.slice(1).map((expert) => entry(expert, { weight: () => 0.5, textWeight: 0.5 })));
    const { rgb: found, events } = await draw(pair(), { mode: 'sum', overrides: inEveryRow([0.5, 0.5]) });
    expect(found).toEqual(halves);
    const { rows } = events.find((event) => event.kind === 'mixture')!;
    expect(rows).toContain('MID');
    expect(rows).not.toContain('IN00');
    const step = events.find((event) => event.kind === 'step')!;
    expect(step.weights).toEqual(rows.map(() => [0.5, 0.5]));
  });

  it('leave the rest of a normalised sum to the others, and a muted expert silent', async () => {
    const quarter = await draw(pair(), { mode: 'normalised', overrides: inEveryRow([0.25, null]) });
    expect(quarter.events.find((event) => event.kind === 'step')!.weights![0]).toEqual([0.25, 0.75]);
    const muted = [entry(experts[1]!, { muted: true }), entry(experts[2]!)];
    expect(await rgb(muted, { mode: 'sum', overrides: inEveryRow([0.9, null]) })).toEqual(await rgb(muted));
  });
});

describe('closed forms', () => {
  it('NP-LoRA at strength 0 is the plain sum, and the first expert is never changed', async () => {
    const plain = await rgb(experts.map((expert) => entry(expert)));
    const merged = npExperts(experts, 0).map((expert) => entry(expert));
    expect(maxDifference(await rgb(merged, 'np'), plain)).toBeLessThanOrEqual(1);
    const [first] = npExperts(experts);
    const name = [...experts[0]!.layers.unet.keys()][0]!;
    expect(first!.layers.unet.get(name)!.down).toEqual(experts[0]!.layers.unet.get(name)!.down);
  });

  it("SSR-Merge is nearer to each expert alone, on that expert's own prompt, than the plain sum is", async () => {
    const pair = [experts[1]!, experts[2]!];
    const sample = new TorchGenerator(3).randn([1, 4, 16, 16]);
    const time = floatTensor([1], Float32Array.of(900));
    model.useMixture(
      new Mixture(
        pair.map((expert) => entry(expert)),
        { mode: 'sum' },
      ),
    );
    const texts: FloatTensor[] = [];
    for (const prompt of ['a dog, noto style', 'a red car, fluent style']) {
      const settings = { prompt, negativePrompt: '', steps: 1, clipSkip: 1 };
      texts.push((await encodePrompts(model, settings)).at(0).conditional);
    }
    const moments = await model.measureMoments(sample, 900, texts);
    const routed = ssrExperts(pair, moments);
    const predict = async (stack: readonly Expert[], text: number, alone?: number): Promise<Float32Array> => {
      model.useMixture(
        new Mixture(
          stack.map((expert) => entry(expert)),
          { mode: 'sum' },
        ),
      );
      return (await model.predict(sample, time, texts[text]!, { step: 0, steps: 1, alone })).prediction.data;
    };
    for (const expert of [0, 1]) {
      const target = await predict(pair, expert, expert);
      const routedError = relativeError(await predict(routed, expert), target);
      const sumError = relativeError(await predict(pair, expert), target);
      expect(routedError).toBeLessThan(sumError);
    }
  });
});

describe('gates', () => {
  it('of zero are the normalised sum', async () => {
    const stack = experts.slice(1);
    const even = await rgb(
      stack.map((expert) => entry(expert)),
      'normalised',
    );
    const gated = await rgb(
      stack.map((expert) => entry(expert)),
      { mode: 'mole', gate: gateOf(stack) },
    );
    expect(maxDifference(gated, even)).toBeLessThanOrEqual(1);
  });

  it('stream out at every step for both halves of the guidance, under the names of the rows, and sum to 1', async () => {
    const gate = gateOf(experts, new TorchGenerator(5));
    const { events } = await draw(
      experts.map((expert) => entry(expert)),
      { mode: 'mole', gate },
    );
    const head = events.find((event) => event.kind === 'mixture')!;
    expect(head.experts.map(({ name }) => name)).toEqual(['expert 1', 'expert 2', 'expert 3']);
    expect(new Set(head.groups.map(({ row }) => row))).toContain('MID');
    expect(head.groups[0]!.row).toBe('IN01');
    const steps = events.filter((event) => event.kind === 'step');
    expect(steps).toHaveLength(4);
    for (const { gates } of steps) {
      for (const half of [gates!.conditional!, gates!.unconditional!]) {
        expect(half).toHaveLength(head.groups.length);
        for (const values of half) expect(values.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 5);
      }
    }
    expect(steps[0]!.gates).not.toEqual(steps[3]!.gates);
  });

  it('for roles take any experts in the order of the stack, one for each role', () => {
    const role = (name: string) => ({ name, sha256: anyExpert });
    const gate = {
      ...gateOf(experts, new TorchGenerator(5)),
      experts: [role('a subject'), experts[1]!, role('a style')],
    };
    const shuffled = [experts[2]!, experts[0]!, experts[1]!];
    expect(matchExperts(gate, shuffled, 'a')).toEqual([experts[2]!, experts[1]!, experts[0]!]);
    const wanted =
      /a is for a subject, expert 2 \(0{12}\), a style, in this order; the stack has expert 2, expert 3\. Give one/;
    expect(() => matchExperts(gate, experts.slice(1), 'a')).toThrow(wanted);
    expect(() => matchExperts(gate, [...experts, { ...experts[0]!, sha256: 'e'.repeat(64) }], 'a')).toThrow(GateError);
  });

  it('masked down to one expert are that expert alone at its weight, without retraining', async () => {
    const gate = gateOf(experts, new TorchGenerator(5));
    const one = experts.map((expert, i) => entry(expert, { muted: i !== 1, weight: () => 0.8 }));
    const alone = await rgb([entry(experts[1]!, { weight: () => 0.8 })]);
    expect(maxDifference(await rgb(one, { mode: 'mole', gate }), alone)).toBeLessThanOrEqual(1);
  });

  it('set by hand hold in their row alone, and taken back give the first picture again, bit for bit', async () => {
    const gate = gateOf(experts, new TorchGenerator(5));
    const stack = experts.map((expert) => entry(expert));
    const before = await rgb(stack, { mode: 'mole', gate });
    const { rgb: during, events } = await draw(stack, { mode: 'mole', gate, overrides: { MID: [0.9, null, null] } });
    expect(during).not.toEqual(before);
    const { groups } = events.find((event) => event.kind === 'mixture')!;
    const { gates } = events.find((event) => event.kind === 'step')!;
    groups.forEach(({ row }, g) => {
      const values = gates!.conditional![g]!;
      expect(values.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 5);
      if (row === 'MID') expect(values[0]).toBeCloseTo(0.9, 6);
      else expect(values[0]).not.toBeCloseTo(0.9, 6);
    });
    expect(await rgb(stack, { mode: 'mole', gate })).toEqual(before);
    expect(await rgb(stack, { mode: 'mole', gate, overrides: { MID: [null, null, null] } })).toEqual(before);
  });

  it('survive their file, number by number, and know their experts by hash in any order', async () => {
    const gate = gateOf(experts, new TorchGenerator(5));
    const path = await writeGateFile(join(folder, 'a.mole.safetensors'), gate, { steps: '400' });
    const { gate: read, metadata } = await readGateFile(path);
    expect(read).toEqual(gate);
    expect(metadata['steps']).toBe('400');
    const shuffled = [experts[2]!, experts[0]!, experts[1]!];
    expect(matchExperts(read, shuffled, path)).toEqual(experts);
    expect(() => matchExperts(read, experts.slice(1), path)).toThrow(/Missing: expert 1 \(0{12}\)/);
    const stranger = { ...experts[0]!, name: 'stranger', sha256: 'e'.repeat(64) };
    expect(() => matchExperts(read, [...experts, stranger], path)).toThrow(/Unknown to it: stranger \(e{12}\)/);
  });

  it('are never overwritten by another training', async () => {
    const gate = gateOf(experts);
    const first = await writeGateFile(join(folder, 'b.mole.safetensors'), gate);
    expect(await writeGateFile(join(folder, 'b.mole.safetensors'), gate)).not.toBe(first);
  });
});
