// The engine seen from outside: typed requests to a process that may die at any moment. It is started on the first
// request, started anew after a crash, and ended when idle, so callers never think of processes.
import type { FromEngine, MethodName, Methods } from '../contract/channels.ts';
import { FailureError, type Failure } from '../contract/failure.ts';
import { crashFailure, stoppedFailure } from './crash-words.ts';
import { forkedEngine, type EngineProcess, type EngineSpawner } from './engine-process-port.ts';

export interface EngineClientOptions {
  /** How the process is started; forks out/main/engine.js by default. */
  readonly spawn?: EngineSpawner;
  /** Ends the process, and so frees its memory, after that many milliseconds without a request; undefined never does. */
  readonly idleMs?: number;
  /** Waiting time before the second restart after crashes in a row; it doubles up to 5 s. The first is immediate. */
  readonly backoffMs?: number;
}

export interface RequestOptions<Event> {
  readonly onEvent?: (event: Event) => void;
  /** Aborting asks the engine to stop within one step; the request then fails with kind 'cancelled'. */
  readonly signal?: AbortSignal;
}

interface Pending {
  readonly onEvent: ((event: never) => void) | undefined;
  readonly signal: AbortSignal | undefined;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: FailureError) => void;
}

interface Generation {
  readonly process: EngineProcess;
  /** Resolves when the process has ended. */
  readonly ended: Promise<void>;
}

const longestBackoffMs = 5000;

export class EngineClient {
  readonly #spawn: EngineSpawner;
  readonly #idleMs: number | undefined;
  readonly #backoffMs: number;
  readonly #pending = new Map<number, Pending>();
  /** The process that answers now; messages of any other one are late and ignored. */
  #generation: Generation | undefined;
  #nextId = 1;
  #crashesInARow = 0;
  #idleTimer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: EngineClientOptions = {}) {
    this.#spawn = options.spawn ?? forkedEngine();
    this.#idleMs = options.idleMs;
    this.#backoffMs = options.backoffMs ?? 250;
  }

  /** A client of another engine that is started the same way, with a process of its own. */
  another(options: Omit<EngineClientOptions, 'spawn'> = {}): EngineClient {
    return new EngineClient({ ...options, spawn: this.#spawn });
  }

  /** Process id of the engine; undefined while none runs. */
  get pid(): number | undefined {
    return this.#generation?.process.pid;
  }

  /**
   * Runs one method of the engine. Rejects with a FailureError: the engine's own failure, 'cancelled' after `signal` or
   * `kill()`, 'crashed' when the process died under it.
   */
  async request<Name extends MethodName>(
    method: Name,
    params: Methods[Name]['params'],
    options: RequestOptions<Methods[Name]['event']> = {},
  ): Promise<Methods[Name]['result']> {
    const { signal, onEvent } = options;
    if (this.#closed) throw new FailureError({ kind: 'cancelled', message: 'The engine was closed.' });
    await this.#backOff(signal);
    if (signal?.aborted === true) throw new FailureError(stoppedFailure);
    const { process } = this.#alive();
    const id = this.#nextId++;
    clearTimeout(this.#idleTimer);
    return new Promise<Methods[Name]['result']>((resolve, reject) => {
      const cancel = (): void => {
        process.send({ kind: 'cancel', id });
      };
      const settle = (): void => {
        signal?.removeEventListener('abort', cancel);
        this.#pending.delete(id);
        this.#restWhenIdle();
      };
      this.#pending.set(id, {
        onEvent,
        signal,
        resolve: (result) => {
          settle();
          resolve(result as Methods[Name]['result']);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      });
      signal?.addEventListener('abort', cancel, { once: true });
      process.send({ kind: 'request', id, method, params });
    });
  }

  /** Ends the engine at once, also in the middle of a native call; open requests fail with kind 'cancelled'. */
  async kill(): Promise<void> {
    const generation = this.#generation;
    if (generation === undefined) return;
    this.#abandon(stoppedFailure);
    generation.process.kill();
    await generation.ended;
  }

  /**
   * Ends the engine for good. Open requests fail with kind 'cancelled'; a process that has not ended after `patienceMs`
   * is killed.
   */
  async close(patienceMs = 2000): Promise<void> {
    this.#closed = true;
    await this.#end(patienceMs);
  }

  async #end(patienceMs: number): Promise<void> {
    clearTimeout(this.#idleTimer);
    const generation = this.#generation;
    if (generation === undefined) return;
    this.#abandon(stoppedFailure);
    generation.process.disconnect();
    const timer = setTimeout(() => {
      generation.process.kill();
    }, patienceMs);
    await generation.ended;
    clearTimeout(timer);
  }

  /** The process that answers, started when there is none. */
  #alive(): Generation {
    if (this.#generation !== undefined) return this.#generation;
    let markEnded = (): void => undefined;
    const ended = new Promise<void>((resolve) => {
      markEnded = resolve;
    });
    const process = this.#spawn({
      onMessage: (message) => {
        if (this.#generation === generation) this.#receive(message as FromEngine);
      },
      onExit: (exit) => {
        markEnded();
        if (this.#generation !== generation) return;
        this.#crashesInARow += 1;
        this.#abandon(crashFailure(exit));
      },
    });
    const generation: Generation = { process, ended };
    this.#generation = generation;
    return generation;
  }

  #receive(message: FromEngine): void {
    if (message.kind === 'ready') return;
    const pending = this.#pending.get(message.id);
    if (pending === undefined) return;
    switch (message.kind) {
      case 'event':
        pending.onEvent?.(message.event as never);
        return;
      case 'result':
        this.#crashesInARow = 0;
        pending.resolve(message.result);
        return;
      case 'failure':
        pending.reject(new FailureError(message.failure));
    }
  }

  /** Forgets the present process and fails what waited for it. A request that was being cancelled counts as cancelled. */
  #abandon(failure: Failure): void {
    this.#generation = undefined;
    for (const pending of [...this.#pending.values()]) {
      pending.reject(new FailureError(pending.signal?.aborted === true ? stoppedFailure : failure));
    }
  }

  /** Waits before starting again an engine that has crashed more than once in a row. */
  async #backOff(signal: AbortSignal | undefined): Promise<void> {
    if (this.#generation !== undefined || this.#crashesInARow < 2) return;
    const delay = Math.min(longestBackoffMs, this.#backoffMs * 2 ** (this.#crashesInARow - 2));
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      const timer = setTimeout(wake, delay);
      signal?.addEventListener('abort', wake);
    });
  }

  #restWhenIdle(): void {
    if (this.#idleMs === undefined || this.#pending.size > 0 || this.#generation === undefined) return;
    clearTimeout(this.#idleTimer);
    this.#idleTimer = setTimeout(() => {
      if (this.#pending.size === 0) void this.#end(2000);
    }, this.#idleMs);
    this.#idleTimer.unref();
  }
}
