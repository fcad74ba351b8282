// What stands behind every window: the queue, the engine's small questions, and news for all windows alike. Electron's main
// process and `atelier serve` give it messages and carry its answers; it trusts neither.
import { basename } from 'node:path';
import { z } from 'zod';
import { explainIssues } from '../contract/check.ts';
import { FailureError, type Failure } from '../contract/failure.ts';
import type { GenerateEvent } from '../contract/generation.ts';
import {
  windowMethodSchemas,
  type DrawEvent,
  type DrawOrder,
  type FromHost,
  type News,
  type Welcome,
  type WindowJob,
  type WindowMethodName,
  type WindowMethods,
} from '../contract/window.ts';
import type { EngineClient } from '../client/engine-client.ts';
import { JobQueue, type Job, type QueueEvent } from '../client/job-queue.ts';
import { PictureShelf } from './picture-shelf.ts';

export interface WindowHostOptions {
  readonly client: EngineClient;
  /** Where finished pictures are written; absolute. */
  readonly folder: string;
  /** Where the queue is kept; absolute. */
  readonly stateFolder: string;
  readonly place: Welcome['place'];
  readonly version: string;
  /** Absolute path of the bundled model; undefined when it is not installed. */
  readonly model: string | undefined;
  /** Absolute paths of the LoRAs and gates that came with the app. */
  readonly bundled: readonly string[];
}

const methodNames = Object.keys(windowMethodSchemas) as [WindowMethodName, ...WindowMethodName[]];
const toHostSchema = z.strictObject({
  kind: z.literal('request'),
  id: z.number().int().min(0),
  method: z.enum(methodNames),
  params: z.unknown(),
});

type Handlers = {
  readonly [Name in WindowMethodName]: (
    params: z.output<(typeof windowMethodSchemas)[Name]>,
  ) => WindowMethods[Name]['result'] | Promise<WindowMethods[Name]['result']>;
};

export class WindowHost {
  readonly shelf = new PictureShelf();
  readonly #options: WindowHostOptions;
  readonly #queue: JobQueue;
  readonly #windows = new Set<(message: FromHost) => void>();
  readonly #handlers: Handlers;
  /** The last event of each kind of the running job. */
  #running: { readonly id: string; readonly events: Map<string, DrawEvent> } | undefined;

  private constructor(options: WindowHostOptions, queue: JobQueue) {
    this.#options = options;
    this.#queue = queue;
    this.#handlers = this.#createHandlers();
    queue.subscribe((event) => {
      const news = this.#newsOf(event);
      if (news !== undefined) this.#tell({ kind: 'news', news });
    });
  }

  /** Opens the queue kept in the state folder and goes on with it. Throws FolderInUseError when another process has it. */
  static async open(options: WindowHostOptions): Promise<WindowHost> {
    return new WindowHost(options, await JobQueue.open(options.stateFolder, options.client));
  }

  /** Carries all news to a window through `send`, from now on; returns how to stop that. */
  attach(send: (message: FromHost) => void): () => void {
    this.#windows.add(send);
    return () => this.#windows.delete(send);
  }

  /** Answers one message of a window through `send`; a message that cannot be read is answered when it has a number. */
  async receive(message: unknown, send: (message: FromHost) => void): Promise<void> {
    const parsed = toHostSchema.safeParse(message);
    if (!parsed.success) {
      const id = z.object({ id: z.number().int() }).safeParse(message).data?.id;
      if (id !== undefined) send({ kind: 'failure', id, failure: unreadable });
      return;
    }
    const { id, method, params } = parsed.data;
    try {
      send({ kind: 'result', id, result: await this.#call(method, params) });
    } catch (error) {
      send({ kind: 'failure', id, failure: failureOf(error) });
    }
  }

  /** Stops the running job, which goes on when the queue is next opened, and gives the folder free. */
  async close(): Promise<void> {
    this.#windows.clear();
    await this.#queue.close();
  }

  async #call<Name extends WindowMethodName>(method: Name, params: unknown): Promise<WindowMethods[Name]['result']> {
    const checked = windowMethodSchemas[method].safeParse(params);
    if (!checked.success) {
      throw new FailureError({ kind: 'bad-request', message: explainIssues(checked.error, params) });
    }
    return this.#handlers[method](checked.data as z.output<(typeof windowMethodSchemas)[Name]>);
  }

  #createHandlers(): Handlers {
    const { client, folder, model } = this.#options;
    const queue = this.#queue;
    return {
      open: () => this.#welcome(),
      draw: async (order) => {
        const named = order.model ?? model;
        if (named === undefined) {
          throw new FailureError({
            kind: 'bad-request',
            message: 'The bundled model is not installed, so there is nothing to draw with: choose a model file.',
          });
        }
        return this.#jobOf(await queue.add({ ...order, model: named, output: { folder } }));
      },
      cancel: ({ id }) => done(queue.cancel(id)),
      retry: ({ id }) => done(queue.retry(id)),
      remove: ({ id }) => done(queue.remove(id)),
      move: ({ id, index }) => done(queue.move(id, index)),
      pause: ({ paused }) => done(paused ? queue.pause() : queue.resume()),
      inspect: (params) => {
        const compared = params.model ?? model;
        return client.request('inspect', { ...params, ...(compared === undefined ? {} : { model: compared }) });
      },
      devices: (params) => client.request('devices', params),
      tokenCount: (params) => client.request('tokenCount', params),
    };
  }

  #welcome(): Welcome {
    const { version, place, folder, model, bundled } = this.#options;
    const { openingMessage: message, jobs, paused } = this.#queue;
    const running = this.#running;
    return {
      version,
      place,
      folder,
      ...(model === undefined ? {} : { model: { name: basename(model), path: model } }),
      bundled,
      jobs: jobs.map((job) => this.#jobOf(job)),
      paused,
      ...(running === undefined ? {} : { running: { id: running.id, events: [...running.events.values()] } }),
      ...(message === undefined ? {} : { message }),
    };
  }

  #jobOf({ id, request, state, pictures, failure }: Job): WindowJob {
    const order: Partial<Job['request']> & DrawOrder & { readonly seed: number } = { ...request };
    delete order.output;
    return { id, order, state, pictures: pictures.map((picture) => this.shelf.put(picture)), failure };
  }

  /** What windows hear of an event; finished pictures come with their job. */
  #newsOf(event: QueueEvent): News | undefined {
    if (event.kind === 'job') {
      if (event.job.state !== 'running' && this.#running?.id === event.job.id) this.#running = undefined;
      return { kind: 'job', job: this.#jobOf(event.job) };
    }
    if (event.kind !== 'progress') return event;
    const said: GenerateEvent = event.event;
    if (said.kind === 'picture') return undefined;
    if (this.#running?.id !== event.id) this.#running = { id: event.id, events: new Map() };
    if (said.kind !== 'warning') this.#running.events.set(said.kind, said);
    return { kind: 'progress', id: event.id, event: said };
  }

  #tell(message: FromHost): void {
    for (const send of [...this.#windows]) send(message);
  }
}

/** Nothing to say beyond that it was done. */
const done = (work: Promise<void>): Promise<null> => work.then(() => null);

const unreadable: Failure = {
  kind: 'bad-request',
  message: 'The window and the app do not speak the same version of their language: reload the window.',
};

function failureOf(error: unknown): Failure {
  if (error instanceof FailureError) return error.failure;
  if (error instanceof RangeError) return { kind: 'bad-request', message: error.message };
  const message = error instanceof Error ? error.message : String(error);
  return { kind: 'internal', message: `${message} This is a mistake in the program; please report it.` };
}
