// Words of settings, the tour and diagnostics.
export const settingsWords = {} as const;
