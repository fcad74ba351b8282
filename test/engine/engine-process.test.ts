// The built engine process itself: what it does with its channel, its parent's death and Ctrl-C, and real pictures from
// the bundled model through real processes, killed and cancelled on the way.
import { fork, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EngineClient } from '../../src-main/client/engine-client.ts';
import { forkedEngine } from '../../src-main/client/engine-process-port.ts';
import { generateWithRetry } from '../../src-main/client/generate-with-retry.ts';
import type { FromEngine } from '../../src-main/contract/channels.ts';
import { FailureError } from '../../src-main/contract/failure.ts';
import type { GenerateEvent, GenerateRequest } from '../../src-main/contract/generation.ts';
import { exists, until } from '../support/wait.ts';

const root = resolve(import.meta.dirname, '../..');
const entry = join(root, 'out/main/engine.js');
const model = join(root, 'models/atelier-mini');
const hasModel = existsSync(join(model, 'unet/diffusion_pytorch_model.safetensors'));
if (!hasModel) console.log('Skipped: models/atelier-mini is not here, so no real picture can be drawn.');

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'atelier-engine-'));
});
const children: ChildProcess[] = [];
const clients: EngineClient[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  for (const client of clients.splice(0)) await client.close();
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface Engine {
  readonly child: ChildProcess;
  readonly messages: FromEngine[];
  readonly ended: Promise<number | null>;
}

function startEngine(): Engine {
  const child = fork(entry, [], { serialization: 'advanced', execArgv: [] });
  children.push(child);
  const messages: FromEngine[] = [];
  child.on('message', (message) => messages.push(message as FromEngine));
  return { child, messages, ended: new Promise((resolve) => child.once('exit', resolve)) };
}

function startClient(): EngineClient {
  const client = new EngineClient({ spawn: forkedEngine(entry) });
  clients.push(client);
  return client;
}

describe('the engine process', () => {
  it('says ready, then answers requests sent before that too', async () => {
    const { child, messages } = startEngine();
    child.send({ kind: 'request', id: 1, method: 'tokenCount', params: { prompt: 'a cat' } });
    await until('the answer', () => messages.length === 2);
    expect(messages).toEqual([{ kind: 'ready' }, { kind: 'result', id: 1, result: { tokens: 2, limit: 75 } }]);
  });

  it.each<[string, unknown, RegExp]>([
    ['an unknown method', { kind: 'request', id: 7, method: 'launch', params: {} }, /no method .+launch/],
    [
      'an unknown parameter',
      { kind: 'request', id: 7, method: 'tokenCount', params: { prompt: '', x: 1 } },
      /x is not/,
    ],
    ['a missing parameter', { kind: 'request', id: 7, method: 'inspect', params: {} }, /path is missing/],
    ['no parameters', { kind: 'request', id: 7, method: 'inspect' }, /The request is missing/],
  ])('answers %s with a bad-request in words', async (_name, message, words) => {
    const { child, messages } = startEngine();
    child.send(message as object);
    await until('the answer', () => messages.length === 2);
    expect(messages[1]).toMatchObject({ kind: 'failure', id: 7, failure: { kind: 'bad-request' } });
    expect(JSON.stringify(messages[1])).toMatch(words);
  });

  it('survives messages that are no messages', async () => {
    const { child, messages } = startEngine();
    for (const message of ['x', 1, [], {}, { kind: 'cancel', id: 'x' }, { kind: 'cancel', id: 99 }])
      child.send(message);
    child.send({ kind: 'request', id: 2, method: 'tokenCount', params: { prompt: '' } });
    await until('the answer', () => messages.some((message) => message.kind === 'result'));
    expect(messages).toHaveLength(2);
  });

  it('ends with code 0 when its parent disconnects', async () => {
    const { child, messages, ended } = startEngine();
    await until('it is ready', () => messages.length === 1);
    child.disconnect();
    expect(await ended).toBe(0);
  });

  it('leaves Ctrl-C to its parent', async () => {
    const { child, messages } = startEngine();
    await until('it is ready', () => messages.length === 1);
    child.kill('SIGINT');
    child.send({ kind: 'request', id: 1, method: 'tokenCount', params: { prompt: 'a' } });
    await until('the answer', () => messages.length === 2);
  });

  it('started by hand says how it is started', async () => {
    const child = spawn(process.execPath, [entry], { stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    expect(await new Promise((resolve) => child.once('close', resolve))).not.toBe(0);
    expect(stderr).toContain('is started by the atelier command');
  });
});

describe.skipIf(!hasModel)('real pictures through real processes', () => {
  const request = (more: Partial<GenerateRequest> = {}): GenerateRequest & { readonly seed: number } => ({
    model,
    prompt: 'a red apple, noto style',
    steps: 3,
    device: 'cpu',
    output: { folder, metadata: false },
    ...more,
    seed: more.seed ?? 40,
  });

  it('a seed gives the same file, in this process, in the next one, and as part of a batch', async () => {
    const first = startClient();
    const alone = await first.request('generate', request({ seed: 41 }));
    const batch = await first.request('generate', request({ batch: 2 }));
    const again = await startClient().request('generate', request({ seed: 41 }));
    const bytes = [alone.pictures[0]!, batch.pictures[1]!, again.pictures[0]!].map(({ path }) => readFileSync(path));
    expect(bytes[1]!.equals(bytes[0]!)).toBe(true);
    expect(bytes[2]!.equals(bytes[0]!)).toBe(true);
  });

  it('kill -9 in the middle of a batch costs no finished picture, and the rest is what it would have been', async () => {
    const client = startClient();
    const whole = await client.request('generate', request({ batch: 3 }));
    let killed = false;
    const warnings: string[] = [];
    const survived = await generateWithRetry(client, request({ batch: 3 }), {
      onEvent: (event) => {
        if (event.kind === 'warning') warnings.push(event.message);
        if (event.kind !== 'step' || event.index !== 1 || event.step !== 2 || killed) return;
        killed = true;
        process.kill(client.pid!, 'SIGKILL');
      },
    });
    expect(warnings.some((message) => /SIGKILL/.test(message))).toBe(true);
    expect(survived.pictures.map(({ seed }) => seed)).toEqual([40, 41, 42]);
    survived.pictures.forEach(({ path }, i) => {
      expect(readFileSync(path).equals(readFileSync(whole.pictures[i]!.path))).toBe(true);
    });
  });

  it('cancel stops within one step, and the engine draws on', async () => {
    const client = startClient();
    const controller = new AbortController();
    const events: GenerateEvent[] = [];
    const cancelled = client.request('generate', request({ steps: 200 }), {
      signal: controller.signal,
      onEvent: (event) => {
        events.push(event);
        if (event.kind === 'step' && event.step === 2) controller.abort();
      },
    });
    const error: unknown = await cancelled.catch((reason: unknown) => reason);
    expect(error instanceof FailureError && error.failure.kind).toBe('cancelled');
    expect(events.filter((event) => event.kind === 'step').length).toBeLessThanOrEqual(3);
    expect((await client.request('generate', request())).pictures).toHaveLength(1);
  });

  it('a prompt is counted while a picture is drawn', async () => {
    const client = startClient();
    const ends: string[] = [];
    const events: GenerateEvent[] = [];
    const drawing = client
      .request('generate', request({ steps: 30 }), { onEvent: (event) => events.push(event) })
      .then(() => ends.push('picture'));
    await until('it draws', () => events.some((event) => event.kind === 'step'));
    await client.request('tokenCount', { prompt: 'a cat' }).then(() => ends.push('count'));
    await drawing;
    expect(ends).toEqual(['count', 'picture']);
  });

  it('the process ends when its parent goes in the middle of a picture, without a native crash', async () => {
    const { child, messages, ended } = startEngine();
    child.send({ kind: 'request', id: 1, method: 'generate', params: request({ steps: 500 }) });
    await until('it draws', () =>
      messages.some((message) => message.kind === 'event' && /step/.test(JSON.stringify(message.event))),
    );
    child.disconnect();
    expect(await ended).toBe(0);
    expect(exists(child.pid!)).toBe(false);
  });

  it('files that are missing, damaged or of the wrong kind fail in words', async () => {
    const client = startClient();
    const broken = join(folder, 'broken.safetensors');
    writeFileSync(broken, 'this is no checkpoint at all');
    const failureOf = async (more: Partial<GenerateRequest>) => {
      const error: unknown = await client.request('generate', request(more)).catch((reason: unknown) => reason);
      return error instanceof FailureError ? error.failure : undefined;
    };
    expect((await failureOf({ model: join(folder, 'none.safetensors') }))?.kind).toMatch(/^bad-/);
    expect(await failureOf({ model: broken })).toMatchObject({ kind: 'bad-file' });
    expect(await failureOf({ init: { picture: broken } })).toMatchObject({ kind: 'bad-file' });
    expect(await failureOf({ output: { folder: join(broken, 'x') } })).toMatchObject({
      kind: 'bad-request',
      message: `${join(broken, 'x')}: A part of the path is a file where a folder is needed. Check the path.`,
    });
    expect((await failureOf({ output: { folder, pattern: '[sed]' } }))?.kind).toBe('bad-request');
  });
});
