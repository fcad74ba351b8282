// Words of the gallery.
export const galleryWords = {} as const;
