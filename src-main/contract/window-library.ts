// The window's language of the library: folders of LoRAs and gates, their cards, and recipes.

export const libraryMethodSchemas = {} as const;

// eslint-disable-next-line @typescript-eslint/no-empty-object-type
export interface LibraryMethods {}

export type LibraryNews = never;
