// A desk of the host: the part that answers one area of the windows' language (drawing, gallery, library, training, settings).
// Desks share the engine, the pictures' ids and the way to tell every window; they do not know each other.
import type { z } from 'zod';
import type { EngineClient } from '../client/engine-client.ts';
import type { News, Welcome, WindowMethodName, WindowMethods, windowMethodSchemas } from '../contract/window.ts';
import type { PictureShelf } from './picture-shelf.ts';

export interface HostOptions {
  readonly client: EngineClient;
  /** A second engine for trainings, so that drawing goes on beside them; it starts with its first request. */
  readonly trainingClient: EngineClient;
  /** Where finished pictures are written; absolute. */
  readonly folder: string;
  /** Where the queue and everything else that is remembered is kept; absolute. */
  readonly stateFolder: string;
  readonly place: Welcome['place'];
  readonly version: string;
  /** Absolute path of the bundled model; undefined when it is not installed. */
  readonly model: string | undefined;
  /** Absolute paths of the LoRAs and gates that came with the app. */
  readonly bundled: readonly string[];
  /** What only a desktop can do; undefined in a browser. */
  readonly desktop?: DesktopServices;
}

/** The system's part in the gallery. Paths are absolute. */
export interface DesktopServices {
  /** Moves a file to the system's trash. */
  readonly trash: (path: string) => Promise<void>;
  /** Shows a file in the file manager. */
  readonly reveal: (path: string) => void;
  /** Lets the artist choose a folder; undefined when they did not. */
  readonly chooseFolder: () => Promise<string | undefined>;
  /** Goes on with a drag that began in the window, with these files. */
  readonly drag: (paths: readonly string[]) => Promise<void>;
}

/** What every desk is given. */
export interface DeskSurroundings {
  readonly options: HostOptions;
  readonly shelf: PictureShelf;
  /** Tells every window. */
  readonly tell: (news: News) => void;
}

/** Parameters have passed their schema. */
export type Handlers<Names extends WindowMethodName> = {
  readonly [Name in Names]: (
    params: z.output<(typeof windowMethodSchemas)[Name]>,
  ) => WindowMethods[Name]['result'] | Promise<WindowMethods[Name]['result']>;
};

export interface Desk<Names extends WindowMethodName> {
  readonly handlers: Handlers<Names>;
  /** Stops what it does and leaves its files complete. */
  readonly close: () => Promise<void>;
}

/** Nothing to say beyond that it was done. */
export const done = (work: Promise<void>): Promise<null> => work.then(() => null);
