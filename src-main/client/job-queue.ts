// Pictures ordered, drawn one job after the other, and remembered on disk at every turn: the queue survives a crash of
// the engine (the job is tried once more) and of its own process (what ran waits again, its finished pictures kept).
import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { FailureError, type Failure } from '../contract/failure.ts';
import type { GenerateEvent, GenerateRequest } from '../contract/generation.ts';
import { lockFolder, type FolderLock } from './folder-lock.ts';
import { generateWithRetry, withSeed, type GenerateClient } from './generate-with-retry.ts';
import { readQueueFile, writeQueueFile, type Job } from './queue-file.ts';

export type { Job, JobState } from './queue-file.ts';

export type QueueEvent =
  /** A job was added, or its state, pictures or failure changed. */
  | { readonly kind: 'job'; readonly job: Job }
  | { readonly kind: 'removed'; readonly id: string }
  /** The order of all jobs, by id. */
  | { readonly kind: 'order'; readonly ids: readonly string[] }
  | { readonly kind: 'paused'; readonly paused: boolean }
  /** Progress of the running job. */
  | { readonly kind: 'progress'; readonly id: string; readonly event: GenerateEvent }
  /** Something the user should know, such as a damaged queue file or a full disk. */
  | { readonly kind: 'message'; readonly message: string };

export class JobQueue {
  readonly #folder: string;
  readonly #client: GenerateClient;
  readonly #lock: FolderLock;
  readonly #listeners = new Set<(event: QueueEvent) => void>();
  /** In the order they run; finished ones stay until removed. */
  #jobs: readonly Job[];
  #paused: boolean;
  #running: { readonly id: string; readonly controller: AbortController; readonly ended: Promise<void> } | undefined;
  #saving: Promise<void> = Promise.resolve();
  #closed = false;
  /** What was found wrong with the queue file on opening. */
  readonly openingMessage: string | undefined;

  private constructor(
    folder: string,
    client: GenerateClient,
    lock: FolderLock,
    jobs: readonly Job[],
    paused: boolean,
    openingMessage: string | undefined,
  ) {
    this.#folder = folder;
    this.#client = client;
    this.#lock = lock;
    this.#jobs = jobs;
    this.#paused = paused;
    this.openingMessage = openingMessage;
  }

  /**
   * Opens the queue kept in `folder` (created when missing) and goes on with it. Throws FolderInUseError when another
   * process has it open.
   */
  static async open(folder: string, client: GenerateClient): Promise<JobQueue> {
    await mkdir(folder, { recursive: true });
    const lock = await lockFolder(folder);
    try {
      const { queue, message } = await readQueueFile(folder);
      const jobs = queue.jobs.map((job): Job => (job.state === 'running' ? { ...job, state: 'waiting' } : job));
      const opened = new JobQueue(folder, client, lock, jobs, queue.paused, message);
      await opened.#save();
      opened.#runNext();
      return opened;
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /** All jobs in the order they run. */
  get jobs(): readonly Job[] {
    return this.#jobs;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** Calls `listener` with everything that happens from now on; returns how to stop that. */
  subscribe(listener: (event: QueueEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Adds a job at the end, with a seed drawn when it has none. It is on the disk when this resolves. */
  async add(request: GenerateRequest): Promise<Job> {
    this.#refuseWhenClosed();
    const job: Job = {
      id: randomUUID(),
      request: withSeed(request),
      state: 'waiting',
      attempts: 0,
      pictures: [],
      addedAt: Date.now(),
    };
    this.#jobs = [...this.#jobs, job];
    this.#tell({ kind: 'job', job });
    await this.#save();
    this.#runNext();
    return job;
  }

  /** Takes a job off the list, cancelling it first when it runs. Its pictures stay. Unknown ids are ignored. */
  async remove(id: string): Promise<void> {
    await this.cancel(id);
    if (this.#find(id) === undefined) return;
    this.#jobs = this.#jobs.filter((job) => job.id !== id);
    this.#tell({ kind: 'removed', id });
    await this.#save();
  }

  /** Takes every job that has ended off the list. */
  async removeEnded(): Promise<void> {
    const ended = this.#jobs.filter((job) => job.state !== 'waiting' && job.state !== 'running');
    for (const { id } of ended) await this.remove(id);
  }

  /** Takes every job off the list that waits and has drawn nothing yet; one that has goes to the cancelled. */
  async removeWaiting(): Promise<void> {
    const waiting = this.#jobs.filter(({ state }) => state === 'waiting');
    for (const { id, pictures } of waiting) await (pictures.length > 0 ? this.cancel(id) : this.remove(id));
  }

  /** Moves a job to place `index` (from 0) of the list. Throws a RangeError for an unknown id. */
  async move(id: string, index: number): Promise<void> {
    const job = this.#find(id);
    if (job === undefined) throw new RangeError(`The queue has no job ${id}.`);
    const others = this.#jobs.filter((other) => other.id !== id);
    this.#jobs = [...others.slice(0, index), job, ...others.slice(index)];
    this.#tell({ kind: 'order', ids: this.#jobs.map((other) => other.id) });
    await this.#save();
  }

  /** Cancels a waiting job at once, the running one within a step; resolves when it has stopped. */
  async cancel(id: string): Promise<void> {
    if (this.#running?.id === id) {
      const { controller, ended } = this.#running;
      controller.abort();
      await ended;
    } else if (this.#find(id)?.state === 'waiting') {
      this.#change(id, { state: 'cancelled', endedAt: Date.now() });
      await this.#save();
    }
  }

  /** Puts a job that failed or was cancelled back to waiting, with two fresh attempts; finished pictures count. */
  async retry(id: string): Promise<void> {
    const state = this.#find(id)?.state;
    if (state !== 'failed' && state !== 'cancelled') return;
    this.#change(id, { state: 'waiting', attempts: 0, failure: undefined, endedAt: undefined });
    await this.#save();
    this.#runNext();
  }

  /** Starts no further job; the running one goes on. */
  async pause(): Promise<void> {
    await this.#setPaused(true);
  }

  async resume(): Promise<void> {
    await this.#setPaused(false);
    this.#runNext();
  }

  /** Resolves when no job runs and none will start. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running.ended;
    await this.#saving;
  }

  /** Stops the running job, which waits again when the queue is next opened, and gives the folder free. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#running?.controller.abort();
    await this.idle();
    await this.#lock.release();
  }

  #runNext(): void {
    if (this.#running !== undefined || this.#paused || this.#closed) return;
    const job = this.#jobs.find(({ state }) => state === 'waiting');
    if (job === undefined) return;
    const controller = new AbortController();
    // Begun after #running is set, so that a listener that cancels at the first word finds it.
    const begun = Promise.resolve().then(() => this.#run(job, controller.signal));
    const ended = begun.finally(() => {
      this.#running = undefined;
      this.#runNext();
    });
    this.#running = { id: job.id, controller, ended };
  }

  async #run(job: Job, signal: AbortSignal): Promise<void> {
    const { id } = job;
    try {
      const { pictures } = await generateWithRetry(this.#client, job.request, {
        signal,
        finished: job.pictures,
        attempts: job.attempts,
        onAttempt: async (attempts) => {
          this.#change(id, { state: 'running', attempts });
          await this.#save();
        },
        onEvent: (event) => {
          if (event.kind === 'picture') {
            this.#change(id, { pictures: [...this.#find(id)!.pictures, event.picture] });
            void this.#save();
          }
          this.#tell({ kind: 'progress', id, event });
        },
      });
      this.#change(id, { state: 'done', pictures, endedAt: Date.now() });
    } catch (error) {
      const failure: Failure =
        error instanceof FailureError
          ? error.failure
          : { kind: 'internal', message: error instanceof Error ? error.message : String(error) };
      if (failure.kind !== 'cancelled') {
        this.#change(id, { state: 'failed', failure, endedAt: Date.now() });
      } else if (this.#closed) {
        this.#change(id, { state: 'waiting' });
      } else {
        this.#change(id, { state: 'cancelled', endedAt: Date.now() });
      }
    }
    await this.#save();
  }

  #find(id: string): Job | undefined {
    return this.#jobs.find((job) => job.id === id);
  }

  #change(id: string, change: Partial<Job>): void {
    this.#jobs = this.#jobs.map((job) => (job.id === id ? { ...job, ...change } : job));
    this.#tell({ kind: 'job', job: this.#find(id)! });
  }

  async #setPaused(paused: boolean): Promise<void> {
    if (this.#paused === paused) return;
    this.#paused = paused;
    this.#tell({ kind: 'paused', paused });
    await this.#save();
  }

  #tell(event: QueueEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
  }

  /** Writes the present state after what is being written. A disk that refuses is told, and drawing goes on. */
  #save(): Promise<void> {
    const saved = this.#saving.then(async () => {
      try {
        await writeQueueFile(this.#folder, { paused: this.#paused, jobs: this.#jobs });
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        this.#tell({ kind: 'message', message: `The queue could not be saved in ${this.#folder} (${reason}).` });
      }
    });
    this.#saving = saved;
    return saved;
  }

  #refuseWhenClosed(): void {
    if (this.#closed) throw new Error('The queue was closed; open it again to add jobs.');
  }
}
