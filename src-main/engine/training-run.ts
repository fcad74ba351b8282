// The life of a training run, whatever is trained: updates with a curve and an estimate of the time left, everything needed to go
// on saved beside the output, cancel that keeps the best so far, early stop. A run killed at any moment and resumed walks the
// same curve: parameters, moments and random numbers are restored bit for bit.
import { createHash } from 'node:crypto';
import { stat, unlink } from 'node:fs/promises';
import { FailureError } from '../contract/failure.ts';
import type { TrainEvent, TrainGateSettings, TrainLoraSettings, TrainResult } from '../contract/training.ts';
import { readSafetensorsHeader, readTensor } from '../formats/safetensors.ts';
import { writeSafetensors, type RawTensor } from '../formats/safetensors-write.ts';
import { TorchGenerator } from '../tensor/random.ts';
import { floatTensor, intTensor, type FloatTensor, type IntTensor } from '../tensor/tensor.ts';
import { adamDefaults, type Arrays } from '../training/optimizer.ts';
import {
  startTraining,
  train,
  TrainingDiverged,
  type CurvePoint,
  type Differentiate,
  type TrainingOptions,
  type TrainingState,
} from '../training/trainer.ts';
import type { JobContext } from './engine.ts';

/** Gradients are clipped to this norm: one strange picture must not throw away what was learnt. */
const mostGradientNorm = 1;
/** A run stops early when fifty updates bring the mean loss down by less than 0.2 %. */
const earlyStop = { window: 50, atLeast: 0.002 };

/** The loop's options, from the fields that every training order has. */
export function trainingOptions(
  settings: TrainGateSettings | TrainLoraSettings,
  learningRate: number,
): TrainingOptions {
  const { steps, warmup, decay, accumulate, optimizer, weightDecay } = settings;
  return {
    steps,
    learningRate,
    warmup,
    decay,
    accumulate,
    clip: mostGradientNorm,
    adam: { ...adamDefaults, weightDecay: optimizer === 'adamw' ? weightDecay : 0 },
    earlyStop: settings.earlyStop ? earlyStop : undefined,
  };
}

export interface TrainingRun {
  /** What defines the run: a saved state of another order is not resumed. */
  readonly order: unknown;
  readonly output: string;
  readonly seed: number;
  readonly resume: boolean;
  readonly saveEvery: number;
  readonly options: TrainingOptions;
  /** Parameters before the first update. */
  readonly parameters: Arrays;
  readonly differentiate: Differentiate;
  /** Mean gate per expert of the last batch, for the report. */
  readonly gates?: () => readonly number[] | undefined;
  /** Called after update `step`: sample pictures. */
  readonly sample?: ((parameters: Arrays, step: number) => Promise<void>) | undefined;
  /** Writes what was trained; returns its path. */
  readonly write: (parameters: Arrays, curve: readonly CurvePoint[]) => Promise<string>;
}

export type TrainingOutcome = Pick<TrainResult, 'path' | 'steps' | 'ended' | 'loss'>;

/** Where a run keeps what it needs to go on. */
export const stateFile = (output: string): string => `${output}.state.safetensors`;

/** How much of the smoothed loss each update replaces, for the choice of the best parameters. */
const smoothing = 0.05;

/** Trains to the end, a cancel or an early stop, and writes the result. Throws FailureError. */
export async function runTraining(run: TrainingRun, context: JobContext<TrainEvent>): Promise<TrainingOutcome> {
  const { options, output } = run;
  const state = stateFile(output);
  const order = createHash('sha256').update(JSON.stringify(run.order)).digest('hex');
  const random = new TorchGenerator(run.seed);
  const begun = run.resume ? await loadState(state, order, run.parameters) : undefined;
  if (!run.resume && (await exists(state))) {
    throw new FailureError({
      kind: 'bad-request',
      file: state,
      message: `${state} is a saved run: --resume goes on with it. To start anew, remove it or choose another name for the output.`,
    });
  }
  if (run.resume && begun === undefined) {
    context.emit({
      kind: 'warning',
      message: `There is no saved run beside ${output}: training starts from the beginning.`,
    });
  }
  let current = begun ?? startTraining(run.parameters, random);
  let best = { parameters: current.parameters, smoothed: Infinity };
  let smoothed: number | undefined;
  const start = performance.now();
  const first = current.adam.step;
  let ended: TrainResult['ended'] = 'finished';
  try {
    for await (const next of train(current, random, run.differentiate, options)) {
      current = next;
      const point = current.curve.at(-1)!;
      smoothed = smoothed === undefined ? point.loss : smoothed + smoothing * (point.loss - smoothed);
      if (smoothed <= best.smoothed) best = { parameters: current.parameters, smoothed };
      const elapsedMs = performance.now() - start;
      const gates = run.gates?.();
      context.emit({
        kind: 'update',
        step: point.step,
        steps: options.steps,
        loss: point.loss,
        parts: point.parts,
        learningRate: point.rate,
        gradientNorm: point.gradientNorm,
        elapsedMs,
        remainingMs: (elapsedMs / (point.step - first)) * (options.steps - point.step),
        ...(gates === undefined ? {} : { gates }),
      });
      if (point.step % run.saveEvery === 0 && point.step < options.steps) await saveState(state, order, current);
      if (run.sample !== undefined) await run.sample(current.parameters, point.step);
      if (context.signal.aborted) {
        ended = 'cancelled';
        break;
      }
    }
  } catch (error) {
    if (context.signal.aborted && !(error instanceof TrainingDiverged)) ended = 'cancelled';
    else throw asFailure(error, current.adam.step);
  }
  if (ended === 'finished' && current.adam.step < options.steps) ended = 'early-stop';
  if (ended === 'cancelled' && current.adam.step === 0) {
    throw new FailureError({
      kind: 'cancelled',
      message: 'The training was cancelled before its first update; nothing was written.',
    });
  }
  if (ended === 'cancelled') await saveState(state, order, current);
  const path = await run.write(ended === 'cancelled' ? best.parameters : current.parameters, current.curve);
  if (ended !== 'cancelled') await unlink(state).catch(() => undefined);
  return { path, steps: current.adam.step, ended, loss: endsOf(current.curve) };
}

function asFailure(error: unknown, step: number): unknown {
  if (!(error instanceof TrainingDiverged)) return error;
  return new FailureError({ kind: 'not-a-number', message: `${error.message} ${step} updates were good.` }, error);
}

/** Mean loss of the first and the last tenth. */
function endsOf(curve: readonly CurvePoint[]): TrainResult['loss'] {
  const tenth = Math.max(1, Math.floor(curve.length / 10));
  const mean = (points: readonly CurvePoint[]): number =>
    points.reduce((sum, { loss }) => sum + loss, 0) / Math.max(1, points.length);
  return { first: mean(curve.slice(0, tenth)), last: mean(curve.slice(-tenth)) };
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

async function saveState(
  path: string,
  order: string,
  { parameters, adam, random, curve }: TrainingState,
): Promise<void> {
  const tensors: Record<string, FloatTensor | IntTensor | RawTensor> = {
    'random.words': intTensor([random.words.length], [...random.words]),
  };
  for (const [prefix, arrays] of [
    ['parameter', parameters],
    ['first', adam.first],
    ['second', adam.second],
  ] as const) {
    for (const [name, values] of Object.entries(arrays))
      tensors[`${prefix}/${name}`] = floatTensor([values.length], values);
  }
  await writeSafetensors(path, tensors, {
    format: 'mole-training',
    order,
    step: String(adam.step),
    random: JSON.stringify({ used: random.used, nextNormal: random.nextNormal ?? null }),
    curve: JSON.stringify(curve),
  });
}

async function loadState(path: string, order: string, like: Arrays): Promise<TrainingState | undefined> {
  const header = await readSafetensorsHeader(path).catch((error: unknown) => {
    if (
      error instanceof Error &&
      error.cause instanceof Error &&
      'code' in error.cause &&
      error.cause.code === 'ENOENT'
    ) {
      return undefined;
    }
    throw error;
  });
  if (header === undefined) return undefined;
  const { metadata, tensors } = header;
  if (metadata['format'] !== 'mole-training' || metadata['order'] !== order) {
    throw new FailureError({
      kind: 'bad-request',
      file: path,
      message: `${path} was saved by a run with other settings, experts or pictures. Repeat those to go on with it, or leave --resume out to start anew.`,
    });
  }
  const read = async (prefix: string): Promise<Arrays> => {
    const arrays: Record<string, Float32Array> = {};
    for (const name of Object.keys(like)) {
      const ref = tensors.get(`${prefix}/${name}`);
      const tensor = ref === undefined ? undefined : await readTensor(ref);
      if (tensor?.dtype !== 'float32' || tensor.data.length !== like[name]!.length) {
        throw new FailureError({
          kind: 'bad-file',
          file: path,
          message: `${path}: ${prefix}/${name} is missing or damaged. Start anew without --resume.`,
        });
      }
      arrays[name] = tensor.data;
    }
    return arrays;
  };
  const words = await readTensor(tensors.get('random.words')!);
  const { used, nextNormal } = JSON.parse(metadata['random']!) as { used: number; nextNormal: number | null };
  return {
    parameters: await read('parameter'),
    adam: { step: Number(metadata['step']), first: await read('first'), second: await read('second') },
    random: { words: Uint32Array.from(words.data, Number), used, nextNormal: nextNormal ?? undefined },
    curve: JSON.parse(metadata['curve']!) as CurvePoint[],
  };
}
