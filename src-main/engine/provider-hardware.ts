// What can be told about a provider without loading any driver, in under a millisecond: whether this platform has it at
// all, and on Linux whether there is a device and a driver for it. A probe costs seconds; most servers have no GPU.
import { existsSync, readdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { ProviderName } from '../contract/devices.ts';

/** Environment that redirects the Vulkan loader (https://github.com/KhronosGroup/Vulkan-Loader, LoaderDriverInterface). */
const driverVariables = ['VK_DRIVER_FILES', 'VK_ICD_FILENAMES', 'VK_ADD_DRIVER_FILES', 'CUDA_VISIBLE_DEVICES'] as const;

/** Where the answers are looked up: the real machine, or a folder made to look like one. */
export interface Machine {
  readonly platform: NodeJS.Platform;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Prefix of absolute paths; '' on a real machine. */
  readonly root: string;
  readonly home: string;
}

/** The machine that this process runs on. */
export const thisMachine: Machine = {
  platform: process.platform,
  environment: process.env,
  root: '',
  home: homedir(),
};

/** Reason in words why `provider` cannot work here, or undefined when only a probe can tell. */
export function ruledOut(provider: ProviderName, machine: Machine = thisMachine): string | undefined {
  const { platform } = machine;
  if (provider === 'dml' && platform !== 'win32') return 'DirectML exists on Windows only.';
  if (provider === 'coreml' && platform !== 'darwin') return 'Core ML exists on macOS only.';
  if (provider === 'cuda' && platform === 'darwin') return 'CUDA does not exist on macOS.';
  if (platform !== 'linux') return undefined;
  if (provider === 'cuda' && !hasNvidiaDevice(machine)) {
    return 'No NVIDIA GPU is visible (no /dev/nvidia0 or /dev/dxg); with one, its driver, CUDA 12 and cuDNN 9 are needed.';
  }
  if (provider === 'webgpu' && vulkanDrivers(machine).length === 0) {
    return (
      'No Vulkan driver is installed (nothing in /usr/share/vulkan/icd.d or /etc/vulkan/icd.d); install the one of ' +
      'your GPU, on Debian and Ubuntu mesa-vulkan-drivers or nvidia-driver.'
    );
  }
  return undefined;
}

/**
 * False when the machine has no device file of a GPU, so that a Vulkan driver could only be a software one, which is
 * slower than the CPU provider. Elsewhere than on Linux always true: there only a probe can tell.
 */
export function mayHaveGpu(machine: Machine = thisMachine): boolean {
  if (machine.platform !== 'linux' || hasNvidiaDevice(machine)) return true;
  return (
    filesIn(join(machine.root, '/dev/dri')).some((name) => name.startsWith('renderD')) ||
    filesIn(join(machine.root, '/dev')).some((name) => /^(mali|kgsl|apex)/.test(name))
  );
}

/**
 * What a remembered probe depends on beside onnxruntime: drivers on disk with their times, driver variables, devices.
 * Changes when a driver is installed, updated or redirected.
 */
export function driverFingerprint(machine: Machine = thisMachine): string {
  const drivers = vulkanDrivers(machine).map((path) => `${path}@${statSync(path).mtimeMs}`);
  const nvidia = join(machine.root, '/proc/driver/nvidia/version');
  return [
    ...driverVariables.map((name) => `${name}=${machine.environment[name] ?? ''}`),
    ...drivers,
    ...filesIn(join(machine.root, '/dev/dri')),
    ...filesIn(join(machine.root, '/dev')).filter((name) => name.startsWith('nvidia')),
    existsSync(nvidia) ? 'nvidia driver' : '',
  ].join('\n');
}

/** The Vulkan loader's driver lists, by its search order. */
export function vulkanDrivers(machine: Machine = thisMachine): readonly string[] {
  const { environment, root, home } = machine;
  const named = environment['VK_DRIVER_FILES'] ?? environment['VK_ICD_FILENAMES'];
  const listed = (value: string): string[] =>
    value.split(delimiter).flatMap((path) => (path === '' ? [] : path.endsWith('.json') ? [path] : jsonIn(path)));
  if (named !== undefined && named !== '') return listed(named).filter((path) => existsSync(path));
  const split = (value: string | undefined, otherwise: string): string[] =>
    (value === undefined || value === '' ? otherwise : value).split(delimiter);
  const folders = [
    ...split(environment['XDG_CONFIG_HOME'], join(home, '.config')),
    ...split(environment['XDG_CONFIG_DIRS'], '/etc/xdg'),
    '/usr/local/etc',
    '/etc',
    ...split(environment['XDG_DATA_HOME'], join(home, '.local/share')),
    ...split(environment['XDG_DATA_DIRS'], `/usr/local/share${delimiter}/usr/share`),
  ];
  const added = environment['VK_ADD_DRIVER_FILES'];
  return [
    ...(added === undefined ? [] : listed(added).filter((path) => existsSync(path))),
    ...new Set(folders.flatMap((folder) => jsonIn(join(root, folder, 'vulkan/icd.d')))),
  ];
}

const hasNvidiaDevice = ({ root }: Machine): boolean =>
  ['/dev/nvidia0', '/dev/nvidiactl', '/dev/dxg'].some((path) => existsSync(join(root, path)));

const jsonIn = (folder: string): string[] =>
  filesIn(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => join(folder, name));

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}
