// The gates of a drawing as a table of bars: rows of the UNet down, experts across, the mean over steps and pictures of the half
// of the guidance that follows the prompt. Rows carry the names that LoRA block weights made known: IN01, MID, OUT11.
import type { GenerateEvent } from '../contract/generation.ts';
import { visible } from './terminal.ts';

const barWidth = 8;
const nameWidth = 16;

export class GateMap {
  #experts: readonly string[] = [];
  #rows: readonly string[] = [];
  /** Sums over steps per group and expert. */
  #sums: number[][] = [];
  #count = 0;

  event(event: GenerateEvent): void {
    if (event.kind === 'mixture') {
      this.#experts = event.experts.map(({ name }) => name);
      this.#rows = event.groups.map(({ row }) => row);
    }
    const gates = event.kind === 'step' ? event.gates?.conditional : undefined;
    if (gates === undefined) return;
    this.#count++;
    gates.forEach((values, g) => {
      const sums = (this.#sums[g] ??= values.map(() => 0));
      values.forEach((value, i) => (sums[i]! += value));
    });
  }

  /** The table, or nothing when no gate was heard. Groups of one row are averaged. */
  lines(): readonly string[] {
    if (this.#count === 0) return [];
    const rows = [...new Set(this.#rows)];
    const head = `       ${this.#experts.map((name) => clip(visible(name)).padEnd(nameWidth)).join(' ')}`;
    const body = rows.map((row) => {
      const groups = this.#rows.flatMap((name, g) => (name === row ? [g] : []));
      const cells = this.#experts.map((_, i) => {
        const sum = groups.reduce((total, g) => total + this.#sums[g]![i]!, 0);
        const value = sum / groups.length / this.#count;
        return `${bar(value)} ${value.toFixed(2)}`.padEnd(nameWidth);
      });
      return `${row.padEnd(6)} ${cells.join(' ')}`;
    });
    return ['Who spoke where (mean gate, 0 to 1):', head, ...body].map((line) => line.trimEnd());
  }
}

const clip = (name: string): string => (name.length <= nameWidth ? name : `${name.slice(0, nameWidth - 1)}…`);

function bar(value: number): string {
  const filled = Math.max(0, Math.min(barWidth, Math.round(value * barWidth)));
  return '█'.repeat(filled) + '░'.repeat(barWidth - filled);
}
