// The window's language of settings, logs and diagnostics.

export const settingsMethodSchemas = {} as const;

// eslint-disable-next-line @typescript-eslint/no-empty-object-type
export interface SettingsMethods {}
