// Entry of the throw-away process that tries one execution provider: `probe.js cuda`. It sends one ProbeMessage and ends.
// A process of its own because a missing or faulty driver can abort natively instead of throwing.
import { selfTest } from '../runtime/self-test.ts';
import { compiledProviders, runtimeVersion } from '../runtime/session.ts';
import { parentPortOfElectron } from './parent-port.ts';
import { isProvider, type ProbeMessage } from './probe-message.ts';

async function probe(name: string | undefined): Promise<ProbeMessage> {
  if (!isProvider(name)) return { kind: 'failed', message: `Not a provider: ${name ?? 'nothing'}.` };
  try {
    if (!compiledProviders().includes(name)) return { kind: 'not-in-this-build', version: runtimeVersion() };
    return { kind: 'measured', result: await selfTest(name) };
  } catch (error) {
    return { kind: 'failed', message: error instanceof Error ? error.message : String(error) };
  }
}

const message = await probe(process.argv[2]);
const parentPort = parentPortOfElectron();
if (parentPort !== undefined) {
  // Electron's main process ends this one as soon as it has the answer.
  parentPort.postMessage(message);
} else if (process.send === undefined) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
} else {
  // Exit without the drivers' own clean-up, which aborts on some: the answer is out already.
  process.send(message, () => process.exit(0));
}
