// The interface over HTTP on this machine, for browsers: static files, pictures by id, dropped files, and the window's messages
// over a WebSocket. Listens on the loopback address unless told otherwise. Everything that can do something asks for the token of
// the link; a request under a foreign host name (DNS rebinding) or from another site's page is refused before anything else.
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { isIPv6, type AddressInfo } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import type { Duplex } from 'node:stream';
import { WebSocketServer, type WebSocket } from 'ws';
import { fromJson, toJson } from '../contract/json-bytes.ts';
import type { FromHost } from '../contract/window.ts';
import { fileForWindow, securityHeaders } from '../host/files-for-windows.ts';
import type { WindowHost } from '../host/window-host.ts';
import { receiveDroppedFile, UploadError } from './dropped-files.ts';

export interface WebServerOptions {
  readonly host: WindowHost;
  /** The folder of the built interface. */
  readonly rendererFolder: string;
  /** Where dropped files are kept. */
  readonly dropFolder: string;
  /** IP address to listen on. */
  readonly address: string;
  /** 0 takes a free one. */
  readonly port: number;
}

export interface WebServer {
  readonly port: number;
  /** The link to open: its token stands in the fragment, which browsers send to nobody. */
  readonly link: string;
  readonly token: string;
  readonly close: () => Promise<void>;
}

/** Longest message of a window: a prompt has at most 100,000 characters. */
const longestMessage = 4 * 1024 * 1024;
/** The subprotocol that both sides speak; a window offers it together with the token. */
const protocol = 'atelier';

/** Starts the server. Rejects with Node's error when the port is taken. */
export async function startWebServer(options: WebServerOptions): Promise<WebServer> {
  const token = randomBytes(24).toString('hex');
  const names = namesOf(options.address);
  const server = createServer((request, response) => {
    answer(request, response, options, { token, names }).catch(() => {
      if (!response.headersSent) response.writeHead(500);
      response.end();
    });
  });
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: longestMessage,
    handleProtocols: () => protocol,
  });
  server.on('upgrade', (request, socket: Duplex, head) => {
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim());
    const welcome =
      isOwnSite(request, names, true) && offered.includes(protocol) && offered.some((name) => equal(name, token));
    if (!welcome) {
      socket.end('HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n');
      return;
    }
    sockets.handleUpgrade(request, socket, head, (opened) => {
      talk(opened, options.host);
    });
  });
  await listen(server, options.port, options.address);
  const { port } = server.address() as AddressInfo;
  return {
    port,
    token,
    link: `http://${names[0]!}:${port}/#${token}`,
    close: async () => {
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function listen(server: Server, port: number, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, address, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Carries messages between one window and the host. */
function talk(socket: WebSocket, host: WindowHost): void {
  const send = (message: FromHost): void => {
    if (socket.readyState === socket.OPEN) socket.send(toJson(message));
  };
  const detach = host.attach(send);
  socket.on('message', (data, isBinary) => {
    const message = isBinary ? undefined : readMessage((data as Buffer).toString('utf8'));
    if (message === undefined) socket.close(1003, 'Messages are JSON texts.');
    else void host.receive(message, send);
  });
  socket.on('close', detach);
  socket.on('error', () => {
    socket.terminate();
  });
}

function readMessage(text: string): unknown {
  try {
    return fromJson(text);
  } catch {
    return undefined;
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { host, rendererFolder, dropFolder }: WebServerOptions,
  { token, names }: { readonly token: string; readonly names: readonly string[] },
): Promise<void> {
  for (const [name, value] of Object.entries(securityHeaders)) response.setHeader(name, value);
  if (!isOwnSite(request, names, false)) {
    refuse(response, 403, `This address answers only to ${names.join(', ')}, and to its own page.`);
    return;
  }
  const url = new URL(request.url ?? '/', 'http://127.0.0.1');
  if (request.method === 'POST' && url.pathname === '/files') {
    if (!equal(request.headers.authorization?.replace(/^Bearer /, '') ?? '', token)) {
      refuse(response, 401, 'The token of the link is missing: open the link that atelier serve printed.');
      return;
    }
    await receive(request, response, url.searchParams, dropFolder);
    return;
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    refuse(response, 405, 'Only GET, HEAD and POST /files are known here.');
    return;
  }
  const file = await fileForWindow(rawPath(request.url ?? '/'), rendererFolder, host.shelf);
  if (file === undefined) {
    refuse(response, 404, 'There is nothing at this address.');
    return;
  }
  response.writeHead(200, {
    'Content-Type': file.type,
    'Content-Length': file.bytes.length,
    'Cache-Control': file.immutable ? 'private, max-age=31536000, immutable' : 'no-cache',
  });
  response.end(request.method === 'HEAD' ? undefined : file.bytes);
}

async function receive(
  request: IncomingMessage,
  response: ServerResponse,
  asked: URLSearchParams,
  folder: string,
): Promise<void> {
  try {
    const path = await receiveDroppedFile(request, asked.get('name') ?? '', folder, asked.get('beside') ?? undefined);
    response.writeHead(201, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify({ path }));
  } catch (error) {
    if (!(error instanceof UploadError)) throw error;
    refuse(response, 400, error.message);
  }
}

/** The path as it was sent: URL would resolve `..` away, and what is resolved cannot be judged. */
const rawPath = (target: string): string => target.replace(/[?#].*$/, '');

function refuse(response: ServerResponse, status: number, message: string): void {
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8', Connection: 'close' });
  response.end(`${message}\n`);
}

/**
 * Whether the request names this server by one of `names` and comes from its own page or from no page at all. With
 * `fromPage`, an origin must be given: every browser sends one with a WebSocket.
 */
function isOwnSite(request: IncomingMessage, names: readonly string[], fromPage: boolean): boolean {
  const { host, origin } = request.headers;
  const port = request.socket.localPort;
  if (host === undefined || !names.some((name) => host.toLowerCase() === `${name}:${port}`)) return false;
  if (origin === undefined) return !fromPage;
  return origin === `http://${host}`;
}

/** The hosts under which a server on `address` can be reached, as they stand in a link; the best for a link comes first. */
function namesOf(address: string): readonly string[] {
  const written = (ip: string): string => (isIPv6(ip) ? `[${ip}]` : ip);
  if (address === '127.0.0.1' || address === '::1') return [written(address), 'localhost'];
  const mine = Object.values(networkInterfaces()).flatMap((ips) => ips ?? []);
  const outer = mine.filter(({ internal }) => !internal).map(({ address: ip }) => ip);
  // IPv4 first: addresses that one can type.
  const all = [...outer.filter((ip) => !isIPv6(ip)), ...outer.filter(isIPv6), '127.0.0.1', '::1'];
  const listened = address === '0.0.0.0' || address === '::' ? all : [address];
  const own = hostname().toLowerCase();
  return [...listened.map(written), own, `${own}.local`, 'localhost'];
}

/** Compares in a time that tells nothing of where the difference is. */
function equal(given: string, token: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(token)];
  return a.length === b.length && timingSafeEqual(a, b);
}
