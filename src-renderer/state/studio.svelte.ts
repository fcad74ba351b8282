// The studio: the connection to the host, and the verbs that need it. One object for the whole window.
import type { Welcome, WindowJob } from '../../src-main/contract/window.ts';
import { Bridge, ConnectionError, pictureAddress, type Trouble } from '../bridge.ts';
import { strings } from '../strings.ts';
import { ExpertStack } from './expert-stack.svelte.ts';
import { wordsOf } from './failure-words.ts';
import { Order } from './order.svelte.ts';
import { Queue } from './queue.svelte.ts';

/** Milliseconds between attempts to connect again. */
const retryMs = 1500;
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
  #bridge: Bridge | undefined;
  #status = $state<'connecting' | 'open' | 'lost' | Trouble>('connecting');
  #welcome = $state.raw<Welcome>();
  #notices = $state.raw<readonly { readonly id: number; readonly text: string }[]>([]);
  #reading = $state.raw<readonly string[]>([]);
  #tokens = $state.raw<TokenCount>();
  #nextNotice = 1;
  #countTimer: ReturnType<typeof setTimeout> | undefined;

  get status(): 'connecting' | 'open' | 'lost' | Trouble {
    return this.#status;
  }

  get welcome(): Welcome | undefined {
    return this.#welcome;
  }

  /** What the artist should read, oldest first. */
  get notices(): readonly { readonly id: number; readonly text: string }[] {
    return this.#notices;
  }

  /** Names of files that are being read. */
  get reading(): readonly string[] {
    return this.#reading;
  }

  /** Of the prompt; undefined before the first count. */
  get tokens(): TokenCount | undefined {
    return this.#tokens;
  }

  /** Connects, and asks what there is. */
  async open(): Promise<void> {
    try {
      this.#bridge = await Bridge.connect({
        onNews: (news) => {
          this.queue.hear(news);
          if (news.kind === 'job' && news.job.failure !== undefined) this.tell(news.job.failure.message);
        },
        onLost: () => {
          this.#status = 'lost';
          setTimeout(() => void this.open(), retryMs);
        },
      });
      const welcome = await this.#bridge.request('open', {});
      this.#welcome = welcome;
      this.queue.welcome(welcome);
      this.#status = 'open';
      if (welcome.message !== undefined) this.tell(welcome.message);
      this.countTokens();
    } catch (error) {
      if (this.#status === 'lost') setTimeout(() => void this.open(), retryMs);
      else this.#status = error instanceof ConnectionError ? error.trouble : 'unreachable';
    }
  }

  tell(text: string): void {
    this.#notices = [...this.#notices.filter((notice) => notice.text !== text), { id: this.#nextNotice++, text }];
  }

  dismiss(id: number): void {
    this.#notices = this.#notices.filter((notice) => notice.id !== id);
  }

  /** Orders what the form says. */
  async draw(): Promise<void> {
    if (this.order.fields.prompt.trim() === '') {
      this.tell(strings.order.promptMissing);
      return;
    }
    this.queue.choose(undefined);
    await this.#attempt(async (bridge) => bridge.request('draw', this.order.drawOrder(this.experts.mix())));
  }

  async cancel({ id }: WindowJob): Promise<void> {
    this.queue.markStopping(id);
    await this.#attempt(async (bridge) => bridge.request('cancel', { id }));
  }

  async retry({ id }: WindowJob): Promise<void> {
    await this.#attempt(async (bridge) => bridge.request('retry', { id }));
  }

  async remove({ id }: WindowJob): Promise<void> {
    await this.#attempt(async (bridge) => bridge.request('remove', { id }));
  }

  /** Adds dropped or chosen files to the stack; what cannot be used is said. */
  async addFiles(files: readonly File[]): Promise<void> {
    for (const file of files) await this.#add(file.name, (bridge) => bridge.locate(file));
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
      this.#bridge?.request('tokenCount', { prompt }).then(
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

  async #add(name: string, locate: (bridge: Bridge) => Promise<string>): Promise<void> {
    this.#reading = [...this.#reading, name];
    await this.#attempt(async (bridge) => {
      const report = await bridge.request('inspect', { path: await locate(bridge) });
      const added = this.experts.add(report);
      if (added.kind === 'refused') this.tell(added.message);
    });
    this.#reading = this.#reading.filter((other) => other !== name);
  }

  /** Does what needs the host, and says what went wrong. */
  async #attempt(work: (bridge: Bridge) => Promise<unknown>): Promise<void> {
    try {
      if (this.#bridge === undefined) throw new ConnectionError('unreachable');
      await work(this.#bridge);
    } catch (error) {
      this.tell(wordsOf(error));
    }
  }
}

export const studio = new Studio();
