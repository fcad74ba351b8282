// One training from the request to the file, whichever kind: progress, Ctrl-C that keeps the best so far, and what came of it.
import type { Methods } from '../contract/channels.ts';
import { checkParams } from '../contract/check.ts';
import { FailureError } from '../contract/failure.ts';
import type { TrainEvent, TrainResult } from '../contract/training.ts';
import type { CommandContext } from './command.ts';
import { cancelledExitCode } from './exit-codes.ts';
import { prepareFolder, trainingFlagName } from './training-flags.ts';
import { TrainingProgress } from './training-progress.ts';

/** What the first Ctrl-C does. */
export const stopping = 'Stopping after this update and keeping the best so far.';

/** Orders the training and reports it; `experts` are the names of those that a gate is trained for. Returns the exit code. */
export async function runTraining<Name extends 'trainGate' | 'trainLora'>(
  { client, terminal, signal }: CommandContext,
  method: Name,
  request: Methods[Name]['params'],
  experts: readonly string[] = [],
): Promise<number | undefined> {
  const { steps } = checkParams(method, request, trainingFlagName);
  await prepareFolder(request.output);
  const progress = new TrainingProgress(experts);
  const onEvent = (event: TrainEvent): void => {
    terminal.event(event, progress.event(event));
    if (event.kind === 'picture') terminal.note(event.picture.path);
  };
  const result: TrainResult = await client.request(method, request, { signal, onEvent }).catch(withResume);
  terminal.print(result.path);
  progress.summary(result, steps).forEach((line) => {
    terminal.note(line);
  });
  const gates = progress.meanGates?.map((mean, i) => ({ name: experts[i], mean }));
  terminal.result(gates === undefined ? result : { ...result, gates });
  return result.ended === 'cancelled' ? cancelledExitCode : undefined;
}

/** Rethrows; what was saved before an end without warning is not lost, and the message says so. */
function withResume(error: unknown): never {
  if (!(error instanceof FailureError) || error.failure.kind !== 'crashed') throw error;
  const { failure } = error;
  const message = `${failure.message} The same command with --resume goes on from the last saved update.`;
  throw new FailureError({ ...failure, message }, error);
}
