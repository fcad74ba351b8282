// The connection to the host, and what the artist should read: every state class asks and listens here.
import type { News, Welcome, WindowMethodName, WindowMethods } from '../../src-main/contract/window.ts';
import { Bridge, ConnectionError, type Trouble } from '../bridge.ts';
import { wordsOf } from './failure-words.ts';

/** Milliseconds between attempts to connect again. */
const retryMs = 1500;
/** Milliseconds that the way back is offered. */
const offeredMs = 20_000;

export interface NoticeText {
  readonly id: number;
  readonly text: string;
  /** What can be done about it, on a notice that reports no trouble. */
  readonly action?: NoticeAction | undefined;
}

export interface NoticeAction {
  readonly label: string;
  readonly run: () => void;
}

class Connection {
  #bridge: Bridge | undefined;
  #status = $state<'connecting' | 'open' | 'lost' | Trouble>('connecting');
  #welcome = $state.raw<Welcome>();
  #notices = $state.raw<readonly NoticeText[]>([]);
  #nextNotice = 1;
  readonly #newsListeners = new Set<(news: News) => void>();
  readonly #welcomeListeners = new Set<(welcome: Welcome) => void>();

  get status(): 'connecting' | 'open' | 'lost' | Trouble {
    return this.#status;
  }

  get welcome(): Welcome | undefined {
    return this.#welcome;
  }

  /** What the artist should read, oldest first. */
  get notices(): readonly NoticeText[] {
    return this.#notices;
  }

  /** Calls `listener` with all news; for state that lives as long as the window. */
  onNews(listener: (news: News) => void): void {
    this.#newsListeners.add(listener);
  }

  /** Calls `listener` whenever the host has welcomed this window: at first, and after it was away. */
  onWelcome(listener: (welcome: Welcome) => void): void {
    this.#welcomeListeners.add(listener);
  }

  /** Connects, and asks what there is. */
  async open(): Promise<void> {
    try {
      this.#bridge = await Bridge.connect({
        onNews: (news) => {
          for (const listener of this.#newsListeners) listener(news);
        },
        onLost: () => {
          this.#status = 'lost';
          setTimeout(() => void this.open(), retryMs);
        },
      });
      const welcome = await this.#bridge.request('open', {});
      this.#welcome = welcome;
      this.#status = 'open';
      for (const listener of this.#welcomeListeners) listener(welcome);
      if (welcome.message !== undefined) this.tell(welcome.message);
    } catch (error) {
      if (this.#status === 'lost') setTimeout(() => void this.open(), retryMs);
      else this.#status = error instanceof ConnectionError ? error.trouble : 'unreachable';
    }
  }

  tell(text: string): void {
    this.#notices = [...this.#notices.filter((notice) => notice.text !== text), { id: this.#nextNotice++, text }];
  }

  /** Says what was done, with the way back; only the last such notice stays, for a while. */
  offer(text: string, action: NoticeAction): void {
    const others = this.#notices.filter((notice) => notice.action === undefined);
    const id = this.#nextNotice++;
    this.#notices = [...others, { id, text, action }];
    setTimeout(() => {
      this.dismiss(id);
    }, offeredMs);
  }

  dismiss(id: number): void {
    this.#notices = this.#notices.filter((notice) => notice.id !== id);
  }

  /** Asks the host. Rejects with a FailureError, or a ConnectionError when it is away. */
  async request<Name extends WindowMethodName>(
    method: Name,
    params: WindowMethods[Name]['params'],
  ): Promise<WindowMethods[Name]['result']> {
    if (this.#bridge === undefined) throw new ConnectionError('unreachable');
    return this.#bridge.request(method, params);
  }

  /** Absolute path of a dropped file on the machine of the host. Rejects with a FailureError. */
  async locate(file: File, beside?: string): Promise<string> {
    if (this.#bridge === undefined) throw new ConnectionError('unreachable');
    return this.#bridge.locate(file, beside);
  }

  /** Does what needs the host, and says what went wrong; undefined when something did. */
  async attempt<Result>(work: () => Promise<Result>): Promise<Result | undefined> {
    try {
      return await work();
    } catch (error) {
      this.tell(wordsOf(error));
      return undefined;
    }
  }
}

export const connection = new Connection();
