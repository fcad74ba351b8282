// `atelier serve`: the app's interface in a browser of this machine, or of another where that was asked for.
import { once } from 'node:events';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import packageJson from '../../package.json' with { type: 'json' };
import { FolderInUseError } from '../client/folder-lock.ts';
import { FailureError } from '../contract/failure.ts';
import { serve } from '../serve/serve.ts';
import type { WebServer } from '../serve/web-server.ts';
import { UsageError } from './arguments.ts';
import type { Command } from './command.ts';

export const defaultPort = 7878;

export const serveCommand: Command = {
  name: 'serve',
  summary: 'Opens the app in a browser of this machine.',
  flags: {
    port: { type: 'string', value: 'N', help: `the port; 0 takes a free one (default ${defaultPort})` },
    host: {
      type: 'string',
      value: 'ADDRESS',
      help: 'the IP address to listen on (default 127.0.0.1); 0.0.0.0 lets other machines in',
    },
    out: { type: 'string', value: 'FOLDER', help: 'where pictures go; the queue is kept in it too (default outputs)' },
  },
  notes: [
    'The link holds a token: who has the link can draw. Without --host nothing outside this machine can reach it;',
    'with it the link travels unencrypted, so use it in a network that you trust.',
    'Ctrl-C ends it; a drawing that was under way goes on the next time.',
  ],
  examples: ['atelier serve', 'atelier serve --port 0 --out ~/pictures', 'atelier serve --host 0.0.0.0'],
  stopping: 'Stopping after this step; the queue goes on the next time.',
  async run({ args, client, terminal, signal }) {
    if (args.positionals.length > 0) throw new UsageError(`serve takes no "${args.positionals.join(' ')}".`);
    const port = args.number('port') ?? defaultPort;
    if (!Number.isInteger(port) || port < 0 || port > 65_535) {
      throw new UsageError(`--port must be a whole number from 0 to 65535, not ${port}.`);
    }
    const address = args.text('host') ?? '127.0.0.1';
    if (isIP(address) === 0) {
      throw new UsageError(`--host must be an IP address such as 127.0.0.1 or 0.0.0.0, not "${address}".`);
    }
    const folder = resolve(args.text('out') ?? 'outputs');
    const server = await start(
      () => serve({ client, folder, address, port, version: packageJson.version }),
      address,
      port,
    );
    terminal.print(`The app is at ${server.link}`);
    terminal.result({ link: server.link, port: server.port, folder });
    terminal.note(`Pictures go to ${folder}. Ctrl-C ends it.`);
    if (!signal.aborted) await once(signal, 'abort');
    await server.close();
    return undefined;
  },
};

/** Starts the server and puts what can go wrong into words. */
async function start(begin: () => Promise<WebServer>, address: string, port: number): Promise<WebServer> {
  try {
    return await begin();
  } catch (error) {
    if (error instanceof FolderInUseError) throw new FailureError({ kind: 'bad-request', message: error.message });
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EADDRNOTAVAIL') {
      const message = `This machine does not have the address ${address}: choose one of its own with --host, or 0.0.0.0 for all.`;
      throw new FailureError({ kind: 'bad-request', message });
    }
    if (code === 'EADDRINUSE' || code === 'EACCES') {
      const why = code === 'EADDRINUSE' ? 'is in use by another program' : 'may not be used without more rights';
      throw new FailureError({
        kind: 'bad-request',
        message: `Port ${port} ${why}: choose another with --port, or --port 0 for a free one.`,
      });
    }
    throw error;
  }
}
