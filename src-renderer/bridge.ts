// The one door to the process behind the interface: `window.mole` in the desktop app, a WebSocket over `atelier serve`. Both carry
// the same messages, so nothing else in src-renderer knows where it runs.
import { FailureError } from '../src-main/contract/failure.ts';
import { fromJson, toJson } from '../src-main/contract/json-bytes.ts';
import type {
  FromHost,
  News,
  ToHost,
  WindowMethodName,
  WindowMethods,
  WindowPort,
} from '../src-main/contract/window.ts';
import { strings } from './strings.ts';

declare global {
  interface Window {
    /** Put there by src-main/preload.ts; absent in a browser. */
    readonly mole?: WindowPort;
  }
}

/** Why there is no connection: the link's token is missing, it was refused, or the app has gone. */
export type Trouble = 'no-token' | 'unreachable';

/** No connection could be made. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError';
  readonly trouble: Trouble;

  constructor(trouble: Trouble) {
    super(trouble);
    this.trouble = trouble;
  }
}

export interface BridgeListeners {
  readonly onNews: (news: News) => void;
  /** The other side has gone; open requests have failed. */
  readonly onLost: () => void;
}

interface Line {
  readonly send: (message: ToHost) => void;
  /**
   * Where a dropped file lies on this machine, sent there first where it has to be: then beside the file at `beside`, which
   * was sent before.
   */
  readonly locate: (file: File, beside?: string) => Promise<string>;
}

interface Pending {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Address of a finished picture, for an img element. */
export const pictureAddress = (id: string): string => `pictures/${id}`;

/** Address of a small picture, of a LoRA's card or in the gallery. */
export const thumbnailAddress = (id: string): string => `thumbnails/${id}`;

export class Bridge {
  readonly #line: Line;
  readonly #pending: Map<number, Pending>;
  #nextId = 1;

  private constructor(line: Line, pending: Map<number, Pending>) {
    this.#line = line;
    this.#pending = pending;
  }

  /** Connects to the process behind this page. Throws ConnectionError. */
  static async connect({ onNews, onLost }: BridgeListeners): Promise<Bridge> {
    const pending = new Map<number, Pending>();
    const receive = (message: FromHost): void => {
      if (message.kind === 'news') {
        onNews(message.news);
        return;
      }
      const waiting = pending.get(message.id);
      pending.delete(message.id);
      if (message.kind === 'result') waiting?.resolve(message.result);
      else waiting?.reject(new FailureError(message.failure));
    };
    const lose = (): void => {
      for (const { reject } of pending.values()) reject(new ConnectionError('unreachable'));
      pending.clear();
      onLost();
    };
    const line = window.mole === undefined ? await webLine(receive, lose) : desktopLine(window.mole, receive);
    return new Bridge(line, pending);
  }

  /** Asks the host. Rejects with a FailureError, or a ConnectionError when it has gone. */
  request<Name extends WindowMethodName>(
    method: Name,
    params: WindowMethods[Name]['params'],
  ): Promise<WindowMethods[Name]['result']> {
    return new Promise<WindowMethods[Name]['result']>((resolve, reject) => {
      const id = this.#nextId++;
      this.#pending.set(id, {
        resolve: (result) => {
          resolve(result as WindowMethods[Name]['result']);
        },
        reject,
      });
      this.#line.send({ kind: 'request', id, method, params });
    });
  }

  /** Absolute path of a dropped file on the machine of the host. Rejects with a FailureError. */
  locate(file: File, beside?: string): Promise<string> {
    return this.#line.locate(file, beside);
  }
}

function desktopLine(mole: WindowPort, receive: (message: FromHost) => void): Line {
  mole.onMessage(receive);
  return {
    send: (message) => {
      mole.send(message);
    },
    locate: (file) => {
      const path = mole.pathOf(file);
      if (path !== '') return Promise.resolve(path);
      const message = strings.connection.notOnDisk(file.name);
      return Promise.reject(new FailureError({ kind: 'bad-request', message }));
    },
  };
}

const tokenKey = 'mole-atelier-token';

/** The token of the link, kept for reloads of this tab and taken out of the address bar. */
function takeToken(): string | undefined {
  const given = location.hash.slice(1);
  if (given !== '') {
    sessionStorage.setItem(tokenKey, given);
    history.replaceState(null, '', location.pathname + location.search);
  }
  return sessionStorage.getItem(tokenKey) ?? undefined;
}

async function webLine(receive: (message: FromHost) => void, lose: () => void): Promise<Line> {
  const token = takeToken();
  if (token === undefined) throw new ConnectionError('no-token');
  const socket = new WebSocket(`ws://${location.host}/`, ['atelier', token]);
  await new Promise<void>((resolve, reject) => {
    socket.onopen = () => {
      resolve();
    };
    socket.onerror = () => {
      reject(new ConnectionError('unreachable'));
    };
  });
  socket.onerror = null;
  socket.onclose = lose;
  socket.onmessage = ({ data }: MessageEvent<string>) => {
    receive(fromJson(data) as FromHost);
  };
  return {
    send: (message) => {
      socket.send(toJson(message));
    },
    locate: (file, beside) => upload(file, token, beside),
  };
}

/** Sends a file to the server. Returns where it lies there. */
async function upload(file: File, token: string, beside: string | undefined): Promise<string> {
  const asked = new URLSearchParams({ name: file.name, ...(beside === undefined ? {} : { beside }) });
  let response: Response;
  try {
    response = await fetch(`files?${asked.toString()}`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${token}` },
      body: file,
    });
  } catch (error) {
    // A folder looks like a file until it is read.
    throw new FailureError({ kind: 'bad-request', message: strings.connection.unreadable(file.name) }, error);
  }
  if (!response.ok) throw new FailureError({ kind: 'bad-request', message: (await response.text()).trim() });
  return ((await response.json()) as { readonly path: string }).path;
}
