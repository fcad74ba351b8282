// Words of the library and recipes.
export const libraryWords = {} as const;
