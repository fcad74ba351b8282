// Why an engine process may have ended, in words: an exit code or a signal is all that is left of it.
import type { Failure } from '../contract/failure.ts';
import type { EngineExit } from './engine-process-port.ts';

/** Open requests end with it when the user stops the engine. */
export const stoppedFailure: Failure = {
  kind: 'cancelled',
  message: 'The job was stopped. Finished pictures were kept.',
};

const signalReasons: Readonly<Record<string, string>> = {
  SIGKILL: 'Most likely the system ran out of memory and ended it. Try a smaller size or close other programs.',
  SIGABRT: 'A native library gave up. Try another device, for example --device cpu, and update the graphics driver.',
  SIGSEGV: 'A native library crashed. Try another device, for example --device cpu, and update the graphics driver.',
  SIGBUS: 'A file it was reading changed or its disk went away. Check that the model file is complete.',
  SIGILL: 'This processor lacks an instruction the native library needs.',
  SIGTERM: 'Another program asked it to end.',
};

/** Windows reports native faults as exit codes (NTSTATUS). */
const codeReasons: Readonly<Record<number, string>> = {
  134: signalReasons['SIGABRT']!,
  137: signalReasons['SIGKILL']!,
  139: signalReasons['SIGSEGV']!,
  0xc0000005: signalReasons['SIGSEGV']!,
  0xc0000409: signalReasons['SIGABRT']!,
  0xc000001d: signalReasons['SIGILL']!,
  0xc0000017: signalReasons['SIGKILL']!,
};

/** What requests fail with when the engine process ended under them. */
export function crashFailure({ code, signal, lastWords }: EngineExit): Failure {
  const how = signal !== undefined ? `by signal ${signal}` : code !== undefined ? `with exit code ${code}` : 'at once';
  const outOfHeap = /heap out of memory|bad_alloc|out of memory/i.test(lastWords);
  const reason = outOfHeap
    ? signalReasons['SIGKILL']
    : signal !== undefined
      ? signalReasons[signal]
      : code !== undefined
        ? codeReasons[code]
        : 'It could not be started.';
  return {
    kind: 'crashed',
    message: `The engine process ended unexpectedly (${how}). ${reason ?? 'The reason is not known.'} Finished pictures were kept.`,
    ...(lastWords === '' ? {} : { details: lastWords }),
  };
}
