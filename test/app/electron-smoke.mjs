// The desktop app as a user meets it, in a real Electron: the window opens at its own address without Node and draws a picture with
// the bundled model through the engine's utilityProcess. Usage: node test/app/electron-smoke.mjs ELECTRON-BINARY [SCREENSHOT.png]
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { _electron } from 'playwright-core';

const [, , binary, screenshot] = process.argv;
const root = process.env.ATELIER_APP ?? resolve(import.meta.dirname, '../..');
const home = mkdtempSync(join(tmpdir(), 'atelier-electron-'));

function check(fact, holds) {
  console.log(`${holds ? 'ok    ' : 'FAILED'} ${fact}`);
  if (!holds) process.exitCode = 1;
}

const started = Date.now();
const app = await _electron.launch({
  executablePath: binary,
  timeout: 60_000,
  // Containers have no user namespaces for Chromium's sandbox, and no GPU.
  args: [root, '--no-sandbox', '--disable-gpu'],
  env: { ...process.env, HOME: home, XDG_CONFIG_HOME: join(home, 'config'), XDG_CACHE_HOME: join(home, 'cache') },
});
try {
  const page = await app.firstWindow();
  await page.getByRole('heading', { name: 'Experts' }).waitFor();
  console.log(`window usable after ${Date.now() - started} ms`);
  check('the page is at its own address', page.url() === 'atelier://app/index.html');
  const reach = await page.evaluate(() => [
    typeof globalThis.require,
    typeof globalThis.process,
    Object.keys(window.mole),
  ]);
  check('the page has no Node', reach[0] === 'undefined' && reach[1] === 'undefined');
  check('the page has window.mole and nothing more', reach[2].sort().join() === 'onMessage,pathOf,send');
  check(
    'a file of the disk has no address',
    (await page.evaluate(() => fetch('/../package.json').then((r) => r.status))) === 404,
  );
  check(
    'inline scripts are refused',
    await page.evaluate(() => {
      const script = document.createElement('script');
      script.textContent = 'window.broken = true';
      document.body.append(script);
      return window.broken === undefined;
    }),
  );
  check(
    'window.open opens nothing',
    (await page.evaluate(() => window.open('https://example.org') === null)) && app.windows().length === 1,
  );
  await page.getByRole('button', { name: 'a red apple, noto style' }).click();
  await page.getByRole('button', { name: 'Generate' }).click();
  const picture = page.getByRole('img', { name: /^a red apple, noto style, seed/ });
  await picture.waitFor({ timeout: 120_000 });
  check('a picture was drawn and shown', (await picture.evaluate((image) => image.naturalWidth)) > 0);
  if (screenshot !== undefined) await page.screenshot({ path: screenshot });
  const folder = await app.evaluate(({ app: electron }) => electron.getPath('pictures'));
  check(
    'it lies among the pictures',
    readdirSync(join(folder, 'MoLE Atelier')).some((name) => name.endsWith('.png')),
  );
} finally {
  await app.close();
  rmSync(home, { recursive: true, force: true });
}
