// The client against real engine processes: what a caller sees when jobs run, fail, are cancelled, and when the process
// dies under them.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EngineClient, type EngineClientOptions } from '../../src-main/client/engine-client.ts';
import { forkedEngine } from '../../src-main/client/engine-process-port.ts';
import type { GenerateEvent } from '../../src-main/contract/generation.ts';
import { FailureError } from '../../src-main/contract/failure.ts';
import { buildFakeEngine, type Fixture } from '../support/build-fixture.ts';
import { fakeRequest } from '../support/fake-handlers.ts';
import { exists, sleep, until } from '../support/wait.ts';

let fixture: Fixture;
beforeAll(async () => {
  fixture = await buildFakeEngine();
});
afterAll(() => {
  fixture.remove();
});

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

function startClient(options: EngineClientOptions = {}): EngineClient {
  const client = new EngineClient({ spawn: forkedEngine(fixture.path('engine')), ...options });
  cleanups.push(() => client.close());
  return client;
}

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'atelier-client-'));
  cleanups.push(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

describe('a request', () => {
  it('starts the engine, which answers', async () => {
    const client = startClient();
    expect(client.pid).toBeUndefined();
    expect(await client.request('tokenCount', { prompt: 'a red apple' })).toEqual({ tokens: 3, limit: 75 });
    expect(exists(client.pid!)).toBe(true);
  });

  it('reports steps and pictures on the way, in order', async () => {
    const client = startClient();
    const events: GenerateEvent[] = [];
    const result = await client.request('generate', fakeRequest('apple', newFolder(), { batch: 2 }), {
      onEvent: (event) => events.push(event),
    });
    expect(events.map((event) => event.kind)).toEqual(['stage', 'step', 'step', 'picture', 'step', 'step', 'picture']);
    expect(result.pictures.map((picture) => picture.seed)).toEqual([5, 6]);
  });

  it('with a wrong parameter fails naming the field, what it may be and what came', async () => {
    const client = startClient();
    const wrong = { ...fakeRequest('apple', newFolder()), steps: 5000, width: 100 };
    await expect(client.request('generate', wrong)).rejects.toMatchObject({
      failure: {
        kind: 'bad-request',
        message: 'steps must be at most 1000, not 5000. width must be a multiple of 8 pixels, not 100.',
      },
    });
  });
});

/** The failure that `request` ends with. */
async function failureOf(request: Promise<unknown>): Promise<FailureError['failure']> {
  const error: unknown = await request.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof FailureError)) throw new Error(`It ended with ${String(error)} instead of a failure.`);
  return error.failure;
}

describe('cancelling', () => {
  it('stops a job within a step, keeps its finished pictures, and the engine goes on', async () => {
    const client = startClient();
    const controller = new AbortController();
    const events: GenerateEvent[] = [];
    const request = client.request('generate', fakeRequest('apple', newFolder(), { batch: 50 }), {
      signal: controller.signal,
      onEvent: (event) => {
        events.push(event);
        if (event.kind === 'picture') controller.abort();
      },
    });
    expect((await failureOf(request)).kind).toBe('cancelled');
    const afterPicture = events.slice(events.findIndex((event) => event.kind === 'picture') + 1);
    expect(afterPicture.filter((event) => event.kind === 'step').length).toBeLessThanOrEqual(1);
    const pid = client.pid;
    await client.request('tokenCount', { prompt: 'a' });
    expect(client.pid).toBe(pid);
  });

  it('takes a waiting job out at once, and the next one runs in its turn', async () => {
    const client = startClient();
    const folder = newFolder();
    const controller = new AbortController();
    const ends: string[] = [];
    const long = client.request('generate', fakeRequest('first', folder, { steps: 30 })).then(() => ends.push('first'));
    const waiting = client.request('generate', fakeRequest('second', folder), { signal: controller.signal });
    const third = client.request('generate', fakeRequest('third', folder)).then(() => ends.push('third'));
    controller.abort();
    expect((await failureOf(waiting)).kind).toBe('cancelled');
    expect(ends).toEqual([]);
    await Promise.all([long, third]);
    expect(ends).toEqual(['first', 'third']);
  });

  it('with a signal that is aborted already starts nothing', async () => {
    const client = startClient();
    const request = client.request('tokenCount', { prompt: 'a' }, { signal: AbortSignal.abort() });
    expect((await failureOf(request)).kind).toBe('cancelled');
    expect(client.pid).toBeUndefined();
  });

  it('kill() ends a job in the middle of a native call', async () => {
    const client = startClient();
    let started = false;
    const request = client.request('generate', fakeRequest('block', newFolder()), {
      onEvent: () => {
        started = true;
      },
    });
    const failure = failureOf(request);
    await until('the job starts', () => started);
    const pid = client.pid!;
    await sleep(50);
    const before = Date.now();
    await client.kill();
    expect(Date.now() - before).toBeLessThan(2000);
    expect((await failure).kind).toBe('cancelled');
    expect(exists(pid)).toBe(false);
    expect(await client.request('tokenCount', { prompt: 'a b' })).toMatchObject({ tokens: 2 });
  });
});

describe('an engine that dies', () => {
  it('by kill -9 fails its requests with the signal and the likely reason; the next request starts another', async () => {
    const client = startClient();
    const request = client.request('generate', fakeRequest('apple', newFolder(), { batch: 60 }), {
      onEvent: (event) => {
        if (event.kind === 'picture') process.kill(client.pid!, 'SIGKILL');
      },
    });
    const failure = await failureOf(request);
    expect(failure.kind).toBe('crashed');
    expect(failure.message).toMatch(/SIGKILL.*out of memory/);
    expect(client.pid).toBeUndefined();
    expect(await client.request('tokenCount', { prompt: 'a b' })).toMatchObject({ tokens: 2 });
  });

  it('by a native abort says so, with what it wrote last', async () => {
    const failure = await failureOf(startClient().request('generate', fakeRequest('abort', newFolder())));
    expect(failure.message).toMatch(/SIGABRT.*native library/);
    expect(failure.details).toBeTruthy();
  });

  it('by an exit code says the code', async () => {
    const failure = await failureOf(startClient().request('generate', fakeRequest('exit', newFolder())));
    expect(failure).toMatchObject({ kind: 'crashed' });
    expect(failure.message).toContain('exit code 3');
  });

  it('takes all its requests along', async () => {
    const client = startClient();
    const folder = newFolder();
    const requests = ['abort', 'apple', 'pear'].map((prompt) =>
      failureOf(client.request('generate', fakeRequest(prompt, folder))),
    );
    expect((await Promise.all(requests)).map(({ kind }) => kind)).toEqual(['crashed', 'crashed', 'crashed']);
  });

  it('again and again is started more and more slowly', async () => {
    const client = startClient({ backoffMs: 200 });
    const crash = () => failureOf(client.request('generate', fakeRequest('exit', newFolder())));
    await crash();
    await crash();
    const before = Date.now();
    await crash();
    expect(Date.now() - before).toBeGreaterThanOrEqual(199);
  });
});

describe('what a handler throws', () => {
  it.each([
    ['throw', 'internal', /x is not a function/],
    ['no memory', 'out-of-memory', /bad_alloc/],
  ])('%s arrives as %s', async (prompt, kind, message) => {
    const client = startClient();
    const failure = await failureOf(client.request('generate', fakeRequest(prompt, newFolder())));
    expect(failure.kind).toBe(kind);
    expect(failure.message).toMatch(message);
    expect(await client.request('tokenCount', { prompt: 'a' })).toMatchObject({ tokens: 1 });
  });

  it('a rejection nobody handles fails the job and ends the process', async () => {
    const client = startClient();
    const failure = await failureOf(
      client.request('generate', fakeRequest('reject unheard', newFolder(), { steps: 100 })),
    );
    expect(failure.kind).toBe('internal');
    expect(failure.details).toContain('nobody listens');
    await until('the process ends', () => client.pid === undefined);
  });
});

describe('ending', () => {
  it('close() ends the process, and later requests fail', async () => {
    const client = startClient();
    await client.request('tokenCount', { prompt: 'a' });
    const pid = client.pid!;
    await client.close();
    expect(exists(pid)).toBe(false);
    expect((await failureOf(client.request('tokenCount', { prompt: 'a' }))).kind).toBe('cancelled');
  });

  it('close() kills a process that is stuck in a native call', async () => {
    const client = startClient();
    let started = false;
    const failure = failureOf(
      client.request('generate', fakeRequest('block', newFolder()), {
        onEvent: () => {
          started = true;
        },
      }),
    );
    await until('the job starts', () => started);
    await sleep(50);
    const pid = client.pid!;
    await client.close(100);
    expect(exists(pid)).toBe(false);
    expect((await failure).kind).toBe('cancelled');
  });

  it('an idle engine ends by itself and is started again when needed', async () => {
    const client = startClient({ idleMs: 100 });
    await client.request('tokenCount', { prompt: 'a' });
    const pid = client.pid!;
    await until('the process ends', () => !exists(pid));
    expect(await client.request('tokenCount', { prompt: 'a' })).toMatchObject({ tokens: 1 });
  });
});
