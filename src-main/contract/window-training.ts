// The window's language of training: gates and LoRAs, one at a time, in an engine of their own.

export const trainingMethodSchemas = {} as const;

// eslint-disable-next-line @typescript-eslint/no-empty-object-type
export interface TrainingMethods {}

export type TrainingNews = never;
