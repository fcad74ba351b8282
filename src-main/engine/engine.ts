// The engine's methods, whatever process hosts them: each handler takes checked parameters and reports through `emit`.
import type { Methods } from '../contract/channels.ts';

/** What a handler is given beside its parameters. */
export interface JobContext<Event> {
  /** Aborted when the user cancels; handlers look at it between steps. */
  readonly signal: AbortSignal;
  readonly emit: (event: Event) => void;
}

/** One handler per method of the contract; parameters have passed their schema. */
export type Handlers = {
  readonly [Name in keyof Methods]: (
    params: unknown,
    context: JobContext<Methods[Name]['event']>,
  ) => Promise<Methods[Name]['result']>;
};
