// The queue with real engine processes: order, cancelling, and what is left after the engine or the queue's own process
// is killed at a bad moment.
import { fork } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EngineClient } from '../../src-main/client/engine-client.ts';
import { forkedEngine } from '../../src-main/client/engine-process-port.ts';
import { FolderInUseError, lockFolder } from '../../src-main/client/folder-lock.ts';
import { JobQueue, type Job, type QueueEvent } from '../../src-main/client/job-queue.ts';
import { buildFixture, type Fixture } from '../support/build-fixture.ts';
import { fakeRequest } from '../support/fake-handlers.ts';
import { until } from '../support/wait.ts';

let fixture: Fixture;
beforeAll(async () => {
  fixture = await buildFixture({ engine: 'test/support/fake-engine.ts', owner: 'test/support/queue-owner.ts' });
});
afterAll(() => {
  fixture.remove();
});

const cleanups: (() => Promise<unknown> | undefined)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'atelier-queue-'));
  cleanups.push(() => {
    rmSync(folder, { recursive: true, force: true });
    return undefined;
  });
  return folder;
}

interface Opened {
  readonly queue: JobQueue;
  readonly client: EngineClient;
  readonly folder: string;
  readonly pictures: string;
  readonly events: QueueEvent[];
}

async function openQueue(folder = newFolder()): Promise<Opened> {
  const client = new EngineClient({ spawn: forkedEngine(fixture.path('engine')) });
  cleanups.push(() => client.close());
  const queue = await JobQueue.open(folder, client);
  cleanups.push(() => queue.close());
  const events: QueueEvent[] = [];
  queue.subscribe((event) => events.push(event));
  return { queue, client, folder, pictures: join(folder, 'pictures'), events };
}

const stored = (folder: string): { readonly jobs: Job[] } =>
  JSON.parse(readFileSync(join(folder, 'queue.json'), 'utf8')) as { readonly jobs: Job[] };

/** Seeds of the picture files, in order; a picture drawn twice is there twice. */
const drawnSeeds = (folder: string): number[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.png'))
    .map((name) => Number.parseInt(name, 10))
    .sort((a, b) => a - b);

const jobOf = (queue: JobQueue, { id }: Job): Job => queue.jobs.find((job) => job.id === id)!;

describe('jobs', () => {
  it('run one after the other in their order', async () => {
    const { queue, pictures, events } = await openQueue();
    await queue.pause();
    const first = await queue.add(fakeRequest('first', pictures));
    const second = await queue.add(fakeRequest('second', pictures));
    const third = await queue.add(fakeRequest('third', pictures));
    await queue.move(third.id, 0);
    await queue.resume();
    await queue.idle();
    const turns = events.flatMap((event) =>
      event.kind === 'job' && event.job.pictures.length === 0 && event.job.state === 'running' ? [event.job.id] : [],
    );
    expect(turns).toEqual([third.id, first.id, second.id]);
    expect(queue.jobs.map(({ state }) => state)).toEqual(['done', 'done', 'done']);
  });

  it('get a seed when they have none, the same in the list, on disk and in the picture', async () => {
    const { queue, folder, pictures } = await openQueue();
    const job = await queue.add(fakeRequest('apple', pictures, { seed: undefined }));
    await queue.idle();
    expect(jobOf(queue, job).pictures.map(({ seed }) => seed)).toEqual([job.request.seed]);
    expect(stored(folder).jobs[0]!.request.seed).toBe(job.request.seed);
  });

  it('can be cancelled waiting and running; finished pictures stay', async () => {
    const { queue, pictures } = await openQueue();
    const running = await queue.add(fakeRequest('apple', pictures, { batch: 60 }));
    const waiting = await queue.add(fakeRequest('pear', pictures));
    await until('a picture', () => jobOf(queue, running).pictures.length > 0);
    await queue.cancel(waiting.id);
    await queue.cancel(running.id);
    expect(queue.jobs.map(({ state }) => state)).toEqual(['cancelled', 'cancelled']);
    const kept = jobOf(queue, running).pictures.length;
    expect(kept).toBeGreaterThan(0);
    expect(drawnSeeds(pictures)).toHaveLength(kept);
  });

  it('can be cancelled by the listener that hears of their start', async () => {
    const { queue, pictures } = await openQueue();
    queue.subscribe((event) => {
      if (event.kind === 'job' && event.job.state === 'running') void queue.cancel(event.job.id);
    });
    const job = await queue.add(fakeRequest('apple', pictures, { batch: 60 }));
    await queue.idle();
    await until('the job ends', () => jobOf(queue, job).state === 'cancelled');
  });

  it('that fail keep the reason, the next one runs, and a retry takes up where they stopped', async () => {
    const { queue, pictures } = await openQueue();
    const bad = await queue.add(fakeRequest('no memory', pictures));
    const good = await queue.add(fakeRequest('apple', pictures));
    await queue.idle();
    expect(jobOf(queue, bad)).toMatchObject({ state: 'failed', failure: { kind: 'out-of-memory' } });
    expect(jobOf(queue, good).state).toBe('done');
    await queue.retry(bad.id);
    expect(jobOf(queue, bad).failure).toBeUndefined();
    await queue.idle();
    expect(jobOf(queue, bad).state).toBe('failed');
  });

  it('are removed, the running one after it has stopped', async () => {
    const { queue, folder, pictures } = await openQueue();
    const job = await queue.add(fakeRequest('apple', pictures, { batch: 60 }));
    await until('it runs', () => jobOf(queue, job).state === 'running');
    await queue.remove(job.id);
    expect(queue.jobs).toEqual([]);
    expect(stored(folder).jobs).toEqual([]);
  });
});

describe('when the engine is killed', () => {
  it('the job is tried once more from its first unfinished picture', async () => {
    const { queue, pictures, events } = await openQueue();
    const job = await queue.add(fakeRequest('crash once after 2', pictures, { batch: 5, seed: 10 }));
    await queue.idle();
    expect(jobOf(queue, job)).toMatchObject({ state: 'done', attempts: 2 });
    expect(jobOf(queue, job).pictures.map(({ seed }) => seed)).toEqual([10, 11, 12, 13, 14]);
    expect(drawnSeeds(pictures)).toEqual([10, 11, 12, 13, 14]);
    const warned = events.some((event) => event.kind === 'progress' && event.event.kind === 'warning');
    expect(warned).toBe(true);
  });

  it('progress counts pictures over the whole batch, whatever the attempt', async () => {
    const { queue, pictures, events } = await openQueue();
    await queue.add(fakeRequest('crash once after 2', pictures, { batch: 4, steps: 1 }));
    await queue.idle();
    const steps = events.flatMap((event) =>
      event.kind === 'progress' && event.event.kind === 'step' ? [[event.event.index, event.event.batch]] : [],
    );
    expect(steps).toEqual([
      [0, 4],
      [1, 4],
      [2, 4],
      [3, 4],
    ]);
  });

  it('every time, the job fails after its second attempt, keeps its pictures, and the next one runs', async () => {
    const { queue, pictures } = await openQueue();
    const bad = await queue.add(fakeRequest('crash always after 1', pictures, { batch: 5, seed: 20 }));
    const good = await queue.add(fakeRequest('apple', pictures, { seed: 90 }));
    await queue.idle();
    expect(jobOf(queue, bad)).toMatchObject({ state: 'failed', attempts: 2, failure: { kind: 'crashed' } });
    expect(jobOf(queue, bad).pictures.map(({ seed }) => seed)).toEqual([20, 21]);
    expect(jobOf(queue, good).state).toBe('done');
    expect(drawnSeeds(pictures)).toEqual([20, 21, 90]);
  });
});

describe("when the queue's own process is killed", () => {
  it('opening the folder again restores what waited and what ran, and redoes no finished picture', async () => {
    const folder = newFolder();
    const pictures = join(folder, 'pictures');
    const owner = fork(fixture.path('owner'), [folder, fixture.path('engine')], { execArgv: [], stdio: 'ignore' });
    await until('two pictures are written down', () => {
      try {
        return stored(folder).jobs[0]!.pictures.length >= 2;
      } catch {
        return false;
      }
    });
    const ended = new Promise((resolve) => owner.once('exit', resolve));
    owner.kill('SIGKILL');
    await ended;
    const before = stored(folder).jobs;
    expect(before.map(({ state }) => state)).toEqual(['running', 'waiting']);
    // The engine notices that its parent has gone and stops; a picture it was just writing may still appear.
    await until('the orphaned engine ends', () => drawnSeeds(pictures).length < 12);
    const { queue } = await openQueue(folder);
    await queue.idle();
    expect(queue.jobs.map(({ state }) => state)).toEqual(['done', 'done']);
    expect(queue.jobs[0]!.pictures.map(({ seed }) => seed)).toEqual(Array.from({ length: 12 }, (_, i) => 100 + i));
    const kept = before[0]!.pictures.map(({ path }) => path);
    expect(queue.jobs[0]!.pictures.slice(0, kept.length).map(({ path }) => path)).toEqual(kept);
  });

  it('a paused queue stays paused', async () => {
    const first = await openQueue();
    await first.queue.pause();
    await first.queue.add(fakeRequest('apple', first.pictures));
    await first.queue.close();
    const { queue } = await openQueue(first.folder);
    expect(queue.paused).toBe(true);
    expect(queue.jobs.map(({ state }) => state)).toEqual(['waiting']);
  });

  it('closing puts the running job back to waiting', async () => {
    const { queue, folder, pictures } = await openQueue();
    const job = await queue.add(fakeRequest('apple', pictures, { batch: 60 }));
    await until('it runs', () => jobOf(queue, job).pictures.length > 0);
    await queue.close();
    expect(stored(folder).jobs[0]!.state).toBe('waiting');
    expect(stored(folder).jobs[0]!.pictures.length).toBeGreaterThan(0);
  });
});

describe('a queue file', () => {
  it.each([
    ['cut off', '{"version":1,"paused":false,"jobs":[{"id'],
    ['empty', ''],
    ['of a later version', '{"version":99,"paused":false,"jobs":[]}'],
    ['that is no object', '[1,2,3]'],
  ])('%s is moved aside with a message, and kept', async (_name, text) => {
    const folder = newFolder();
    writeFileSync(join(folder, 'queue.json'), text);
    const { queue } = await openQueue(folder);
    expect(queue.jobs).toEqual([]);
    const aside = readdirSync(folder).find((name) => name.startsWith('queue.damaged-'))!;
    expect(readFileSync(join(folder, aside), 'utf8')).toBe(text);
    expect(queue.openingMessage).toContain(aside);
  });

  it('with one unreadable job keeps the others, and itself aside', async () => {
    const first = await openQueue();
    await first.queue.pause();
    const good = await first.queue.add(fakeRequest('apple', first.pictures));
    await first.queue.close();
    const file = JSON.parse(readFileSync(join(first.folder, 'queue.json'), 'utf8')) as { jobs: unknown[] };
    file.jobs.unshift({ id: 'bad', request: { prompt: 7 } });
    writeFileSync(join(first.folder, 'queue.json'), JSON.stringify(file));
    const { queue } = await openQueue(first.folder);
    expect(queue.jobs.map(({ id }) => id)).toEqual([good.id]);
    expect(queue.openingMessage).toContain('1 of 2 jobs');
  });
});

describe('a queue folder', () => {
  it('is refused to a second process while the first one lives, naming it', async () => {
    const { folder } = await openQueue();
    await expect(lockFolder(folder)).rejects.toThrow(FolderInUseError);
    await expect(lockFolder(folder)).rejects.toThrow(`process ${process.pid}`);
  });

  it('locked by a dead process is taken over', async () => {
    const folder = newFolder();
    const gone = fork(fixture.path('owner'), [newFolder(), fixture.path('engine')], { execArgv: [], stdio: 'ignore' });
    const ended = new Promise((resolve) => gone.once('exit', resolve));
    gone.kill('SIGKILL');
    await ended;
    const { hostname } = await import('node:os');
    writeFileSync(join(folder, 'queue.lock'), JSON.stringify({ pid: gone.pid, host: hostname(), token: 'x' }));
    const lock = await lockFolder(folder);
    await lock.release();
    expect(readdirSync(folder)).toEqual([]);
  });

  it('locked with rubbish is taken over', async () => {
    const folder = newFolder();
    writeFileSync(join(folder, 'queue.lock'), '');
    await (await lockFolder(folder)).release();
  });

  it('asked for by many at once is given to one', async () => {
    const folder = newFolder();
    writeFileSync(join(folder, 'queue.lock'), '');
    const asked = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(folder)));
    const locks = asked.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    expect(locks).toHaveLength(1);
    await locks[0]!.release();
  });
});
