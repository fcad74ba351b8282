// `atelier serve` as a process, seen from a browser's side and from an attacker's: who gets in, what can be fetched, and a
// real drawing over the socket.
import { existsSync, mkdirSync, readFileSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { WindowJob } from '../../src-main/contract/window-drawing.ts';
import { removeForgottenFiles } from '../../src-main/serve/dropped-files.ts';
import { openSocket, openWindow, serveApp, type ServedApp } from '../support/serve-app.ts';
import { until } from '../support/wait.ts';

let app: ServedApp;
beforeAll(async () => {
  app = await serveApp();
});
afterAll(async () => {
  await app.stop();
});

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

/** Asks for `path` exactly as written; fetch would tidy it first. */
function ask(
  path: string,
  { method = 'GET', headers = {}, body }: { method?: string; headers?: Record<string, string>; body?: Buffer } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port: app.port, path, method, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) });
      });
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

const jobOf = (news: readonly { readonly kind: string }[], id: string): WindowJob | undefined =>
  news
    .filter((item): item is { readonly kind: 'job'; readonly job: WindowJob } => item.kind === 'job')
    .map(({ job }) => job)
    .findLast((job) => job.id === id);

describe('who gets in', () => {
  it('a window needs the token of the link', async () => {
    const origin = `http://127.0.0.1:${app.port}`;
    await expect(openSocket(app.port, { token: '0'.repeat(app.token.length), origin })).rejects.toThrow('403');
    await expect(openSocket(app.port, { token: app.token.slice(1), origin })).rejects.toThrow('403');
    const socket = await openSocket(app.port, { token: app.token, origin });
    expect(socket.protocol).toBe('atelier');
    socket.terminate();
  });

  it('a page of another site is refused, with the token too', async () => {
    for (const origin of ['https://example.org', 'http://127.0.0.1:1', 'null', undefined]) {
      const opened = openSocket(app.port, { token: app.token, ...(origin === undefined ? {} : { origin }) });
      await expect(opened, String(origin)).rejects.toThrow('403');
    }
    expect((await ask('/', { headers: { Origin: 'https://example.org' } })).status).toBe(403);
  });

  it('another host name is refused, as DNS rebinding brings', async () => {
    expect((await ask('/', { headers: { Host: `evil.example:${app.port}` } })).status).toBe(403);
    const host = `evil.example:${app.port}`;
    await expect(openSocket(app.port, { token: app.token, origin: `http://${host}`, host })).rejects.toThrow('403');
    expect((await ask('/', { headers: { Host: `localhost:${app.port}` } })).status).toBe(200);
  });

  it('only the loopback address listens', async () => {
    // 127.0.0.2 is this machine too, as its outer addresses are, but not the one that was bound.
    const refused = await new Promise<string>((resolve) => {
      createConnection(app.port, '127.0.0.2')
        .once('error', (error: NodeJS.ErrnoException) => {
          resolve(error.code ?? '');
        })
        .once('connect', () => {
          resolve('connected');
        });
    });
    expect(refused).toBe('ECONNREFUSED');
  });
});

describe('with --host', () => {
  it('other machines get in by an address of this one, with the token, and no foreign name does', async () => {
    const open = await serveApp(['--host', '0.0.0.0']);
    try {
      const { port, token } = open;
      const host = new URL(open.link).hostname;
      const origin = `http://${host}:${port}`;
      const socket = await openSocket(port, { token, origin, host: `${host}:${port}` });
      socket.terminate();
      await expect(openSocket(port, { token: 'none', origin, host: `${host}:${port}` })).rejects.toThrow('403');
      const evil = `evil.example:${port}`;
      await expect(openSocket(port, { token, origin: `http://${evil}`, host: evil })).rejects.toThrow('403');
      const page = await fetch(`${origin}/`);
      expect(page.status).toBe(200);
      // 127.0.0.2 stands for an outer address: it is reached, and it is not among the names.
      expect((await fetch(`http://127.0.0.2:${port}/`)).status).toBe(403);
    } finally {
      await open.stop();
    }
  });

  it('what is no address of this machine is refused in words', async () => {
    await expect(serveApp(['--host', 'example.org'])).rejects.toThrow('--host must be an IP address');
    await expect(serveApp(['--host', '192.0.2.1'])).rejects.toThrow('This machine does not have the address 192.0.2.1');
  });
});

describe('what can be fetched', () => {
  it('the interface, with headers that forbid what it does not need', async () => {
    const { status, headers, body } = await ask('/');
    expect(status).toBe(200);
    expect(body.toString()).toContain('<title>MoLE Atelier</title>');
    expect(headers['content-security-policy']).toContain("default-src 'none'; script-src 'self'");
    expect(headers['x-content-type-options']).toBe('nosniff');
    const [script] = /assets\/index[^"]+\.js/.exec(body.toString()) ?? [];
    expect((await ask(`/${script!}`)).headers['content-type']).toContain('text/javascript');
  });

  it.each([
    '/../main/atelier.js',
    '/..%2fmain%2fatelier.js',
    '/%2e%2e/%2e%2e/package.json',
    '/assets/../../../package.json',
    '//etc/passwd',
    '/..\\main\\atelier.js',
    '/%00',
    '/%zz',
    '/pictures/../../package.json',
    '/pictures/00000000-0000-4000-8000-000000000000',
  ])('%s is nothing', async (path) => {
    expect((await ask(path)).status).toBe(404);
  });

  it('is asked for with GET and HEAD alone', async () => {
    expect((await ask('/', { method: 'HEAD' })).body).toHaveLength(0);
    expect((await ask('/', { method: 'DELETE' })).status).toBe(405);
  });
});

describe('dropped files', () => {
  const send = (name: string, token: string, body = Buffer.from('bytes')): Promise<Answer> =>
    ask(`/files?name=${encodeURIComponent(name)}`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${token}` },
      body,
    });
  const dropFolder = (): string => join(app.folder, '.atelier/dropped');

  it('are kept under their own name, whatever that looks like, in a folder of their own', async () => {
    const { status, body } = await send('../../evil\\ink.safetensors', app.token);
    expect(status).toBe(201);
    const { path } = JSON.parse(body.toString()) as { path: string };
    expect(path.startsWith(dropFolder())).toBe(true);
    expect(path.endsWith('_.._evil_ink.safetensors')).toBe(true);
    expect(readFileSync(path, 'utf8')).toBe('bytes');
  });

  it('are kept once, however often they are sent', async () => {
    const pathOf = ({ body }: Answer): string => (JSON.parse(body.toString()) as { path: string }).path;
    const first = pathOf(await send('style.safetensors', app.token, Buffer.from('the same bytes')));
    expect(pathOf(await send('style.safetensors', app.token, Buffer.from('the same bytes')))).toBe(first);
    const other = pathOf(await send('style.safetensors', app.token, Buffer.from('other bytes')));
    expect(other).not.toBe(first);
    expect(readFileSync(first, 'utf8')).toBe('the same bytes');
  });

  it('bring what tells about them along, beside a file that was sent before and nowhere else', async () => {
    const { path } = JSON.parse((await send('ink.safetensors', app.token)).body.toString()) as { path: string };
    const sidecar = (name: string, beside: string): Promise<Answer> =>
      ask(`/files?${new URLSearchParams({ name, beside }).toString()}`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${app.token}` },
        body: Buffer.from('{}'),
      });
    expect((await sidecar('ink.json', path)).status).toBe(201);
    expect(readFileSync(join(path, '../ink.json'), 'utf8')).toBe('{}');
    expect((await sidecar('ink.exe', path)).status).toBe(400);
    expect((await sidecar('ink.json', join(app.folder, '../ink.safetensors'))).status).toBe(400);
    expect((await sidecar('queue.json', join(app.folder, '.atelier/queue.json'))).status).toBe(400);
  });

  it('that nothing remembers go after a month, also what was cut off', async () => {
    const [folder, state] = [join(app.folder, 'old-drops'), join(app.folder, 'old-state')];
    const old = new Date(Date.now() - 40 * 24 * 3600 * 1000);
    for (const name of ['forgotten', 'remembered', 'young']) {
      mkdirSync(join(folder, name), { recursive: true });
      writeFileSync(join(folder, name, 'lora.safetensors'), name);
    }
    writeFileSync(join(folder, 'cut-off.part'), 'half');
    for (const name of ['forgotten', 'remembered', 'cut-off.part']) utimesSync(join(folder, name), old, old);
    mkdirSync(join(state, 'deeper'), { recursive: true });
    // Across the border of two chunks of the reader.
    const path = `"${join(folder, 'remembered/lora.safetensors')}"`;
    writeFileSync(join(state, 'queue.json'), ' '.repeat(65_536 - path.indexOf('remembered') - 3) + path);
    await removeForgottenFiles(folder, state, Date.now());
    expect(readdirSync(folder).sort()).toEqual(['remembered', 'young']);
    await removeForgottenFiles(join(app.folder, 'no-such-folder'), state, Date.now());
  });

  it('need the token', async () => {
    expect((await send('ink.safetensors', 'no')).status).toBe(401);
  });

  it('that are no tensors are refused in words', async () => {
    const { status, body } = await send('ink.exe', app.token);
    expect(status).toBe(400);
    expect(body.toString()).toBe('Only .safetensors files, pictures and recipes can be added here, got "ink.exe".\n');
  });

  it('that break off leave nothing behind', async () => {
    mkdirSync(dropFolder(), { recursive: true });
    const before = readdirSync(dropFolder()).length;
    const socket = createConnection(app.port, '127.0.0.1');
    socket.write(
      `POST /files?name=half.safetensors HTTP/1.1\r\nHost: 127.0.0.1:${app.port}\r\n` +
        `Authorization: Bearer ${app.token}\r\nContent-Length: 1000\r\n\r\nhalf`,
    );
    await until('the half file is there', () => readdirSync(dropFolder()).length === before + 1);
    socket.destroy();
    await until('the half file is gone', () => readdirSync(dropFolder()).length === before);
  });
});

describe('a window', () => {
  it('draws with the bundled model, sees previews and fetches the picture by its id', async () => {
    const window = await openWindow(app);
    const { model, jobs } = await window.request('open', {});
    expect(model?.name).toBe('atelier-mini');
    expect(jobs).toEqual([]);
    const order = { prompt: 'a red apple, noto style', seed: 7, steps: 4, previewEvery: 1 };
    const { id, state } = await window.request('draw', order);
    expect(state).toBe('waiting');
    await until('the picture is drawn', () => jobOf(window.news, id)?.state === 'done', 50);
    const previews = window.news.flatMap((news) =>
      news.kind === 'progress' && news.event.kind === 'step' && news.event.preview !== undefined
        ? [news.event.preview]
        : [],
    );
    expect(previews).toHaveLength(3);
    for (const { width, height, rgb } of previews) expect(rgb).toHaveLength(width * height * 3);
    const [picture] = jobOf(window.news, id)!.pictures;
    expect(picture).toMatchObject({ seed: 7, width: 128, height: 128 });
    const { status, headers, body } = await ask(`/pictures/${picture!.id}`);
    expect([status, headers['content-type']]).toEqual([200, 'image/png']);
    expect(body.equals(readFileSync(join(app.folder, picture!.name)))).toBe(true);
    window.close();
  });

  it('hears of every job, and one that opens later finds its pictures under the same id', async () => {
    const [first, second] = [await openWindow(app), await openWindow(app)];
    const { id } = await first.request('draw', { prompt: 'a dog', steps: 2 });
    const done = (): boolean => [first, second].every(({ news }) => jobOf(news, id)?.state === 'done');
    await until('both hear of the picture', done, 50);
    const { jobs } = await (await openWindow(app)).request('open', {});
    expect(jobs.find((job) => job.id === id)?.pictures).toEqual(jobOf(first.news, id)!.pictures);
    first.close();
    second.close();
  });

  it('cancels the running job within a step, and a waiting one at once', async () => {
    const window = await openWindow(app);
    const running = await window.request('draw', { prompt: 'a dog', steps: 500 });
    const waiting = await window.request('draw', { prompt: 'a cat', steps: 500 });
    const drawing = (): boolean => window.news.some((news) => news.kind === 'progress' && news.event.kind === 'step');
    await until('it draws', drawing, 50);
    await window.request('cancel', { id: waiting.id });
    await window.request('cancel', { id: running.id });
    expect(jobOf(window.news, waiting.id)?.state).toBe('cancelled');
    expect(jobOf(window.news, running.id)?.state).toBe('cancelled');
    window.close();
  });

  it('is told what is wrong with what it sends', async () => {
    const window = await openWindow(app);
    await expect(window.request('draw', { prompt: 'a dog', steps: 5000 })).rejects.toThrow(
      'steps must be at most 1000, not 5000.',
    );
    // Where pictures are written is not the window's to say.
    const elsewhere = { prompt: 'a dog', output: { folder: '/etc' } } as { prompt: string };
    await expect(window.request('draw', elsewhere)).rejects.toThrow('output is not known here');
    await expect(window.request('noise' as 'open', {})).rejects.toThrow('reload the window');
    expect(existsSync('/etc/.atelier')).toBe(false);
    window.close();
  });

  it('that sends what is no message is closed, and the others go on', async () => {
    const [broken, other] = [await openWindow(app), await openWindow(app)];
    broken.sendRaw('{');
    broken.sendRaw('[]');
    expect(await other.request('tokenCount', { prompt: 'a red apple' })).toEqual({ tokens: 3, limit: 75 });
    other.close();
  });

  it('inspects a broken file in words instead of failing', async () => {
    const window = await openWindow(app);
    const path = join(app.folder, 'broken.safetensors');
    writeFileSync(path, 'this is no tensor');
    const { kind, problems } = await window.request('inspect', { path });
    expect(kind).toBe('unknown');
    expect(problems).toHaveLength(1);
    window.close();
  });
});
