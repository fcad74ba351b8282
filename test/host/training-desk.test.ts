// A training behind the windows, with the real engine and the bundled model: pictures that are copied, news, pause and resume on the
// same curve, an engine killed under it, an app that ended under it. Skipped, with the reason, where the model is not here.
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EngineClient } from '../../src-main/client/engine-client.ts';
import { forkedEngine } from '../../src-main/client/engine-process-port.ts';
import { FailureError } from '../../src-main/contract/failure.ts';
import type { News, WindowMethodName, WindowMethods } from '../../src-main/contract/window.ts';
import type { TrainingOrder, TrainingPoint, WindowTraining } from '../../src-main/contract/window-training.ts';
import { WindowHost } from '../../src-main/host/window-host.ts';
import { until } from '../support/wait.ts';

const root = resolve(import.meta.dirname, '../..');
const model = join(root, 'models/atelier-mini');
const experts = ['fox', 'ink', 'sketch'].map((name) => join(root, `assets/experts/${name}.safetensors`));
const references = join(root, 'assets/experts/references');
const hasModel = existsSync(join(model, 'unet/diffusion_pytorch_model.safetensors')) && experts.every(existsSync);
if (!hasModel) console.log('Skipped: models/atelier-mini or assets/experts is not here, so nothing can be trained.');

/** Seconds that a few updates may take on a busy machine, most of which are for opening the engine. */
const patience = 100;

let folder: string;
let open: App[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'atelier-training-desk-'));
  open = [];
});
afterEach(async () => {
  for (const app of open) await app.close();
  rmSync(folder, { recursive: true, force: true });
});

interface App {
  readonly trainingClient: EngineClient;
  readonly news: News[];
  /** As a window has it from its news. */
  readonly training: () => WindowTraining | undefined;
  readonly points: () => readonly TrainingPoint[];
  readonly request: <Name extends WindowMethodName>(
    method: Name,
    params: WindowMethods[Name]['params'],
  ) => Promise<WindowMethods[Name]['result']>;
  readonly close: () => Promise<void>;
}

async function openApp(): Promise<App> {
  const spawn = forkedEngine(join(root, 'out/main/engine.js'));
  const client = new EngineClient({ spawn });
  const trainingClient = new EngineClient({ spawn });
  const host = await WindowHost.open({
    client,
    trainingClient,
    folder: join(folder, 'pictures'),
    stateFolder: join(folder, 'state'),
    place: 'browser',
    version: '0',
    model,
    bundled: experts,
  });
  const news: News[] = [];
  host.attach((message) => {
    if (message.kind === 'news') news.push(message.news);
  });
  let closed = false;
  const app: App = {
    trainingClient,
    news,
    training: () => news.flatMap((one) => (one.kind === 'training' ? [one.training] : [])).at(-1),
    points: () => news.flatMap((one) => (one.kind === 'training-progress' ? one.points : [])),
    request: (method, params) =>
      new Promise((answer, reject) => {
        void host.receive({ kind: 'request', id: 1, method, params }, (message) => {
          if (message.kind === 'result') answer(message.result as never);
          if (message.kind === 'failure') reject(new FailureError(message.failure));
        });
      }),
    close: async () => {
      if (closed) return;
      closed = true;
      await host.close();
      await Promise.all([client.close(), trainingClient.close()]);
    },
  };
  open.push(app);
  return app;
}

const gateOrder = (steps: number): TrainingOrder => ({
  kind: 'gate',
  name: 'my gate',
  experts: experts.slice(0, 2),
  settings: { steps, batch: 1, saveEvery: 3, seed: 1, device: 'cpu' },
});

const twoPictures = ['fox/noto-fox.png', 'ink/fluent-contrast-rose.png'].map((name) => ({
  path: join(references, name),
}));

const stateOf = (app: App): string | undefined => app.training()?.state;
const reached = (app: App, step: number): Promise<void> =>
  until(`update ${step}`, () => app.points().some((point) => point.step >= step), patience);

describe('pictures to learn from', () => {
  it('are copies with captions of their own; what is no picture is refused by name', async () => {
    const app = await openApp();
    const source = join(folder, 'cat.png');
    copyFileSync(join(references, 'fox/noto-fox.png'), source);
    writeFileSync(join(folder, 'cat.txt'), 'a cat\n');
    writeFileSync(join(folder, 'broken.png'), 'no picture at all');
    const added = await app.request('addTrainingPictures', {
      pictures: [{ path: source }, { path: source, caption: 'another' }, { path: join(folder, 'broken.png') }],
    });
    expect(added.added).toBe(2);
    expect(added.refused).toEqual([expect.stringContaining('broken.png was not added')]);
    const { pictures } = await app.request('training', {});
    expect(pictures.map(({ name, caption }) => [name, caption])).toEqual([
      ['cat', 'a cat'],
      ['cat-2', 'another'],
    ]);
    await app.request('captionTrainingPicture', { id: pictures[0]!.id, caption: 'a red cat' });
    await app.request('removeTrainingPictures', { ids: [pictures[1]!.id] });
    const left = await app.request('training', {});
    expect(left.pictures.map(({ caption }) => caption)).toEqual(['a red cat']);
    expect(readFileSync(join(folder, 'cat.txt'), 'utf8')).toBe('a cat\n');
  });
});

describe.skipIf(!hasModel)('a training', { timeout: 240_000 }, () => {
  it('is refused in words when there is nothing to learn from, and nobody to decide between', async () => {
    const app = await openApp();
    const lora: TrainingOrder = { kind: 'lora', name: 'x', settings: {} };
    await expect(app.request('startTraining', { order: lora })).rejects.toThrow('There are no pictures');
    const alone = { ...gateOrder(2), experts: experts.slice(0, 1) } as TrainingOrder;
    await expect(app.request('startTraining', { order: alone })).rejects.toThrow('at least two');
    await app.request('addTrainingReferences', {});
    const gone = { ...gateOrder(2), experts: [experts[0]!, join(folder, 'gone.safetensors')] } as TrainingOrder;
    await expect(app.request('startTraining', { order: gone })).rejects.toThrow('is not there any more');
  });

  it('says before it starts what it needs, pauses and goes on with the same curve as one without a pause', async () => {
    const app = await openApp();
    await app.request('addTrainingPictures', { pictures: twoPictures });
    const estimate = await app.request('estimateTraining', { order: gateOrder(6), measure: true });
    expect(estimate.resolution).toBe(128);
    expect(estimate.neededBytes).toBeGreaterThan(10e6);
    expect(estimate.neededBytes).toBeLessThan(estimate.availableBytes);
    expect(estimate.totalMs).toBeCloseTo(6 * estimate.updateMs!);

    await app.request('startTraining', { order: gateOrder(6) });
    await reached(app, 2);
    await app.request('pauseTraining', {});
    await until('the pause', () => stateOf(app) === 'paused', patience);
    const paused = app.training()!;
    expect(paused.progress!.step).toBeLessThan(6);
    expect(existsSync(join(folder, 'pictures/trained'))).toBe(false);
    await app.request('resumeTraining', {});
    await until('the end', () => stateOf(app) === 'finished', patience);
    const whole = app.training()!;
    expect(whole.curve.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(whole.curve[0]!.gates).toHaveLength(2);
    expect(whole.result!.path).toBe(join(folder, 'pictures/trained/my gate.mole.safetensors'));

    // Once more, in one go: the numbers are the same, and the first gate stays.
    await app.request('startTraining', { order: gateOrder(6) });
    await until('the second end', () => app.training()?.id !== whole.id && stateOf(app) === 'finished', patience);
    expect(app.training()!.curve).toEqual(whole.curve);
    expect(app.training()!.result!.path).toBe(join(folder, 'pictures/trained/my gate-2.mole.safetensors'));
    const { trained } = await app.request('training', {});
    expect(trained.map(({ name, kind }) => [name, kind])).toEqual([
      ['my gate-2', 'gate'],
      ['my gate', 'gate'],
    ]);
  });

  it('goes on by itself when its engine is killed, and says so', async () => {
    const app = await openApp();
    await app.request('addTrainingPictures', { pictures: twoPictures });
    await app.request('startTraining', { order: gateOrder(6) });
    await reached(app, 4);
    process.kill(app.trainingClient.pid!, 'SIGKILL');
    await until('the end', () => stateOf(app) === 'finished', patience);
    const { curve, notes } = app.training()!;
    expect(curve.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(notes.join(' ')).toContain('went on by itself');
    // An update done twice had the same loss both times.
    const losses = new Map<number, Set<number>>();
    for (const { step, loss } of app.points()) losses.set(step, (losses.get(step) ?? new Set()).add(loss));
    expect([...losses.values()].every(({ size }) => size === 1)).toBe(true);
  });

  it('waits as interrupted after the app was ended, and keeps what it learnt when it is cancelled', async () => {
    const first = await openApp();
    await first.request('addTrainingPictures', { pictures: twoPictures });
    await first.request('startTraining', { order: gateOrder(500) });
    await reached(first, 4);
    await first.close();
    const app = await openApp();
    const { training } = await app.request('training', {});
    expect(training).toMatchObject({ state: 'interrupted', resumable: true });
    expect(training!.curve.length).toBeGreaterThan(3);
    await expect(app.request('startTraining', { order: gateOrder(2) })).rejects.toThrow('finish or cancel it first');
    await app.request('cancelTraining', { discard: false });
    await until('the end', () => stateOf(app) === 'cancelled', patience);
    expect(app.training()!.result!.steps).toBeGreaterThan(3);
    expect(existsSync(app.training()!.result!.path)).toBe(true);
    await app.request('closeTraining', {});
    expect((await app.request('training', {})).training).toBeUndefined();
  });

  it('learns a LoRA with sample pictures on the way, and leaves nothing when it is thrown away', async () => {
    const app = await openApp();
    await app.request('addTrainingPictures', { pictures: [{ path: join(references, 'fox/noto-fox.png') }] });
    const settings = { steps: 400, batch: 1, rank: 2, sampleEvery: 1, samplePrompt: 'a fox', device: 'cpu' } as const;
    await app.request('startTraining', { order: { kind: 'lora', name: 'my fox', settings } });
    await until('a sample', () => (app.training()?.samples.length ?? 0) > 0, patience);
    await app.request('cancelTraining', { discard: true });
    expect((await app.request('training', {})).training).toBeUndefined();
    expect(existsSync(join(folder, 'pictures/trained'))).toBe(false);
    expect(existsSync(join(folder, 'state/training/run'))).toBe(false);
  });
});
