// The window's language of the gallery: every picture ever drawn here, with what it was drawn from.

export const galleryMethodSchemas = {} as const;

// eslint-disable-next-line @typescript-eslint/no-empty-object-type
export interface GalleryMethods {}

export type GalleryNews = never;
