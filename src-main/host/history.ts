// The history of pictures, seen from the host: calls to the thread that has the database, so that the host is never held up by
// the disk. The thread is the built file history.js.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { FailureError } from '../contract/failure.ts';
import type { HistoryDatabase } from './history-database.ts';

/** What the thread does: HistoryDatabase, and what needs the disk. */
export interface HistoryCalls extends Pick<
  HistoryDatabase,
  'record' | 'search' | 'experts' | 'details' | 'setFavourite' | 'setState' | 'pathsIn'
> {
  /** What was found wrong with the database: a sentence for the artist. */
  readonly open: () => string | undefined;
  readonly close: () => void;
  /** HistoryDatabase.compare with the pictures in `folder` and below. Fails when the folder cannot be read. */
  readonly scan: (folder: string) => ReturnType<HistoryDatabase['compare']>;
}

type Name = keyof HistoryCalls;

/** Host to thread. */
export interface HistoryCall {
  readonly id: number;
  readonly name: Name;
  readonly values: readonly unknown[];
}

/** Thread to host. */
export type HistoryAnswer =
  /** `replaced`: the database turned out to be damaged and was set aside, so that pictures have to be found again. */
  | { readonly id: number; readonly result: unknown; readonly replaced?: string | undefined }
  | { readonly id: number; readonly error: string };

interface Pending {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: FailureError) => void;
}

export class History {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #ended: FailureError | undefined;

  /**
   * Keeps the database in `file`, whose folder must be there; nothing is opened before the first call. `replaced` is told when a
   * damaged one was set aside in the middle of things.
   */
  constructor(file: string, replaced?: (message: string) => void) {
    this.#worker = new Worker(builtWorker(), { workerData: { file } });
    this.#worker.unref();
    this.#worker.on('message', (answer: HistoryAnswer) => {
      const pending = this.#pending.get(answer.id);
      this.#pending.delete(answer.id);
      if ('error' in answer) pending?.reject(failed(answer.error));
      else pending?.resolve(answer.result);
      if ('result' in answer && answer.replaced !== undefined) replaced?.(answer.replaced);
    });
    this.#worker.on('error', (error) => {
      this.#end(error instanceof Error ? error.message : String(error));
    });
    this.#worker.on('exit', () => {
      this.#end('its thread has ended');
    });
  }

  /** Rejects with a FailureError. */
  call<Called extends Name>(
    name: Called,
    ...values: Parameters<HistoryCalls[Called]>
  ): Promise<ReturnType<HistoryCalls[Called]>> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#pending.set(id, { resolve: resolve as Pending['resolve'], reject });
      this.#worker.postMessage({ id, name, values } satisfies HistoryCall);
    });
  }

  /** Finishes what was asked for, and ends the thread. */
  async close(): Promise<void> {
    await this.call('close').catch(() => undefined);
    await this.#worker.terminate();
  }

  #end(reason: string): void {
    this.#ended ??= failed(reason);
    for (const { reject } of this.#pending.values()) reject(this.#ended);
    this.#pending.clear();
  }
}

const failed = (reason: string): FailureError =>
  new FailureError({
    kind: 'disk',
    message: `The gallery’s index does not work (${reason}). The pictures are safe; starting the app anew builds it again.`,
  });

/** history.js beside the built host, or in out/main for tests that run the sources. */
function builtWorker(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    for (const place of ['history.js', 'out/main/history.js']) {
      if (existsSync(join(folder, place))) return join(folder, place);
    }
    if (folder === dirname(folder)) throw new Error('out/main/history.js is not there. Build it with: npm run build');
  }
}
