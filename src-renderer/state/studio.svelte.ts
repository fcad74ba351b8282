// The studio: the order, the stack and the queue, and the verbs that join them. One object for the whole window.
import type { FileReport } from '../../src-main/contract/files.ts';
import type { WindowJob } from '../../src-main/contract/window-drawing.ts';
import { pictureAddress } from '../bridge.ts';
import { strings } from '../strings.ts';
import { connection } from './connection.svelte.ts';
import { ExpertStack, type Added } from './expert-stack.svelte.ts';
import { OrderExtras } from './order-extras.svelte.ts';
import { Models } from './models.svelte.ts';
import { Order } from './order.svelte.ts';
import { PromptTools } from './prompt-tools.svelte.ts';
import { Queue } from './queue.svelte.ts';

/** Milliseconds of quiet before tokens are counted. */
const countAfterMs = 200;

export interface TokenCount {
  readonly tokens: number;
  readonly limit: number;
}

/** A file that is to join the stack. */
export interface FileToAdd {
  readonly name: string;
  /** Its path on the machine of the host, once it is there. */
  readonly locate: () => Promise<string>;
}

class Studio {
  readonly order = new Order();
  readonly extras = new OrderExtras();
  readonly experts = new ExpertStack();
  readonly queue = new Queue();
  readonly models = new Models(this.order, this.experts);
  readonly prompts = new PromptTools(this.order, this.experts, async (path) => {
    const [added] = await this.addAll([{ name: path, locate: () => Promise.resolve(path) }]);
    return added;
  });
  #reading = $state.raw<readonly string[]>([]);
  /** Resolves when every file that is being read has been. */
  #read: Promise<unknown> = Promise.resolve();
  #drawsWhenRead = $state(false);
  #tokens = $state.raw<TokenCount>();
  #negativeTokens = $state.raw<TokenCount>();
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

  /** Of the negative prompt; undefined while it is empty. */
  get negativeTokens(): TokenCount | undefined {
    return this.#negativeTokens;
  }

  /** Whether a drawing is ordered that waits for files to be read. */
  get drawsWhenRead(): boolean {
    return this.#drawsWhenRead;
  }

  /** Orders what the form says, with all of the stack: files that are being read are waited for. */
  async draw(): Promise<void> {
    if (this.#drawsWhenRead) return;
    if (this.order.fields.prompt.trim() === '') {
      connection.tell(strings.order.promptMissing);
      return;
    }
    if (this.#reading.length > 0) {
      this.#drawsWhenRead = true;
      await this.#read;
      this.#drawsWhenRead = false;
    }
    this.queue.choose(undefined);
    const orders = await this.prompts.orders(() => ({
      ...this.order.drawOrder(this.experts.mix()),
      ...this.extras.part(),
    }));
    for (const order of orders ?? []) {
      const job = await connection.attempt(() => connection.request('draw', order));
      if (job === undefined) break;
    }
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

  /** Puts a waiting job to the place of another one. */
  async move({ id }: WindowJob, place: WindowJob): Promise<void> {
    const index = this.queue.jobs.findIndex((job) => job.id === place.id);
    await connection.attempt(() => connection.request('move', { id, index }));
  }

  async pause(paused: boolean): Promise<void> {
    await connection.attempt(() => connection.request('pause', { paused }));
  }

  async clearEnded(): Promise<void> {
    await connection.attempt(() => connection.request('clearEnded', {}));
  }

  async clearWaiting(): Promise<void> {
    await connection.attempt(() => connection.request('clearWaiting', {}));
  }

  /** What the file at `path` is to the chosen model. Rejects with a FailureError. */
  inspect(path: string): Promise<FileReport> {
    return connection.request('inspect', { path, ...this.order.comparedWith() });
  }

  /** Adds dropped or chosen files to the stack; what cannot be used is said. */
  async addFiles(files: readonly File[]): Promise<void> {
    const adding = files.map((file) => ({ name: file.name, locate: () => connection.locate(file) }));
    for (const added of await this.addAll(adding)) if (added?.kind === 'refused') connection.tell(added.message);
  }

  /** Adds a file of the host's machine. */
  async addPath(path: string): Promise<void> {
    const [added] = await this.addAll([{ name: path, locate: () => Promise.resolve(path) }]);
    if (added?.kind === 'refused') connection.tell(added.message);
  }

  /** Counts the prompts' tokens when no key was pressed for a moment. */
  countTokens(): void {
    this.prompts.count();
    clearTimeout(this.#countTimer);
    this.#countTimer = setTimeout(() => {
      const { prompt, negative } = this.order.fields;
      connection.request('tokenCount', { prompt }).then(
        (count) => {
          this.#tokens = count;
        },
        () => undefined,
      );
      if (negative.trim() === '') this.#negativeTokens = undefined;
      else {
        connection.request('tokenCount', { prompt: negative }).then(
          (count) => {
            this.#negativeTokens = count;
          },
          () => undefined,
        );
      }
    }, countAfterMs);
  }

  pictureAddress(id: string): string {
    return pictureAddress(id);
  }

  /** Adds files to the stack, one after the other; says what became of each, undefined when it could not be read. */
  addAll(files: readonly FileToAdd[]): Promise<readonly (Added | undefined)[]> {
    this.#reading = [...this.#reading, ...files.map(({ name }) => name)];
    const work = this.#read.then(async () => {
      const all: (Added | undefined)[] = [];
      for (const { name, locate } of files) {
        all.push(await connection.attempt(async () => this.experts.add(await this.inspect(await locate()))));
        const place = this.#reading.indexOf(name);
        this.#reading = this.#reading.filter((_, i) => i !== place);
      }
      return all;
    });
    this.#read = work;
    return work;
  }
}

export const studio = new Studio();
