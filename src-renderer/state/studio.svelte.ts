// The studio: the order, the stack and the queue, and the verbs that join them. One object for the whole window.
import type { WindowJob } from '../../src-main/contract/window-drawing.ts';
import { pictureAddress } from '../bridge.ts';
import { strings } from '../strings.ts';
import { connection } from './connection.svelte.ts';
import { ExpertStack } from './expert-stack.svelte.ts';
import { Order } from './order.svelte.ts';
import { Queue } from './queue.svelte.ts';

/** Milliseconds of quiet before tokens are counted. */
const countAfterMs = 200;

export interface TokenCount {
  readonly tokens: number;
  readonly limit: number;
}

class Studio {
  readonly order = new Order();
  readonly experts = new ExpertStack();
  readonly queue = new Queue();
  #reading = $state.raw<readonly string[]>([]);
  #tokens = $state.raw<TokenCount>();
  #countTimer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    connection.onNews((news) => {
      this.queue.hear(news);
      if (news.kind === 'job' && news.job.failure !== undefined) connection.tell(news.job.failure.message);
    });
    connection.onWelcome((welcome) => {
      this.queue.welcome(welcome);
      this.countTokens();
    });
  }

  /** Names of files that are being read. */
  get reading(): readonly string[] {
    return this.#reading;
  }

  /** Of the prompt; undefined before the first count. */
  get tokens(): TokenCount | undefined {
    return this.#tokens;
  }

  /** Orders what the form says. */
  async draw(): Promise<void> {
    if (this.order.fields.prompt.trim() === '') {
      connection.tell(strings.order.promptMissing);
      return;
    }
    this.queue.choose(undefined);
    await connection.attempt(() => connection.request('draw', this.order.drawOrder(this.experts.mix())));
  }

  async cancel({ id }: WindowJob): Promise<void> {
    this.queue.markStopping(id);
    await connection.attempt(() => connection.request('cancel', { id }));
  }

  async retry({ id }: WindowJob): Promise<void> {
    await connection.attempt(() => connection.request('retry', { id }));
  }

  async remove({ id }: WindowJob): Promise<void> {
    await connection.attempt(() => connection.request('remove', { id }));
  }

  /** Adds dropped or chosen files to the stack; what cannot be used is said. */
  async addFiles(files: readonly File[]): Promise<void> {
    for (const file of files) await this.#add(file.name, () => connection.locate(file));
  }

  /** Adds a file of the host's machine. */
  async addPath(path: string): Promise<void> {
    await this.#add(path, () => Promise.resolve(path));
  }

  /** Counts the prompt's tokens when no key was pressed for a moment. */
  countTokens(): void {
    clearTimeout(this.#countTimer);
    this.#countTimer = setTimeout(() => {
      const { prompt } = this.order.fields;
      connection.request('tokenCount', { prompt }).then(
        (count) => {
          this.#tokens = count;
        },
        () => undefined,
      );
    }, countAfterMs);
  }

  pictureAddress(id: string): string {
    return pictureAddress(id);
  }

  async #add(name: string, locate: () => Promise<string>): Promise<void> {
    this.#reading = [...this.#reading, name];
    await connection.attempt(async () => {
      const report = await connection.request('inspect', { path: await locate() });
      const added = this.experts.add(report);
      if (added.kind === 'refused') connection.tell(added.message);
    });
    this.#reading = this.#reading.filter((other) => other !== name);
  }
}

export const studio = new Studio();
