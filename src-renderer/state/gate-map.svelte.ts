// Who spoke where in the job that was drawn last, as the artist looks at it: over all steps or at one, in one picture of the batch or
// in all, in either half of the guidance.
import type { DrawEvent } from '../../src-main/contract/window-drawing.ts';
import {
  gateRows,
  hearGates,
  nothingHeard,
  wholeView,
  type GateRow,
  type GateView,
  type HeardGates,
} from './heard-gates.ts';

export class GateMap {
  #heard = $state.raw<HeardGates>(nothingHeard);
  #view = $state.raw<GateView>(wholeView);

  /** Names of the experts, in the order of the values. */
  readonly experts: readonly string[] = $derived((this.#heard.mixture?.experts ?? []).map(({ name }) => name));

  /** Whether gates decide; else the values are strengths. */
  readonly gated: boolean = $derived(this.#heard.steps.some(({ gates }) => gates !== undefined));

  /** Whether the other half of the guidance was heard too: not at CFG 1. */
  readonly hasHalves: boolean = $derived(this.#heard.steps.some(({ gates }) => gates?.unconditional !== undefined));

  /** Steps and pictures that were heard. */
  readonly steps: number = $derived(Math.max(0, ...this.#heard.steps.map(({ step }) => step)));
  readonly pictures: number = $derived(Math.max(0, ...this.#heard.steps.map(({ picture }) => picture + 1)));

  /** Empty while nothing was heard. */
  readonly rows: readonly GateRow[] = $derived(
    gateRows(this.#heard, this.hasHalves ? this.#view : { ...this.#view, half: 'conditional' }),
  );

  get view(): GateView {
    return this.#view;
  }

  look(change: Partial<GateView>): void {
    this.#view = { ...this.#view, ...change };
  }

  hear(event: DrawEvent): void {
    this.#heard = hearGates(this.#heard, event);
    // What a new mixture does not have cannot be looked at any more.
    if (event.kind === 'mixture') this.#view = { ...wholeView, half: this.#view.half };
  }
}
