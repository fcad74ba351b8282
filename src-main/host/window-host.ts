// What stands behind every window: it checks each message, gives it to the desk it is for, and tells all windows alike.
// Electron's main process and `atelier serve` give it messages and carry its answers; it trusts neither.
import { z } from 'zod';
import { explainIssues } from '../contract/check.ts';
import { FailureError, type Failure } from '../contract/failure.ts';
import {
  windowMethodSchemas,
  type FromHost,
  type News,
  type WindowMethodName,
  type WindowMethods,
} from '../contract/window.ts';
import type { Desk, DeskSurroundings, Handlers, HostOptions } from './desk.ts';
import { DrawingDesk } from './drawing-desk.ts';
import { PictureShelf } from './picture-shelf.ts';

const methodNames = Object.keys(windowMethodSchemas) as [WindowMethodName, ...WindowMethodName[]];
const toHostSchema = z.strictObject({
  kind: z.literal('request'),
  id: z.number().int().min(0),
  method: z.enum(methodNames),
  params: z.unknown(),
});

export class WindowHost {
  readonly shelf: PictureShelf;
  readonly #windows: Set<(message: FromHost) => void>;
  readonly #handlers: Handlers<WindowMethodName>;
  /** In the order they were opened. */
  readonly #desks: readonly Desk<never>[];

  private constructor(
    shelf: PictureShelf,
    windows: Set<(message: FromHost) => void>,
    handlers: Handlers<WindowMethodName>,
    desks: readonly Desk<never>[],
  ) {
    this.shelf = shelf;
    this.#windows = windows;
    this.#handlers = handlers;
    this.#desks = desks;
  }

  /**
   * Opens every desk: the queue kept in the state folder goes on. Throws FolderInUseError when another process has the
   * folder.
   */
  static async open(options: HostOptions): Promise<WindowHost> {
    const shelf = new PictureShelf();
    const windows = new Set<(message: FromHost) => void>();
    const tell = (news: News): void => {
      for (const send of [...windows]) send({ kind: 'news', news });
    };
    const surroundings: DeskSurroundings = { options, shelf, tell };
    const { client, model } = options;
    const drawing = await DrawingDesk.open(surroundings);
    const handlers: Handlers<WindowMethodName> = {
      open: () => drawing.welcome(),
      inspect: (params) => {
        const compared = params.model ?? model;
        return client.request('inspect', { ...params, ...(compared === undefined ? {} : { model: compared }) });
      },
      devices: (params) => client.request('devices', params),
      tokenCount: (params) => client.request('tokenCount', params),
      ...drawing.handlers,
    };
    return new WindowHost(shelf, windows, handlers, [drawing]);
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

  /** Closes every desk, the last opened first. */
  async close(): Promise<void> {
    this.#windows.clear();
    for (const desk of [...this.#desks].reverse()) await desk.close();
  }

  async #call<Name extends WindowMethodName>(method: Name, params: unknown): Promise<WindowMethods[Name]['result']> {
    const checked = windowMethodSchemas[method].safeParse(params);
    if (!checked.success) {
      throw new FailureError({ kind: 'bad-request', message: explainIssues(checked.error, params) });
    }
    return this.#handlers[method](checked.data as z.output<(typeof windowMethodSchemas)[Name]>);
  }
}

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
