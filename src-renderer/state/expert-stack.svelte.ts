// The artist's stack: LoRAs with their switches and weights, how they are mixed, the gate, and who is silent, or as loud as the
// artist says, in which block.
import type { ExpertSettings, MixMode, MixRequest, Recipe } from '../../src-main/contract/experts.ts';
import type { AdapterReport, FileReport, GateReport } from '../../src-main/contract/files.ts';
import { strings } from '../strings.ts';

export interface ExpertRow {
  /** Of the row, whatever file it has. */
  readonly id: number;
  readonly path: string;
  /** The file's name without its ending: what the engine calls it. */
  readonly name: string;
  readonly report: FileReport;
  readonly adapter: AdapterReport;
  readonly on: boolean;
  readonly solo: boolean;
  readonly weight: number;
  /** Undefined follows `weight`. */
  readonly textWeight: number | undefined;
  /** Block weights (LBW), as a picture or recipe brought them. */
  readonly blocks: string | undefined;
  /** A weight that changes over the steps; the slider ends it. */
  readonly schedule: string | undefined;
  /** Share of the weight in the unguided branch; that of the gate, or 1, where undefined. */
  readonly unguided: number | undefined;
  /** Whether its file was found missing. */
  readonly missing: boolean;
}

export interface ChosenGate {
  readonly path: string;
  readonly name: string;
  readonly report: GateReport;
}

/** A row as a picture, a recipe or a job names it, with the report of its file. */
export interface NamedRow {
  readonly report: FileReport;
  readonly settings: Omit<ExpertSettings, 'path'>;
}

/** How a whole stack is mixed, beside its rows and its gate. */
export type Mixing = Partial<Omit<Recipe, 'version' | 'experts' | 'gate'>>;

/**
 * How a mix is mixed, without its files. Masks and values set by hand stand in the order of all rows, so they mean nothing once
 * one of them is missing: they are left out unless the stack is `complete`.
 */
export function mixingOf({ mode, masks, overrides, switchEvery, np }: Mixing, complete = true): Mixing {
  return present({ mode, switchEvery, np, ...(complete ? { masks, overrides } : {}) });
}

/** Without undefined fields. */
export function present<T extends object>(fields: T): { readonly [Key in keyof T]?: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    readonly [Key in keyof T]?: Exclude<T[Key], undefined>;
  };
}

/** What became of a file that was to be added: a sentence when it was not. */
export type Added = { readonly kind: 'expert' | 'gate' } | { readonly kind: 'refused'; readonly message: string };

export class ExpertStack {
  #rows = $state.raw<readonly ExpertRow[]>([]);
  #nextId = 1;
  #gate = $state.raw<ChosenGate>();
  #mode = $state<MixMode>('sum');
  /** Names of experts that are silent, by row of the UNet. */
  #silent = $state.raw<Readonly<Record<string, readonly string[]>>>({});
  /** Gates set by hand, by row of the UNet (BASE is the text encoder) and name of the expert. */
  #byHand = $state.raw<Readonly<Record<string, Readonly<Record<string, number>>>>>({});
  /** Mixing that has no control of its own. */
  #further = $state.raw<Omit<Mixing, 'mode' | 'masks' | 'overrides'>>({});

  get rows(): readonly ExpertRow[] {
    return this.#rows;
  }

  get gate(): ChosenGate | undefined {
    return this.#gate;
  }

  get mode(): MixMode {
    return this.#mode;
  }

  /** Modes that can be chosen: mode `mole` needs a gate. */
  readonly modes: readonly MixMode[] = $derived(
    (Object.keys(strings.modes) as MixMode[]).filter((mode) => mode !== 'mole' || this.#gate !== undefined),
  );

  readonly hasSilence: boolean = $derived(Object.values(this.#silent).some((names) => names.length > 0));

  readonly hasOverrides: boolean = $derived(Object.values(this.#byHand).some((row) => Object.keys(row).length > 0));

  setMode(mode: MixMode): void {
    this.#mode = mode;
  }

  /** Adds what `report` describes, if it is a LoRA or a gate that can be used. */
  add(report: FileReport): Added {
    const { path, kind, adapter, gate } = report;
    const file = path.split(/[\\/]/).at(-1) ?? path;
    const refuse = (message: string): Added => ({ kind: 'refused', message });
    if (kind === 'gate' && gate !== undefined) {
      this.#gate = { path, name: file, report: gate };
      this.#mode = 'mole';
      return { kind: 'gate' };
    }
    if (kind !== 'lora' || adapter === undefined) {
      const [problem] = report.problems;
      return refuse(
        problem === undefined
          ? strings.experts.notAnExpert(file, report.summary)
          : strings.experts.notUsable(file, problem),
      );
    }
    if (this.#rows.some((row) => row.path === path)) return refuse(strings.experts.alreadyThere(file));
    if (adapter.modulesMatched === 0) {
      return refuse(strings.experts.notUsable(file, report.problems[0] ?? strings.experts.nothingFits));
    }
    const row: ExpertRow = {
      id: this.#nextId++,
      path,
      name: file.replace(/\.safetensors$/i, ''),
      report,
      adapter,
      on: true,
      solo: false,
      weight: adapter.preferredWeight ?? 1,
      textWeight: undefined,
      blocks: undefined,
      schedule: undefined,
      unguided: undefined,
      missing: false,
    };
    this.#rows = [...this.#rows, row];
    return { kind: 'expert' };
  }

  /** Puts another file in the place of the one at `path`: its switches and weights stay. */
  replace(path: string, report: FileReport): Added {
    const rows = this.#rows;
    const old = rows.find((row) => row.path === path);
    this.#rows = rows.filter((row) => row !== old);
    const added = this.add(report);
    const fresh = this.#rows.at(-1);
    if (added.kind !== 'expert' || old === undefined || fresh === undefined) {
      this.#rows = rows;
      return added;
    }
    const { name, report: card, adapter } = fresh;
    this.#rows = rows.map((row) => (row === old ? { ...old, path: fresh.path, name, report: card, adapter, missing: false } : row)); // prettier-ignore
    this.#rename(old.name, name);
    return added;
  }

  /** Moves a row to another place, counted from 0. Masks go with their experts; gates for roles follow the order. */
  move(path: string, place: number): void {
    const row = this.#rows.find((other) => other.path === path);
    if (row === undefined) return;
    const others = this.#rows.filter((other) => other !== row);
    this.#rows = others.toSpliced(Math.max(0, Math.min(place, others.length)), 0, row);
  }

  /** Notes whether the file at `path` is there. */
  markMissing(path: string, missing: boolean): void {
    if (!this.#rows.some((row) => row.path === path && row.missing !== missing)) return;
    this.#rows = this.#rows.map((row) => (row.path === path ? { ...row, missing } : row));
  }

  /** Remembers the whole stack as it is; returns the way back to it. */
  keep(): () => void {
    const [rows, gate, mode, silent, byHand, further] = [this.#rows, this.#gate, this.#mode, this.#silent, this.#byHand, this.#further]; // prettier-ignore
    return () => {
      this.#rows = rows;
      this.#gate = gate;
      this.#mode = mode;
      this.#silent = silent;
      this.#byHand = byHand;
      this.#further = further;
    };
  }

  /** What was said of an expert in a block is said of the one in its place. */
  #rename(before: string, after: string): void {
    this.#silent = Object.fromEntries(
      Object.entries(this.#silent).map(([row, names]) => [row, names.map((name) => (name === before ? after : name))]),
    );
    this.#byHand = Object.fromEntries(
      Object.entries(this.#byHand).map(([row, values]) => [
        row,
        Object.fromEntries(Object.entries(values).map(([name, value]) => [name === before ? after : name, value])),
      ]),
    );
  }

  change(
    path: string,
    change: Partial<Pick<ExpertRow, 'on' | 'solo' | 'weight' | 'textWeight' | 'blocks' | 'schedule' | 'unguided'>>,
  ): void {
    const fixed = change.weight === undefined ? {} : { schedule: undefined };
    this.#rows = this.#rows.map((row) => (row.path === path ? { ...row, ...fixed, ...change } : row));
  }

  /** Takes over what a file is to another model. */
  refresh(path: string, report: FileReport): void {
    this.#rows = this.#rows.map((row) =>
      row.path === path ? { ...row, report, adapter: report.adapter ?? row.adapter } : row,
    );
  }

  remove(path: string): void {
    this.#rows = this.#rows.filter((row) => row.path !== path);
  }

  /** The share of the unguided branch that a row has while the artist sets none. */
  usualShare(row: ExpertRow): number {
    const { experts = [], unguided = [] } = this.#mode === 'mole' ? (this.#gate?.report ?? {}) : {};
    const place =
      this.roles === undefined ? experts.findIndex(({ name }) => name === row.name) : this.#rows.indexOf(row);
    return unguided[place] ?? 1;
  }

  /** The roles of a gate for any experts in its order, while it mixes; undefined for a gate of certain files. */
  get roles(): readonly string[] | undefined {
    const experts = this.#mode === 'mole' ? (this.#gate?.report.experts ?? []) : [];
    // A hash of zeros stands for any expert.
    const isForRoles = experts.length > 0 && experts.every(({ sha256 }) => /^0+$/.test(sha256));
    return isForRoles ? experts.map(({ name }) => name) : undefined;
  }

  removeGate(): void {
    this.#gate = undefined;
    if (this.#mode === 'mole') this.#mode = 'sum';
  }

  /** Whether an expert was silenced in a row of the UNet. */
  isSilent(row: string, expert: string): boolean {
    return this.#silent[row]?.includes(expert) === true;
  }

  toggleSilence(row: string, expert: string): void {
    const names = this.#silent[row] ?? [];
    const next = names.includes(expert) ? names.filter((name) => name !== expert) : [...names, expert];
    this.#silent = { ...this.#silent, [row]: next };
  }

  endSilence(): void {
    this.#silent = {};
  }

  /** What the artist set the gate of an expert in a row to; undefined leaves it to the gate. */
  overrideOf(row: string, expert: string): number | undefined {
    return this.#byHand[row]?.[expert];
  }

  /** Sets the gate of an expert in a row by hand; undefined gives it back to the gate. */
  override(row: string, expert: string, value: number | undefined): void {
    const others = Object.entries(this.#byHand[row] ?? {}).filter(([name]) => name !== expert);
    const set = value === undefined ? [] : [[expert, value] as const];
    this.#byHand = { ...this.#byHand, [row]: Object.fromEntries([...others, ...set]) };
  }

  /** Gives the gates of a row, or of all, back. */
  endOverrides(row?: string): void {
    this.#byHand = row === undefined ? {} : { ...this.#byHand, [row]: {} };
  }

  /** Puts another stack in the place of this one; returns a sentence for each file that cannot be used. */
  restore(
    rows: readonly NamedRow[],
    gate: FileReport | undefined,
    { mode, masks, overrides, ...further }: Mixing,
  ): string[] {
    this.#rows = [];
    this.#gate = undefined;
    this.#silent = {};
    this.#byHand = {};
    this.#further = further;
    const refused: string[] = [];
    const kept: NamedRow[] = [];
    for (const row of rows) {
      const added = this.add(row.report);
      if (added.kind === 'expert') kept.push(row);
      else if (added.kind === 'refused') refused.push(added.message);
    }
    this.#rows = this.#rows.map((row, i) => ({ ...row, ...rowSettings(kept[i]!.settings, row) }));
    if (gate !== undefined) {
      const added = this.add(gate);
      if (added.kind === 'refused') refused.push(added.message);
    }
    const blocked = this.#rows.some(({ blocks }) => blocks !== undefined);
    const gated = this.gate !== undefined;
    const usual = gated ? 'mole' : blocked ? 'manual' : 'sum';
    this.#mode = mode === undefined || (mode === 'mole' && !gated) ? usual : mode;
    // Masks stand in the order of all rows, so they mean nothing once one of them is missing.
    if (refused.length === 0) {
      this.#silent = this.#silentOf(masks ?? {});
      this.#byHand = this.#byHandOf(overrides ?? {});
    }
    return refused;
  }

  /** Rows' values by place as values by name. */
  #byHandOf(overrides: NonNullable<Mixing['overrides']>): Readonly<Record<string, Readonly<Record<string, number>>>> {
    return Object.fromEntries(
      Object.entries(overrides).map(([block, values]) => [
        block,
        Object.fromEntries(
          this.#rows.flatMap(({ name }, i) => {
            const value = values[i];
            return value === undefined || value === null ? [] : [[name, value] as const];
          }),
        ),
      ]),
    );
  }

  /** Rows' masks as names of those who are silent although they speak elsewhere. */
  #silentOf(masks: NonNullable<Mixing['masks']>): Readonly<Record<string, readonly string[]>> {
    const anySolo = this.#rows.some(({ solo }) => solo);
    return Object.fromEntries(
      Object.entries(masks).map(([block, mask]) => [
        block,
        this.#rows.filter((row, i) => (anySolo ? row.solo : row.on) && mask[i] === false).map(({ name }) => name),
      ]),
    );
  }

  /** The stack as a part of an order; undefined when it is empty. */
  mix(): MixRequest | undefined {
    if (this.#rows.length === 0) return undefined;
    const anySolo = this.#rows.some(({ solo }) => solo);
    const speaks = ({ on, solo }: ExpertRow): boolean => (anySolo ? solo : on);
    // A row's mask stands instead of mute and solo, so it repeats them.
    const masks = Object.fromEntries(
      Object.entries(this.#silent)
        .filter(([, names]) => names.length > 0)
        .map(([block, names]) => [block, this.#rows.map((row) => speaks(row) && !names.includes(row.name))]),
    );
    const overrides = Object.fromEntries(
      Object.entries(this.#byHand)
        .map(([block, set]) => [block, this.#rows.map(({ name }) => set[name] ?? null)] as const)
        .filter(([, values]) => values.some((value) => value !== null)),
    );
    return {
      ...this.#further,
      experts: this.#rows.map(({ path, on, solo, weight, textWeight, blocks, schedule, unguided }) => ({
        path,
        weight: schedule ?? weight,
        muted: !on,
        solo,
        ...(textWeight === undefined ? {} : { textWeight }),
        ...(blocks === undefined ? {} : { blocks }),
        ...(unguided === undefined ? {} : { unguided }),
      })),
      mode: this.#mode,
      ...(this.#gate === undefined || this.#mode !== 'mole' ? {} : { gate: this.#gate.path }),
      ...(Object.keys(masks).length === 0 ? {} : { masks }),
      ...(Object.keys(overrides).length === 0 ? {} : { overrides }),
    };
  }
}

function rowSettings(
  { weight, textWeight, blocks, unguided, muted, solo }: NamedRow['settings'],
  row: ExpertRow,
): Partial<ExpertRow> {
  const number = typeof weight === 'number' ? weight : Number(weight);
  return {
    on: !muted,
    solo,
    textWeight,
    blocks,
    unguided,
    ...(Number.isFinite(number) ? { weight: number } : { weight: row.weight, schedule: String(weight) }),
  };
}
