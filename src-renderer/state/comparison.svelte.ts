// Comparisons: several pictures from one order, each with one thing changed, drawn as ordinary jobs of the queue and shown as they
// finish. Modes side by side are a grid of one row. What was drawn is found again after a reload; seeds are drawn once for all.
import type { MixMode } from '../../src-main/contract/experts.ts';
import type { DrawOrder, WindowJob, WindowPicture } from '../../src-main/contract/window-drawing.ts';
import { strings } from '../strings.ts';
import { axisOf, inMode, randomSeed, type Axis, type AxisContext, type AxisEntry } from './axes.ts';
import { AxisError } from './axis-values.ts';
import { connection } from './connection.svelte.ts';
import { gateRows, hearGates, inOrder, nothingHeard, wholeView, type GateRow, type HeardGates } from './heard-gates.ts';
import { studio } from './studio.svelte.ts';

/** One picture of a comparison. */
export interface Cell {
  readonly job: string | undefined;
  readonly state: WindowJob['state'];
  readonly picture: WindowPicture | undefined;
  /** From the start of its job to its end. */
  readonly ms: number | undefined;
  /** Mean over its steps, once it is finished. */
  readonly heat: { readonly experts: readonly string[]; readonly rows: readonly GateRow[] } | undefined;
}

export interface Comparison {
  readonly prompt: string;
  /** What the columns and rows are. */
  readonly titles: readonly [string, string];
  readonly columns: readonly string[];
  readonly rows: readonly string[];
  /** Row by row. */
  readonly cells: readonly Cell[];
}

export type ComparisonKind = 'modes' | 'grid';

/** The plan of a grid, before it is drawn. */
export interface GridPlan {
  readonly x: Axis;
  readonly y: Axis;
}

const key = 'mole-atelier-comparisons-v1';
const paceKey = 'mole-atelier-pace-v1';
const blank: Cell = { job: undefined, state: 'waiting', picture: undefined, ms: undefined, heat: undefined };
const ends: ReadonlySet<WindowJob['state']> = new Set(['done', 'failed', 'cancelled']);

class Comparisons {
  #all = $state.raw<Readonly<Partial<Record<ComparisonKind, Comparison>>>>(stored());
  /** The kind whose jobs are being put into the queue. */
  #ordering = $state<ComparisonKind>();
  #stopped = false;
  /** Ids of the pictures of the slider. */
  #pair = $state.raw<{ readonly a: string | undefined; readonly b: string | undefined }>({
    a: undefined,
    b: undefined,
  });
  /** Milliseconds of one call of the network, by picture size. */
  #pace = $state.raw<Readonly<Record<string, number>>>(storedPace());
  readonly #heard = new Map<string, HeardGates>();
  readonly #begun = new Map<string, number>();

  constructor() {
    connection.onNews((news) => {
      if (news.kind === 'job') this.#hearJob(news.job);
      if (news.kind !== 'progress') return;
      this.#heard.set(news.id, hearGates(this.#heard.get(news.id) ?? nothingHeard, news.event));
    });
    connection.onWelcome(({ jobs }) => {
      for (const job of jobs) this.#hearJob(job);
    });
  }

  of(kind: ComparisonKind): Comparison | undefined {
    return this.#all[kind];
  }

  /** Whether some picture of a comparison is still to come. */
  isBusy(kind: ComparisonKind): boolean {
    return this.#ordering === kind || (this.#all[kind]?.cells.some(({ state }) => !ends.has(state)) ?? false);
  }

  get pair(): { readonly a: string | undefined; readonly b: string | undefined } {
    return this.#pair;
  }

  choose(side: 'a' | 'b', id: string | undefined): void {
    this.#pair = { ...this.#pair, [side]: id };
  }

  /** What axes can choose among. */
  readonly context: AxisContext = $derived({
    experts: studio.experts.rows.map(({ path, name }) => ({ path, name })),
    gate: studio.experts.gate?.path,
    // The gates come last: what they are better than stands before them.
    modes: [...studio.experts.modes].sort((a, b) => Number(a === 'mole') - Number(b === 'mole')),
    prompt: studio.order.fields.prompt,
  });

  /** What a grid would draw. Throws an AxisError that says what is missing. */
  plan(x: AxisEntry, y: AxisEntry): GridPlan {
    if (x.kind !== 'none' && x.kind === y.kind && x.expert === y.expert) {
      throw new AxisError(strings.compare.grid.sameAxes);
    }
    const needsGate = (entry: AxisEntry): boolean => entry.kind === 'gate' && this.context.gate === undefined;
    if (needsGate(x) || needsGate(y)) throw new AxisError(strings.compare.grid.noGate);
    return { x: axisOf(x, this.context), y: axisOf(y, this.context) };
  }

  /** Milliseconds that a grid takes; undefined before a picture of this size was drawn. */
  estimate({ x, y }: GridPlan): number | undefined {
    const order = this.#draft();
    const pace = this.#pace[sizeOf(order)];
    if (pace === undefined) return undefined;
    const orders = y.values.flatMap((row) => x.values.map((column) => row.apply(column.apply(order))));
    return orders.reduce((sum, one) => sum + callsOf(one) * pace, 0);
  }

  /** Draws the same order in each of `modes`. */
  async drawModes(modes: readonly MixMode[]): Promise<void> {
    const { gate } = this.context;
    const values = modes.map((mode) => ({
      label: strings.modes[mode].label,
      apply: (order: DrawOrder): DrawOrder =>
        order.mix === undefined ? order : { ...order, mix: inMode(order.mix, mode, gate) },
    }));
    await this.#draw('modes', {
      x: { title: strings.compare.grid.kinds.mode, values },
      y: { title: '', values: [{ label: '', apply: (order) => order }] },
    });
  }

  async drawGrid(plan: GridPlan): Promise<void> {
    await this.#draw('grid', plan);
  }

  /** Takes every picture of a comparison that is not finished out of the queue. */
  async cancel(kind: ComparisonKind): Promise<void> {
    if (this.#ordering === kind) this.#stopped = true;
    const cells = this.#all[kind]?.cells ?? [];
    const open = cells.filter(({ state }) => !ends.has(state));
    // The running one last, so that no other one starts in its place.
    const sorted = [...open].sort((a, b) => Number(a.state === 'running') - Number(b.state === 'running'));
    await connection.attempt(async () => {
      for (const { job } of sorted) if (job !== undefined) await connection.request('cancel', { id: job });
    });
  }

  /** Writes a grid as one picture; returns its name, undefined when it could not be written. */
  async saveSheet(kind: ComparisonKind): Promise<string | undefined> {
    const comparison = this.#all[kind];
    if (comparison === undefined) return undefined;
    const { cells, columns, rows, titles, prompt } = comparison;
    const short = (labels: readonly string[]): string[] => labels.map((label) => label.slice(0, 200));
    const saved = await connection.attempt(() =>
      connection.request('saveSheet', {
        pictures: cells.map(({ picture }) => picture?.id ?? null),
        columnLabels: short(columns),
        rowLabels: short(rows),
        title: [titles.filter((title) => title !== '').join(' / '), prompt].join(' - ').slice(0, 500),
      }),
    );
    return saved?.name;
  }

  /** The order of the form, one picture of it. */
  #draft(): DrawOrder {
    const { mix, ...order } = { ...studio.order.drawOrder(studio.experts.mix()), ...studio.extras.part(), batch: 1 };
    return mix === undefined ? order : { ...order, mix };
  }

  async #draw(kind: ComparisonKind, { x, y }: GridPlan): Promise<void> {
    if (studio.order.fields.prompt.trim() === '') {
      connection.tell(strings.compare.promptMissing);
      return;
    }
    this.#ordering = kind;
    this.#stopped = false;
    try {
      const [first] = (await studio.prompts.orders(() => this.#draft())) ?? [];
      if (first === undefined) return;
      const base: DrawOrder = { ...first, batch: 1, seed: first.seed ?? randomSeed() };
      const orders = y.values.flatMap((row) => x.values.map((column) => row.apply(column.apply(base))));
      this.#put(kind, {
        prompt: base.prompt,
        titles: [x.title, y.title],
        columns: x.values.map(({ label }) => label),
        rows: y.values.map(({ label }) => label),
        cells: orders.map(() => blank),
      });
      // With gates the network is another one: all of its pictures in one go, so that it opens once.
      const gated = (order: DrawOrder): number => Number(order.mix?.mode === 'mole');
      for (const [i, order] of [...orders.entries()].sort(([, a], [, b]) => gated(a) - gated(b))) {
        const job = this.#stopped ? undefined : await connection.attempt(() => connection.request('draw', order));
        if (job === undefined) {
          this.#stopped = true;
          this.#changeCell(kind, i, { state: 'cancelled' });
        } else {
          this.#changeCell(kind, i, { job: job.id });
          // It may have been drawn before its order was answered.
          this.#hearJob(studio.queue.jobs.find(({ id }) => id === job.id) ?? job);
          if (this.#wasStopped) await connection.attempt(() => connection.request('cancel', { id: job.id }));
        }
      }
    } finally {
      this.#ordering = undefined;
    }
  }

  /** Asked anew after waiting: `cancel` may have come in between. */
  get #wasStopped(): boolean {
    return this.#stopped;
  }

  #hearJob(job: WindowJob): void {
    const { id, state, pictures } = job;
    const now = performance.now();
    if (state === 'running' && !this.#begun.has(id)) this.#begun.set(id, now);
    const begun = this.#begun.get(id);
    const ms = state === 'done' && begun !== undefined ? now - begun : undefined;
    if (ms !== undefined) this.#learnPace(job, ms);
    for (const kind of ['modes', 'grid'] as const) {
      const place = this.#all[kind]?.cells.findIndex((cell) => cell.job === id) ?? -1;
      if (place < 0) continue;
      const heard = this.#heard.get(id);
      const rows = heard === undefined ? [] : gateRows(heard, wholeView);
      const experts = (heard?.mixture?.experts ?? []).map(({ name }) => name);
      const stack = studio.experts.rows.map(({ name }) => name);
      this.#changeCell(kind, place, {
        state,
        ...(pictures[0] === undefined ? {} : { picture: pictures[0] }),
        ...(ms === undefined ? {} : { ms }),
        ...(rows.length === 0 || state !== 'done' ? {} : { heat: inOrder({ experts, rows }, stack) }),
      });
    }
    if (!ends.has(state)) return;
    this.#heard.delete(id);
    this.#begun.delete(id);
  }

  #learnPace({ order }: WindowJob, ms: number): void {
    this.#pace = { ...this.#pace, [sizeOf(order)]: ms / callsOf(order) };
    localStorage.setItem(paceKey, JSON.stringify(this.#pace));
  }

  #changeCell(kind: ComparisonKind, place: number, change: Partial<Cell>): void {
    const comparison = this.#all[kind];
    if (comparison === undefined) return;
    const cells = comparison.cells.map((cell, i) => (i === place ? { ...cell, ...change } : cell));
    this.#put(kind, { ...comparison, cells });
  }

  #put(kind: ComparisonKind, comparison: Comparison): void {
    this.#all = { ...this.#all, [kind]: comparison };
    try {
      sessionStorage.setItem(key, JSON.stringify(this.#all));
    } catch {
      // No room: it lasts as long as this page.
      sessionStorage.removeItem(key);
    }
  }
}

const sizeOf = ({ width, height, model = connection.welcome?.model?.path }: DrawOrder): string =>
  `${model ?? ''} ${width ?? ''}x${height ?? ''}`;

/** Calls of the network that a job makes, about: halves of the guidance, samplers of two calls, experts that speak in turn. */
function callsOf({ steps = 20, sampler, cfgScale = 7, mix, batch = 1 }: DrawOrder): number {
  const twice = sampler === 'heun' || sampler === 'dpmpp-sde' ? 2 : 1;
  const halves = cfgScale === 1 ? 1 : 2;
  const passes = mix?.mode === 'composite' ? Math.max(1, mix.experts?.length ?? 1) : 1;
  return steps * twice * halves * passes * batch;
}

/** What this tab compared before a reload. Cells that never came into the queue are called off. */
function stored(): Readonly<Partial<Record<ComparisonKind, Comparison>>> {
  try {
    const value = JSON.parse(sessionStorage.getItem(key) ?? '{}') as Readonly<
      Partial<Record<ComparisonKind, Comparison>>
    >;
    return Object.fromEntries(
      Object.entries(value).map(([kind, comparison]) => [
        kind,
        {
          ...comparison,
          cells: comparison.cells.map((cell): Cell =>
            cell.job === undefined ? { ...cell, state: 'cancelled' } : cell,
          ),
        },
      ]),
    );
  } catch {
    return {};
  }
}

function storedPace(): Readonly<Record<string, number>> {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(paceKey) ?? '{}');
    if (typeof value !== 'object' || value === null) return {};
    return Object.fromEntries(Object.entries(value).filter(([, pace]) => typeof pace === 'number'));
  } catch {
    return {};
  }
}

export const comparisons = new Comparisons();
