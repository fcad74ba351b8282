// A software Vulkan driver for tests of the WebGPU provider: named by ATELIER_WEBGPU_ICD (test/support/install-vulkan.sh
// prints one), or SwiftShader as Debian's chromium installs it.
import { existsSync } from 'node:fs';

const chromium = '/usr/lib/chromium/vk_swiftshader_icd.json';
const loaders = ['/usr/lib/x86_64-linux-gnu', '/usr/lib64', '/usr/lib'].map((folder) => `${folder}/libvulkan.so.1`);

/** Path of the driver's JSON, or undefined with the reason printed. Throws when the named one does not exist. */
export function softwareVulkan(): string | undefined {
  const named = process.env['ATELIER_WEBGPU_ICD'];
  if (named !== undefined && named !== '') {
    if (!existsSync(named)) throw new Error(`ATELIER_WEBGPU_ICD names ${named}, which does not exist.`);
    return named;
  }
  if (existsSync(chromium) && loaders.some((path) => existsSync(path))) return chromium;
  console.warn(
    'Tests of the WebGPU provider are skipped: no software Vulkan driver. ' +
      'ATELIER_WEBGPU_ICD=$(sh test/support/install-vulkan.sh) puts one in place.',
  );
  return undefined;
}
