// A training in the terminal: the updates with the curve of the loss as a row of blocks, and in the end what came of it.
import type { TrainEvent, TrainResult } from '../contract/training.ts';
import { showTime, type ProgressLine } from './progress.ts';
import { visible } from './terminal.ts';

const blocks = '▁▂▃▄▅▆▇█';
const curveWidth = 12;
const longestName = 16;

export class TrainingProgress {
  readonly #experts: readonly string[];
  readonly #losses: number[] = [];
  readonly #gates: (readonly number[])[] = [];

  /** `experts` are the names of those that a gate is trained for. */
  constructor(experts: readonly string[] = []) {
    this.#experts = experts;
  }

  /** What to show of an update; undefined for other events. */
  event(event: TrainEvent): ProgressLine | undefined {
    if (event.kind !== 'update') return undefined;
    const { step, steps, loss, remainingMs, gates } = event;
    this.#losses.push(loss);
    if (gates !== undefined) this.#gates.push(gates);
    const parts = [
      `update ${step}/${steps}`,
      `${showTime(remainingMs)} left`,
      `loss ${showLoss(loss)} ${sparkline(this.#losses)}`,
      ...(gates === undefined ? [] : [this.#heard(gates)]),
    ];
    return { title: 'Training', fraction: step / steps, parts };
  }

  /** Mean gate of each expert over the last tenth of the updates; undefined where nothing is gated. */
  get meanGates(): readonly number[] | undefined {
    const last = this.#gates.slice(-Math.ceil(this.#gates.length / 10));
    if (last.length === 0) return undefined;
    return last[0]!.map((_, i) => last.reduce((sum, gates) => sum + gates[i]!, 0) / last.length);
  }

  /** How the training ended, a sentence a line. */
  summary({ steps, ended, loss, pictures, elapsedMs, device, deviceReason }: TrainResult, asked: number): string[] {
    const gates = this.meanGates;
    const what = `${count(steps, 'update')} on ${count(pictures, 'picture')} in ${showTime(elapsedMs)} on ${device}`;
    return [
      ...(ended === 'cancelled'
        ? [`Stopped after ${steps} of ${asked} updates; the file holds the best so far. --resume goes on from there.`]
        : ended === 'early-stop'
          ? [`The loss no longer fell: stopped after ${steps} of ${asked} updates.`]
          : []),
      `${what}. Loss ${showLoss(loss.first)} -> ${showLoss(loss.last)} ${sparkline(this.#losses)}. ${deviceReason}`,
      ...(gates === undefined ? [] : [`Heard on average: ${this.#heard(gates)}; generate shows it row by row.`]),
    ];
  }

  #heard(gates: readonly number[]): string {
    return gates.map((gate, i) => `${clip(this.#experts[i] ?? `expert ${i + 1}`)} ${gate.toFixed(2)}`).join(', ');
  }
}

const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;

const showLoss = (loss: number): string => loss.toPrecision(3);

function clip(name: string): string {
  const shown = visible(name);
  return shown.length <= longestName ? shown : `${shown.slice(0, longestName - 1)}…`;
}

/** The curve in at most 12 blocks: each is the mean of its share of `values`, from the least (▁) to the greatest (█). */
export function sparkline(values: readonly number[]): string {
  const width = Math.min(curveWidth, values.length);
  const means = Array.from({ length: width }, (_, i) => {
    const share = values.slice(Math.floor((i * values.length) / width), Math.floor(((i + 1) * values.length) / width));
    return share.reduce((sum, value) => sum + value, 0) / share.length;
  });
  const [least, most] = [Math.min(...means), Math.max(...means)];
  const level = (mean: number): number => (most === least ? 0 : (mean - least) / (most - least));
  return means.map((mean) => blocks[Math.round(level(mean) * (blocks.length - 1))]!).join('');
}
