// Progress of a job on stderr: a bar that rewrites its line on a terminal, a line now and then elsewhere.
import type { GenerateEvent } from '../contract/generation.ts';
import type { TrainEvent } from '../contract/training.ts';
import { write } from './write.ts';

export type JobEvent = GenerateEvent | TrainEvent;

/** How far a job is, for the bar and in words. */
export interface ProgressLine {
  readonly title: string;
  /** 0 to 1. */
  readonly fraction: number;
  readonly parts: readonly string[];
}

/** Without a terminal: at most one line of progress in that time. */
const lineEveryMs = 5000;

export class Progress {
  readonly #stream: NodeJS.WriteStream;
  #barShown = false;
  #stage = '';
  #lastLine = 0;
  readonly #pace = new Pace();

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  /** `line` is what to show of an update of a training. */
  event(event: JobEvent, line?: ProgressLine): void {
    switch (event.kind) {
      case 'stage':
        this.#stage = event.message;
        this.#pace.pause();
        if (this.#stream.isTTY) this.#show(`${event.message}...`);
        else this.note(event.message);
        return;
      case 'step':
        this.#pace.step();
        this.#step(event);
        return;
      case 'update':
        if (line !== undefined) this.#line(line);
        return;
      case 'warning':
        this.note(`Note: ${event.message}`);
        return;
      case 'mixture':
      case 'picture':
        return;
    }
  }

  /** A line of its own, above the bar. */
  note(text: string): void {
    this.clear();
    write(this.#stream, `${text}\n`);
  }

  clear(): void {
    if (this.#barShown) write(this.#stream, '\r\u001b[K');
    this.#barShown = false;
  }

  #step(event: GenerateEvent & { kind: 'step' }): void {
    const { step, steps, index, batch, remainingMs } = event;
    const parts = [
      `step ${step}/${steps}`,
      ...(this.#pace.secondsPerStep === undefined ? [] : [`${showSeconds(this.#pace.secondsPerStep)} s/step`]),
      ...(remainingMs === undefined ? [] : [`${showTime(remainingMs)} left`]),
    ];
    this.#line({ title: this.#stage, fraction: (index * steps + step) / (batch * steps), parts }, step === steps);
  }

  #line({ title, fraction, parts }: ProgressLine, last = fraction === 1): void {
    if (this.#stream.isTTY) {
      this.#show(`${title} ${bar(fraction)} ${parts.join(', ')}`);
      return;
    }
    const now = Date.now();
    if (!last && now - this.#lastLine < lineEveryMs) return;
    this.#lastLine = now;
    this.note(`${title}: ${parts.join(', ')}`);
  }

  #show(text: string): void {
    // One column is left free: some terminals wrap a full line.
    // A terminal that does not know its width says 0.
    const columns = Math.max(20, this.#stream.columns > 0 ? this.#stream.columns : 80) - 1;
    write(this.#stream, `\r${text.slice(0, columns)}\u001b[K`);
    this.#barShown = true;
  }
}

/** Mean time of the steps so far, the pauses between pictures not counted. */
class Pace {
  #last: number | undefined;
  #spent = 0;
  #steps = 0;

  pause(): void {
    this.#last = Date.now();
  }

  step(): void {
    const now = Date.now();
    if (this.#last !== undefined) {
      this.#spent += now - this.#last;
      this.#steps++;
    }
    this.#last = now;
  }

  get secondsPerStep(): number | undefined {
    return this.#steps === 0 ? undefined : this.#spent / this.#steps / 1000;
  }
}

const barWidth = 24;

function bar(fraction: number): string {
  const full = Math.round(barWidth * Math.min(1, fraction));
  return `[${'#'.repeat(full)}${'.'.repeat(barWidth - full)}]`;
}

const showSeconds = (seconds: number): string => seconds.toFixed(seconds < 10 ? 2 : 1);

/** 0:07, 12:30, 1:02:03. */
export function showTime(ms: number): string {
  const seconds = Math.round(ms / 1000);
  const two = (value: number): string => String(value).padStart(2, '0');
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h === 0 ? `${m}:${two(s)}` : `${h}:${two(m)}:${two(s)}`;
}
