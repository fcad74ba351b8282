// Waiting for what another process does.

/** Resolves when `condition` holds; throws after `seconds`, naming `what`. */
export async function until(what: string, condition: () => boolean, seconds = 10): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 100 * seconds) throw new Error(`Waited ${seconds} s in vain: ${what}.`);
    await sleep(10);
  }
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** True while a process with this id exists. */
export function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
