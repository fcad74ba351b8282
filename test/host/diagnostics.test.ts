// The log and the text of "copy diagnostics": what a report of a mistake needs, and not a word of what was drawn.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EngineClient } from '../../src-main/client/engine-client.ts';
import { forkedEngine } from '../../src-main/client/engine-process-port.ts';
import type { FromHost } from '../../src-main/contract/window.ts';
import { EventLog } from '../../src-main/host/event-log.ts';
import { WindowHost } from '../../src-main/host/window-host.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'atelier-log-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe('the log', () => {
  it('is one JSON line for each event, and starts a new file after a megabyte', async () => {
    const log = await EventLog.open(folder);
    for (let i = 0; i < 12_000; i++) log.note('info', 'an event', { number: i, words: 'x'.repeat(100) });
    await log.close();
    const names = readdirSync(folder).filter((name) => name.endsWith('.log'));
    expect(names.length).toBeGreaterThan(1);
    for (const name of names) {
      const text = readFileSync(join(folder, name), 'utf8');
      expect(text.length).toBeLessThan(1_200_000);
      const [line] = text.split('\n');
      expect(JSON.parse(line!)).toMatchObject({ level: 'info', what: 'an event' });
    }
  });

  it('does not stop anything when its folder cannot be written', async () => {
    const file = join(folder, 'logs');
    writeFileSync(file, '');
    await expect(EventLog.open(file)).rejects.toThrow();
  });
});

describe('diagnostics', () => {
  it('name the version, the device and what failed, without the prompt', async () => {
    const engine = { spawn: forkedEngine(resolve(import.meta.dirname, '../../out/main/engine.js')) };
    const client = new EngineClient(engine);
    const trainingClient = new EngineClient(engine);
    const host = await WindowHost.open({
      client,
      trainingClient,
      folder: join(folder, 'pictures'),
      stateFolder: join(folder, 'state'),
      place: 'browser',
      version: '9.8.7',
      model: join(folder, 'no-such-model'),
      bundled: [],
    });
    const ask = (method: string, params: unknown): Promise<FromHost> =>
      new Promise((answer) => {
        void host.receive({ kind: 'request', id: 1, method, params }, answer);
      });
    const failed = new Promise<void>((settle) => {
      host.attach((message) => {
        if (message.kind === 'news' && message.news.kind === 'job' && message.news.job.state === 'failed') settle();
      });
    });
    await ask('draw', { prompt: 'a secret commission' });
    await failed;
    const answer = await ask('diagnostics', {});
    await host.close();
    await client.close();
    await trainingClient.close();

    const text = answer.kind === 'result' ? (answer.result as { readonly text: string }).text : '';
    expect(text).toContain('MoLE Atelier 9.8.7');
    expect(text).toMatch(/^Device: \w+\. /m);
    expect(text).toContain('Jobs: 1 failed');
    expect(text).toContain('no-such-model');
    expect(text).not.toContain('secret commission');
    expect(existsSync(join(folder, 'state', 'logs', 'atelier.log'))).toBe(true);
  });
});
