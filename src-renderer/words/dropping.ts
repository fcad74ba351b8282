// Words of files dropped on the window, and starting from a picture.
export const droppingWords = {} as const;
