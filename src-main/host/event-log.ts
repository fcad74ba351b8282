// The log: what the app did and what failed, one JSON line each, in files that do not grow for ever. It never holds a prompt,
// so that an artist can hand it on.
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createStream, type RotatingFileStream } from 'rotating-file-stream';

export type LogLevel = 'info' | 'warning' | 'error';

/** Numbers and short words that explain a line. */
export type LogFacts = Readonly<Record<string, string | number | boolean | undefined>>;

/** Where anything in the host notes what happened. */
export type Note = (level: LogLevel, what: string, facts?: LogFacts) => void;

const fileName = 'atelier.log';

export class EventLog {
  /** Absolute. */
  readonly folder: string;
  readonly #stream: RotatingFileStream;

  private constructor(folder: string, stream: RotatingFileStream) {
    this.folder = folder;
    this.#stream = stream;
    // A disk that refuses must not stop a drawing.
    stream.on('error', () => undefined);
  }

  /** Opens the log in `folder`, created when missing: one file of 1 MB and two older ones. */
  static async open(folder: string): Promise<EventLog> {
    await mkdir(folder, { recursive: true });
    // The library numbers older files from 1, and asks for the present one with null.
    const name = (index: number | Date | null): string => (index === null ? fileName : `atelier-${String(index)}.log`);
    return new EventLog(folder, createStream(name, { path: folder, size: '1M', rotate: 2 }));
  }

  readonly note: Note = (level, what, facts = {}) => {
    if (!this.#stream.writable) return;
    this.#stream.write(`${JSON.stringify({ time: new Date().toISOString(), level, what, ...facts })}\n`);
  };

  /** The last `count` lines, oldest first; fewer just after the file was rotated. */
  async tail(count: number): Promise<readonly string[]> {
    try {
      const text = await readFile(join(this.folder, fileName), 'utf8');
      return text.trimEnd().split('\n').slice(-count);
    } catch {
      return [];
    }
  }

  /** Resolves when every line is on the disk. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#stream.end(() => {
        resolve();
      });
    });
  }
}
