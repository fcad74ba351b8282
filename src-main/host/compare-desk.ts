// The desk of comparisons: grids become pictures beside those that they show.
import { join } from 'node:path';
import type { CompareMethods } from '../contract/window-compare.ts';
import type { WindowPicture } from '../contract/window-drawing.ts';
import { FailureError } from '../contract/failure.ts';
import type { Desk, DeskSurroundings, Handlers } from './desk.ts';

type SheetParams = Parameters<Handlers<'saveSheet'>['saveSheet']>[0];

export class CompareDesk implements Desk<keyof CompareMethods> {
  readonly handlers: Handlers<keyof CompareMethods>;
  readonly #surroundings: DeskSurroundings;
  readonly #onWritten: () => void;

  /** `onWritten` hears that the folder of pictures has a new one. */
  constructor(surroundings: DeskSurroundings, onWritten: () => void) {
    this.#surroundings = surroundings;
    this.#onWritten = onWritten;
    this.handlers = { saveSheet: (params) => this.#save(params) };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  async #save({ pictures, columnLabels, rowLabels, title }: SheetParams): Promise<WindowPicture> {
    const { options, shelf } = this.#surroundings;
    if (pictures.length !== columnLabels.length * rowLabels.length) {
      throw new FailureError({
        kind: 'bad-request',
        message: `A grid of ${columnLabels.length} columns and ${rowLabels.length} rows needs as many cells, got ${pictures.length}.`,
      });
    }
    const cells = pictures.map((id) => {
      const path = id === null ? undefined : shelf.pathOf(id);
      return { label: '', ...(path === undefined ? {} : { path }) };
    });
    const used = (labels: readonly string[]): string[] => (labels.some((label) => label !== '') ? [...labels] : []);
    const written = await options.client.request('sheet', {
      pictures: cells,
      columns: columnLabels.length,
      columnLabels: used(columnLabels),
      rowLabels: used(rowLabels),
      title,
      output: join(options.folder, `grid-${timeStamp(new Date())}.png`),
    });
    this.#onWritten();
    return shelf.put({ ...written, seed: 0 });
  }
}

/** 20250131-235959, local time. */
function timeStamp(date: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}${two(date.getMonth() + 1)}${two(date.getDate())}`;
  return `${day}-${two(date.getHours())}${two(date.getMinutes())}${two(date.getSeconds())}`;
}
