// Words of training.
export const trainingWords = {} as const;
