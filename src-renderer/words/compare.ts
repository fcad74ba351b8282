// Words of comparing: side by side, A and B, grids.
export const compareWords = {} as const;
