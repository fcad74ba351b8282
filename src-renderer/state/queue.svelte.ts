// The queue as the host tells it: jobs, pictures, and how far the running one is.
import type { PreviewPicture } from '../../src-main/contract/generation.ts';
import type { DrawEvent, WindowJob, WindowPicture } from '../../src-main/contract/window-drawing.ts';
import type { News, Welcome } from '../../src-main/contract/window.ts';
import { GateMap } from './gate-map.svelte.ts';

export interface Progress {
  readonly job: string;
  readonly message: string;
  /** Of the whole job, 0..1; undefined before the first step. */
  readonly fraction?: number;
  readonly step?: number;
  readonly steps?: number;
  readonly index?: number;
  readonly batch?: number;
  readonly remainingMs?: number;
}

/** A picture with the job that drew it. */
export interface ShownPicture {
  readonly picture: WindowPicture;
  readonly job: WindowJob;
}

export class Queue {
  readonly gateMap = new GateMap();
  #jobs = $state.raw<readonly WindowJob[]>([]);
  #paused = $state(false);
  #progress = $state.raw<Progress>();
  #preview = $state.raw<PreviewPicture>();
  #warnings = $state.raw<readonly string[]>([]);
  #chosen = $state<string>();
  /** Pictures whose files were found to be deleted. */
  #gone = $state.raw<readonly string[]>([]);
  /** The job whose cancelling was asked for. */
  #stopping = $state<string>();

  get jobs(): readonly WindowJob[] {
    return this.#jobs;
  }

  get paused(): boolean {
    return this.#paused;
  }

  readonly running: WindowJob | undefined = $derived(this.#jobs.find(({ state }) => state === 'running'));
  readonly waiting: number = $derived(this.#jobs.filter(({ state }) => state === 'waiting').length);

  /** Milliseconds until all that waits is drawn, by the pace of the running job; undefined before there is one. */
  readonly remainingAllMs: number | undefined = $derived.by(() => {
    const { step, steps, index, batch, remainingMs } = this.#progress ?? {};
    if (step === undefined || steps === undefined || index === undefined || batch === undefined) return undefined;
    const left = steps - step + (batch - 1 - index) * steps;
    if (remainingMs === undefined || left === 0 || this.running === undefined) return undefined;
    const pace = remainingMs / left / pixelsOf(this.running);
    return this.#jobs
      .filter(({ state }) => state === 'waiting')
      .reduce((sum, job) => sum + stepsOf(job) * pace * pixelsOf(job), remainingMs);
  });

  get progress(): Progress | undefined {
    return this.#progress;
  }

  get preview(): PreviewPicture | undefined {
    return this.#preview;
  }

  /** Of the running or the last job. */
  get warnings(): readonly string[] {
    return this.#warnings;
  }

  get stopping(): boolean {
    return this.#stopping !== undefined && this.#stopping === this.running?.id;
  }

  /** All finished pictures, newest first. */
  readonly pictures: readonly ShownPicture[] = $derived(
    this.#jobs
      .flatMap((job) => job.pictures.map((picture) => ({ picture, job })))
      .filter(({ picture }) => !this.#gone.includes(picture.id))
      .reverse(),
  );

  /** The picture to show: the chosen one; else, unless a drawing is under way, the newest. */
  readonly shown: ShownPicture | undefined = $derived.by(() => {
    const chosen = this.pictures.find(({ picture }) => picture.id === this.#chosen);
    return chosen ?? (this.#preview === undefined ? this.pictures[0] : undefined);
  });

  /** Shows a picture until another one is finished; undefined shows the drawing under way. */
  choose(id: string | undefined): void {
    this.#chosen = id;
  }

  /** The file of a picture is not there any more. */
  markGone(id: string): void {
    if (!this.#gone.includes(id)) this.#gone = [...this.#gone, id];
  }

  dismissWarnings(): void {
    this.#warnings = [];
  }

  markStopping(id: string): void {
    this.#stopping = id;
  }

  welcome({ jobs, paused, running }: Welcome): void {
    this.#jobs = jobs;
    this.#paused = paused;
    this.#progress = undefined;
    this.#preview = undefined;
    for (const event of running?.events ?? []) this.#hearProgress(running!.id, event);
  }

  hear(news: News): void {
    switch (news.kind) {
      case 'job':
        this.#hearJob(news.job);
        return;
      case 'removed':
        this.#jobs = this.#jobs.filter(({ id }) => id !== news.id);
        return;
      case 'order':
        this.#jobs = news.ids.flatMap((id) => this.#jobs.find((job) => job.id === id) ?? []);
        return;
      case 'paused':
        this.#paused = news.paused;
        return;
      case 'progress':
        this.#hearProgress(news.id, news.event);
        return;
      case 'message':
        this.#warnings = [...this.#warnings, news.message];
    }
  }

  #hearJob(job: WindowJob): void {
    const before = this.#jobs.find(({ id }) => id === job.id);
    this.#jobs =
      before === undefined ? [...this.#jobs, job] : this.#jobs.map((other) => (other.id === job.id ? job : other));
    if (job.state === 'running' && before?.state !== 'running') this.#warnings = [];
    if (job.pictures.length > (before?.pictures.length ?? 0)) {
      this.#chosen = undefined;
      this.#preview = undefined;
    }
    if (job.state !== 'running' && this.#progress?.job === job.id) {
      this.#progress = undefined;
      this.#preview = undefined;
    }
  }

  #hearProgress(job: string, event: DrawEvent): void {
    this.gateMap.hear(event);
    const before = this.#progress?.job === job ? this.#progress : undefined;
    switch (event.kind) {
      case 'stage':
        this.#progress = { ...before, job, message: event.message };
        return;
      case 'warning':
        this.#warnings = [...this.#warnings, event.message];
        return;
      case 'step': {
        const { step, steps, index, batch, remainingMs, preview } = event;
        const fraction = (index + step / steps) / batch;
        const remaining = remainingMs === undefined ? {} : { remainingMs };
        this.#progress = { job, message: before?.message ?? '', fraction, step, steps, index, batch, ...remaining };
        if (preview !== undefined) this.#preview = preview;
      }
    }
  }
}

/** As the contract counts where an order says nothing. */
const usualSteps = 20;

const stepsOf = ({ order, pictures }: WindowJob): number =>
  (order.steps ?? usualSteps) * Math.max(0, (order.batch ?? 1) - pictures.length);

/** Pixels of one picture, where the order says them; only their ratio counts. */
const pixelsOf = ({ order }: WindowJob): number => (order.width ?? 1) * (order.height ?? 1);
