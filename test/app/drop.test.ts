// What an artist drops on the window: experts with what lies beside them, folders, and pictures of any maker, restored or started
// from; and the queue. Chromium over `atelier serve`, the real engine, the bundled model and experts.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import type { Locator, Page } from 'playwright-core';
import { beforeEach, describe, expect, it } from 'vitest';
import { fileHashes } from '../../src-main/engine/file-hashes.ts';
import { formatInfotext } from '../../src-main/formats/infotext.ts';
import { insertPngText } from '../../src-main/formats/png-text.ts';
import type { ServedApp } from '../support/serve-app.ts';
import { hasChromium, patient, useAppPage } from './app-page.ts';

const expertFolder = resolve(import.meta.dirname, '../../assets/experts');
const bundled = existsSync(expertFolder)
  ? readdirSync(expertFolder).filter((name) => name.endsWith('.safetensors'))
  : [];
const loras = bundled
  .filter((name) => !name.endsWith('.mole.safetensors'))
  .map((name) => basename(name, '.safetensors'));
/** A gate, after the experts that its name lists. */
const gateName = bundled.find((name) => name.endsWith('.mole.safetensors'));
const gated = gateName === undefined ? [] : [...gateName.split('.')[0]!.split('-'), basename(gateName, '.safetensors')];
const runs = hasChromium('Dropped files') && gated.length > 2;
if (gated.length <= 2) console.log(`Dropped files were skipped: they need a gate and its experts in ${expertFolder}.`);

describe.skipIf(!runs)('dropped on the window', { timeout: 180_000 }, () => {
  const ui = useAppPage();
  const { button, prompt, field, setField, alerts, thumbnails, draw, drop } = ui;
  let page: Page;
  let app: ServedApp;
  beforeEach(() => {
    ({ page, app } = ui);
  });

  const expertBytes = (name: string): Buffer => readFileSync(join(expertFolder, `${name}.safetensors`));
  const dialog = (): Locator => page.getByRole('dialog');

  const drawnFiles = (): readonly string[] => readdirSync(app.folder).filter((name) => name.endsWith('.png'));
  const fileBytes = (name: string): Buffer => readFileSync(join(app.folder, name));

  it('two LoRAs and a broken one are two experts and a reason, and a note beside a LoRA goes with it', async () => {
    await drop(
      { name: `${loras[0]!}.safetensors`, bytes: expertBytes(loras[0]!) },
      { name: 'broken.safetensors', bytes: Buffer.from('no tensor at all') },
      { name: 'mine.safetensors', bytes: expertBytes(loras[1]!) },
      { name: 'mine.json', bytes: Buffer.from(JSON.stringify({ 'preferred weight': 0.55 })) },
    );
    await expect.poll(() => page.getByRole('article').count(), patient).toBe(2);
    await expect.poll(alerts).toEqual([expect.stringContaining('2 added, ')]);
    expect(await alerts()).toEqual([expect.stringContaining('broken.safetensors was not added.')]);
    expect(await page.getByRole('spinbutton', { name: /^Weight of mine/ }).inputValue()).toBe('0.55');
  });

  it('a drawing that is ordered while files are read waits for them', async () => {
    await prompt().fill('a fox');
    await setField('Steps', '2');
    await setField('Seed', '3');
    await drop(...loras.slice(0, 2).map((name) => ({ name: `${name}.safetensors`, bytes: expertBytes(name) })));
    const early = await draw();
    expect(await page.getByRole('article').count()).toBe(2);
    expect(await draw()).toBe(early);
  });

  it('a folder is looked through, with its folders', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'atelier-drop-'));
    mkdirSync(join(folder, 'styles'));
    writeFileSync(join(folder, 'one.safetensors'), expertBytes(loras[0]!));
    writeFileSync(join(folder, 'styles/two.safetensors'), expertBytes(loras[1]!));
    writeFileSync(join(folder, 'styles/two.txt'), 'A style.');
    writeFileSync(join(folder, 'notes.md'), 'nothing');
    // A real drag of a folder, through the browser's own file system.
    const cdp = await page.context().newCDPSession(page);
    const data = { items: [], files: [folder], dragOperationsMask: 1 };
    for (const type of ['dragEnter', 'dragOver', 'drop'] as const)
      await cdp.send('Input.dispatchDragEvent', { type, x: 700, y: 400, data });
    await expect.poll(() => page.getByRole('article').count(), patient).toBe(2);
    await expect.poll(alerts).toEqual([expect.stringContaining('1 other file was left alone.')]);
    rmSync(folder, { recursive: true });
  });

  it('a picture drawn here is drawn again to the pixel, with experts, gate and silenced blocks', async () => {
    await drop(...gated.map((name) => ({ name: `${name}.safetensors`, bytes: expertBytes(name) })));
    await page.getByText(/^Trained for/).waitFor();
    await prompt().fill('a fox');
    await setField('Steps', '3');
    await setField('Seed', '11');
    await setField(`Weight of ${gated[0]!}, number`, '0.8');
    await draw();
    const [row] = await page.getByRole('rowheader').allTextContents();
    await page.getByRole('row', { name: row! }).getByRole('button').first().click();
    // Names tell seconds, and two drawings can be of one.
    const before = drawnFiles();
    const wanted = await draw();
    const file = drawnFiles().find((name) => !before.includes(name))!;
    const bytes = fileBytes(file);

    // The stack comes back with the window; it is taken away, so that what is restored is the picture's.
    await page.reload();
    await page.getByText(/^Trained for/).waitFor();
    expect(await page.getByRole('article').count()).toBe(gated.length - 1);
    await button('Remove the gate').click();
    for (const name of gated.slice(0, -1)) await button(`Remove ${name}`).click();
    await expect.poll(() => page.getByRole('article').count()).toBe(0);
    await prompt().fill('something else');
    await setField('Steps', '9');
    await drop({ name: file, bytes, type: 'image/png' });
    await dialog().getByText('Drawn with MoLE Atelier').waitFor();
    expect(await dialog().getByText('missing', { exact: true }).count()).toBe(0);
    await dialog().getByRole('button', { name: 'Restore settings' }).click();
    await page.getByText(/^Restored from .*prompt.*experts and gate\.$/).waitFor();
    expect(await prompt().inputValue()).toBe('a fox');
    expect(await draw()).toBe(wanted);
  });

  it('a picture of A1111 is understood, its LoRAs found by hash whatever their name, and the missing named', async () => {
    await prompt().fill('a fox');
    await setField('Steps', '2');
    await draw();
    const plain = fileBytes(drawnFiles()[0]!);
    const { short } = await fileHashes(join(expertFolder, `${loras[0]!}.safetensors`));
    const infotext = formatInfotext({
      prompt: 'a castle <lora:renamed:0.7> <lora:nowhere:1>',
      negativePrompt: 'blurry',
      steps: 4,
      sampler: 'DPM++ SDE Karras',
      cfgScale: 5,
      seed: 123,
      size: { width: 128, height: 128 },
      model: 'someMerge',
      loraHashes: [
        { name: 'renamed', hash: short },
        { name: 'nowhere', hash: 'abcdef012345' },
      ],
    });
    const bytes = insertPngText(withoutText(plain), [{ keyword: 'parameters', text: infotext }]);
    await drop({ name: 'theirs.png', bytes, type: 'image/png' });
    await dialog().getByText('With settings in A1111’s notation').waitFor();
    await dialog().getByText('DPM++ SDE · Karras · 4 steps · CFG 5 · seed 123').waitFor();
    await dialog().getByText('hash abcdef012345').waitFor();
    expect(await dialog().getByText('missing', { exact: true }).count()).toBe(1);
    await dialog()
      .getByText(/drawn with someMerge/)
      .waitFor();
    await dialog().getByRole('button', { name: 'Restore without the missing' }).click();
    expect(await prompt().inputValue()).toBe('a castle');
    expect(await field('Seed').inputValue()).toBe('123');
    const card = page.getByRole('article', { name: loras[0]! });
    expect(await card.getByRole('spinbutton').first().inputValue()).toBe('0.7');
    await page.getByText(/Without nowhere, which was not found\./).waitFor();
    await button('Undo').click();
    expect(await prompt().inputValue()).toBe('a fox');
    expect(await page.getByRole('article').count()).toBe(0);
  });

  it('a hostile picture is text and a reason: no markup, no script, no crash', async () => {
    await prompt().fill('a fox');
    await setField('Steps', '2');
    await draw();
    const plain = withoutText(fileBytes(drawnFiles()[0]!));
    const markup = '<img src=x onerror=alert(1)><script>alert(2)</script>';
    const infotext = `${markup}\nSteps: 4, Sampler: ${markup}, Seed: 99999999999999999999, CFG scale: 7`;
    const hostile = insertPngText(plain, [{ keyword: 'parameters', text: infotext }]);
    await drop({ name: 'hostile.png', bytes: hostile, type: 'image/png' });
    await dialog().getByText(markup).first().waitFor();
    expect(await dialog().locator('script, img[src="x"]').count()).toBe(0);
    await page.keyboard.press('Escape');
    await drop({ name: 'cut.png', bytes: hostile.slice(0, hostile.length - 400), type: 'image/png' });
    await dialog()
      .getByText(/cut\.png is damaged/)
      .waitFor();
    expect(await dialog().getByRole('button', { name: 'Start from it' }).count()).toBe(0);
    await page.keyboard.press('Escape');
    await drop({ name: 'none.png', bytes: Buffer.from('GIF? no.'), type: 'image/png' });
    await expect.poll(() => page.getByRole('alert').textContent()).toContain('none.png');
  });

  it('a picture is started from, a little or wholly drawn anew, and a variation of the seed differs', async () => {
    await prompt().fill('a red apple, noto style');
    await setField('Steps', '4');
    await setField('Seed', '5');
    const first = await draw();
    await drop({ name: 'start.png', bytes: fileBytes(drawnFiles()[0]!), type: 'image/png' });
    await dialog().getByRole('button', { name: 'Start from it' }).click();
    await setField('How much is drawn anew, number', '0');
    const kept = await draw();
    await setField('How much is drawn anew, number', '0.9');
    const anew = await draw();
    expect(difference(kept, first)).toBeLessThan(difference(anew, first));
    await button('Do not start from a picture').click();
    expect(await draw()).toBe(first);
    await page.getByText('Variation of the seed').click();
    await setField('Variation seed', '77');
    expect(await draw()).not.toBe(first);
  });

  it('the queue is paused, put in another order by keys, and cleared', async () => {
    await setField('Steps', '2');
    await prompt().fill('zero');
    await draw();
    await button('Pause the queue').click();
    for (const words of ['first', 'second', 'third']) {
      await prompt().fill(words);
      await button('Generate').click();
    }
    const strip = page.getByRole('region', { name: 'Pictures and queue' });
    const order = (): Promise<readonly string[]> => strip.locator('ol .prompt').allTextContents();
    await expect.poll(order).toEqual(['first', 'second', 'third']);
    await button('Earlier in the queue (now number 3)').click();
    await expect.poll(order).toEqual(['first', 'third', 'second']);
    await page.keyboard.press('Alt+ArrowLeft');
    await expect.poll(order).toEqual(['third', 'first', 'second']);
    await button('Take out of the queue').nth(1).click();
    await expect.poll(order).toEqual(['third', 'second']);
    await button('Go on with the queue').click();
    await expect.poll(() => thumbnails().count(), patient).toBe(3);
    const labels = await thumbnails().evaluateAll((all) => all.map((one) => one.getAttribute('aria-label')));
    expect(labels.map((label) => label?.split(',')[0])).toEqual(['Show second', 'Show third', 'Show zero']);
    await button('Clear finished').click();
    await expect.poll(() => thumbnails().count()).toBe(0);
  });
});

/** Mean difference of two pictures' pixels, 0..255. */
function difference(a: string, b: string): number {
  const [one, other] = [a, b].map((text) =>
    text
      .slice(text.indexOf(':') + 1)
      .split(',')
      .map(Number),
  );
  return one!.reduce((sum, value, i) => sum + Math.abs(value - other![i]!), 0) / one!.length;
}

/** A PNG file without its text chunks. */
function withoutText(png: Buffer): Uint8Array {
  const parts = [png.subarray(0, 8)];
  for (let at = 8; at < png.length;) {
    const end = at + 12 + png.readUInt32BE(at);
    if (!['tEXt', 'iTXt', 'zTXt'].includes(png.toString('latin1', at + 4, at + 8))) parts.push(png.subarray(at, end));
    at = end;
  }
  return Buffer.concat(parts);
}
