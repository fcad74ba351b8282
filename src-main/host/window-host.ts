// What stands behind every window: it checks each message, gives it to the desk it is for, and tells all windows alike.
// Electron's main process and `atelier serve` give it messages and carry its answers; it trusts neither.
import { join } from 'node:path';
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
import { CompareDesk } from './compare-desk.ts';
import type { Desk, DeskSurroundings, Handlers, HostOptions } from './desk.ts';
import { DiagnosticsDesk } from './diagnostics-desk.ts';
import { DrawingDesk } from './drawing-desk.ts';
import { DroppingDesk } from './dropping-desk.ts';
import { EventLog, type Note } from './event-log.ts';
import { GalleryDesk } from './gallery-desk.ts';
import { LibraryDesk } from './library-desk.ts';
import { PictureShelf } from './picture-shelf.ts';
import { PromptDesk } from './prompt-desk.ts';
import { SettingsDesk } from './settings-desk.ts';
import { SettingsFile } from './settings-file.ts';
import { ThumbnailShelf } from './thumbnail-shelf.ts';
import { TrainingDesk } from './training-desk.ts';

/** Pixels of the longer side. */
const thumbnailSide = 320;
/** Milliseconds without a request after which the engine that reads files is ended. */
const filesRestMs = 60_000;

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
  /** Closed from the last to the first. */
  readonly #desks: readonly Desk<never>[];
  readonly #note: Note;

  private constructor(
    shelf: PictureShelf,
    windows: Set<(message: FromHost) => void>,
    handlers: Handlers<WindowMethodName>,
    desks: readonly Desk<never>[],
    note: Note,
  ) {
    this.shelf = shelf;
    this.#windows = windows;
    this.#handlers = handlers;
    this.#desks = desks;
    this.#note = note;
  }

  /**
   * Opens every desk: the queue kept in the state folder goes on. Throws FolderInUseError when another process has the
   * folder.
   */
  static async open(options: HostOptions): Promise<WindowHost> {
    const { client, model } = options;
    // Files are read and small pictures drawn beside the drawing, whose engine is deaf while it computes a step.
    const files = client.another({ idleMs: filesRestMs });
    const thumbnails = new ThumbnailShelf(join(options.stateFolder, 'thumbnails'), async (path, output) => {
      const { drawn } = await files.request('thumbnail', { path, output, side: thumbnailSide });
      return drawn;
    });
    const shelf = new PictureShelf(thumbnails);
    const windows = new Set<(message: FromHost) => void>();
    // Nothing is noted before the folder is ours.
    let note: Note = () => undefined;
    const tell = (news: News): void => {
      noteNews(news, note);
      for (const send of [...windows]) send({ kind: 'news', news });
    };
    const surroundings: DeskSurroundings = { options, shelf, tell };
    const settingsFile = await SettingsFile.open(options.stateFolder);
    let gallery: GalleryDesk | undefined = undefined as GalleryDesk | undefined;
    const drawing = await DrawingDesk.open(surroundings, settingsFile, (picture, request) => {
      // One that is finished before the gallery is open is found in its folder.
      gallery?.record(picture, request);
    });
    const log = await EventLog.open(join(options.stateFolder, 'logs'));
    note = log.note;
    note('info', 'opened', { version: options.version, place: options.place });
    gallery = await GalleryDesk.open(surroundings, files);
    const library = await LibraryDesk.open(surroundings, files);
    const training = await TrainingDesk.open(surroundings);
    const diagnostics = new DiagnosticsDesk(surroundings, log, () => drawing.welcome().jobs.map(({ state }) => state));
    const dropping = new DroppingDesk(surroundings);
    const compare = new CompareDesk(surroundings, () => void gallery.scan());
    const prompts = new PromptDesk(surroundings);
    const settings = new SettingsDesk(surroundings, settingsFile);
    const handlers: Handlers<WindowMethodName> = {
      open: () => drawing.welcome(),
      inspect: (params) => {
        const compared = params.model ?? model;
        return client.request('inspect', { ...params, ...(compared === undefined ? {} : { model: compared }) });
      },
      devices: (params) => client.request('devices', params),
      tokenCount: (params) => client.request('tokenCount', params),
      ...drawing.handlers,
      ...compare.handlers,
      ...diagnostics.handlers,
      ...dropping.handlers,
      ...gallery.handlers,
      ...library.handlers,
      ...prompts.handlers,
      ...settings.handlers,
      ...training.handlers,
    };
    return new WindowHost(
      shelf,
      windows,
      handlers,
      [diagnostics, gallery, library, drawing, training, prompts, settings],
      note,
    );
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
      const failure = failureOf(error);
      const level = failure.kind === 'internal' || failure.kind === 'crashed' ? 'error' : 'info';
      this.#note(level, 'a request failed', { method, kind: failure.kind, message: failure.message });
      send({ kind: 'failure', id, failure });
    }
  }

  /** Closes every desk; the log is the last to go. */
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

/** Jobs that end and messages to the artist stand in the log. */
function noteNews(news: News, note: Note): void {
  if (news.kind === 'message') note('warning', 'told', { message: news.message });
  if (news.kind !== 'job') return;
  const { id, state, failure, pictures } = news.job;
  if (state === 'failed') note('error', 'a job failed', { id, kind: failure?.kind, message: failure?.message });
  else if (state !== 'waiting') note('info', `a job is ${state}`, { id, pictures: pictures.length });
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
