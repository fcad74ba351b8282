// The artist's stack: LoRAs with their switches and weights, how they are mixed, the gate, and who is silent in which block.
import type { MixMode, MixRequest } from '../../src-main/contract/experts.ts';
import type { AdapterReport, FileReport, GateReport } from '../../src-main/contract/files.ts';
import { strings } from '../strings.ts';

export interface ExpertRow {
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
}

export interface ChosenGate {
  readonly path: string;
  readonly name: string;
  readonly report: GateReport;
}

/** What became of a file that was to be added: a sentence when it was not. */
export type Added = { readonly kind: 'expert' | 'gate' } | { readonly kind: 'refused'; readonly message: string };

export class ExpertStack {
  #rows = $state.raw<readonly ExpertRow[]>([]);
  #gate = $state.raw<ChosenGate>();
  #mode = $state<MixMode>('sum');
  /** Names of experts that are silent, by row of the UNet. */
  #silent = $state.raw<Readonly<Record<string, readonly string[]>>>({});

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
      path,
      name: file.replace(/\.safetensors$/i, ''),
      report,
      adapter,
      on: true,
      solo: false,
      weight: adapter.preferredWeight ?? 1,
      textWeight: undefined,
    };
    this.#rows = [...this.#rows, row];
    return { kind: 'expert' };
  }

  change(path: string, change: Partial<Pick<ExpertRow, 'on' | 'solo' | 'weight' | 'textWeight'>>): void {
    this.#rows = this.#rows.map((row) => (row.path === path ? { ...row, ...change } : row));
  }

  remove(path: string): void {
    this.#rows = this.#rows.filter((row) => row.path !== path);
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
    return {
      experts: this.#rows.map(({ path, on, solo, weight, textWeight }) => ({
        path,
        weight,
        muted: !on,
        solo,
        ...(textWeight === undefined ? {} : { textWeight }),
      })),
      mode: this.#mode,
      ...(this.#gate === undefined || this.#mode !== 'mole' ? {} : { gate: this.#gate.path }),
      ...(Object.keys(masks).length === 0 ? {} : { masks }),
    };
  }
}
