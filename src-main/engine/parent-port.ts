// The channel of a process that Electron's utilityProcess started; Node's own are child_process.fork's.

/** The part of Electron's `process.parentPort` that is used; Node's own types do not know it. */
export interface ParentPort {
  readonly postMessage: (message: unknown) => void;
  readonly on: (event: 'message', listener: (event: { readonly data: unknown }) => void) => void;
}

/** What Electron's utilityProcess talks through; undefined in a process that Node started. */
export function parentPortOfElectron(): ParentPort | undefined {
  return (process as unknown as { readonly parentPort?: ParentPort }).parentPort;
}
