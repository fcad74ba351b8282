// Words of comparing: side by side, A and B, grids.
export const compareWords = {
  slider: {
    label: 'Line between A and B',
    value: (place: number): string => `${place} % A, ${100 - place} % B`,
    alt: (side: 'A' | 'B', label: string): string => `${side}: ${label}`,
  },
} as const;
