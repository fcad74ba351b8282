// The drawing desk: orders become jobs of one queue for all windows, and the queue's events become news.
import { basename } from 'node:path';
import { JobQueue, type Job, type QueueEvent } from '../client/job-queue.ts';
import { FailureError } from '../contract/failure.ts';
import type { FinishedPicture, GenerateEvent, GenerateRequest } from '../contract/generation.ts';
import type { DrawEvent, DrawOrder, DrawingMethods, WindowJob } from '../contract/window-drawing.ts';
import type { News, Welcome } from '../contract/window.ts';
import { done, type Desk, type DeskSurroundings, type Handlers } from './desk.ts';
import type { SettingsFile } from './settings-file.ts';

/** Hears of every picture when its file is complete, with what was ordered. */
export type DrawnListener = (picture: FinishedPicture, request: GenerateRequest) => void;

export class DrawingDesk implements Desk<keyof DrawingMethods> {
  readonly handlers: Handlers<keyof DrawingMethods>;
  readonly #surroundings: DeskSurroundings;
  readonly #queue: JobQueue;
  readonly #settings: SettingsFile;
  /** The last event of each kind of the running job. */
  #running: { readonly id: string; readonly events: Map<string, DrawEvent> } | undefined;

  private constructor(
    surroundings: DeskSurroundings,
    queue: JobQueue,
    settings: SettingsFile,
    drawn: DrawnListener | undefined,
  ) {
    this.#surroundings = surroundings;
    this.#queue = queue;
    this.#settings = settings;
    this.handlers = {
      draw: (order) => this.#draw(order),
      cancel: ({ id }) => done(queue.cancel(id)),
      retry: ({ id }) => done(queue.retry(id)),
      remove: ({ id }) => done(queue.remove(id)),
      clearEnded: () => done(queue.removeEnded()),
      clearWaiting: () => done(queue.removeWaiting()),
      move: ({ id, index }) => done(queue.move(id, index)),
      pause: ({ paused }) => done(paused ? queue.pause() : queue.resume()),
    };
    queue.subscribe((event) => {
      const news = this.#newsOf(event);
      if (news !== undefined) surroundings.tell(news);
      if (event.kind !== 'progress' || event.event.kind !== 'picture') return;
      const job = queue.jobs.find(({ id }) => id === event.id);
      if (job !== undefined) drawn?.(event.event.picture, job.request);
    });
  }

  /** Opens the queue kept in the state folder and goes on with it. Throws FolderInUseError when another process has it. */
  static async open(
    surroundings: DeskSurroundings,
    settings: SettingsFile,
    drawn?: DrawnListener,
  ): Promise<DrawingDesk> {
    const { stateFolder, client } = surroundings.options;
    return new DrawingDesk(surroundings, await JobQueue.open(stateFolder, client), settings, drawn);
  }

  /** Stops the running job, which goes on when the queue is next opened, and gives the folder free. */
  close(): Promise<void> {
    return this.#queue.close();
  }

  welcome(): Welcome {
    const { version, place, folder, model, bundled } = this.#surroundings.options;
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

  async #draw(order: DrawOrder): Promise<WindowJob> {
    const { folder, model } = this.#surroundings.options;
    const named = order.model ?? model;
    if (named === undefined) {
      throw new FailureError({
        kind: 'bad-request',
        message: 'The bundled model is not installed, so there is nothing to draw with: choose a model file.',
      });
    }
    const init =
      order.init === undefined ? {} : { init: { ...order.init, picture: this.#startOf(order.init.picture) } };
    const output = { folder, ...this.#settings.current.output };
    return this.#jobOf(await this.#queue.add({ ...order, ...init, model: named, output }));
  }

  /** Where the picture lies that an order starts from. */
  #startOf(id: string): string {
    const path = this.#surroundings.shelf.pathOf(id);
    if (path !== undefined) return path;
    throw new FailureError({
      kind: 'bad-request',
      message: 'The picture to start from is not known any more, since the app was started anew: drop it again.',
    });
  }

  #jobOf({ id, request, state, pictures, failure }: Job): WindowJob {
    const order: Partial<Job['request']> & DrawOrder & { readonly seed: number } = { ...request };
    delete order.output;
    // Paths stay here.
    if (request.init !== undefined) {
      order.init = { ...request.init, picture: this.#surroundings.shelf.putFile(request.init.picture) };
    }
    return { id, order, state, pictures: pictures.map((picture) => this.#surroundings.shelf.put(picture)), failure };
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
}
