// Where the window stood and how large it was, kept from one start to the next. What cannot be read, or lies on a screen that
// is no longer there, is forgotten.
import { readFileSync } from 'node:fs';
import { screen, type BrowserWindow } from 'electron';
import { z } from 'zod';
import { writeAtomically } from '../client/write-atomically.ts';

const pixels = z.number().int().min(-100_000).max(100_000);
const placeSchema = z.object({
  bounds: z.object({ x: pixels, y: pixels, width: pixels.min(1), height: pixels.min(1) }),
  maximized: z.boolean(),
});
type Place = z.output<typeof placeSchema>;

/** Pixels of the window's top edge that must lie on a screen for it to be caught with the mouse. */
const grip = 80;
/** Moving and resizing report every frame; the place is written when it has been left alone for so long. */
const restMs = 500;

/** The place in `file`; undefined when there is none that can be used. Only after the app is ready. */
export function readPlace(file: string): Place | undefined {
  let place: Place | undefined;
  try {
    place = placeSchema.safeParse(JSON.parse(readFileSync(file, 'utf8'))).data;
  } catch {
    return undefined;
  }
  if (place === undefined) return undefined;
  const { x, y, width } = place.bounds;
  const reachable = screen.getAllDisplays().some(({ workArea: area }) => {
    const across = Math.min(x + width, area.x + area.width) - Math.max(x, area.x);
    return across >= grip && y >= area.y - grip / 2 && y <= area.y + area.height - grip;
  });
  return reachable ? place : undefined;
}

/** Writes where `window` stands into `file` after each change, and when it is closed. */
export function rememberPlace(window: BrowserWindow, file: string): void {
  let timer: NodeJS.Timeout | undefined;
  let written: Promise<void> = Promise.resolve();
  const write = (): void => {
    clearTimeout(timer);
    const place: Place = { bounds: window.getNormalBounds(), maximized: window.isMaximized() };
    // A place that cannot be kept is no reason to disturb anybody.
    written = written.then(() => writeAtomically(file, JSON.stringify(place))).catch(() => undefined);
  };
  const later = (): void => {
    clearTimeout(timer);
    timer = setTimeout(write, restMs);
  };
  window.on('resize', later);
  window.on('move', later);
  window.on('close', write);
  window.once('closed', () => {
    clearTimeout(timer);
  });
}
