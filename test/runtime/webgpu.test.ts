// The WebGPU provider on a software Vulkan driver, at tiny shapes: the path that a GPU takes, without a GPU.
// In child processes, since drivers are chosen by environment and may abort; skipped with a printed reason without one.
import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildForNode } from '../support/build-for-node.ts';
import { providerTolerance } from '../support/tolerances.ts';
import { softwareVulkan } from '../support/vulkan.ts';

/** Every error is below the tolerance; null stands for half precision that the driver does not have. */
function expectSmall(errors: Readonly<Record<string, number | null>>): void {
  for (const [name, error] of Object.entries(errors)) {
    if (error === null) console.warn(`This driver has no half precision; ${name} was not compared.`);
    else expect(error, name).toBeLessThan(providerTolerance.webgpu);
  }
}

const icd = softwareVulkan();

describe.skipIf(icd === undefined)('WebGPU on a software Vulkan driver', () => {
  let script = '';
  beforeAll(async () => {
    script = await buildForNode(resolve(import.meta.dirname, 'webgpu-child.ts'));
  });

  const child = (task: string): Record<string, number | null> => {
    const environment = {
      ...process.env,
      VK_ICD_FILENAMES: icd,
      XDG_RUNTIME_DIR: process.env['XDG_RUNTIME_DIR'] ?? '/tmp',
    };
    const output = execFileSync(
      process.execPath,
      [script, task, resolve(import.meta.dirname, '../golden/data/networks', task)],
      {
        env: environment,
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    return JSON.parse(output.toString('utf8')) as Record<string, number | null>;
  };

  it('computes every operator of our networks right', { timeout: 180_000 }, () => {
    expectSmall(child('operators'));
  });

  it('is caught by the self-test where its fused attention is wrong, and only there', { timeout: 180_000 }, () => {
    const { fused, passes } = child('fused');
    expect(fused! < providerTolerance.webgpu || fused! > providerTolerance.wrongKernel, `error ${fused}`).toBe(true);
    expect(passes).toBe(fused! < providerTolerance.webgpu ? 1 : 0);
    console.info(`Fused attention on this driver: error ${fused!.toExponential(1)}.`);
  });

  it.each(['tiny-sd1', 'tiny-sd2'])(
    'runs the networks of %s wholly on the device, experts and gates too, and agrees with the CPU',
    { timeout: 180_000 },
    (model) => {
      const errors = child(model);
      expect(Object.keys(errors)).toEqual(['unet', 'experts', 'decoder', 'encoder', 'text']);
      expectSmall(errors);
    },
  );
});
