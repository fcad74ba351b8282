// Takes the README's pictures of the app: `npm run screenshots`. The built interface in Chromium over `atelier serve`, the real
// engine, the bundled model and experts; $ATELIER_CHROMIUM, by default /usr/bin/chromium, is the browser. Each view is brought to
// the state that it shows by the same presses that an artist would make.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import sharp from 'sharp';

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../..');
const out = mkdtempSync(join(tmpdir(), 'atelier-screenshots-'));
const executablePath = process.env['ATELIER_CHROMIUM'] ?? '/usr/bin/chromium';
/** Milliseconds that a drawing or a training may take. */
const patience = 300_000;

const child = spawn(process.execPath, [join(root, 'out/main/atelier.js'), 'serve', '--port', '0', '--out', out, '--json'], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
const link = await new Promise((found, failed) => {
  let said = '';
  child.stdout.on('data', (bytes) => {
    said += bytes;
    const match = /"link":"([^"]+)"/.exec(said);
    if (match !== null) found(match[1]);
  });
  child.once('exit', (code) => failed(new Error(`atelier serve ended with ${code}.`)));
});
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
const page = await browser.newPage({
  viewport: { width: 1440, height: 960 },
  colorScheme: 'dark',
  reducedMotion: 'reduce',
});
page.setDefaultTimeout(patience);

const main = page.getByRole('main');
const show = (view) => page.getByRole('banner').getByRole('button', { name: view, exact: true }).click();

async function take(name) {
  await page.mouse.move(2, 2);
  await page.waitForTimeout(600);
  // Few colours suffice for an interface, and keep the repository small.
  const picture = await page.screenshot();
  await sharp(picture).png({ palette: true, quality: 92, effort: 10 }).toFile(join(here, `${name}.png`));
  console.log(`assets/readme/${name}.png`);
}

async function setField(name, value) {
  await page.getByRole('spinbutton', { name, exact: true }).fill(String(value));
  await page.keyboard.press('Tab');
}

/** Draws the prompt and waits until its picture stands in the strip. */
async function draw(prompt, seed) {
  await show('Draw');
  await page.getByRole('textbox', { name: 'Prompt', exact: true }).fill(prompt);
  await setField('Seed', seed);
  await page.keyboard.press('Control+Enter');
  await page.getByRole('button', { name: `Show ${prompt}, seed ${seed}`, exact: true }).first().waitFor();
}

try {
  await page.goto(link);
  // The tour brings the experts.
  await page.getByRole('button', { name: /^Take the tour/ }).click();
  const tour = page.getByRole('dialog', { name: 'Tour' });
  await tour.getByRole('button', { name: 'Add them' }).click();
  await tour.getByText(/^2 of/).waitFor();
  await tour.getByRole('button', { name: 'Leave the tour' }).click();
  await setField('Guidance (CFG)', 4);
  await draw('a fox, ink style', 6);
  await page.getByRole('button', { name: 'Dismiss' }).click();
  await take('draw');

  await show('Compare');
  await main.getByRole('button', { name: 'Compare', exact: true }).click();
  const columns = await main.getByRole('checkbox', { checked: true }).count();
  await page.waitForFunction(
    (count) => [...document.querySelectorAll('main img')].filter((image) => image.complete && image.naturalWidth > 0).length >= count,
    columns,
    { timeout: patience },
  );
  await take('compare');

  await show('Library');
  await page.waitForTimeout(3000);
  await take('library');

  await show('Train');
  await page.getByRole('button', { name: 'Use the bundled references' }).click();
  await page.waitForTimeout(3000);
  await setField('Updates', 60);
  await page.getByRole('button', { name: 'Start training' }).click();
  await page.waitForFunction(() => /\b(3[5-9]|4\d|5\d) of 60\b/.test(document.body.textContent), undefined, {
    timeout: patience,
  });
  await take('train');

  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
  await show('Draw');
  // The rest of the gallery is the model's own.
  for (const name of ['fox', 'ink']) await page.getByRole('button', { name: `Remove ${name}`, exact: true }).click();
  const prompts = ['a red apple, noto style', 'a dog, twemoji style', 'a palm tree, fluent style', 'a cat, emojione style'];
  for (const [i, prompt] of prompts.entries()) {
    await draw(prompt, 20 + i);
    await draw(prompt, 40 + i);
  }
  await show('Gallery');
  await page.waitForTimeout(2000);
  await page.getByRole('option').first().click();
  await take('gallery');
} finally {
  await browser.close();
  child.kill('SIGINT');
  await new Promise((ended) => child.once('exit', ended));
  rmSync(out, { recursive: true, force: true });
}
