// The window's language of comparing: a finished grid as one picture.
import { z } from 'zod';
import type { WindowPicture } from './window-drawing.ts';

const labels = z.array(z.string().max(200)).max(100);

export const compareMethodSchemas = {
  /** Writes a grid of finished pictures, by id and row by row, as one labelled picture; null leaves a cell empty. */
  saveSheet: z.strictObject({
    pictures: z.array(z.string().min(1).max(100).nullable()).min(1).max(1024),
    columnLabels: labels.min(1),
    rowLabels: labels.min(1),
    title: z.string().max(500).default(''),
  }),
} as const;

export interface CompareMethods {
  saveSheet: { params: z.input<typeof compareMethodSchemas.saveSheet>; result: WindowPicture };
}
