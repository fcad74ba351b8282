// Words of the tools of the prompt: wildcards, suggestions, models.
export const orderToolsWords = {} as const;
