// Choosing a device: what a probe's end means, what is ruled out without one, and real probes in real child processes.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { ProviderName } from '../../src-main/contract/devices.ts';
import { availableMemory, chooseDevice, probeDevices, type DeviceOptions } from '../../src-main/engine/devices.ts';
import { findProbe, launchProbe, type ProbeOutcome } from '../../src-main/engine/probe-provider.ts';
import { mayHaveGpu, ruledOut, vulkanDrivers, type Machine } from '../../src-main/engine/provider-hardware.ts';
import { buildForNode } from '../support/build-for-node.ts';
import { softwareVulkan } from '../support/vulkan.ts';

const folder = mkdtempSync(join(tmpdir(), 'atelier-devices-'));
let script = '';
beforeAll(async () => {
  script = await buildForNode(resolve(import.meta.dirname, '../../src-main/engine/probe-process.ts'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});
afterEach(() => {
  vi.unstubAllEnvs();
});

let machines = 0;
/** A Linux machine with the given files, each unlike any before, so that no probe of another test is remembered. */
function machine(files: readonly string[] = [], platform: NodeJS.Platform = 'linux'): Machine {
  const root = join(folder, `machine-${machines++}`);
  for (const file of [...files, '/etc/hostname']) {
    mkdirSync(join(root, dirname(file)), { recursive: true });
    writeFileSync(join(root, file), '');
  }
  return { platform, environment: { CUDA_VISIBLE_DEVICES: root }, root, home: '/home/u' };
}
const vulkan = '/usr/share/vulkan/icd.d/radeon_icd.json';
const gpuFiles = [vulkan, '/dev/dri/renderD128'];

const passed = (more: object = {}): ProbeOutcome => ({
  kind: 'measured',
  result: { error: 3e-6, worst: 'convolution', fusedAttentionError: 4e-6, speed: { provider: 2, cpu: 60 }, ...more },
});

/** Options whose probes end as told; those not told fail to open. `tried` collects the providers that were probed. */
function told(outcomes: Partial<Record<ProviderName, ProbeOutcome>>, on: Machine, tried: string[] = []): DeviceOptions {
  return {
    machine: on,
    launch: (provider) => {
      tried.push(provider);
      return Promise.resolve(outcomes[provider] ?? { kind: 'failed', message: 'no adapter' });
    },
  };
}

describe('what needs no probe', () => {
  it('each platform rules out the providers of others', () => {
    const on = (platform: NodeJS.Platform) => (name: ProviderName) =>
      ruledOut(name, machine([], platform)) !== undefined;
    const names = ['cpu', 'cuda', 'webgpu', 'dml', 'coreml'] as const;
    expect(names.filter(on('win32'))).toEqual(['coreml']);
    expect(names.filter(on('darwin'))).toEqual(['cuda', 'dml']);
    expect(names.filter(on('linux'))).toEqual(['cuda', 'webgpu', 'dml', 'coreml']);
  });

  it('on Linux a Vulkan driver and an NVIDIA device open the way to a probe', () => {
    expect(ruledOut('webgpu', machine([vulkan]))).toBeUndefined();
    expect(ruledOut('cuda', machine(['/dev/nvidia0']))).toBeUndefined();
    expect(ruledOut('webgpu', machine())).toMatch(/No Vulkan driver is installed/);
    expect(ruledOut('cuda', machine())).toMatch(/No NVIDIA GPU is visible/);
  });

  it('a GPU shows by its device file; a driver alone is a software one', () => {
    expect(mayHaveGpu(machine([vulkan]))).toBe(false);
    expect(mayHaveGpu(machine(gpuFiles))).toBe(true);
    expect(mayHaveGpu(machine(['/dev/nvidiactl']))).toBe(true);
    expect(mayHaveGpu(machine(['/dev/dri/card0']))).toBe(false);
    expect(mayHaveGpu(machine([], 'darwin'))).toBe(true);
  });

  it("drivers are looked for where Vulkan's loader does, and environment variables redirect it", () => {
    const at = machine([vulkan, '/etc/vulkan/icd.d/a.json', '/home/u/.local/share/vulkan/icd.d/b.json']);
    expect(vulkanDrivers(at).map((path) => path.slice(at.root.length))).toEqual([
      '/etc/vulkan/icd.d/a.json',
      '/home/u/.local/share/vulkan/icd.d/b.json',
      vulkan,
    ]);
    const own = join(at.root, vulkan);
    expect(vulkanDrivers({ ...at, environment: { VK_ICD_FILENAMES: own } })).toEqual([own]);
    expect(vulkanDrivers({ ...at, environment: { VK_DRIVER_FILES: '/gone.json' } })).toEqual([]);
  });
});

describe('auto', () => {
  it('takes the first of cuda, webgpu, dml that works, and says so', async () => {
    const tried: string[] = [];
    const on = machine([...gpuFiles, '/dev/nvidia0']);
    const decision = await chooseDevice('auto', told({ webgpu: passed() }, on, tried));
    expect(decision).toMatchObject({ provider: 'webgpu', fusedAttention: true });
    expect(decision.reason).toMatch(
      /^WebGPU runs\. .*30\.0 times as fast.* CUDA: It could not be opened\. no adapter\./,
    );
    expect(tried).toEqual(['cuda', 'webgpu']);
  });

  it('without a GPU takes the CPU without a probe', async () => {
    const tried: string[] = [];
    const start = performance.now();
    const decision = await chooseDevice('auto', told({}, machine([vulkan]), tried));
    expect(performance.now() - start).toBeLessThan(500);
    expect(decision).toEqual({
      provider: 'cpu',
      fusedAttention: true,
      reason: 'The CPU runs: this machine shows no GPU.',
    });
    expect(tried).toEqual([]);
  });

  it('leaves an adapter that is slower than the CPU', async () => {
    const slow = passed({ speed: { provider: 2000, cpu: 60 } });
    const decision = await chooseDevice('auto', told({ webgpu: slow }, machine(gpuFiles)));
    expect(decision.provider).toBe('cpu');
    expect(decision.reason).toMatch(/WebGPU: .*slower than the CPU \(2000 ms against 60 ms/);
  });

  it('leaves wrong results, crashes and hangs, each with its reason', async () => {
    for (const [outcome, reason] of [
      [
        passed({ error: 0.12, worst: 'attention over 256 tokens' }),
        /wrong values: attention over 256 tokens is off by 12\.0 %/,
      ],
      [passed({ error: Infinity }), /off by NaN/],
      [
        { kind: 'crashed', how: 'ended on SIGABRT', lastWords: 'x\nterminate called\n' },
        /ended on SIGABRT\. terminate called\./,
      ],
      [{ kind: 'timed-out', milliseconds: 60_000 }, /no answer within 60 s/],
      [{ kind: 'not-in-this-build', version: '1.30.0' }, /onnxruntime 1\.30\.0 .* built without it/],
    ] as const) {
      const decision = await chooseDevice('auto', told({ webgpu: outcome }, machine(gpuFiles)));
      expect(decision.provider).toBe('cpu');
      expect(decision.reason).toMatch(reason);
    }
  });

  it('takes a device whose fused attention is wrong, without that kernel', async () => {
    const decision = await chooseDevice(
      'auto',
      told({ webgpu: passed({ fusedAttentionError: 0.14 }) }, machine(gpuFiles)),
    );
    expect(decision).toMatchObject({ provider: 'webgpu', fusedAttention: false });
    expect(decision.reason).toMatch(/fused attention is off by 14\.0 % and is not used/);
  });
});

describe('an explicit choice', () => {
  it('is taken when it works, even a slow one', async () => {
    const slow = passed({ speed: { provider: 2000, cpu: 60 } });
    const decision = await chooseDevice('webgpu', told({ webgpu: slow }, machine([vulkan])));
    expect(decision.provider).toBe('webgpu');
    expect(decision.reason).toMatch(/^WebGPU runs, as asked\./);
  });

  it('falls back to the CPU, saying which one runs and why the other does not', async () => {
    expect((await chooseDevice('dml', told({}, machine()))).reason).toBe(
      'The CPU runs, since DirectML does not: DirectML exists on Windows only.',
    );
    expect(await chooseDevice('webgpu', told({}, machine(gpuFiles)))).toMatchObject({
      provider: 'cpu',
      fusedAttention: true,
      reason: expect.stringMatching(
        /^The CPU runs, since WebGPU does not: It could not be opened\. no adapter\./,
      ) as string,
    });
  });

  it('of the CPU is never probed', async () => {
    const tried: string[] = [];
    expect(await chooseDevice('cpu', told({}, machine(gpuFiles), tried))).toMatchObject({ provider: 'cpu' });
    expect(tried).toEqual([]);
  });
});

describe('memory of probes', () => {
  it('a second choice and a concurrent one share the first probe; refresh probes again', async () => {
    const tried: string[] = [];
    const options = told({ webgpu: passed() }, machine(gpuFiles), tried);
    await Promise.all([chooseDevice('webgpu', options), chooseDevice('webgpu', options)]);
    await chooseDevice('webgpu', options);
    expect(tried).toEqual(['webgpu']);
    await probeDevices({ ...options, refresh: true });
    expect(tried.filter((name) => name === 'webgpu')).toHaveLength(2);
  });

  it('lies in the cache folder, and a changed driver is probed anew', async () => {
    const tried: string[] = [];
    const on = machine(gpuFiles);
    const cacheFolder = join(folder, 'cache');
    const choose = () => chooseDevice('webgpu', { ...told({ webgpu: passed() }, on, tried), cacheFolder });
    await choose();
    expect(readdirSync(cacheFolder)).toEqual([expect.stringMatching(/^probe-webgpu-[0-9a-f]{16}\.json$/)]);
    writeFileSync(join(on.root, '/usr/share/vulkan/icd.d/nouveau_icd.json'), '');
    await choose();
    expect(tried).toEqual(['webgpu', 'webgpu']);
  });

  it('is read by the next process, numbers and all', async () => {
    const [on, tried] = [machine(gpuFiles), [] as string[]];
    const cacheFolder = join(folder, 'kept');
    const options = { ...told({ webgpu: passed({ fusedAttentionError: Infinity }) }, on, tried), cacheFolder };
    const first = await chooseDevice('webgpu', options);
    vi.resetModules();
    const next = await import('../../src-main/engine/devices.ts');
    expect(await next.chooseDevice('webgpu', options)).toEqual(first);
    expect(tried).toEqual(['webgpu']);
  });

  it('is kept of answers alone: a crash is tried again by the next process', async () => {
    const cacheFolder = join(folder, 'no-cache');
    const crashed = { kind: 'crashed', how: 'ended on SIGSEGV', lastWords: '' } as const;
    await chooseDevice('webgpu', { ...told({ webgpu: crashed }, machine(gpuFiles)), cacheFolder });
    expect(() => readdirSync(cacheFolder)).toThrow('ENOENT');
  });
});

describe('the probe process', () => {
  it('answers for the CPU, and the report is whole', { timeout: 120_000 }, async () => {
    const report = await probeDevices({ script, machine: machine() });
    expect(report.chosen).toBe('cpu');
    expect(report.providers.map(({ provider, state }) => [provider, state])).toEqual([
      ['cuda', 'unavailable'],
      ['webgpu', 'unavailable'],
      ['dml', 'unavailable'],
      ['coreml', 'unavailable'],
      ['cpu', 'works'],
    ]);
    expect(report.providers.at(-1)!.selfTestError).toBeLessThan(2e-6);
    expect(report.providers.at(-1)!.fusedAttention).toBe(true);
    expect(report.cpu.cores).toBeGreaterThan(0);
    expect(report.memory.availableBytes).toBeLessThan(report.memory.totalBytes);
    for (const { reason } of report.providers) expect(reason).toMatch(/\.$/);
  });

  it('tells a provider that is not in the build from one that cannot be opened', async () => {
    const absent = process.platform === 'win32' ? 'coreml' : 'dml';
    expect(await launchProbe(absent, { script })).toMatchObject({ kind: 'not-in-this-build' });
    expect(await launchProbe('nonsense' as ProviderName, { script })).toMatchObject({ kind: 'failed' });
  });

  it.runIf(process.platform === 'linux')('without any adapter, fails in words', async () => {
    vi.stubEnv('VK_ICD_FILENAMES', '/nowhere.json');
    expect(await launchProbe('webgpu', { script })).toMatchObject({
      kind: 'failed',
      message: expect.stringMatching(/webgpu/i) as string,
    });
  });

  const child = (name: string, text: string): string => {
    const file = join(folder, name);
    writeFileSync(file, text);
    return file;
  };

  it.runIf(process.platform !== 'win32')('its native abort ends the child alone', async () => {
    const aborting = child('abort.cjs', 'console.error("terminate called"); process.abort();');
    const outcome = await launchProbe('webgpu', { script: aborting });
    expect(outcome).toMatchObject({ kind: 'crashed', how: 'ended on SIGABRT' });
    expect((outcome as { lastWords: string }).lastWords).toContain('terminate called');
  });

  it('is killed when it hangs', async () => {
    const hanging = child('hang.cjs', 'setInterval(() => {}, 1000);');
    const start = performance.now();
    expect(await launchProbe('webgpu', { script: hanging, timeoutMs: 300 })).toEqual({
      kind: 'timed-out',
      milliseconds: 300,
    });
    expect(performance.now() - start).toBeLessThan(5000);
  });

  it('that sends something else is no answer', async () => {
    const lying = child('lie.cjs', 'process.send({ kind: "measured", result: "fine" });');
    expect(await launchProbe('webgpu', { script: lying })).toMatchObject({ kind: 'crashed' });
  });

  const icd = softwareVulkan();
  it.skipIf(icd === undefined)(
    'on a software driver works, is slower than the CPU, and auto leaves it',
    { timeout: 180_000 },
    async () => {
      vi.stubEnv('VK_ICD_FILENAMES', icd);
      const on = { ...machine(['/dev/dri/renderD128']), environment: { VK_ICD_FILENAMES: icd } };
      const asked = await chooseDevice('webgpu', { script, machine: on, timeoutMs: 150_000 });
      // SwiftShader has no half precision, which a half-precision checkpoint's token table needs.
      if (asked.provider === 'cpu') expect(asked.reason).toMatch(/requires f16/);
      else expect(asked.reason).toMatch(/slower than the CPU/);
      expect((await chooseDevice('auto', { script, machine: on })).provider).toBe('cpu');
    },
  );

  it('is found beside the code that asks, above it, and in out/main', () => {
    const built = join(folder, 'app/out/main');
    mkdirSync(join(built, 'chunks'), { recursive: true });
    writeFileSync(join(built, 'probe.js'), '');
    for (const from of [
      'app/out/main/engine.js',
      'app/out/main/chunks/devices-abc.js',
      'app/src-main/engine/devices.ts',
    ]) {
      expect(findProbe(pathToFileURL(join(folder, from)).href)).toBe(join(built, 'probe.js'));
    }
    expect(() => findProbe(pathToFileURL(join(folder, 'x.js')).href)).toThrow('probe.js was not found beside or above');
  });
});

it('available memory is less than all of it and not nothing', () => {
  expect(availableMemory()).toBeGreaterThan(1e7);
});
