// `atelier serve` as a process of its own, from the built files, for tests that talk to it as a browser does.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { WebSocket } from 'ws';
import { fromJson, toJson } from '../../src-main/contract/json-bytes.ts';
import type { FromHost, News, WindowMethodName, WindowMethods } from '../../src-main/contract/window.ts';

const atelier = resolve(import.meta.dirname, '../../out/main/atelier.js');

export interface ServedApp {
  /** With the token in its fragment. */
  readonly link: string;
  readonly port: number;
  readonly token: string;
  /** Where pictures go. */
  readonly folder: string;
  readonly stop: () => Promise<number | null>;
}

/**
 * Starts it on a free port, with a folder of its own, into which `prepare` puts what is to be there, and further `flags`; rejects
 * with what it said when it ends instead.
 */
export async function serveApp(
  flags: readonly string[] = [],
  prepare?: (folder: string) => Promise<void>,
): Promise<ServedApp> {
  const folder = mkdtempSync(join(tmpdir(), 'atelier-serve-'));
  await prepare?.(folder);
  const child = spawn(process.execPath, [atelier, 'serve', '--port', '0', '--out', folder, '--json', ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [said, errors] = ['', ''];
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const link = await new Promise<string>((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      const [, found] = /"link":"([^"]+)"/.exec(said) ?? [];
      if (found !== undefined) resolve(found);
    });
    void ended.then((code) => {
      reject(new Error(`atelier serve ended with ${String(code)}: ${errors}`));
    });
  });
  const { port, hash } = new URL(link);
  return {
    link,
    port: Number(port),
    token: hash.slice(1),
    folder,
    stop: async () => {
      child.kill('SIGINT');
      const code = await ended;
      rmSync(folder, { recursive: true, force: true });
      return code;
    },
  };
}

/** A window without a page: requests, and the news it heard. */
export interface BareWindow {
  readonly news: readonly News[];
  readonly request: <Name extends WindowMethodName>(
    method: Name,
    params: WindowMethods[Name]['params'],
  ) => Promise<WindowMethods[Name]['result']>;
  readonly sendRaw: (text: string) => void;
  readonly close: () => void;
}

/** Opens a WebSocket; rejects when it is refused. */
export async function openSocket(
  port: number,
  { token, origin, host }: { readonly token: string; readonly origin?: string; readonly host?: string },
): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/`, ['atelier', token], {
    ...(origin === undefined ? {} : { origin }),
    ...(host === undefined ? {} : { headers: { Host: host } }),
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  return socket;
}

/** Opens a window as the app's own page does. */
export async function openWindow({ port, token }: ServedApp): Promise<BareWindow> {
  const socket = await openSocket(port, { token, origin: `http://127.0.0.1:${port}` });
  const news: News[] = [];
  const waiting = new Map<number, (message: FromHost) => void>();
  let nextId = 1;
  socket.on('message', (data) => {
    const message = fromJson((data as Buffer).toString('utf8')) as FromHost;
    if (message.kind === 'news') news.push(message.news);
    else waiting.get(message.id)?.(message);
  });
  return {
    news,
    request: (method, params) =>
      new Promise((resolve, reject) => {
        const id = nextId++;
        waiting.set(id, (message) => {
          if (message.kind === 'result') resolve(message.result as never);
          if (message.kind === 'failure') reject(new Error(message.failure.message));
        });
        socket.send(toJson({ kind: 'request', id, method, params }));
      }),
    sendRaw: (text) => {
      socket.send(text);
    },
    close: () => {
      socket.terminate();
    },
  };
}
