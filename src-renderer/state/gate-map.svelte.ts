// Who spoke where: the mean over the steps of a job of every gate, by row of the UNet, of the half of the guidance that
// follows the prompt. Groups of one row are averaged.
import type { DrawEvent } from '../../src-main/contract/window-drawing.ts';

export interface GateRow {
  /** IN01, MID, OUT11. */
  readonly name: string;
  /** Mean gate per expert, 0..1 for convex gates. */
  readonly values: readonly number[];
}

export class GateMap {
  #experts = $state.raw<readonly string[]>([]);
  #rowOfGroup = $state.raw<readonly string[]>([]);
  /** Sums over steps per group and expert. */
  #sums = $state.raw<readonly (readonly number[])[]>([]);
  #count = $state(0);

  /** Names of the experts, in the order of the gate. */
  get experts(): readonly string[] {
    return this.#experts;
  }

  /** Steps that were heard, of all pictures of the job. */
  get count(): number {
    return this.#count;
  }

  /** Empty while no gate was heard. */
  readonly rows: readonly GateRow[] = $derived.by(() => {
    if (this.#count === 0) return [];
    const names = this.#rowOfGroup.filter((name, g) => this.#rowOfGroup.indexOf(name) === g);
    return names.map((name) => {
      const groups = this.#rowOfGroup.flatMap((row, g) => (row === name ? [g] : []));
      const values = this.#experts.map((_, i) => {
        const sum = groups.reduce((total, g) => total + (this.#sums[g]?.[i] ?? 0), 0);
        return sum / groups.length / this.#count;
      });
      return { name, values };
    });
  });

  hear(event: DrawEvent): void {
    if (event.kind === 'mixture') {
      this.#experts = event.experts.map(({ name }) => name);
      this.#rowOfGroup = event.groups.map(({ row }) => row);
      this.#sums = [];
      this.#count = 0;
    }
    const gates = event.kind === 'step' ? event.gates?.conditional : undefined;
    if (gates === undefined) return;
    this.#count++;
    this.#sums = gates.map((values, g) => values.map((value, i) => value + (this.#sums[g]?.[i] ?? 0)));
  }
}
