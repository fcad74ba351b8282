// Everything the command line says: results on stdout, progress and errors on stderr, or JSON lines for programs.
import type { Failure } from '../contract/failure.ts';
import { Progress, type JobEvent, type ProgressLine } from './progress.ts';
import { write } from './write.ts';

export interface TerminalOptions {
  readonly json: boolean;
  readonly quiet: boolean;
}

export class Terminal {
  readonly json: boolean;
  readonly #progress: Progress | undefined;

  constructor({ json, quiet }: TerminalOptions) {
    this.json = json;
    this.#progress = json || quiet ? undefined : new Progress(process.stderr);
  }

  /** A line of result for a person; nothing in JSON mode. */
  print(text: string): void {
    if (this.json) return;
    this.#progress?.clear();
    write(process.stdout, `${text}\n`);
  }

  /** A line beside the result for a person, on stderr. */
  note(text: string): void {
    this.#progress?.note(text);
  }

  /** Progress of a job; `line` is what to show a person of an update of a training. */
  event(event: JobEvent, line?: ProgressLine): void {
    if (this.json) this.#line({ kind: 'event', event: withoutPreview(event) });
    else this.#progress?.event(event, line);
  }

  /** The result, for programs. */
  result(result: unknown): void {
    if (this.json) this.#line({ kind: 'result', result });
  }

  /** One paragraph on stderr, and a line for programs. `details` come only when debugging. */
  failure(failure: Failure): void {
    this.#progress?.clear();
    if (this.json) this.#line({ kind: 'failure', failure });
    write(process.stderr, `atelier: ${visible(failure.message)}\n`);
    if (process.env['ATELIER_DEBUG'] === '1' && failure.details !== undefined) {
      write(process.stderr, `${failure.details}\n`);
    }
  }

  /** Takes the progress bar off the screen. */
  done(): void {
    this.#progress?.clear();
  }

  #line(value: unknown): void {
    write(process.stdout, `${JSON.stringify(value)}\n`);
  }
}

/** Text of a file or a prompt with what could steer the terminal (escape sequences) made visible. */
export function visible(text: string): string {
  return text.replace(/[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, (character) =>
    character === '\n' || character === '\t'
      ? character
      : `\\u${character.codePointAt(0)!.toString(16).padStart(4, '0')}`,
  );
}

/** Pixels are of no use in a line of text. */
function withoutPreview(event: JobEvent): JobEvent {
  return event.kind === 'step' ? { ...event, preview: undefined } : event;
}
