// What the artist entered for the two axes of a grid, remembered over a reload.
import { axisKinds, type AxisEntry } from './axes.ts';

const key = 'mole-atelier-grid-v1';
const usual: Readonly<Record<'x' | 'y', AxisEntry>> = {
  x: { kind: 'seed', expert: undefined, text: '1-4', picked: [] },
  y: { kind: 'mode', expert: undefined, text: '', picked: ['sum', 'normalised', 'mole'] },
};

class GridEntries {
  #entries = $state.raw<Readonly<Record<'x' | 'y', AxisEntry>>>(stored());

  of(side: 'x' | 'y'): AxisEntry {
    return this.#entries[side];
  }

  set(side: 'x' | 'y', entry: AxisEntry): void {
    this.#entries = { ...this.#entries, [side]: entry };
    sessionStorage.setItem(key, JSON.stringify(this.#entries));
  }
}

function stored(): Readonly<Record<'x' | 'y', AxisEntry>> {
  try {
    const value = JSON.parse(sessionStorage.getItem(key) ?? '{}') as Partial<Record<'x' | 'y', AxisEntry>>;
    const known = (entry: AxisEntry | undefined): entry is AxisEntry =>
      entry !== undefined && axisKinds.includes(entry.kind);
    return { x: known(value.x) ? value.x : usual.x, y: known(value.y) ? value.y : usual.y };
  } catch {
    return usual;
  }
}

export const gridEntries = new GridEntries();
