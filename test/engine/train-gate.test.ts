// Gate training on the bundled model: it learns, it can be cancelled, killed and resumed on the same curve, and it leaves nothing
// behind that it should not.
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { generateRequestSchema } from '../../src-main/contract/generation.ts';
import { trainGateSchema, type TrainEvent, type TrainGateRequest } from '../../src-main/contract/training.ts';
import { openCheckpoint } from '../../src-main/engine/checkpoint.ts';
import { readGateFile } from '../../src-main/engine/gate-file.ts';
import type { GateExpert } from '../../src-main/engine/gate-learner.ts';
import { generateImage } from '../../src-main/engine/generate-image.ts';
import { LoadedModel } from '../../src-main/engine/loaded-model.ts';
import { Mixture } from '../../src-main/engine/mixture.ts';
import { trainGate, type FurtherStack } from '../../src-main/engine/train-gate.ts';
import { stateFile } from '../../src-main/engine/training-run.ts';
import type { LowRank } from '../../src-main/mole/expert.ts';
import { anyExpert } from '../../src-main/mole/trained-gate.ts';
import { textEncoderModules } from '../../src-main/networks/modules.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { floatTensor } from '../../src-main/tensor/tensor.ts';
import { drawExpert } from '../support/draw-expert.ts';

const bundled = resolve(import.meta.dirname, '../../models/atelier-mini');
let model: LoadedModel;
let pictures: string;
let experts: readonly GateExpert[];
beforeAll(async () => {
  model = new LoadedModel(await openCheckpoint(bundled), { provider: 'cpu', fusedAttention: true });
  pictures = mkdtempSync(join(tmpdir(), 'atelier-references-'));
  // Drawings of the base model itself: an expert of noise is then best left out.
  const request = generateRequestSchema.parse({
    model: bundled,
    prompt: 'a red apple, noto style',
    seed: 1,
    batch: 2,
    steps: 8,
    cfgScale: 4,
    output: { folder: pictures },
  });
  const context = { signal: new AbortController().signal, emit: () => undefined };
  await generateImage(request, model, new Mixture([], { mode: 'sum' }), context, 64e9);
  const layers = model.unetModules.filter(({ name }) => name.includes('attn'));
  const text = textEncoderModules(model.checkpoint.textEncoder.config).filter(({ name }) => name.includes('attn'));
  const expert = (seed: number, strength: number): GateExpert => ({
    expert: drawExpert(seed, [...layers, ...text], { rank: 2, strength }),
    weight: 1,
    textWeight: 1,
    prompts: ['a red apple'],
  });
  experts = [expert(1, 0.4), expert(2, 0.01)];
});
afterAll(async () => {
  await model.release();
  rmSync(pictures, { recursive: true, force: true });
});
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'atelier-gate-'));
  return () => {
    rmSync(folder, { recursive: true, force: true });
  };
});

async function trained(
  wish: Partial<TrainGateRequest> = {},
  {
    signal = new AbortController().signal,
    onEvent,
    further = [],
  }: { signal?: AbortSignal; onEvent?: (event: TrainEvent) => void; further?: readonly FurtherStack[] } = {},
) {
  const events: TrainEvent[] = [];
  const settings = trainGateSchema.parse({
    model: bundled,
    mix: {},
    images: [pictures],
    caption: 'a red apple, noto style',
    steps: 12,
    batch: 1,
    output: join(folder, 'gate.mole.safetensors'),
    ...wish,
  });
  const context = {
    signal,
    emit: (event: TrainEvent) => {
      events.push(event);
      onEvent?.(event);
    },
  };
  const outcome = await trainGate(settings, model, experts, context, 64e9, further);
  const losses = events.flatMap((event) => (event.kind === 'update' ? [event.loss] : []));
  return { ...outcome, events, losses };
}

const abortAt =
  (stop: AbortController, step: number) =>
  (event: TrainEvent): void => {
    if (event.kind === 'update' && event.step === step) stop.abort();
  };

describe('a gate', () => {
  it(
    'learns to leave out an expert that only disturbs, and its file says how it came about',
    { timeout: 120_000 },
    async () => {
      const { path, events, steps, ended } = await trained({ steps: 60, balance: 0, learningRate: 0.02, batch: 2 });
      expect([steps, ended]).toEqual([60, 'finished']);
      const updates = events.filter((event) => event.kind === 'update');
      expect(updates[0]!.gates![0]).toBeCloseTo(0.5, 2);
      expect(updates.at(-1)!.gates![0]).toBeLessThan(0.35);
      const { gate, metadata } = await readGateFile(path);
      expect(gate.experts.map(({ name }) => name)).toEqual(['expert 1', 'expert 2']);
      expect(Object.keys(gate.networks)).toEqual(['unet', 'text_encoder']);
      expect(JSON.parse(metadata['curve']!)).toHaveLength(60);
      expect(readdirSync(folder)).toEqual(['gate.mole.safetensors']);
    },
  );

  it('is held even by the balance loss', { timeout: 120_000 }, async () => {
    const { events } = await trained({ steps: 40, balance: 2, learningRate: 0.02, batch: 2 });
    const updates = events.filter((event) => event.kind === 'update');
    expect(Math.abs(updates.at(-1)!.gates![0]! - 0.5)).toBeLessThan(0.1);
    expect(updates[0]!.parts['balance']).toBeCloseTo(2 * Math.log(2), 3);
  });

  it.each([
    [{ granularity: 'matrix', amplitude: 'free' }],
    [{ granularity: 'layer', timestep: true }],
    [{ granularity: 'network', form: 'paper' }],
    [{ form: 'paper', amplitude: 'free' }],
    [{ loss: 'distil', images: [] }],
    [{ minSnr: 5, optimizer: 'adam', mirror: true, buckets: true, accumulate: 2 }],
  ] as const)('is trained and written with %o', { timeout: 60_000 }, async (wish) => {
    const { path } = await trained({ steps: 2, ...wish, images: 'images' in wish ? [] : [pictures] });
    const { gate } = await readGateFile(path);
    const { weight } = gate.networks.unet![0]!;
    expect(weight.data.some((value) => value !== 0)).toBe(true);
  });
});

/** An expert of noise beside an attention-only one, in the roles of `experts`. */
function otherStack(rank: number): FurtherStack {
  const modules = [...experts[0]!.expert.layers.unet.values(), ...experts[0]!.expert.layers.text_encoder.values()].map(
    ({ module }) => module,
  );
  const one = (seed: number, strength: number): GateExpert => ({
    ...experts[0]!,
    expert: drawExpert(seed, modules, { rank, strength }),
  });
  return { experts: [one(3, 0.4), one(4, 0.01)], images: [pictures] };
}

describe('a gate over several stacks', () => {
  it('learns the roles that their experts share', { timeout: 120_000 }, async () => {
    const roles = ['a subject', 'a style'];
    const wish = { steps: 60, balance: 0, learningRate: 0.02, batch: 2, amplitude: 'free', roles } as const;
    const { events, path } = await trained(wish, { further: [otherStack(2)] });
    const updates = events.filter((event) => event.kind === 'update');
    // A free amplitude starts as the plain sum: gates of 1, whose mean falls for the disturber alone.
    expect(updates[0]!.gates).toEqual([expect.closeTo(1, 1), expect.closeTo(1, 1)]);
    expect(updates.at(-1)!.gates![0]).toBeLessThan(0.7);
    const { gate } = await readGateFile(path);
    expect(gate.experts).toEqual(roles.map((name) => ({ name, sha256: anyExpert })));
  });

  it('may know the timestep alone, without listening to what its experts say', { timeout: 120_000 }, async () => {
    const wish = { steps: 16, balance: 0, learningRate: 0.1, batch: 2, timestep: true, listens: false } as const;
    const { events, path } = await trained(wish, { further: [otherStack(2)] });
    const updates = events.filter((event) => event.kind === 'update');
    expect(updates.at(-1)!.gates![0]).toBeLessThan(0.4);
    const { gate } = await readGateFile(path);
    for (const { weight, timestep } of gate.networks.unet!) {
      expect(weight.data.every((value) => value === 0)).toBe(true);
      expect(timestep!.data.some((value) => value !== 0)).toBe(true);
    }
    await expect(trained({ listens: false })).rejects.toThrow(/nothing to learn from/);
  });

  it('takes LoRAs of other ranks and layers: what they lack counts as zero', { timeout: 120_000 }, async () => {
    const wish = { steps: 6, balance: 0, batch: 2, timestep: true, roles: ['a subject', 'a style'] };
    const other = otherStack(2);
    const layersOf = (layer: (one: LowRank, place: number) => LowRank | undefined): FurtherStack => ({
      ...other,
      experts: other.experts.map((one) => {
        const changed = (layers: ReadonlyMap<string, LowRank>): ReadonlyMap<string, LowRank> =>
          new Map(
            [...layers].flatMap(([name, old], place) => {
              const now = layer(old, place);
              return now === undefined ? [] : [[name, now] as const];
            }),
          );
        const { unet, text_encoder: text } = one.expert.layers;
        return { ...one, expert: { ...one.expert, layers: { unet: changed(unet), text_encoder: changed(text) } } };
      }),
    });
    const losses = async (output: string, stack: FurtherStack): Promise<readonly number[]> =>
      (await trained({ ...wish, output: join(folder, output) }, { further: [stack] })).losses;
    /** A third component that says nothing. */
    const wider = (one: LowRank): LowRank => {
      const [own, ...shape] = one.down.shape as [number, ...number[]];
      const down = new TorchGenerator(9).randn([own + 1, ...shape]);
      down.data.set(one.down.data);
      const up = floatTensor([one.up.shape[0]!, own + 1]);
      up.data.forEach((_, i) => {
        const [row, column] = [Math.floor(i / (own + 1)), i % (own + 1)];
        up.data[i] = column === own ? 0 : one.up.data[row * own + column]!;
      });
      return { ...one, down, up };
    };
    const silent = (one: LowRank, place: number): LowRank =>
      place % 3 === 0 ? { ...one, up: floatTensor(one.up.shape) } : one;
    const plain = await losses('plain.mole.safetensors', other);
    const wide = await losses('wide.mole.safetensors', layersOf(wider));
    expect(wide).toEqual(plain.map((loss) => expect.closeTo(loss, 4) as number));
    const quiet = await losses('quiet.mole.safetensors', layersOf(silent));
    const fewer = await losses(
      'fewer.mole.safetensors',
      layersOf((one, place) => (place % 3 === 0 ? undefined : one)),
    );
    expect(fewer).toEqual(quiet.map((loss) => expect.closeTo(loss, 4) as number));
    expect(quiet).not.toEqual(plain.map((loss) => expect.closeTo(loss, 4) as number));
  });

  it('refuses a stack of another size', async () => {
    const { experts: two, images } = otherStack(2);
    const further = [{ experts: [...two, two[0]!], images }];
    await expect(trained({}, { further })).rejects.toThrow(/one expert for each role; .* are 2, .* are 3/);
  });

  it("is trained in the paper's form too", { timeout: 60_000 }, async () => {
    const { steps, losses } = await trained({ steps: 2, form: 'paper' }, { further: [otherStack(2)] });
    expect(steps).toBe(2);
    expect(losses.every(Number.isFinite)).toBe(true);
  });
});

describe('a run', () => {
  it(
    'stopped in the middle and resumed walks the same curve and writes the same gate',
    { timeout: 60_000 },
    async () => {
      const whole = await trained({ steps: 8 });
      const output = join(folder, 'again.mole.safetensors');
      const stop = new AbortController();
      const part = await trained({ steps: 8, output }, { signal: stop.signal, onEvent: abortAt(stop, 3) });
      expect([part.ended, part.steps]).toEqual(['cancelled', 3]);
      expect(existsSync(stateFile(output))).toBe(true);
      const rest = await trained({ steps: 8, output, resume: true });
      expect([...part.losses, ...rest.losses]).toEqual(whole.losses);
      const [a, b] = [await readGateFile(whole.path), await readGateFile(rest.path)];
      expect(b.gate).toEqual(a.gate);
      expect(existsSync(stateFile(output))).toBe(false);
    },
  );

  it('that was saved is neither overwritten nor resumed under other settings', { timeout: 60_000 }, async () => {
    const stop = new AbortController();
    await trained({}, { signal: stop.signal, onEvent: abortAt(stop, 1) });
    await expect(trained()).rejects.toMatchObject({
      failure: { kind: 'bad-request', message: expect.stringMatching(/is a saved run: --resume goes on/) as string },
    });
    await expect(trained({ resume: true, learningRate: 0.5 })).rejects.toMatchObject({
      failure: { kind: 'bad-request', message: expect.stringMatching(/other settings/) as string },
    });
  });

  it('cancelled keeps the best so far as a gate of its own name', { timeout: 60_000 }, async () => {
    const stop = new AbortController();
    const { path, ended } = await trained({}, { signal: stop.signal, onEvent: abortAt(stop, 2) });
    expect(ended).toBe('cancelled');
    expect((await readGateFile(path)).gate.experts).toHaveLength(2);
  });

  it('draws sample pictures on the way when asked to', { timeout: 60_000 }, async () => {
    const { events } = await trained({ steps: 4, sampleEvery: 2, samplePrompt: 'a red apple' });
    const drawn = events.flatMap((event) => (event.kind === 'picture' ? [event.step] : []));
    expect(drawn).toEqual([2, 4]);
  });

  it('says what is wrong with its pictures', async () => {
    writeFileSync(join(folder, 'not-a-picture.png'), 'text');
    await expect(trained({ images: [folder] })).rejects.toMatchObject({
      failure: { kind: 'bad-request', message: expect.stringMatching(/No picture could be read/) as string },
    });
    await expect(trained({ images: [join(folder, 'nowhere')] })).rejects.toMatchObject({
      failure: { message: expect.stringMatching(/no such file or folder/) as string },
    });
  });
});
