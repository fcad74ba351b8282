// The training loop over functions: gradients come from whoever differentiates, batches from whoever has data. Its whole state is
// a value between two steps, so that a run can be stopped, killed and resumed on the same curve.
import type { GeneratorState, TorchGenerator } from '../tensor/random.ts';
import {
  adamInit,
  adamUpdate,
  clipNorm,
  globalNorm,
  type AdamOptions,
  type AdamState,
  type Arrays,
} from './optimizer.ts';

export interface TrainingOptions {
  /** Updates in all. */
  readonly steps: number;
  readonly learningRate: number;
  /** Updates over which the rate rises from 0. */
  readonly warmup: number;
  /** After the rise the rate falls to 0 along half a cosine, so that the last batches leave no mark of their own. */
  readonly decay?: boolean;
  /** Batches whose mean gradient makes one update. */
  readonly accumulate: number;
  /** Gradients are clipped to this norm; undefined leaves them. */
  readonly clip?: number | undefined;
  readonly adam: AdamOptions;
  /**
   * Stop when the loss, averaged over `window` updates, has not fallen by `atLeast` (a share of itself) compared with the window
   * before. Undefined trains all steps.
   */
  readonly earlyStop?: { readonly window: number; readonly atLeast: number } | undefined;
}

export interface LossAndGradient {
  readonly loss: number;
  /** Named parts of the loss, for the curve. */
  readonly parts: Readonly<Record<string, number>>;
  readonly gradients: Arrays;
}

/** Draws the next batch from `random` alone, and differentiates the loss on it. */
export type Differentiate = (parameters: Arrays, random: TorchGenerator, step: number) => Promise<LossAndGradient>;

/** One point of the curve. */
export interface CurvePoint {
  readonly step: number;
  readonly loss: number;
  readonly parts: Readonly<Record<string, number>>;
  readonly rate: number;
  readonly gradientNorm: number;
}

/** Everything between two updates. */
export interface TrainingState {
  readonly parameters: Arrays;
  readonly adam: AdamState;
  readonly random: GeneratorState;
  readonly curve: readonly CurvePoint[];
}

/** The state before the first update. */
export function startTraining(parameters: Arrays, random: TorchGenerator): TrainingState {
  return { parameters, adam: adamInit(parameters), random: random.save(), curve: [] };
}

/** Learning rate of update `step` (from 1): a linear rise over `warmup` updates, then constant or a fall to 0 at `steps`. */
export function learningRateAt(step: number, { learningRate, warmup, steps, decay }: TrainingOptions): number {
  if (decay !== true || step <= warmup) return learningRate * Math.min(1, step / Math.max(1, warmup));
  return (learningRate / 2) * (1 + Math.cos((Math.PI * (step - warmup)) / Math.max(1, steps - warmup)));
}

/** The numbers broke down; the last good state is what was yielded before. */
export class TrainingDiverged extends Error {
  override readonly name = 'TrainingDiverged';
}

/**
 * Trains from `state` on and yields the state after each update, until `options.steps` updates are done or early stop says so.
 * `random` is the generator that `state.random` restores. Throws TrainingDiverged when a loss is not finite.
 */
export async function* train(
  state: TrainingState,
  random: TorchGenerator,
  differentiate: Differentiate,
  options: TrainingOptions,
): AsyncGenerator<TrainingState, void, void> {
  random.restore(state.random);
  let current = state;
  for (let step = state.adam.step + 1; step <= options.steps; step++) {
    const { loss, parts, gradients } = await accumulated(
      current.parameters,
      random,
      differentiate,
      step,
      options.accumulate,
    );
    if (!Number.isFinite(loss) || !Number.isFinite(globalNorm(gradients))) {
      throw new TrainingDiverged(`The loss broke down at step ${step} (${loss}). Use a lower learning rate.`);
    }
    const gradientNorm = globalNorm(gradients);
    const rate = learningRateAt(step, options);
    const used = options.clip === undefined ? gradients : clipNorm(gradients, options.clip);
    const { parameters, state: adam } = adamUpdate(current.parameters, used, current.adam, rate, options.adam);
    const curve = [...current.curve, { step, loss, parts, rate, gradientNorm }];
    current = { parameters, adam, random: random.save(), curve };
    yield current;
    if (stoppedFalling(curve, options.earlyStop)) return;
  }
}

async function accumulated(
  parameters: Arrays,
  random: TorchGenerator,
  differentiate: Differentiate,
  step: number,
  count: number,
): Promise<LossAndGradient> {
  const first = await differentiate(parameters, random, step);
  if (count === 1) return first;
  let loss = first.loss;
  const parts: Record<string, number> = { ...first.parts };
  const gradients = Object.fromEntries(Object.entries(first.gradients).map(([name, g]) => [name, g.slice()]));
  for (let i = 1; i < count; i++) {
    const more = await differentiate(parameters, random, step);
    loss += more.loss;
    for (const [name, value] of Object.entries(more.parts)) parts[name] = (parts[name] ?? 0) + value;
    for (const [name, g] of Object.entries(more.gradients)) {
      const sum = gradients[name]!;
      for (let j = 0; j < sum.length; j++) sum[j]! += g[j]!;
    }
  }
  for (const g of Object.values(gradients)) for (let j = 0; j < g.length; j++) g[j]! /= count;
  for (const name of Object.keys(parts)) parts[name]! /= count;
  return { loss: loss / count, parts, gradients };
}

function stoppedFalling(curve: readonly CurvePoint[], rule: TrainingOptions['earlyStop']): boolean {
  if (rule === undefined || curve.length < 2 * rule.window) return false;
  const mean = (from: number): number =>
    curve.slice(from, from + rule.window).reduce((sum, { loss }) => sum + loss, 0) / rule.window;
  const [before, now] = [mean(curve.length - 2 * rule.window), mean(curve.length - rule.window)];
  return before - now < rule.atLeast * Math.abs(before);
}
