// Shapes as plain number lists, and the few questions asked of them everywhere.

/** Sizes of a tensor's axes, outermost first. A scalar has shape []. */
export type Shape = readonly number[];

/** Number of elements of `shape`; 1 for a scalar. */
export function elementCount(shape: Shape): number {
  return shape.reduce((count, size) => count * size, 1);
}

/** True when both shapes have the same rank and sizes. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}

/** `[1, 4, 64, 64]`, as error messages print a shape. */
export function showShape(shape: readonly (number | string)[]): string {
  return `[${shape.join(', ')}]`;
}
