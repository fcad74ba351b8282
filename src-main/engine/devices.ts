// Which execution provider computes: each candidate is tried in a throw-away child with a numeric self-test
// (runtime/self-test.ts), and whatever does not work falls back to the CPU with the reason in words.
// onnxruntime itself falls back for nobody: a missing adapter throws, a faulty driver aborts, a wrong kernel stays silent.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import { join } from 'node:path';
import type { DevicesReport, ProviderName, ProviderReport } from '../contract/devices.ts';
import type { DeviceChoice } from '../contract/generation.ts';
import { selfTestLimits } from '../runtime/self-test.ts';
import { runtimeVersion } from '../runtime/session.ts';
import { probeMessageSchema, type ProbeMessage } from './probe-message.ts';
import { launchProbe, type LaunchOptions, type ProbeOutcome } from './probe-provider.ts';
import { driverFingerprint, mayHaveGpu, ruledOut, thisMachine, type Machine } from './provider-hardware.ts';

/** Best first. Core ML is not among them: it recompiles at every load and was 6 to 8 times slower than the CPU. */
const autoOrder = ['cuda', 'webgpu', 'dml'] as const satisfies readonly ProviderName[];
const reportOrder = ['cuda', 'webgpu', 'dml', 'coreml', 'cpu'] as const satisfies readonly ProviderName[];

export interface DeviceOptions extends LaunchOptions {
  /** Probes again what was probed before. */
  readonly refresh?: boolean;
  /** Folder that remembers probes between runs of the program; undefined remembers them in memory alone. */
  readonly cacheFolder?: string;
  /** Tries a provider; a host without child processes passes its own. Default: a forked probe.js. */
  readonly launch?: (provider: ProviderName, options: LaunchOptions) => Promise<ProbeOutcome>;
  readonly machine?: Machine;
}

/** The provider a job runs on. */
export interface DeviceDecision {
  readonly provider: ProviderName;
  /** Networks may use onnxruntime's fused attention: it passed the self-test here. */
  readonly fusedAttention: boolean;
  /** Complete sentences: which provider runs, and why those before it do not. */
  readonly reason: string;
}

/** A report, and what `auto` needs to know beside it. */
interface Probed {
  readonly report: ProviderReport;
  /** Undefined when it works but is slower than the CPU, so that `auto` leaves it. */
  readonly fitForAuto: boolean;
}

/** Tries every provider and tells what works, why not what does not, and which one `auto` takes. Takes seconds. */
export async function probeDevices(options: DeviceOptions = {}): Promise<DevicesReport> {
  const probed: Probed[] = [];
  // One after the other: two at once would disturb each other's clocks.
  for (const provider of reportOrder) probed.push(await probeOnce(provider, options));
  const best = autoOrder.find((name) =>
    probed.some(({ report, fitForAuto }) => report.provider === name && fitForAuto),
  );
  return {
    chosen: best ?? 'cpu',
    chosenReason:
      best === undefined
        ? 'The CPU runs: no other provider works here and is faster.'
        : `${labels[best]} runs: it passed the self-test and is the first of ${autoOrder.join(', ')} that did.`,
    providers: probed.map(({ report }) => report),
    cpu: { model: cpus()[0]?.model.trim() ?? 'unknown', cores: availableParallelism() },
    memory: { totalBytes: totalmem(), availableBytes: availableMemory() },
  };
}

/**
 * The provider for a job. `cpu` is taken unprobed; `auto` takes the best that works and is faster than the CPU; any other
 * falls back to the CPU when it does not work here. On Linux without a GPU's device file `auto` answers at once.
 */
export async function chooseDevice(choice: DeviceChoice, options: DeviceOptions = {}): Promise<DeviceDecision> {
  if (choice === 'cpu') return onCpu('The CPU runs, as asked.');
  if (choice !== 'auto') {
    const { report } = await probeOnce(choice, options);
    if (report.state !== 'works') return onCpu(`The CPU runs, since ${labels[choice]} does not: ${report.reason}`);
    return decision(report, `${labels[choice]} runs, as asked. ${report.reason}`);
  }
  if (!mayHaveGpu(options.machine)) return onCpu('The CPU runs: this machine shows no GPU.');
  const passed: string[] = [];
  for (const provider of autoOrder) {
    const { report, fitForAuto } = await probeOnce(provider, options);
    if (fitForAuto) return decision(report, [`${labels[provider]} runs. ${report.reason}`, ...passed].join(' '));
    passed.push(`${labels[provider]}: ${report.reason}`);
  }
  return onCpu(`The CPU runs. ${passed.join(' ')}`);
}

const labels: Readonly<Record<ProviderName, string>> = {
  cpu: 'The CPU',
  webgpu: 'WebGPU',
  cuda: 'CUDA',
  dml: 'DirectML',
  coreml: 'Core ML',
};

// The fused kernel of the CPU provider is right at every length tried (test/runtime/self-test.test.ts).
const onCpu = (reason: string): DeviceDecision => ({ provider: 'cpu', fusedAttention: true, reason });

const decision = (report: ProviderReport, reason: string): DeviceDecision => ({
  provider: report.provider,
  fusedAttention: report.fusedAttention === true,
  reason,
});

/** One probe per provider and process; concurrent callers share it. */
const remembered = new Map<string, Promise<Probed>>();

function probeOnce(provider: ProviderName, options: DeviceOptions): Promise<Probed> {
  const machine = options.machine ?? thisMachine;
  const no = ruledOut(provider, machine);
  if (no !== undefined) {
    const report = { provider, state: 'unavailable', reason: no, elapsedMs: 0 } as const;
    return Promise.resolve({ report, fitForAuto: false });
  }
  const key = [provider, runtimeVersion(), process.platform, process.arch, driverFingerprint(machine)].join('\n');
  const known = remembered.get(key);
  if (known !== undefined && options.refresh !== true) return known;
  const probing = probe(provider, createHash('sha256').update(key).digest('hex').slice(0, 16), options);
  remembered.set(key, probing);
  probing.catch(() => remembered.delete(key));
  return probing;
}

async function probe(provider: ProviderName, key: string, options: DeviceOptions): Promise<Probed> {
  const start = performance.now();
  const file =
    options.cacheFolder === undefined ? undefined : join(options.cacheFolder, `probe-${provider}-${key}.json`);
  const known = file === undefined || options.refresh === true ? undefined : readAnswer(file);
  const outcome = known ?? (await (options.launch ?? launchProbe)(provider, options));
  if (known === undefined && file !== undefined) writeAnswer(file, outcome);
  return judge(provider, outcome, Math.round(performance.now() - start));
}

/** What an outcome means to the user. */
function judge(provider: ProviderName, outcome: ProbeOutcome, elapsedMs: number): Probed {
  const bad = (state: ProviderReport['state'], reason: string): Probed => ({
    report: { provider, state, reason, elapsedMs },
    fitForAuto: false,
  });
  switch (outcome.kind) {
    case 'not-in-this-build':
      return bad('not-in-this-build', `onnxruntime ${outcome.version} for this platform was built without it.`);
    case 'failed':
      return bad('unavailable', `It could not be opened. ${sentence(outcome.message)} ${hints[provider]}`.trim());
    case 'timed-out':
      return bad('timed-out', `The self-test gave no answer within ${Math.round(outcome.milliseconds / 1000)} s.`);
    case 'crashed':
      return bad('crashed', `The self-test's process ${outcome.how}. ${sentence(lastLine(outcome.lastWords))}`.trim());
    case 'measured':
      return measured(provider, outcome.result, elapsedMs);
  }
}

function measured(
  provider: ProviderName,
  result: Extract<ProbeMessage, { kind: 'measured' }>['result'],
  elapsedMs: number,
): Probed {
  const { error, worst, fusedAttentionError, speed } = result;
  const fusedAttention = fusedAttentionError !== undefined && fusedAttentionError <= selfTestLimits.error;
  const numbers = { selfTestError: error, fusedAttention, elapsedMs };
  if (error > selfTestLimits.error) {
    const reason = `It computes wrong values: ${worst} is off by ${percent(error)}. A newer GPU driver may help.`;
    return { report: { provider, state: 'wrong-results', reason, ...numbers }, fitForAuto: false };
  }
  const kernel =
    fusedAttention || fusedAttentionError === undefined
      ? ''
      : ` Its fused attention is off by ${percent(fusedAttentionError)} and is not used.`;
  const slower = speed !== undefined && speed.provider > speed.cpu;
  const clock =
    speed === undefined
      ? ''
      : slower
        ? ` It is slower than the CPU (${speed.provider.toFixed(0)} ms against ${speed.cpu.toFixed(0)} ms for the same ` +
          `products), as software adapters are, so auto leaves it.`
        : ` It is ${(speed.cpu / speed.provider).toFixed(1)} times as fast as the CPU on matrix products.`;
  const reason = `It passed the self-test with an error of ${error.toExponential(0)}.${clock}${kernel}`;
  return { report: { provider, state: 'works', reason, ...numbers }, fitForAuto: !slower };
}

const hints: Readonly<Record<ProviderName, string>> = {
  cpu: 'Please report this.',
  webgpu: 'A current GPU driver (Vulkan, Direct3D 12 or Metal) is needed.',
  cuda: 'It needs onnxruntime-node installed with ONNXRUNTIME_NODE_INSTALL=cuda12, CUDA 12 and cuDNN 9.',
  dml: 'A GPU with a Direct3D 12 driver is needed.',
  coreml: '',
};

const percent = (error: number): string => (Number.isFinite(error) ? `${(100 * error).toFixed(1)} %` : 'NaN');
const lastLine = (text: string): string => text.trim().split('\n').at(-1)?.slice(0, 300) ?? '';
const sentence = (text: string): string => (text === '' || /[.!?]$/.test(text) ? text : `${text}.`);

/** Bytes that new work can take without swapping: MemAvailable on Linux (caches count as free), else what is free. */
export function availableMemory(): number {
  try {
    const kilobytes = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1];
    if (kilobytes !== undefined) return Number(kilobytes) * 1024;
  } catch {
    // not Linux
  }
  return freemem();
}

function readAnswer(file: string): ProbeMessage | undefined {
  try {
    return probeMessageSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    return undefined; // absent or of another version: probe again
  }
}

/** Answers alone are kept: a crash or a time-out may be of the moment. */
function writeAnswer(file: string, outcome: ProbeOutcome): void {
  if (outcome.kind === 'crashed' || outcome.kind === 'timed-out') return;
  try {
    mkdirSync(join(file, '..'), { recursive: true });
    writeFileSync(file, JSON.stringify(outcome));
  } catch {
    // a memory that cannot be written costs a probe next time, nothing else
  }
}
